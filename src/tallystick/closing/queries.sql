-- lock_book --
-- Let nobody else begin, run or close a day, or change what days are measured by, until this transaction ends.
select pg_advisory_xact_lock(7331012)

-- clock --
-- What time it is.
select clock_timestamp() as now

-- allow_longer --
-- Let the statements of this transaction take longer: a first closing reads the whole books.
select set_config('statement_timeout', %(timeout_ms)s::text, true)

-- add_calendar --
-- Store what a calendar is to say of a stretch of days.
insert into closing.calendar (name, valid_from, valid_until, time_zone, cut_off_min, weekend, created_by)
values (%(name)s::text, %(valid_from)s::date, %(valid_until)s::date, %(time_zone)s::text, %(cut_off_min)s::smallint,
        %(weekend)s::smallint[], %(created_by)s::text)
returning id

-- add_holidays --
-- Store the holidays of that stretch.
insert into closing.holiday (calendar_id, day, name)
select %(calendar_id)s::bigint, u.day, u.name
  from unnest(%(days)s::date[], %(names)s::text[]) as u (day, name)

-- calendar_rules --
-- What a calendar says, the newest first.
select c.id, c.name, c.valid_from, c.valid_until, c.time_zone, c.cut_off_min::integer as cut_off_min, c.weekend::integer[] as weekend,
       h.days as holiday_days, h.names as holiday_names, c.created_by, c.created_at
  from closing.calendar c
 cross join lateral (select coalesce(array_agg(h.day order by h.day), '{}') as days,
                            coalesce(array_agg(h.name order by h.day), '{}') as names
                       from closing.holiday h
                      where h.calendar_id = c.id) as h
 where c.name = %(name)s::text
 order by c.id desc
 limit %(limit)s::bigint

-- calendars_after --
-- A page of what calendars say, in the order it was added; among `ids` where given.
select c.id, c.name, c.valid_from, c.valid_until, c.time_zone, c.cut_off_min::integer as cut_off_min, c.weekend::integer[] as weekend,
       h.days as holiday_days, h.names as holiday_names, c.created_by, c.created_at
  from closing.calendar c
 cross join lateral (select coalesce(array_agg(h.day order by h.day), '{}') as days,
                            coalesce(array_agg(h.name order by h.day), '{}') as names
                       from closing.holiday h
                      where h.calendar_id = c.id) as h
 where c.id > %(after)s::bigint
   and (%(ids)s::bigint[] is null or c.id = any (%(ids)s::bigint[]))
 order by c.id
 limit %(limit)s::bigint

-- calendar_names --
-- The names of all calendars.
select distinct name
  from closing.calendar
 order by name
 limit %(limit)s::bigint

-- count_rules --
-- How many rows a calendar has.
select count(*) as rows
  from closing.calendar
 where name = %(name)s::text

-- begin_day --
-- Begin to close a business day; the ids of days have no gap.
insert into closing.day (id, business_date, previous_id, calendar_id, cut_off_at, started_by)
values (%(id)s::bigint, %(business_date)s::date, nullif(%(id)s::bigint - 1, 0), %(calendar_id)s::bigint,
        %(cut_off_at)s::timestamptz, %(started_by)s::text)

-- days_before --
-- A page of business days that were begun, newest first, below an id.
select d.id, d.business_date, p.business_date as previous_date, c.name as calendar, d.cut_off_at, d.started_by, d.started_at,
       s.finished_at as closed_at, (s.detail ->> 'moved')::bigint as moved
  from closing.day d
  join closing.calendar c on c.id = d.calendar_id
  left join closing.day p on p.id = d.previous_id
  left join closing.day_step s on s.day_id = d.id and s.step = 'close'
 where d.id < %(before)s::bigint
 order by d.id desc
 limit %(limit)s::bigint

-- day_of --
-- A business day that was begun, by its date.
select d.id, d.business_date, p.business_date as previous_date, c.name as calendar, d.cut_off_at, d.started_by, d.started_at,
       s.finished_at as closed_at, (s.detail ->> 'moved')::bigint as moved
  from closing.day d
  join closing.calendar c on c.id = d.calendar_id
  left join closing.day p on p.id = d.previous_id
  left join closing.day_step s on s.day_id = d.id and s.step = 'close'
 where d.business_date = %(business_date)s::date

-- steps --
-- The steps of a day that are done, in the order they were done.
select day_id, step, started_at, finished_at, detail
  from closing.day_step
 where day_id = %(day_id)s::bigint
 order by finished_at, step

-- finish_accrual --
-- Note that a hook has been through every account; what it did stands in its pages.
insert into closing.day_step (day_id, step, started_at, detail)
select %(day_id)s::bigint, 'accrue:' || %(hook)s::text, coalesce(min(p.started_at), now()),
       jsonb_build_object('accounts', coalesce(sum(p.accounts), 0), 'journals', coalesce(sum(p.journals), 0),
                          'refused', coalesce(sum(p.refused), 0))
  from closing.day_page p
 where p.day_id = %(day_id)s::bigint and p.hook = %(hook)s::text

-- finish_close --
-- Note that a day is closed, and how many accounts moved on it.
insert into closing.day_step (day_id, step, started_at, detail)
values (%(day_id)s::bigint, 'close', now(), jsonb_build_object('moved', %(moved)s::bigint))

