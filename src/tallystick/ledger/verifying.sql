-- prepare_verifying --
-- Let statements take as long as they need, and look rows up by index: the statistics do not know how small a piece is.
select set_config('statement_timeout', '3600000', true) || set_config('enable_hashjoin', 'off', true)
    || set_config('enable_mergejoin', 'off', true) || set_config('jit', 'off', true)

-- prepare_whole --
-- The checks that follow go through whole tables: those may be joined by hash, which spills to disk where it does not fit.
select set_config('enable_hashjoin', 'on', true)

-- verified_counts --
-- How much there is to go through.
select (select count(*) from ledger.journal) as journals, (select count(*) from ledger.entry) as entries,
       (select count(*) from ledger.account) as accounts, (select count(*) from ledger.hold) as holds,
       (select count(*) from ledger.refusal) as refusals, (select count(*) from db.claim) as claims

-- account_edge --
-- Where a piece of accounts ends; no row for the last one.
select id
  from ledger.account
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- journal_edge --
-- Where a piece of journals ends; no row for the last one.
select id
  from ledger.journal
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- hold_edge --
-- Where a piece of holds ends; no row for the last one.
select id
  from ledger.hold
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- refusal_edge --
-- Where a piece of refusals ends; no row for the last one.
select ref_id
  from ledger.refusal
 where ref_id >= %(first)s::bigint
 order by ref_id
offset %(size)s::bigint - 1
 limit 1

-- entry_edge --
-- Where a piece of entries ends, counted from (and with) the last entry of the piece before; no row for the last one.
select account_id, seq
  from ledger.entry
 where (account_id, seq) >= (%(account_id)s::bigint, %(seq)s::bigint)
 order by account_id, seq
offset %(size)s::bigint
 limit 1

-- claim_edge --
-- Where a piece of claims ends; no row for the last one.
select scope, key
  from db.claim
 where (scope, key) > (%(scope)s::text, %(key)s::text)
 order by scope, key
offset %(size)s::bigint - 1
 limit 1

-- verify_assets --
-- Assets whose row is not what it was.
select 'row_altered' as code, 'ledger.asset' as relation, 'code=' || a.code as place,
       concat('digest ', encode(a.digest, 'hex')) as found, concat('digest ', encode(a.wanted, 'hex')) as expected
  from (select s.code, s.digest, sha256(record_send(row(s.code, s.kind, s.scale, null::bytea))) as wanted
          from ledger.asset s) as a
 where a.digest is distinct from a.wanted

-- verify_closed_periods --
-- Closed periods that were altered, are missing, or do not follow each other.
select f.code, 'ledger.closed_period' as relation, f.place, f.found, f.expected
  from (select p.n, p.closed_until, p.closed_at, p.digest, coalesce(lag(p.n) over w, 0) as n_before,
               lag(p.closed_until) over w as closed_before,
               sha256(record_send(row(p.n, p.closed_until, p.actor, p.closed_at, null::bytea))) as wanted
          from ledger.closed_period p
        window w as (order by p.n)) as c
 cross join lateral (values
       ('row_altered', concat('n=', c.n), concat('digest ', encode(c.digest, 'hex')), concat('digest ', encode(c.wanted, 'hex')),
        c.digest is distinct from c.wanted),
       ('row_missing', concat('n=', c.n_before + 1), concat('the next is n=', c.n), 'numbers without a gap', c.n <> c.n_before + 1),
       ('period_order', concat('n=', c.n), concat('closed until ', c.closed_until), concat('later than ', c.closed_before),
        c.closed_until <= c.closed_before),
       ('period_order', concat('n=', c.n), concat('closed until ', c.closed_until), concat('not later than ', c.closed_at),
        c.closed_until > c.closed_at)
       ) as f (code, place, found, expected, wrong)
 where f.wrong

