-- take_keys --
-- Ids for transfers that are about to be made, and the idempotency keys of those that have one; see db.claim.
select c.ord, c.state, c.ref_id
  from db.claim(
           array_fill(%(scope)s::text, array[%(count)s::integer]), %(keys)b::text[], %(hashes)b::bytea[],
           array_fill('transfer'::text, array[%(count)s::integer]),
           (select array_agg(nextval('actions.transfer_id_seq')) from generate_series(1, %(count)s::integer))) as c

-- propose_now --
-- Carry out transfers of one principal; see repeatable/50_propose.sql.
select ord, state, transfer_id, journal_id, reason, stored_at
  from actions.propose_now(
           %(principal)s::text, %(task_id)s::bigint, %(request)s::text, %(keys)b::text[], %(hashes)b::bytea[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[],
           %(amounts)b::bigint[], %(assets)b::text[], %(descriptions)b::text[])

-- insert_queued --
-- Store transfers that the settlement agent will carry out; the time they were stored at.
with moment as (
    select clock_timestamp() as now
), stored as (
    insert into actions.transfer
           (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, created_at)
    select u.id, %(principal)s::text, u.from_account, u.to_account, u.amount, u.asset, u.description, 'queued', u.task_id, 'queued', m.now
      from moment m
     cross join unnest(%(ids)b::bigint[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[], %(amounts)b::bigint[],
                  %(assets)b::text[], %(descriptions)b::text[], %(task_ids)b::bigint[])
           as u (id, from_account, to_account, amount, asset, description, task_id)
)
select now
  from moment

-- by_ids --
-- Transfers by id.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
 where t.id = any (%(ids)s::bigint[])

-- of_journals --
-- The transfers that some journals carried out, in the order of their ids.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at
  from ledger.journal j
  join actions.transfer t on t.id = j.ref_id and t.journal_id = j.id
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
 where j.id = any (%(journals)s::bigint[]) and j.kind = 'transfer'
 order by t.id

-- page --
-- Transfers below an id, newest first.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
 where t.id < %(before)s::bigint
 order by t.id desc
 limit %(limit)s::bigint

-- page_of_account --
-- Transfers from or to an account below an id, newest first; each side is read from its own index.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at
  from ((select id from actions.transfer
          where from_account = %(account_id)s::bigint and id < %(before)s::bigint
          order by id desc
          limit %(limit)s::bigint)
        union
        (select id from actions.transfer
          where to_account = %(account_id)s::bigint and id < %(before)s::bigint
          order by id desc
          limit %(limit)s::bigint)) as p
  join actions.transfer t on t.id = p.id
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
 order by t.id desc
 limit %(limit)s::bigint

-- lock_queued --
-- Queued transfers that nobody else is settling, locked in id order.
select id, principal, from_account, to_account, amount, task_id
  from actions.transfer
 where id = any (%(ids)s::bigint[]) and status = 'queued'
 order by id
   for no key update

-- settle --
-- Fill in what became of queued transfers; the update decides, so each is settled once.
update actions.transfer t
   set status = u.status, journal_id = u.journal_id, reason = u.reason, settled_at = clock_timestamp()
  from unnest(%(ids)s::bigint[], %(statuses)s::text[], %(journal_ids)s::bigint[], %(reasons)s::text[])
       as u (id, status, journal_id, reason)
 where t.id = u.id and t.status = 'queued'
