-- post --
-- Post a batch of journals; see repeatable/20_post.sql. The arrays travel in binary, which costs half of what text does.
select ord, journal_id, refusal, replayed, posted_at
  from ledger.post(
           %(scopes)b::text[], %(keys)b::text[], %(hashes)b::bytea[], %(kinds)b::text[], %(ref_ids)b::bigint[],
           %(actors)b::text[], %(on_behalf_of)b::text[], %(task_ids)b::bigint[], %(approval_ids)b::bigint[],
           %(effective_at)b::timestamptz[], %(metas)b::text[]::jsonb[],
           %(entry_journals)b::integer[], %(entry_accounts)b::bigint[], %(entry_amounts)b::bigint[])

-- open_accounts --
-- Open accounts by name; those that exist stay as they are.
select ord, id, asset, kind, opened
  from ledger.open_accounts(%(names)s::text[], %(assets)s::text[], %(kinds)s::text[], %(floors)s::bigint[])

-- set_status --
-- Change an account's status from one to another; no row means it was not in that status.
select id
  from ledger.set_status(%(account_id)s::bigint, %(old)s::text, %(new)s::text) as s (id)

-- lower_floors --
-- Lower the floors of accounts; the number that changed.
select ledger.lower_floors(%(account_ids)s::bigint[], %(floors)s::bigint[]) as changed

-- accounts_by_name --
-- Accounts with their balances, for names that may or may not exist.
select a.id, a.name, a.asset, s.scale, a.kind, a.status, a.opened_at, b.cr - b.dr as posted, b.held, b.floor, b.seq
  from ledger.account a
  join ledger.asset s on s.code = a.asset
  join ledger.balance b on b.account_id = a.id
 where a.name = any (%(names)s::text[])

-- references_by_name --
-- What never changes of accounts, for names that may or may not exist.
select a.id, a.name, a.asset, s.scale::integer as scale
  from ledger.account a
  join ledger.asset s on s.code = a.asset
 where a.name = any (%(names)s::text[])

-- accounts_after --
-- A page of accounts in id order, of one kind where that is given.
select a.id, a.name, a.asset, s.scale, a.kind, a.status, a.opened_at, b.cr - b.dr as posted, b.held, b.floor, b.seq
  from ledger.account a
  join ledger.asset s on s.code = a.asset
  join ledger.balance b on b.account_id = a.id
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
select a.asset, s.scale::integer as scale, count(*) as accounts, sum(b.dr)::numeric::bigint as dr, sum(b.cr)::numeric::bigint as cr
  from ledger.balance b
  join ledger.account a on a.id = b.account_id
  join ledger.asset s on s.code = a.asset
 group by a.asset, s.scale
 order by a.asset