-- verify_accounts --
-- Accounts whose row is not what it was, or that lack their asset, balance or changes, and balances that are not what they should be.
select f.code, f.relation, f.place, f.found, f.expected
  from (select a.id, a.asset, a.digest, s.code as known_asset, b.account_id as has_balance, b.asset as b_asset, b.status as b_status,
               b.dr, b.cr, b.held, b.floor as b_floor, b.seq, b.last_at, c.n as change, c.status, c.floor,
               coalesce(e.seq, 0) as e_seq, coalesce(e.dr_after, 0) as e_dr, coalesce(e.cr_after, 0) as e_cr,
               coalesce(e.posted_at, '-infinity') as e_at, coalesce(h.held, 0) as e_held,
               sha256(record_send(row(a.id, a.name, a.asset, a.kind, a.opened_at, null::bytea))) as wanted
          from ledger.account a
          left join ledger.asset s on s.code = a.asset
          left join ledger.balance b on b.account_id = a.id
          left join lateral (select x.n, x.status, x.floor
                               from ledger.account_change x
                              where x.account_id = a.id
                              order by x.n desc
                              limit 1) as c on true
          left join lateral (select x.seq, x.dr_after, x.cr_after, x.posted_at
                               from ledger.entry x
                              where x.account_id = a.id
                              order by x.seq desc
                              limit 1) as e on true
         cross join lateral (select sum(x.remaining) as held
                               from ledger.open_hold x
                              where x.account_id = a.id) as h
         where a.id between %(first)s::bigint and %(last)s::bigint
        offset 0) as a
 cross join lateral (values
       ('row_altered', 'ledger.account', concat('id=', a.id), concat('digest ', encode(a.digest, 'hex')),
        concat('digest ', encode(a.wanted, 'hex')), a.digest is distinct from a.wanted),
       ('row_missing', 'ledger.asset', concat('code=', a.asset), 'nothing', concat('the asset of ledger.account id=', a.id),
        a.known_asset is null),
       ('row_missing', 'ledger.balance', concat('account_id=', a.id), 'nothing', 'a balance for each account', a.has_balance is null),
       ('row_missing', 'ledger.account_change', concat('account_id=', a.id, ' n=1'), 'nothing', 'what the account was opened with',
        a.change is null),
       ('row_missing', 'ledger.entry', concat('account_id=', a.id, ' seq=', a.e_seq + 1),
        concat('the last is account_id=', a.id, ' seq=', a.e_seq), concat(a.seq, ' entries, as its balance says'), a.seq > a.e_seq),
       ('balance_differs', 'ledger.balance', concat('account_id=', a.id),
        concat('seq=', a.seq, ' dr=', a.dr, ' cr=', a.cr, ' last_at=', a.last_at),
        concat('seq=', a.e_seq, ' dr=', a.e_dr, ' cr=', a.e_cr, ' last_at=', a.e_at, ', as the last entry left it'),
        (a.seq, a.dr, a.cr, a.last_at) is distinct from (a.e_seq, a.e_dr, a.e_cr, a.e_at) and a.has_balance is not null),
       ('balance_differs', 'ledger.balance', concat('account_id=', a.id), concat('asset=', a.b_asset),
        concat('asset=', a.asset, ', as its account'), a.b_asset <> a.asset),
       ('balance_differs', 'ledger.balance', concat('account_id=', a.id),
        concat('status=', a.b_status, ' floor=', coalesce(a.b_floor::text, 'none')),
        concat('status=', a.status, ' floor=', coalesce(a.floor::text, 'none'), ', as its last change'),
        (a.b_status <> a.status or a.b_floor is distinct from a.floor) and a.has_balance is not null and a.change is not null),
       ('row_missing', 'ledger.account_change', concat('account_id=', a.id, ' n=', a.change + 1), concat('the last is account_id=', a.id, ' n=', a.change),
        concat('what gave ledger.balance account_id=', a.id, ' its status and floor'),
        (a.b_status <> a.status or a.b_floor is distinct from a.floor) and a.has_balance is not null and a.change is not null),
       ('balance_differs', 'ledger.balance', concat('account_id=', a.id), concat('held=', a.held),
        concat('held=', a.e_held, ', the sum of its open holds'), a.held <> a.e_held)
       ) as f (code, relation, place, found, expected, wrong)
 where (a.digest is distinct from a.wanted or a.known_asset is null or a.has_balance is null or a.change is null
        or a.b_asset <> a.asset or a.b_status <> a.status or a.b_floor is distinct from a.floor or a.held <> a.e_held
        or (a.seq, a.dr, a.cr, a.last_at) is distinct from (a.e_seq, a.e_dr, a.e_cr, a.e_at))
   and f.wrong
