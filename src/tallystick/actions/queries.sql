-- prepare --
-- Take keys, lock balances and read what is to be known of transfers that are about to be decided; see repeatable/50_propose.sql.
select p.states, p.transfer_ids, p.customers, p.known_s, p.at, p.digest, p.body, p.ids, p.counts, p.sums, p.places, p.entries, p.unlisted
  from actions.prepare(
           %(principal)s::text, %(keys)b::text[], %(hashes)b::bytea[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[],
           %(payees)b::text[], %(counters)b::text[], %(windows)b::bigint[], %(lists)b::text[], %(names)b::text[], %(ids)b::text[],
           %(known)s::text) as p

-- conclude --
-- Carry out transfers that were decided; see repeatable/50_propose.sql.
select c.journal_ids, c.reasons, c.decisions, c.stored_at
  from actions.conclude(
           %(principal)s::text, %(on_behalf_of)s::text, %(task_id)s::bigint, %(request)s::text, %(decided)s::text, %(ids)b::bigint[],
           %(outcomes)b::text[], %(fresh)b::boolean[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[], %(amounts)b::bigint[],
           %(assets)b::text[], %(descriptions)b::text[], %(decisions)b::bigint[], %(policy)s::text, %(digests)b::bytea[],
           %(facts)b::text[], %(verdicts)b::text[], %(salts)b::bytea[], %(counters)b::bigint[], %(counts)b::bigint[],
           %(sums)b::bigint[]) as c

-- insert_unsettled --
-- Store a transfer that is held or denied; the time it was stored at.
insert into actions.transfer
       (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, reason, created_at, settled_at,
        decision_id, action_id)
select %(id)s::bigint, %(principal)s::text, %(from_account)s::bigint, %(to_account)s::bigint, %(amount)s::bigint, %(asset)s::text,
       %(description)s::text, %(settle)s::text, %(task_id)s::bigint, %(status)s::text, %(reason)s::text, m.now,
       case when %(status)s::text = 'failed' then m.now end, %(decision_id)s::bigint, %(action_id)s::bigint
  from (select clock_timestamp() as now) as m
returning created_at

-- know_payees --
-- From now on accounts know others as payees.
insert into actions.payee (account_id, payee, since, by_principal)
select distinct u.account_id, g.name, statement_timestamp(), %(principal)s::text
  from unnest(%(accounts)s::bigint[], %(payees)s::bigint[]) as u (account_id, payee)
  join ledger.account g on g.id = u.payee
 order by u.account_id, g.name
    on conflict do nothing

-- know_payee --
-- From now on an account knows a payee outside of the bank, by the name that it was paid under.
insert into actions.payee (account_id, payee, label, since, by_principal)
values (%(account_id)s::bigint, %(payee)s::text, %(label)s::text, clock_timestamp(), %(principal)s::text)
    on conflict do nothing

-- payee_of --
-- Who owns an account, and since when it knows a payee, by which name.
select c.customer_id as customer, p.since as known_since, p.label, clock_timestamp() as at
  from (select %(account_id)s::bigint as id) as a
  left join customers.disposition c on c.account_id = a.id and c.role = 'owner'
  left join actions.payee p on p.account_id = a.id and p.payee = %(payee)s::text

-- payees --
-- A page of whom an account knows, in order, after one.
select payee, label, since, by_principal as by
  from actions.payee
 where account_id = %(account_id)s::bigint
   and payee > %(after)s::text
 order by payee
 limit %(limit)s::bigint

-- of_action --
-- The transfer that a held action is about, locked.
select id, principal, from_account, to_account, amount, task_id, decision_id
  from actions.transfer
 where action_id = %(action_id)s::bigint and status = 'held'
   for no key update

-- end_held --
-- Fill in what became of a held transfer.
update actions.transfer
   set status = %(status)s::text, journal_id = %(journal_id)s::bigint, reason = %(reason)s::text, settled_at = clock_timestamp()
 where id = %(id)s::bigint and status = 'held'

-- payee_facts --
-- What is to be known of the accounts of one transfer: who owns the one that pays, and for how long it knows the other.
select c.customer_id as customer,
       case when p.since is not null then greatest(0, floor(extract(epoch from db.clock() - p.since))::bigint) end as known_s
  from ledger.account f
  join ledger.account g on g.id = %(to_account)s::bigint
  left join customers.disposition c on c.account_id = f.id and c.role = 'owner'
  left join actions.payee p on p.account_id = f.id and p.payee = g.name
 where f.id = %(from_account)s::bigint

-- insert_queued --
-- Store transfers that the settlement agent will carry out; the time they were stored at.
with moment as (
    select clock_timestamp() as now
), stored as (
    insert into actions.transfer
           (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, created_at, decision_id)
    select u.id, %(principal)s::text, u.from_account, u.to_account, u.amount, u.asset, u.description, 'queued', u.task_id, 'queued', m.now, u.decision_id
      from moment m
     cross join unnest(%(ids)b::bigint[], %(from_accounts)b::bigint[], %(to_accounts)b::bigint[], %(amounts)b::bigint[],
                  %(assets)b::text[], %(descriptions)b::text[], %(task_ids)b::bigint[], %(decisions)b::bigint[])
           as u (id, from_account, to_account, amount, asset, description, task_id, decision_id)
)
select now
  from moment

-- by_ids --
-- Transfers by id.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at,
       t.decision_id, a.approval_id, d.verdict
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
  left join actions.action a on a.id = t.action_id
  left join policy.decision d on d.id = t.decision_id and (t.action_id is not null or t.reason = 'denied')
 where t.id = any (%(ids)s::bigint[])

-- of_journals --
-- The transfers that some journals carried out, in the order of their ids.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at,
       t.decision_id, a.approval_id, d.verdict
  from ledger.journal j
  join actions.transfer t on t.id = j.ref_id and t.journal_id = j.id
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
  left join actions.action a on a.id = t.action_id
  left join policy.decision d on d.id = t.decision_id and (t.action_id is not null or t.reason = 'denied')
 where j.id = any (%(journals)s::bigint[]) and j.kind = 'transfer'
 order by t.id

-- page --
-- Transfers below an id, newest first; from or to one of some accounts where these are given.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at,
       t.decision_id, a.approval_id, d.verdict
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  join ledger.account g on g.id = t.to_account
  join ledger.asset s on s.code = t.asset
  left join actions.action a on a.id = t.action_id
  left join policy.decision d on d.id = t.decision_id and (t.action_id is not null or t.reason = 'denied')
 where t.id < %(before)s::bigint
   and (%(among)s::bigint[] is null or t.from_account = any (%(among)s::bigint[]) or t.to_account = any (%(among)s::bigint[]))
 order by t.id desc
 limit %(limit)s::bigint

-- page_of_account --
-- Transfers from or to an account below an id, newest first; each side is read from its own index.
select t.id, t.principal, f.name as from_account, g.name as to_account, t.amount, t.asset, s.scale::integer as scale,
       t.description, t.settle, t.status, t.reason, t.journal_id, t.task_id, t.created_at, t.settled_at,
       t.decision_id, a.approval_id, d.verdict
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
  left join actions.action a on a.id = t.action_id
  left join policy.decision d on d.id = t.decision_id and (t.action_id is not null or t.reason = 'denied')
 order by t.id desc
 limit %(limit)s::bigint

-- lock_queued --
-- Queued transfers that nobody else is settling, locked in id order.
select t.id, t.principal, t.from_account, t.to_account, t.amount, t.task_id, t.decision_id, f.name as account,
       w.facts ->> 'version' as version, (w.facts -> 'mandate' ->> 'id')::bigint as mandate_id
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  left join policy.decision d on d.id = t.decision_id
 cross join lateral (select case when d.erased_by is null then d.facts::jsonb end as facts) as w
 where t.id = any (%(ids)s::bigint[]) and t.status = 'queued'
 order by t.id
   for no key update of t

-- settle --
-- Fill in what became of queued transfers; the update decides, so each is settled once.
update actions.transfer t
   set status = u.status, journal_id = u.journal_id, reason = u.reason, settled_at = clock_timestamp()
  from unnest(%(ids)s::bigint[], %(statuses)s::text[], %(journal_ids)s::bigint[], %(reasons)s::text[])
       as u (id, status, journal_id, reason)
 where t.id = u.id and t.status = 'queued'
