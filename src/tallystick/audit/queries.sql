-- append --
-- Write events in the order given; their ids rise in that order.
insert into audit.event (principal, on_behalf_of, verb, subject_kind, subject_id, task_id, request_id, detail)
select u.principal, u.on_behalf_of, u.verb, u.subject_kind, u.subject_id, u.task_id, u.request_id, u.detail
  from unnest(%(principals)s::text[], %(on_behalf_of)s::text[], %(verbs)s::text[], %(subject_kinds)s::text[],
              %(subject_ids)s::bigint[], %(task_ids)s::bigint[], %(request_ids)s::text[], %(details)s::text[]::jsonb[])
       with ordinality
       as u (principal, on_behalf_of, verb, subject_kind, subject_id, task_id, request_id, detail, ord)
 order by u.ord
returning id

-- latest --
-- The newest event of a subject, of one verb where that is given.
select id, at, principal, on_behalf_of, verb, subject_kind, subject_id, task_id, request_id, detail
  from audit.event
 where subject_kind = %(subject_kind)s::text
   and subject_id = %(subject_id)s::bigint
   and (%(verb)s::text is null or verb = %(verb)s::text)
 order by id desc
 limit 1