union all
select 'row_missing', 'ledger.account', concat('id=', b.account_id), 'nothing', concat('the account of ledger.balance account_id=', b.account_id)
  from ledger.balance b
 where b.account_id between %(first)s::bigint and %(last)s::bigint
   and not exists (select from ledger.account a where a.id = b.account_id)

-- verify_account_changes --
-- Changes of accounts that were altered, are missing, or belong to no account.
select f.code, f.relation, f.place, f.found, f.expected
  from (select x.account_id, x.n, x.digest, coalesce(lag(x.n) over w, 0) as n_before, a.id as known_account,
               sha256(record_send(row(x.account_id, x.n, x.status, x.floor, x.actor, x.changed_at, null::bytea))) as wanted
          from ledger.account_change x
          left join ledger.account a on a.id = x.account_id
         where x.account_id between %(first)s::bigint and %(last)s::bigint
        window w as (partition by x.account_id order by x.n)) as c
 cross join lateral (values
       ('row_altered', 'ledger.account_change', concat('account_id=', c.account_id, ' n=', c.n), concat('digest ', encode(c.digest, 'hex')),
        concat('digest ', encode(c.wanted, 'hex')), c.digest is distinct from c.wanted),
       ('row_missing', 'ledger.account_change', concat('account_id=', c.account_id, ' n=', c.n_before + 1),
        concat('the next is account_id=', c.account_id, ' n=', c.n), 'numbers without a gap', c.n <> c.n_before + 1),
       ('row_missing', 'ledger.account', concat('id=', c.account_id), 'nothing',
        concat('the account of ledger.account_change account_id=', c.account_id, ' n=', c.n), c.known_account is null)
       ) as f (code, relation, place, found, expected, wrong)
 where (c.digest is distinct from c.wanted or c.n <> c.n_before + 1 or c.known_account is null)
   and f.wrong

-- verify_entries --
-- Entries that do not follow from the one before them in their account, or are not their journal's. The first of the piece is
-- checked where it is the first of all; else it was checked as the last of the piece before.
select f.code, f.relation, f.place, f.found, f.expected
  from (select e.account_id, e.seq, e.journal_id, e.amount, e.dr_after, e.cr_after, e.posted_at,
               coalesce(e.seq_before, 0) as seq_before, e.journal_before, e.at_before,
               coalesce(e.dr_before, 0)::numeric + greatest(-e.amount::numeric, 0) as dr_wanted,
               coalesce(e.cr_before, 0)::numeric + greatest(e.amount::numeric, 0) as cr_wanted,
               e.seq_before is null and (select a.id from ledger.account a where a.id = e.account_id) is null as homeless,
               j.id as known_journal, j.posted_at as journal_at
          from (select x.account_id, x.seq, x.journal_id, x.amount, x.dr_after, x.cr_after, x.posted_at,
                       lag(x.seq) over w as seq_before, lag(x.dr_after) over w as dr_before, lag(x.cr_after) over w as cr_before,
                       lag(x.posted_at) over w as at_before, lag(x.journal_id) over w as journal_before
                  from ledger.entry x
                 where (x.account_id, x.seq) >= (%(first_account)s::bigint, %(first_seq)s::bigint)
                   and (x.account_id, x.seq) <= (%(last_account)s::bigint, %(last_seq)s::bigint)
                window w as (partition by x.account_id order by x.seq)) as e
          left join ledger.journal j on j.id = e.journal_id
         where %(from_the_first)s::boolean or (e.account_id, e.seq) > (%(first_account)s::bigint, %(first_seq)s::bigint)
        offset 0) as e
 cross join lateral (values
       ('row_missing', 'ledger.entry', concat('account_id=', e.account_id, ' seq=', e.seq_before + 1),
        concat('the next is account_id=', e.account_id, ' seq=', e.seq), 'numbers without a gap', e.seq <> e.seq_before + 1),
       ('sums_broken', 'ledger.entry', concat('account_id=', e.account_id, ' seq=', e.seq),
        concat('amount=', e.amount, ' dr_after=', e.dr_after, ' cr_after=', e.cr_after),
        concat('dr_after=', e.dr_wanted, ' cr_after=', e.cr_wanted, ', from the entry before'),
        e.seq = e.seq_before + 1 and (e.dr_after <> e.dr_wanted or e.cr_after <> e.cr_wanted)),
       ('row_missing', 'ledger.journal', concat('id=', e.journal_id), 'nothing',
        concat('the journal of ledger.entry account_id=', e.account_id, ' seq=', e.seq), e.known_journal is null),
       ('entry_orphaned', 'ledger.entry', concat('account_id=', e.account_id, ' seq=', e.seq), concat('journal_id=', e.journal_id),
        'a journal', e.known_journal is null),
       ('row_missing', 'ledger.account', concat('id=', e.account_id), 'nothing',
        concat('the account of ledger.entry account_id=', e.account_id, ' seq=', e.seq), e.homeless),
       ('entry_time', 'ledger.entry', concat('account_id=', e.account_id, ' seq=', e.seq), concat('posted_at=', e.posted_at),
        concat('posted_at=', e.journal_at, ', as journal ', e.journal_id), e.posted_at <> e.journal_at),
       ('entry_order', 'ledger.entry', concat('account_id=', e.account_id, ' seq=', e.seq),
        concat('posted_at=', e.posted_at, ' journal_id=', e.journal_id),
        concat('not before posted_at=', e.at_before, ' journal_id=', e.journal_before, ', of the entry before'),
        e.posted_at < e.at_before or (e.posted_at = e.at_before and e.journal_id < e.journal_before))
       ) as f (code, relation, place, found, expected, wrong)
 where (e.seq <> e.seq_before + 1 or e.dr_after <> e.dr_wanted or e.cr_after <> e.cr_wanted or e.known_journal is null or e.homeless
        or e.posted_at <> e.journal_at or e.posted_at < e.at_before
        or (e.posted_at = e.at_before and e.journal_id < e.journal_before))
   and f.wrong

