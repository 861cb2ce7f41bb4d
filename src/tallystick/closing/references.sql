-- day_edge --
-- Where a piece of business days ends, one at a time, as a day may accrue on every account; no row for the last one.
select d.id
  from closing.day d
 where d.id >= %(first)s::bigint and %(size)s::bigint > 0
   and exists (select from closing.day l where l.id > d.id)
 order by d.id
 limit 1

-- verify_accruals --
-- Accruals that were posted by a journal that is not there.
select 'row_missing' as code, 'ledger.journal' as relation, concat('id=', a.journal_id) as place, 'nothing' as found,
       concat('the journal of closing.accrual account_id=', a.account_id, ' day_id=', a.day_id) as expected
  from closing.accrual a
  left join ledger.journal j on j.id = a.journal_id
 where a.day_id between %(first)s::bigint and %(last)s::bigint
   and a.journal_id is not null and j.id is null

-- verify_closed_days --
-- Closed business days up to whose cut-off the books are not closed.
select 'row_missing' as code, 'ledger.closed_period' as relation, concat('n=', coalesce(p.n, 0) + 1) as place,
       concat('closed until ', p.closed_until) as found, concat('closed until ', d.cut_off_at, ' or later, as closing.day id=', d.id) as expected
  from closing.day d
  join closing.day_step s on s.day_id = d.id and s.step = 'close'
  left join (select x.n, x.closed_until from ledger.closed_period x order by x.n desc limit 1) as p on true
 where d.id between %(first)s::bigint and %(last)s::bigint
   and (p.closed_until is null or p.closed_until < d.cut_off_at)

-- verify_closing_balances --
-- Accounts whose entries, by effective time, do not come to the closing balance of the last business day that was closed.
select 'closing_differs' as code, 'ledger.balance' as relation, concat('account_id=', a.id) as place,
       concat('entries=', e.entries, ' balance=', e.balance) as found,
       concat('entries=', coalesce(b.entries, 0), ' balance=', coalesce(b.balance, 0), ' before ', d.cut_off_at, ', as closing.balance') as expected
  from ledger.account a
 cross join (select x.id, x.cut_off_at
               from closing.day x
               join closing.day_step s on s.day_id = x.id and s.step = 'close'
              order by x.id desc
              limit 1) as d
  left join lateral (select x.balance, x.entries
                       from closing.balance x
                      where x.account_id = a.id
                      order by x.day_id desc
                      limit 1) as b on true
 cross join lateral (select count(*) as entries, coalesce(sum(x.amount), 0) as balance
                       from ledger.entry x
                       join ledger.journal j on j.id = x.journal_id
                      where x.account_id = a.id and j.effective_at < d.cut_off_at) as e
 where a.id between %(first)s::bigint and %(last)s::bigint
   and (e.entries, e.balance) is distinct from (coalesce(b.entries, 0), coalesce(b.balance, 0))
