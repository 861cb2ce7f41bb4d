-- post --
-- Post a batch of journals; see repeatable/20_post.sql. The arrays travel in binary, which costs half of what text does.
select ord, journal_id, refusal, replayed, posted_at
  from ledger.post(
           %(keys)b::text[], %(hashes)b::bytea[], %(kinds)b::text[], %(ref_ids)b::bigint[],
           %(actors)b::text[], %(on_behalf_of)b::text[], %(task_ids)b::bigint[], %(approval_ids)b::bigint[],
           %(effective_at)b::timestamptz[], %(metas)b::text[]::jsonb[], %(reverses)b::bigint[], %(hold_ids)b::bigint[], %(finals)b::boolean[],
           %(entry_journals)b::integer[], %(entry_accounts)b::bigint[], %(entry_amounts)b::bigint[],
           %(guard_journals)b::integer[], %(guard_accounts)b::bigint[], %(guard_available)b::bigint[], %(guard_seqs)b::bigint[],
           %(atomic)s::boolean, %(decisions)b::bigint[])

-- place_holds --
-- Set money aside on accounts; see repeatable/15_holds.sql.
select ord, hold_id, refusal, replayed, placed_at, expires_at
  from ledger.place_holds(
           %(keys)b::text[], %(hashes)b::bytea[], %(accounts)b::bigint[], %(amounts)b::bigint[], %(kinds)b::text[], %(ref_ids)b::bigint[],
           %(actors)b::text[], %(on_behalf_of)b::text[], %(task_ids)b::bigint[], %(approval_ids)b::bigint[],
           %(expires_at)b::timestamptz[], %(expires_in_s)b::bigint[], %(metas)b::text[]::jsonb[], %(atomic)s::boolean)

-- release_holds --
-- Give back what remains of holds; see repeatable/15_holds.sql.
select ord, hold_id, refusal, replayed
  from ledger.release_holds(
           %(keys)b::text[], %(hashes)b::bytea[], %(hold_ids)b::bigint[], %(actors)b::text[], %(atomic)s::boolean)

-- expire_holds --
-- Resolve holds that are due; how many were.
select ledger.expire_holds(%(limit)s::integer) as expired

-- holds --
-- A page of holds, newest first, below an id; of one account or some, and only those that are open, where that is asked for.
select h.id, h.account_id, a.name as account, a.asset, s.scale::integer as scale, h.kind, h.ref_id, h.actor, h.amount,
       coalesce(c.captured, 0) as captured,
       case when o.expires_at <= clock_timestamp() then 0 else coalesce(o.remaining, 0) end as remaining,
       case when o.expires_at <= clock_timestamp() then 'expired'
            when o.hold_id is not null then 'open'
            else c.last_kind end as status,
       h.placed_at, h.expires_at, h.meta
  from ledger.hold h
  join ledger.account a on a.id = h.account_id
  join ledger.asset s on s.code = a.asset
  left join ledger.open_hold o on o.hold_id = h.id
  left join lateral (
           select sum(x.taken)::bigint as captured, (array_agg(x.kind order by x.n desc))[1] as last_kind
             from ledger.hold_change x
            where x.hold_id = h.id) as c on true
 where h.id < %(before)s::bigint
   and (%(account_id)s::bigint is null or h.account_id = %(account_id)s::bigint)
   and (%(among)s::bigint[] is null or h.account_id = any (%(among)s::bigint[]))
   and (%(ids)s::bigint[] is null or h.id = any (%(ids)s::bigint[]))
   and (not %(open_only)s::boolean or (o.hold_id is not null and (o.expires_at > clock_timestamp()) is not false))
 order by h.id desc
 limit %(limit)s::bigint

-- hold_changes --
-- What became of one hold, in order.
select n, kind, taken, freed, journal_id, actor, changed_at
  from ledger.hold_change
 where hold_id = %(hold_id)s::bigint
 order by n
 limit %(limit)s::bigint

-- originals --
-- What journals gave to each account and took from it, net, for their reversal.
select j.id as journal_id, j.kind, j.reverses, e.account_id, sum(e.amount)::bigint as amount
  from ledger.journal j
  join ledger.entry e on e.journal_id = j.id
 where j.id = any (%(journal_ids)s::bigint[])
 group by j.id, j.kind, j.reverses, e.account_id
 order by j.id, min(e.seq), e.account_id