-- verify_journals --
-- Journals whose row or entries are not what they were, that do not balance, or that reach into a closed period.
with period as materialized (
    select array_agg(p.closed_at order by p.n) as closed_at, array_agg(p.closed_until order by p.n) as closed_until
      from ledger.closed_period p
), judged as (
    select j.id, j.digest, j.effective_at, j.posted_at, l.entries,
           -- As ledger.post makes it.
           sha256(record_send(row(j.id, j.kind, j.ref_id, j.actor, j.on_behalf_of, j.task_id, j.approval_id, j.reverses, j.hold_id,
                                  j.effective_at, j.posted_at, j.meta, null::bytea)) || coalesce(l.bytes, ''::bytea)) as wanted,
           p.closed_until[width_bucket(j.posted_at, p.closed_at)] as closed_until,
           l.homeless or case when l.assets = 1 then l.amount <> 0
                              else (select bool_or(s.amount <> 0)
                                      from (select sum(e.amount) as amount
                                              from ledger.entry e
                                              join ledger.account a on a.id = e.account_id
                                             where e.journal_id = j.id
                                             group by a.asset) as s) end as unbalanced
      from ledger.journal j
     cross join period p
     cross join lateral (
           select count(*) as entries, sum(e.amount) as amount, bool_or(a.id is null) as homeless,
                  case when min(a.asset) = max(a.asset) then 1 else 2 end as assets,
                  string_agg(int8send(e.account_id) || int8send(e.seq) || int8send(e.amount), ''::bytea
                             order by e.account_id, e.seq) as bytes
             from ledger.entry e
             left join ledger.account a on a.id = e.account_id
            where e.journal_id = j.id) as l
     where j.id between %(first)s::bigint and %(last)s::bigint
    offset 0
)
select f.code, f.relation, f.place, f.found, f.expected
  from judged j
 cross join lateral (
       select coalesce(string_agg(concat('account_id=', x.account_id, ' seq=', x.seq, ' amount=', x.amount), '; '), 'none') as shown
         from (select e.account_id, e.seq, e.amount
                 from ledger.entry e
                where e.journal_id = j.id
                order by e.account_id, e.seq
                limit 6) as x) as e
 cross join lateral (
       select v.code, v.relation, v.place, v.found, v.expected
         from (values
              ('row_altered', 'ledger.journal', concat('id=', j.id), concat('digest ', encode(j.digest, 'hex'), '; entries: ', e.shown),
               concat('digest ', encode(j.wanted, 'hex')), j.digest is distinct from j.wanted),
              ('too_few_entries', 'ledger.journal', concat('id=', j.id), concat('entries: ', e.shown), 'two entries or more', j.entries < 2),
              ('unbalanced', 'ledger.journal', concat('id=', j.id), concat('entries: ', e.shown), 'zero for each asset', j.unbalanced),
              ('period_breached', 'ledger.journal', concat('id=', j.id),
               concat('effective_at=', j.effective_at, ' posted_at=', j.posted_at),
               concat('not before ', j.closed_until, ', up to when the books were closed'), j.effective_at < j.closed_until)
              ) as v (code, relation, place, found, expected, wrong)
        where v.wrong
        union all
       select 'unbalanced', 'ledger.entry', concat('account_id=', x.account_id, ' seq=', x.seq), concat('amount=', x.amount),
              concat('a journal that adds up to zero, not journal ', j.id)
         from ledger.entry x
        where x.journal_id = j.id and j.unbalanced) as f
 where j.digest is distinct from j.wanted or j.entries < 2 or j.unbalanced or j.effective_at < j.closed_until

