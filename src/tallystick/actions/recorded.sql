-- transfer --
-- Transfers in the order of their ids' places, as they stand.
select id, state, jsonb_build_array(asked) as asked
  from actions.recorded_transfers(%(ids)s::bigint[])

-- action --
-- Actions in the order of their ids' places, as they stand.
select id, state, asked
  from actions.recorded_actions(%(ids)s::bigint[])

-- transfer_ids --
-- The ids of all transfers that events tell of, in order: not those of an action of transfers, which knows them, and not those that were
-- made before transfers were decided.
select t.id as id
  from actions.transfer t
  left join actions.action a on a.id = t.action_id
 where t.id > %(after)s::bigint
   and (a.type is null or a.type not in ('transfer', 'transfer.batch'))
   and (t.decision_id is not null or t.id > (select min(f.id) from actions.transfer f where f.decision_id is not null))
 order by t.id
 limit %(limit)s::bigint

-- action_ids --
-- The ids of all actions, in order.
select t.id as id
  from actions.action t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
