-- append --
-- Write events in the order given; their ids, which rise in that order.
select audit.write(%(principals)s::text[], %(on_behalf_of)s::text[], %(verbs)s::text[], %(subject_kinds)s::text[],
                   %(subject_ids)s::bigint[], %(task_ids)s::bigint[], %(steps)s::text[], %(decision_ids)s::bigint[],
                   %(approval_ids)s::bigint[], %(request_ids)s::text[], %(trace_ids)s::text[], %(details)s::text[],
                   %(items_kinds)s::text[], %(refs)s::text[], %(items)s::bytea[], %(payloads)s::text[]) as ids

-- latest --
-- The newest event of a subject, of one verb where that is given.
select e.id, e.at, e.principal, e.on_behalf_of, e.verb, e.subject_kind, e.subject_id, e.task_id, e.step, e.decision_id, e.approval_id,
       e.request_id, e.trace_id, e.leaf::jsonb -> 'detail' as detail, p.body as payload, e.items_kind, e.refs, l.idx as index, e.leaf
  from audit.event e
  left join audit.payload p on p.event_id = e.id
  left join audit.leaf l on l.event_id = e.id
 where e.subject_kind = %(subject_kind)s::text
   and e.subject_id = %(subject_id)s::bigint
   and (%(verb)s::text is null or e.verb = %(verb)s::text)
 order by e.id desc
 limit 1