-- verify_reversals --
-- Reversals of no journal or of a reversal, and journals of which more was taken back than they did.
select f.code, f.relation, f.place, f.found, f.expected
  from (select r.id, r.reverses, o.id as original, o.reverses as original_reverses
          from ledger.journal r
          left join ledger.journal o on o.id = r.reverses
         where r.id between %(first)s::bigint and %(last)s::bigint
           and r.reverses is not null
        offset 0) as r
 cross join lateral (values
       ('row_missing', 'ledger.journal', concat('id=', r.reverses), 'nothing', concat('the journal that ledger.journal id=', r.id, ' reverses'),
        r.original is null),
       ('not_reversible', 'ledger.journal', concat('id=', r.id), concat('reverses=', r.reverses), 'a journal that is no reversal',
        r.original_reverses is not null)
       ) as f (code, relation, place, found, expected, wrong)
 where f.wrong
union all
select 'reversal_exceeded', 'ledger.journal', concat('id=', t.original), concat('account_id=', t.account_id, ' taken back ', t.amount),
       concat('the opposite of ', coalesce(o.amount, 0), ', at most')
  from (select x.original, e.account_id, sum(e.amount) as amount
          from (select distinct r.reverses as original
                  from ledger.journal r
                 where r.id between %(first)s::bigint and %(last)s::bigint
                   and r.reverses is not null
                   and not exists (select from ledger.journal b where b.reverses = r.reverses and b.id < %(first)s::bigint)
                offset 0) as x
          join ledger.journal d on d.reverses = x.original
          join ledger.entry e on e.journal_id = d.id
         group by x.original, e.account_id) as t
 cross join lateral (select sum(e.amount) as amount
                       from ledger.entry e
                      where e.journal_id = t.original and e.account_id = t.account_id) as o
 where exists (select from ledger.journal j where j.id = t.original)
   and (sign(t.amount) * sign(coalesce(o.amount, 0)) >= 0 or abs(t.amount) > abs(o.amount))

