-- running_writers --
-- Transactions that hold the lock of writers and may have posted up to a time: those that began later cannot have.
select l.virtualtransaction as writer
  from pg_locks l
  left join pg_stat_activity a on a.pid = l.pid
 where l.locktype = 'advisory'
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and l.classid = 0 and l.objid = %(lock)s::bigint and l.objsubid = 1
   and l.mode = 'ShareLock'
   and l.granted
   and (a.xact_start is null or a.xact_start <= coalesce(%(as_of)s::timestamptz, 'infinity'::timestamptz))
   and (%(among)s::text[] is null or l.virtualtransaction = any (%(among)s::text[]))

-- balance_posted --
-- An account's sums by what was posted before a time and up to a version; null is no bound.
select p.seq as entries, coalesce(e.dr_after, 0) as dr, coalesce(e.cr_after, 0) as cr
  from (select least(ledger.seq_before(%(account_id)s::bigint, coalesce(%(before)s::timestamptz, 'infinity'::timestamptz)),
                     %(version)s::bigint) as seq) as p
  left join ledger.entry e on e.account_id = %(account_id)s::bigint and e.seq = p.seq

-- balance_effective --
-- An account's sums by what was effective before a time, or at it up to an entry, among the entries up to a version.
select count(*) as entries,
       coalesce(sum(-e.amount) filter (where e.amount < 0), 0)::bigint as dr,
       coalesce(sum(e.amount) filter (where e.amount > 0), 0)::bigint as cr
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint
   and (%(version)s::bigint is null or e.seq <= %(version)s::bigint)
   and (j.effective_at, e.seq) <= (coalesce(%(until)s::timestamptz, 'infinity'::timestamptz), %(until_seq)s::bigint)

-- totals_posted --
-- Debits and credits among an account's entries above one version and up to another.
select count(*) filter (where e.amount < 0) as debits, coalesce(sum(-e.amount) filter (where e.amount < 0), 0)::bigint as debited,
       count(*) filter (where e.amount > 0) as credits, coalesce(sum(e.amount) filter (where e.amount > 0), 0)::bigint as credited
  from ledger.entry e
 where e.account_id = %(account_id)s::bigint and e.seq > %(above)s::bigint and e.seq <= %(version)s::bigint

-- totals_effective --
-- Debits and credits among an account's entries that were effective in a period, up to a version.
select count(*) filter (where e.amount < 0) as debits, coalesce(sum(-e.amount) filter (where e.amount < 0), 0)::bigint as debited,
       count(*) filter (where e.amount > 0) as credits, coalesce(sum(e.amount) filter (where e.amount > 0), 0)::bigint as credited
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint
   and e.seq <= %(version)s::bigint
   and j.effective_at >= %(start)s::timestamptz
   and j.effective_at < %(end)s::timestamptz

-- entries_posted --
-- An account's entries above one version and up to another, as they were posted.
select e.seq, e.journal_id, j.kind, e.amount, j.effective_at, e.posted_at, j.reverses,
       coalesce(j.meta ->> 'text', j.meta ->> 'description') as text, j.meta ->> 'end_to_end_id' as end_to_end_id
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint and e.seq > %(above)s::bigint and e.seq <= %(version)s::bigint
 order by e.seq
 limit %(limit)s::bigint

-- entries_effective --
-- An account's entries that were effective in a period, up to a version, by value date; after one of them where that is given.
select e.seq, e.journal_id, j.kind, e.amount, j.effective_at, e.posted_at, j.reverses,
       coalesce(j.meta ->> 'text', j.meta ->> 'description') as text, j.meta ->> 'end_to_end_id' as end_to_end_id
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint
   and e.seq <= %(version)s::bigint
   and j.effective_at >= %(start)s::timestamptz
   and j.effective_at < %(end)s::timestamptz
   and (%(after_at)s::timestamptz is null
        or (j.effective_at, e.seq) > (%(after_at)s::timestamptz, %(after_seq)s::bigint))
 order by j.effective_at, e.seq
 limit %(limit)s::bigint

-- effective_at --
-- When an entry's journal was effective.
select j.effective_at
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint and e.seq = %(seq)s::bigint

-- made_at --
-- The time.
select clock_timestamp() as made_at