-- reversals --
-- The journals that take others back, oldest first, at most so many of each.
select j.id as original, r.id as journal_id
  from unnest(%(ids)s::bigint[]) as j (id)
  cross join lateral (
           select x.id
             from ledger.journal x
            where x.reverses = j.id
            order by x.id
            limit %(most)s::bigint) as r
 order by j.id, r.id

-- open_accounts --
-- Open accounts by name; those that exist stay as they are.
select ord, id, asset, kind, opened
  from ledger.open_accounts(%(names)s::text[], %(assets)s::text[], %(kinds)s::text[], %(floors)s::bigint[], %(actor)s::text)

-- change_accounts --
-- Set the status or the floor of accounts; the ids of those that changed.
select id
  from ledger.change_accounts(%(account_ids)s::bigint[], %(statuses)s::text[], %(floors)s::bigint[], %(actor)s::text) as c (id)

-- account_changes --
-- Every status and floor that an account had, newest first.
select n, status, floor, actor, changed_at
  from ledger.account_change
 where account_id = %(account_id)s::bigint and n < %(before)s::bigint
 order by n desc
 limit %(limit)s::bigint

-- lock --
-- Lock the balances of accounts and read them under the lock.
select account_id, status, posted, held, floor
  from ledger.lock(%(account_ids)s::bigint[])

-- close_period --
-- Close the books up to a time; null where that cannot be.
select ledger.close_period(%(until)s::timestamptz, %(actor)s::text) as closed_until

-- closed_until --
-- Up to when the books are closed.
select closed_until
  from ledger.closed_period
 order by n desc
 limit 1

-- accounts_by_name --
-- Accounts with their balances, for names that may or may not exist.
select a.id, a.name, a.asset, s.scale, a.kind, b.status, a.opened_at, b.cr - b.dr as posted,
       b.held - coalesce(d.held, 0) as held, b.floor, b.seq
  from ledger.account a
  join ledger.asset s on s.code = a.asset
  join ledger.balance b on b.account_id = a.id
  left join lateral (
           -- What is over binds nothing, whether or not it was swept yet.
           select sum(o.remaining)::bigint as held
             from ledger.open_hold o
            where o.account_id = a.id and o.expires_at <= clock_timestamp()) as d on b.held > 0
 where a.name = any (%(names)s::text[])

-- references_by_name --
-- What never changes of accounts, for names that may or may not exist.
select a.id, a.name, a.asset, s.scale::integer as scale, a.kind
  from ledger.account a
  join ledger.asset s on s.code = a.asset
 where a.name = any (%(names)s::text[])

-- accounts_after --
-- A page of accounts in id order, of one kind where that is given.
select a.id, a.name, a.asset, s.scale, a.kind, b.status, a.opened_at, b.cr - b.dr as posted,
       b.held - coalesce(d.held, 0) as held, b.floor, b.seq
  from ledger.account a
  join ledger.asset s on s.code = a.asset
  join ledger.balance b on b.account_id = a.id
  left join lateral (
           -- What is over binds nothing, whether or not it was swept yet.
           select sum(o.remaining)::bigint as held
             from ledger.open_hold o
            where o.account_id = a.id and o.expires_at <= clock_timestamp()) as d on b.held > 0
 where a.id > %(after)s::bigint
   and (%(kind)s::text is null or a.kind = %(kind)s::text)
   and (%(ids)s::bigint[] is null or a.id = any (%(ids)s::bigint[]))
 order by a.id
 limit %(limit)s::bigint

-- entries_before --
-- A page of an account's entries, newest first, below a sequence number.
select e.seq, e.journal_id, j.kind, e.amount, e.cr_after - e.dr_after as balance_after, j.effective_at, e.posted_at, j.meta
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint and e.seq < %(bound)s::bigint
 order by e.seq desc
 limit %(limit)s::bigint

-- entries_after --
-- A page of an account's entries, oldest first, above a sequence number.
select e.seq, e.journal_id, j.kind, e.amount, e.cr_after - e.dr_after as balance_after, j.effective_at, e.posted_at, j.meta
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint and e.seq > %(bound)s::bigint
 order by e.seq
 limit %(limit)s::bigint

-- assets --
-- Every asset, by code.
select code, scale::integer as scale
  from ledger.asset
 order by code

-- trial_balance --
-- All that was ever taken and given, per asset.
select a.asset, s.scale::integer as scale, count(*) as accounts, sum(b.dr) as dr, sum(b.cr) as cr
  from ledger.balance b
  join ledger.account a on a.id = b.account_id
  join ledger.asset s on s.code = a.asset
 group by a.asset, s.scale
 order by a.asset