-- verify_holds --
-- Holds whose row is not what it was, and open holds that are not what became of them.
select f.code, f.relation, f.place, f.found, f.expected
  from (select h.id, h.account_id, h.amount, h.digest, h.expires_at, a.id as known_account, c.changes, h.amount - c.gone as remaining,
               o.hold_id as open, o.account_id as o_account, o.remaining as o_remaining, o.changes as o_changes, o.expires_at as o_expires_at,
               (select j.id from ledger.journal j where j.id = h.id) is not null as is_journal,
               sha256(record_send(row(h.id, h.account_id, h.amount, h.kind, h.ref_id, h.actor, h.on_behalf_of, h.task_id, h.approval_id,
                                      h.placed_at, h.expires_at, h.meta, null::bytea))) as wanted
          from ledger.hold h
          left join ledger.account a on a.id = h.account_id
          left join ledger.open_hold o on o.hold_id = h.id
         cross join lateral (select count(*) as changes, coalesce(sum(x.taken + x.freed), 0) as gone
                               from ledger.hold_change x
                              where x.hold_id = h.id) as c
         where h.id between %(first)s::bigint and %(last)s::bigint
        offset 0) as h
 cross join lateral (values
       ('row_altered', 'ledger.hold', concat('id=', h.id), concat('digest ', encode(h.digest, 'hex')), concat('digest ', encode(h.wanted, 'hex')),
        h.digest is distinct from h.wanted),
       ('row_missing', 'ledger.account', concat('id=', h.account_id), 'nothing', concat('the account of ledger.hold id=', h.id),
        h.known_account is null),
       ('row_missing', 'ledger.open_hold', concat('hold_id=', h.id), 'nothing', concat('remaining=', h.remaining),
        h.open is null and h.remaining > 0),
       ('row_missing', 'ledger.hold_change', concat('hold_id=', h.id, ' n=', h.changes + 1), concat(h.changes, ' changes'),
        concat('what became of the ', h.remaining, ' that remained'), h.open is null and h.remaining > 0),
       ('hold_differs', 'ledger.open_hold', concat('hold_id=', h.id),
        concat('account_id=', h.o_account, ' remaining=', h.o_remaining, ' changes=', h.o_changes, ' expires_at=', h.o_expires_at),
        concat('account_id=', h.account_id, ' remaining=', h.remaining, ' changes=', h.changes, ' expires_at=', h.expires_at),
        h.open is not null and (h.account_id <> h.o_account or h.o_remaining <> h.remaining or h.o_changes <> h.changes
                                or h.o_expires_at is distinct from h.expires_at)),
       ('row_missing', 'ledger.hold_change', concat('hold_id=', h.id, ' n=', h.changes + 1), concat(h.changes, ' changes'),
        concat(h.o_changes, ' changes, as its open hold says'), h.o_changes > h.changes),
       ('hold_exceeded', 'ledger.hold', concat('id=', h.id), concat('amount=', h.amount),
        concat(h.amount - h.remaining, ' or more, that was taken and freed'), h.remaining < 0),
       ('number_used_twice', 'ledger.hold', concat('id=', h.id), 'a journal of the same number', 'a number of its own', h.is_journal)
       ) as f (code, relation, place, found, expected, wrong)
 where (h.digest is distinct from h.wanted or h.known_account is null or h.is_journal or h.remaining < 0
        or (h.open is null) <> (h.remaining = 0)
        or (h.open is not null and (h.account_id <> h.o_account or h.o_remaining <> h.remaining or h.o_changes <> h.changes
                                    or h.o_expires_at is distinct from h.expires_at)))
   and f.wrong
union all
select 'row_missing', 'ledger.hold', concat('id=', o.hold_id), 'nothing', concat('the hold of ledger.open_hold hold_id=', o.hold_id)
  from ledger.open_hold o
 where o.hold_id between %(first)s::bigint and %(last)s::bigint
   and not exists (select from ledger.hold h where h.id = o.hold_id)