-- trial_balance_posted --
-- Per asset, all accounts by what was posted before a time.
select a.asset, s.scale::integer as scale, count(e.seq) as accounts,
       coalesce(sum(e.dr_after), 0) as dr, coalesce(sum(e.cr_after), 0) as cr,
       coalesce(sum(greatest(e.dr_after - e.cr_after, 0)), 0) as debit_balances,
       coalesce(sum(greatest(e.cr_after - e.dr_after, 0)), 0) as credit_balances
  from ledger.account a
  join ledger.asset s on s.code = a.asset
 cross join lateral (select ledger.seq_before(a.id, coalesce(%(before)s::timestamptz, 'infinity'::timestamptz)) as seq) as p
  left join ledger.entry e on e.account_id = a.id and e.seq = p.seq
 group by a.asset, s.scale
 order by a.asset

-- trial_balance_effective --
-- Per asset, all accounts by what was effective before a time.
select a.asset, s.scale::integer as scale, count(t.account_id) as accounts,
       coalesce(sum(t.dr), 0) as dr, coalesce(sum(t.cr), 0) as cr,
       coalesce(sum(greatest(t.dr - t.cr, 0)), 0) as debit_balances,
       coalesce(sum(greatest(t.cr - t.dr, 0)), 0) as credit_balances
  from ledger.account a
  join ledger.asset s on s.code = a.asset
  left join (select e.account_id,
                    coalesce(sum(-e.amount) filter (where e.amount < 0), 0) as dr,
                    coalesce(sum(e.amount) filter (where e.amount > 0), 0) as cr
               from ledger.entry e
               join ledger.journal j on j.id = e.journal_id
              where j.effective_at < coalesce(%(before)s::timestamptz, 'infinity'::timestamptz)
              group by e.account_id) as t on t.account_id = a.id
 group by a.asset, s.scale
 order by a.asset

-- journal_by_id --
-- One journal.
select j.id, j.kind, j.ref_id, j.actor, j.on_behalf_of, j.task_id, j.approval_id, j.reverses, j.hold_id,
       j.effective_at, j.posted_at, j.meta
  from ledger.journal j
 where j.id = %(id)s::bigint

-- journal_legs --
-- The first entries of journals, by account and in the order they were posted.
select e.journal_id, a.name as account, a.asset, s.scale::integer as scale, e.seq, e.amount, e.cr_after - e.dr_after as balance_after
  from unnest(%(ids)s::bigint[]) as wanted (id)
 cross join lateral (select f.account_id, f.seq, f.journal_id, f.amount, f.dr_after, f.cr_after
                       from ledger.entry f
                      where f.journal_id = wanted.id
                      order by f.account_id, f.seq
                      limit %(most)s::bigint) as e
  join ledger.account a on a.id = e.account_id
  join ledger.asset s on s.code = a.asset
 order by e.journal_id, e.account_id, e.seq

-- journals_before --
-- A page of journals, newest first, below an id; with an entry in one of some accounts where these are given.
select j.id as place, j.id, j.kind, j.ref_id, j.actor, j.on_behalf_of, j.task_id, j.approval_id, j.reverses, j.hold_id,
       j.effective_at, j.posted_at, j.meta
  from ledger.journal j
 where j.id < %(place)s::bigint
   and (%(among)s::bigint[] is null
        or exists (select from ledger.entry e where e.journal_id = j.id and e.account_id = any (%(among)s::bigint[])))
   and (%(kind)s::text is null or j.kind = %(kind)s::text)
   and (%(start)s::timestamptz is null or j.posted_at >= %(start)s::timestamptz)
   and (%(end)s::timestamptz is null or j.posted_at < %(end)s::timestamptz)
 order by j.id desc
 limit %(limit)s::bigint

-- journals_of_account_before --
-- A page of the journals with an entry in an account, newest first, below a version of it; each stands at its last entry there.
select e.seq as place, j.id, j.kind, j.ref_id, j.actor, j.on_behalf_of, j.task_id, j.approval_id, j.reverses, j.hold_id,
       j.effective_at, j.posted_at, j.meta
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
 where e.account_id = %(account_id)s::bigint
   and e.seq < %(place)s::bigint
   and e.seq > ledger.seq_before(%(account_id)s::bigint, coalesce(%(start)s::timestamptz, '-infinity'::timestamptz))
   and e.seq <= ledger.seq_before(%(account_id)s::bigint, coalesce(%(end)s::timestamptz, 'infinity'::timestamptz))
   and (%(kind)s::text is null or j.kind = %(kind)s::text)
   and not exists (select
                     from ledger.entry later
                    where later.journal_id = e.journal_id and later.account_id = e.account_id and later.seq > e.seq)
 order by e.seq desc
 limit %(limit)s::bigint