-- progress --
-- How far a hook has come with a day: the pages it has been through, the last account, the journals it posted.
select coalesce(max(p.page), 0) as page, coalesce(max(p.last_account), 0) as last_account,
       coalesce(sum(p.journals), 0)::bigint as journals
  from closing.day_page p
 where p.day_id = %(day_id)s::bigint and p.hook = %(hook)s::text

-- add_page --
-- Note that a hook has been through a page of accounts.
insert into closing.day_page (day_id, hook, page, last_account, accounts, journals, refused)
values (%(day_id)s::bigint, %(hook)s::text, %(page)s::integer, %(last_account)s::bigint, %(accounts)s::integer,
        %(journals)s::integer, %(refused)s::integer)

-- open_balances --
-- Accounts above an id that had a balance when the day before was closed, in id order.
select a.id as account_id, a.name, a.asset, a.kind, b.balance
  from ledger.account a
 cross join lateral (select f.balance
                       from closing.balance f
                      where f.account_id = a.id and f.day_id < %(day_id)s::bigint
                      order by f.day_id desc
                      limit 1) as b
 where a.id > %(after)s::bigint
 order by a.id
 limit %(limit)s::bigint

-- write_balances --
-- Store the closing balance of each account that moved: its last one, and all that became effective since that day's cut-off.
-- The period before is closed, so nothing was added behind it; posting into this one has just been stopped.
insert into closing.balance (account_id, day_id, balance, entries)
select m.account_id, %(day_id)s::bigint, (coalesce(b.balance, 0) + m.amount)::bigint, coalesce(b.entries, 0) + m.entries
  from (select e.account_id, sum(e.amount) as amount, count(*) as entries
          from ledger.journal j
          join ledger.entry e on e.journal_id = j.id
         where j.effective_at >= coalesce((select p.cut_off_at from closing.day p where p.id = %(day_id)s::bigint - 1), '-infinity')
           and j.effective_at < (select d.cut_off_at from closing.day d where d.id = %(day_id)s::bigint)
         group by e.account_id) as m
  left join lateral (select f.balance, f.entries
                       from closing.balance f
                      where f.account_id = m.account_id
                      order by f.day_id desc
                      limit 1) as b on true

-- balances_until --
-- A page of an account's closing balances, newest first, up to a date.
select b.account_id, d.business_date, b.balance, b.entries
  from closing.balance b
  join closing.day d on d.id = b.day_id
 where b.account_id = %(account_id)s::bigint
   and b.day_id <= (select max(l.id) from closing.day l where l.business_date <= %(until)s::date)
 order by b.day_id desc
 limit %(limit)s::bigint

-- add_rate --
-- Store the rate of interest of an account from a date on.
insert into closing.interest_rate (account_id, rate, day_count, from_date, paid_from, created_by)
values (%(account_id)s::bigint, %(rate)s::numeric, %(day_count)s::text, %(from_date)s::date, %(paid_from)s::bigint,
        %(created_by)s::text)
returning id, account_id, rate, day_count, from_date, paid_from, created_by, created_at

-- rate --
-- A rate of interest.
select id, account_id, rate, day_count, from_date, paid_from, created_by, created_at
  from closing.interest_rate
 where id = %(rate_id)s::bigint

-- rates_of --
-- The rates of accounts that begin before a date, by account.
select id, account_id, rate, day_count, from_date, paid_from, created_by, created_at
  from closing.interest_rate
 where account_id = any (%(account_ids)s::bigint[]) and from_date < %(before)s::date
 order by account_id, from_date, id

-- last_accruals --
-- What has accrued on accounts so far: the newest accrual of each.
select a.account_id, d.business_date, a.from_date, a.balance, a.parts, a.total_parts, a.owed, a.journal_id, a.refusal, a.posted_total
  from unnest(%(account_ids)s::bigint[]) as u (account_id)
 cross join lateral (select x.account_id, x.day_id, x.from_date, x.balance, x.parts, x.total_parts, x.owed, x.journal_id,
                            x.refusal, x.posted_total
                       from closing.accrual x
                      where x.account_id = u.account_id
                      order by x.day_id desc
                      limit 1) as a
  join closing.day d on d.id = a.day_id

-- accruals_of --
-- What accrued on an account, newest first.
select a.account_id, d.business_date, a.from_date, a.balance, a.parts, a.total_parts, a.owed, a.journal_id, a.refusal, a.posted_total
  from closing.accrual a
  join closing.day d on d.id = a.day_id
 where a.account_id = %(account_id)s::bigint
 order by a.day_id desc
 limit %(limit)s::bigint

-- add_accruals --
-- Store what accrued on accounts for a day.
insert into closing.accrual
       (account_id, day_id, from_date, balance, parts, total_parts, owed, journal_id, refusal, posted_total)
select u.account_id, %(day_id)s::bigint, %(from_date)s::date, u.balance, u.parts, u.total_parts, u.owed, u.journal_id, u.refusal,
       u.posted_total
  from unnest(%(account_ids)s::bigint[], %(balances)s::bigint[], %(parts)s::numeric[], %(totals)s::numeric[], %(owed)s::bigint[],
              %(journal_ids)s::bigint[], %(refusals)s::text[], %(posted)s::bigint[])
           as u (account_id, balance, parts, total_parts, owed, journal_id, refusal, posted_total)