-- verify_hold_changes --
-- What became of holds: altered, missing, after a hold was resolved, or not what its journal took.
select f.code, f.relation, f.place, f.found, f.expected
  from (select c.hold_id, c.n, c.kind, c.taken, c.journal_id, c.changed_at, c.digest, c.wanted, coalesce(c.n_before, 0) as n_before,
               c.kind_before, h.id as known_hold, j.id as known_journal, j.hold_id as j_hold, j.posted_at as j_at,
               (select coalesce(-sum(e.amount), 0)
                  from ledger.entry e
                 where e.journal_id = c.journal_id and e.account_id = h.account_id) as j_taken
          from (select x.hold_id, x.n, x.kind, x.taken, x.journal_id, x.changed_at, x.digest, lag(x.n) over w as n_before,
                       lag(x.kind) over w as kind_before,
                       sha256(record_send(row(x.hold_id, x.n, x.kind, x.taken, x.freed, x.journal_id, x.actor, x.changed_at, null::bytea)))
                           as wanted
                  from ledger.hold_change x
                 where x.hold_id between %(first)s::bigint and %(last)s::bigint
                window w as (partition by x.hold_id order by x.n)) as c
          left join ledger.hold h on h.id = c.hold_id
          left join ledger.journal j on j.id = c.journal_id
        offset 0) as c
 cross join lateral (values
       ('row_altered', 'ledger.hold_change', concat('hold_id=', c.hold_id, ' n=', c.n), concat('digest ', encode(c.digest, 'hex')),
        concat('digest ', encode(c.wanted, 'hex')), c.digest is distinct from c.wanted),
       ('row_missing', 'ledger.hold_change', concat('hold_id=', c.hold_id, ' n=', c.n_before + 1),
        concat('the next is hold_id=', c.hold_id, ' n=', c.n), 'numbers without a gap', c.n <> c.n_before + 1),
       ('row_missing', 'ledger.hold', concat('id=', c.hold_id), 'nothing',
        concat('the hold of ledger.hold_change hold_id=', c.hold_id, ' n=', c.n), c.known_hold is null),
       ('resolved_twice', 'ledger.hold_change', concat('hold_id=', c.hold_id, ' n=', c.n), c.kind,
        concat('nothing after ', c.kind_before), c.kind_before <> 'captured'),
       ('row_missing', 'ledger.journal', concat('id=', c.journal_id), 'nothing',
        concat('the journal of ledger.hold_change hold_id=', c.hold_id, ' n=', c.n), c.journal_id is not null and c.known_journal is null),
       ('capture_differs', 'ledger.hold_change', concat('hold_id=', c.hold_id, ' n=', c.n),
        concat('taken=', c.taken, ' hold_id=', c.hold_id, ' changed_at=', c.changed_at),
        concat('taken=', c.j_taken, ' hold_id=', c.j_hold, ' changed_at=', c.j_at, ', as journal ', c.journal_id),
        c.known_journal is not null and (c.j_hold is distinct from c.hold_id or c.j_taken <> c.taken or c.j_at <> c.changed_at))
       ) as f (code, relation, place, found, expected, wrong)
 where (c.digest is distinct from c.wanted or c.n <> c.n_before + 1 or c.known_hold is null or c.kind_before <> 'captured'
        or (c.journal_id is not null and (c.known_journal is null or c.j_hold is distinct from c.hold_id or c.j_taken <> c.taken
                                          or c.j_at <> c.changed_at)))
   and f.wrong

-- verify_refusals --
-- Refusals that were altered, or whose number belongs to something that was done.
select f.code, f.relation, f.place, f.found, f.expected
  from (select x.ref_id, x.digest, sha256(record_send(row(x.ref_id, x.code, x.refused_at, null::bytea))) as wanted,
               (select j.id from ledger.journal j where j.id = x.ref_id) is not null
               or (select h.id from ledger.hold h where h.id = x.ref_id) is not null as done
          from ledger.refusal x
         where x.ref_id between %(first)s::bigint and %(last)s::bigint
        offset 0) as r
 cross join lateral (values
       ('row_altered', 'ledger.refusal', concat('ref_id=', r.ref_id), concat('digest ', encode(r.digest, 'hex')),
        concat('digest ', encode(r.wanted, 'hex')), r.digest is distinct from r.wanted),
       ('number_used_twice', 'ledger.refusal', concat('ref_id=', r.ref_id), 'a journal or hold of the same number', 'a number of its own',
        r.done)
       ) as f (code, relation, place, found, expected, wrong)
 where (r.digest is distinct from r.wanted or r.done)
   and f.wrong

-- verify_claims --
-- Idempotency keys of journals and holds of which there is neither the journal or hold nor a refusal.
select f.code, f.relation, f.place, f.found, f.expected
  from (select c.scope, c.key, c.kind, c.ref_id, coalesce(j.actor, h.actor) as actor
          from db.claim c
          left join ledger.journal j on c.kind = 'journal' and j.id = c.ref_id
          left join ledger.hold h on c.kind = 'hold' and h.id = c.ref_id
          left join ledger.refusal r on r.ref_id = c.ref_id
         where (c.scope, c.key) > (%(scope)s::text, %(key)s::text)
           and (%(last_scope)s::text is null or (c.scope, c.key) <= (%(last_scope)s::text, %(last_key)s::text))
           and c.kind in ('journal', 'hold')
           and r.ref_id is null
           and coalesce(j.actor, h.actor) is distinct from c.scope
        offset 0) as c
 cross join lateral (values
       ('row_missing', 'ledger.' || c.kind, concat('id=', c.ref_id), 'nothing',
        concat('this, or its refusal: ', c.scope, ' used the key ', c.key, ' for it'), c.actor is null),
       ('row_missing', 'ledger.refusal', concat('ref_id=', c.ref_id), 'nothing',
        concat('this, or its ', c.kind, ': ', c.scope, ' used the key ', c.key, ' for it'), c.actor is null),
       ('claim_differs', 'ledger.' || c.kind, concat('id=', c.ref_id), concat('actor=', c.actor),
        concat('actor=', c.scope, ', who used the key ', c.key, ' for it'), c.actor is not null)
       ) as f (code, relation, place, found, expected, wrong)
 where f.wrong

