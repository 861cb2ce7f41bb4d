-- around --
-- What is to be known of the accounts of transfers: who owns the one that pays, and for how long it knows the other.
select c.customer_id as customer,
       case when p.since is not null then greatest(0, floor(extract(epoch from db.clock() - p.since))::bigint) end as known_s
  from unnest(%(from_accounts)b::bigint[], %(to_accounts)b::bigint[]) with ordinality as u (debit, credit, ord)
  join ledger.account g on g.id = u.credit
  left join customers.disposition c on c.account_id = u.debit and c.role = 'owner'
  left join actions.payee p on p.account_id = u.debit and p.payee = g.name
 order by u.ord

-- next_ids --
-- Ids for transfers that are about to be made.
select nextval('actions.transfer_id_seq') as id
  from generate_series(1, %(count)s::integer)

-- insert_batch --
-- Store the transfers of a batch, which the books have posted or refused; the time they were stored at.
with moment as (
    select clock_timestamp() as now
), stored as (
    insert into actions.transfer
           (id, principal, from_account, to_account, amount, asset, description, settle, status, journal_id, reason, created_at,
            settled_at, decision_id, action_id)
    select u.id, %(principal)s::text, u.from_account, u.to_account, u.amount, u.asset, u.description, 'now',
           case when u.reason is null then 'posted' else 'failed' end, u.journal_id, u.reason, m.now, m.now, %(decision_id)s::bigint,
           %(action_id)s::bigint
      from moment m
     cross join unnest(%(ids)b::bigint[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[], %(amounts)b::bigint[],
                  %(assets)b::text[], %(descriptions)b::text[], %(journals)b::bigint[], %(reasons)b::text[])
           as u (id, from_account, to_account, amount, asset, description, journal_id, reason)
)
select now
  from moment

-- of_batch --
-- The ids of the transfers of an action, in order.
select id
  from actions.transfer
 where action_id = %(action_id)s::bigint
 order by id
