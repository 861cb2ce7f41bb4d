-- actions.recorded_transfers: how transfers stand, as exports of the record have it, in the order of the ids. `asked` is what its digest is
-- made of: the type and the payload that was decided, or null where a text of it was erased. `later` says that it was settled by an event
-- that no checkpoint covers yet.
create or replace function actions.recorded_transfers(p_ids bigint[]) returns table (id bigint, state jsonb, asked jsonb)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    with later as materialized (
        select u.id
          from (select p.event_id
                  from audit.pending p
                 union
                select l.event_id
                  from audit.leaf l
                 where l.idx >= (select max(c.size) from audit.checkpoint c)) as n
          join audit.event e on e.id = n.event_id and e.verb = 'transfers.settle'
          left join audit.payload b on b.event_id = e.id
         cross join jsonb_array_elements_text(coalesce(b.body, e.leaf::jsonb -> 'detail') -> 'transfers') as u (id)
    )
    select t.id,
           jsonb_strip_nulls(jsonb_build_object(
               'id', t.id::text,
               'principal', t.principal,
               'status', t.status,
               'reason', t.reason,
               'journal', t.journal_id::text,
               'decision', t.decision_id::text,
               'action', t.action_id::text,
               'task', t.task_id::text,
               'moves', case when t.settle = 'queued' or t.action_id is not null or t.erased_by is not null
                             then jsonb_build_array(t.from_account::text, t.to_account::text, t.amount::text) end,
               'erased', t.erased_by::text,
               'later', case when t.settle = 'queued' and t.status <> 'queued' and t.action_id is null
                                   and exists (select from later l where l.id = t.id::text)
                             then true end)),
           case when t.erased_by is null then
           jsonb_build_array('transfer', jsonb_strip_nulls(jsonb_build_object(
               'from_account', f.name,
               'to_account', g.name,
               'amount', (t.amount * ('1e-' || s.scale)::numeric)::text,
               'currency', t.asset,
               'settle', t.settle,
               'description', t.description))) end
      from unnest(p_ids) with ordinality as u (id, ord)
      join actions.transfer t on t.id = u.id
      left join ledger.account f on f.id = t.from_account
      left join ledger.account g on g.id = t.to_account
      left join ledger.asset s on s.code = t.asset
     order by u.ord;
$$;
revoke all on function actions.recorded_transfers(bigint[]) from public;
grant execute on function actions.recorded_transfers(bigint[]) to tallystick_app, tallystick_auditor;

-- actions.recorded_actions: the same of actions, with the transfer of one that is a transfer (`asked` has what the digests of both are made of),
-- and how many a batch has.
create or replace function actions.recorded_actions(p_ids bigint[]) returns table (id bigint, state jsonb, asked jsonb)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select a.id,
           jsonb_strip_nulls(jsonb_build_object(
               'id', a.id::text,
               'type', a.type,
               'principal', a.principal,
               'for', a.on_behalf_of,
               'status', a.status,
               'reason', a.reason,
               'digest', encode(a.digest, 'hex'),
               'decision', a.decision_id::text,
               'approval', a.approval_id::text,
               'under', a.executed_by::text,
               'task', a.task_id::text,
               'transfers', coalesce(o.states, '[]'),
               'count', case when a.type = 'transfer.batch' then (select count(*)::text from actions.transfer t where t.action_id = a.id) end,
               'erased', a.erased_by::text,
               'later', case when exists (select
                                            from audit.event e
                                            left join audit.leaf l on l.event_id = e.id
                                           where e.subject_kind = 'action' and e.subject_id = a.id
                                             and coalesce(l.idx >= (select max(c.size) from audit.checkpoint c), true))
                             then true end)),
           jsonb_build_array(case when a.erased_by is null then jsonb_build_array(a.type, a.payload) end) || coalesce(o.asked, '[]')
      from unnest(p_ids) with ordinality as u (id, ord)
      join actions.action a on a.id = u.id
      left join lateral (
          select jsonb_agg(r.state order by r.id) as states, jsonb_agg(r.asked order by r.id) as asked
            from actions.recorded_transfers(array(select t.id
                                                    from actions.transfer t
                                                   where t.action_id = a.id and a.type = 'transfer'
                                                   order by t.id
                                                   limit 2)) as r
      ) o on true
     order by u.ord;
$$;
revoke all on function actions.recorded_actions(bigint[]) from public;
grant execute on function actions.recorded_actions(bigint[]) to tallystick_app, tallystick_auditor;