-- verify_releases --
-- Idempotency keys of releases of which there is neither the release of a hold nor a refusal. Such a key stands for the hold's
-- number alone, in the form of kit.digest.
select 'row_missing' as code, f.relation, f.place, 'nothing' as found,
       concat('a refusal, or the release of a hold: ', c.scope, ' used the key ', c.key, ' for it') as expected
  from db.claim c
  left join ledger.refusal r on r.ref_id = c.ref_id
 cross join lateral (values
       ('ledger.refusal', concat('ref_id=', c.ref_id)),
       ('ledger.hold_change', concat('of the release ', c.ref_id))
       ) as f (relation, place)
 where c.kind = 'release'
   and r.ref_id is null
   and not exists (select
                     from ledger.hold_change x
                    where x.kind = 'released' and x.actor = c.scope
                      and sha256(convert_to('[' || x.hold_id || ']', 'UTF8')) = c.hash)

-- verify_captures --
-- Journals that capture a hold, of which the hold does not know.
select f.code, f.relation, f.place, f.found, f.expected
  from (select j.id, j.hold_id, h.id as known_hold, c.journal_id as known_change
          from ledger.journal j
          left join ledger.hold h on h.id = j.hold_id
          left join ledger.hold_change c on c.journal_id = j.id and c.hold_id = j.hold_id
         where j.hold_id is not null
           and (h.id is null or c.journal_id is null)) as j
 cross join lateral (values
       ('row_missing', 'ledger.hold', concat('id=', j.hold_id), 'nothing', concat('the hold of ledger.journal id=', j.id),
        j.known_hold is null),
       ('capture_differs', 'ledger.journal', concat('id=', j.id), concat('hold_id=', j.hold_id), 'a change of that hold',
        j.known_change is null)
       ) as f (code, relation, place, found, expected, wrong)
 where f.wrong

-- verify_refusals_were_claimed --
-- Refusals of nothing: each is remembered for an idempotency key.
select 'refusal_unclaimed' as code, 'ledger.refusal' as relation, concat('ref_id=', r.ref_id) as place, 'no key' as found,
       'an idempotency key that it answers' as expected
  from ledger.refusal r
 where not exists (select from db.claim c where c.ref_id = r.ref_id and c.kind in ('journal', 'hold', 'release'))

-- verify_trial_balance --
-- Assets whose accounts do not add up to zero.
select 'trial_balance' as code, 'ledger.balance' as relation, concat('asset=', coalesce(b.asset, 'none')) as place,
       concat('cr - dr = ', b.difference) as found, 'zero' as expected
  from (select x.asset, sum(x.cr::numeric - x.dr) as difference
          from ledger.balance x
         group by x.asset) as b
 where b.difference <> 0

-- verify_sequence --
-- Numbers of journals, holds and refusals that were never given out.
select 'number_unknown' as code, n.relation, n.place, 'a number that was never given out' as found,
       concat('at most ', s.last_value) as expected
  from (select x.relation, concat(x.name, '=', x.last) as place, x.last
          from (values ('ledger.journal', 'id', (select max(j.id) from ledger.journal j)),
                       ('ledger.hold', 'id', (select max(h.id) from ledger.hold h)),
                       ('ledger.refusal', 'ref_id', (select max(r.ref_id) from ledger.refusal r))) as x (relation, name, last)) as n
 cross join ledger.journal_id s
 where n.last > s.last_value or (n.last is not null and not s.is_called)
