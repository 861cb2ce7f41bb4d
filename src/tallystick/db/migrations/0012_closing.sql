-- The bank's day: business-day calendars, end of day, closing balances as facts, interest that accrues from day to day.
-- Every table here holds facts: what is so is what the newest of them say.
create schema closing;

-- What a calendar says of the days from valid_from to valid_until. A later row of the same name is heeded before an earlier
-- one; closing.add_calendar refuses one that would touch a day that the book has begun.
create table closing.calendar (
    id           bigint      generated always as identity primary key,
    name         text        not null,
    valid_from   date        not null,
    valid_until  date        not null,
    time_zone    text        not null,
    cut_off_min  smallint    not null,
    weekend      smallint[]  not null,
    created_by   text        not null,
    created_at   timestamptz not null default clock_timestamp(),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint days_are_in_order check (valid_from <= valid_until),
    constraint days_are_bounded check (valid_from >= '1900-01-01' and valid_until <= '2200-12-31'),
    constraint time_zone_is_bounded check (length(time_zone) between 1 and 100),
    constraint cut_off_is_in_the_day check (cut_off_min between 1 and 1440),
    constraint weekend_leaves_a_day check (cardinality(weekend) <= 6 and weekend <@ '{1,2,3,4,5,6,7}'::smallint[]),
    constraint created_by_is_bounded check (length(created_by) between 1 and 100)
);
create index calendar_by_name on closing.calendar (name, id);
comment on column closing.calendar.cut_off_min is 'Minutes after the local midnight that begins the day; 1440 is the midnight that ends it.';
comment on column closing.calendar.weekend is 'Days of the week that are no business days, by ISO 8601: 1 is Monday, 7 is Sunday.';

create table closing.holiday (
    calendar_id  bigint not null references closing.calendar,
    day          date   not null,
    name         text   not null,
    primary key (calendar_id, day),
    constraint name_is_bounded check (length(name) between 1 and 200)
);

-- The business days that were closed, or are being closed, one after the other: ids have no gap, and each day names the one
-- before it, so that no two days can follow one.
create table closing.day (
    id             bigint      primary key,
    business_date  date        not null constraint business_date_is_unique unique,
    previous_id    bigint      constraint days_follow_one_another unique references closing.day,
    calendar_id    bigint      not null references closing.calendar,
    cut_off_at     timestamptz not null,
    started_by     text        not null,
    started_at     timestamptz not null default clock_timestamp(),
    constraint only_the_first_follows_none check ((previous_id is null) = (id = 1)),
    constraint ids_have_no_gap check (previous_id = id - 1),
    constraint cut_off_is_over check (cut_off_at <= started_at),
    constraint started_by_is_bounded check (length(started_by) between 1 and 100)
);

-- A step of a day that is done: `accrue:<hook>` for each hook, and `close`, after which the day is closed.
create table closing.day_step (
    day_id       bigint      not null references closing.day,
    step         text        not null,
    started_at   timestamptz not null,
    finished_at  timestamptz not null default clock_timestamp(),
    detail       jsonb       not null,
    primary key (day_id, step),
    constraint step_is_known check (step = 'close' or step ~ '^accrue:[a-z][a-z0-9-]{0,39}$'),
    constraint detail_is_an_object check (jsonb_typeof(detail) = 'object'),
    constraint times_are_in_order check (started_at <= finished_at)
);

-- A page of accounts that an accrual hook has been through: what it posted for them was committed with this row, so that a
-- run that was cut off goes on behind it. The hook's journals have the keys eod:<date>:<hook>:<n>, n from 1 over all pages.
create table closing.day_page (
    day_id        bigint      not null references closing.day,
    hook          text        not null,
    page          integer     not null,
    last_account  bigint      not null,
    accounts      integer     not null,
    journals      integer     not null,
    refused       integer     not null,
    started_at    timestamptz not null default now(),
    finished_at   timestamptz not null default clock_timestamp(),
    primary key (day_id, hook, page),
    constraint hook_is_a_name check (hook ~ '^[a-z][a-z0-9-]{0,39}$'),
    constraint page_is_counted_from_one check (page >= 1),
    constraint counts_are_not_negative check (accounts >= 0 and journals >= 0 and refused between 0 and journals)
);

-- The balance of an account at a day's cut-off, for the days on which it moved; until the next row it stays so.
create table closing.balance (
    account_id  bigint not null references ledger.account,
    day_id      bigint not null references closing.day,
    balance     bigint not null,
    entries     bigint not null,
    primary key (account_id, day_id),
    constraint entries_are_counted check (entries >= 1)
);
comment on column closing.balance.entries is 'How many entries the account had before the cut-off, ever.';

-- Interest of so much a year on an account's closing balance, from a date until the next row of the account.
create table closing.interest_rate (
    id          bigint      generated always as identity primary key,
    account_id  bigint      not null references ledger.account,
    rate        numeric     not null,
    day_count   text        not null,
    from_date   date        not null,
    paid_from   bigint      not null references ledger.account,
    created_by  text        not null,
    created_at  timestamptz not null default clock_timestamp(),
    constraint rate_is_bounded check (rate between -1 and 10 and scale(rate) <= 12),
    constraint day_count_is_known check (day_count in ('ACT/365', 'ACT/360', '30E/360')),
    constraint from_date_is_bounded check (from_date between '1900-01-01' and '2200-12-31'),
    constraint interest_comes_from_another_account check (paid_from <> account_id),
    constraint created_by_is_bounded check (length(created_by) between 1 and 100)
);
create index interest_rate_by_account on closing.interest_rate (account_id, from_date, id);

-- What accrued on an account from one closing to the next, exactly: parts are 26,280ths of a minor unit (the least common
-- multiple of 365 and 360), so that no division ever has to be rounded. posted_total is what has reached the books of total_parts.
create table closing.accrual (
    account_id    bigint  not null references ledger.account,
    day_id        bigint  not null references closing.day,
    from_date     date    not null,
    balance       bigint  not null,
    parts         numeric not null,
    total_parts   numeric not null,
    owed          bigint  not null,
    journal_id    bigint,
    refusal       text,
    posted_total  bigint  not null,
    primary key (account_id, day_id),
    constraint what_is_owed_is_posted_or_refused check ((owed <> 0) = (num_nonnulls(journal_id, refusal) = 1)),
    constraint what_is_posted_is_whole_units_of_the_total
        check (case when refusal is null then posted_total = trunc(total_parts / 26280) end)
);

create trigger calendar_is_a_fact before update or delete or truncate on closing.calendar
    for each statement execute function db.refuse_change();
create trigger holiday_is_a_fact before update or delete or truncate on closing.holiday
    for each statement execute function db.refuse_change();
create trigger day_is_a_fact before update or delete or truncate on closing.day
    for each statement execute function db.refuse_change();
create trigger day_step_is_a_fact before update or delete or truncate on closing.day_step
    for each statement execute function db.refuse_change();
create trigger day_page_is_a_fact before update or delete or truncate on closing.day_page
    for each statement execute function db.refuse_change();
create trigger balance_is_a_fact before update or delete or truncate on closing.balance
    for each statement execute function db.refuse_change();
create trigger interest_rate_is_a_fact before update or delete or truncate on closing.interest_rate
    for each statement execute function db.refuse_change();
create trigger accrual_is_a_fact before update or delete or truncate on closing.accrual
    for each statement execute function db.refuse_change();

-- A closing reads the journals that became effective since the one before. They lie almost in that order, so that the index may
-- be a summary of blocks, which costs a posting next to nothing.
create index journal_by_effective_at on ledger.journal using brin (effective_at) with (pages_per_range = 16, autosummarize = on);
