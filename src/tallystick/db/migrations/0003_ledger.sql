-- The books: assets, accounts with their hot balances, journals and their entries, holds.
-- Rows of facts carry a digest (db.digest_row), so that a value that was changed by whatever way is found; what is not a fact
-- (balance, open_hold) can be worked out from the facts, and is, by the verifier.
create schema ledger;

create table ledger.asset (
    code    text     primary key,
    kind    text     not null,
    scale   smallint not null,
    digest  bytea    not null,
    constraint code_is_short_and_upper check (code ~ '^[A-Z0-9][A-Z0-9.]{0,11}$'),
    constraint kind_is_known check (kind in ('currency', 'security')),
    constraint scale_is_small check (scale between 0 and 9)
);

-- What an account is, for good. What it may do at the moment stands in its balance.
create table ledger.account (
    id         bigint      generated always as identity primary key,
    name       text        not null constraint account_name_is_unique unique,
    asset      text        not null references ledger.asset,
    kind       text        not null,
    opened_at  timestamptz not null default now(),
    digest     bytea       not null,
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint kind_is_known check (kind in ('customer', 'internal'))
);

-- Every status and floor that an account ever had; the first is that of its opening, the last is the balance's.
create table ledger.account_change (
    account_id  bigint      not null references ledger.account,
    n           integer     not null,
    status      text        not null,
    floor       bigint,
    actor       text        not null,
    changed_at  timestamptz not null default clock_timestamp(),
    digest      bytea       not null,
    primary key (account_id, n),
    constraint status_is_known check (status in ('open', 'frozen', 'closed')),
    constraint actor_is_bounded check (length(actor) between 1 and 100)
);

-- Hot: one narrow row an account, updated once a batch, without a second index so that updates stay in their page.
-- dr and cr are the sums of all that was ever taken and given; posted = cr - dr, available = posted - held.
-- asset is the account's, so that a posting reads one row an account, and reads it under its lock.
create table ledger.balance (
    account_id  bigint      primary key references ledger.account,
    asset       text        not null,
    status      text        not null default 'open',
    dr          bigint      not null default 0,
    cr          bigint      not null default 0,
    held        bigint      not null default 0,
    floor       bigint,
    seq         bigint      not null default 0,
    last_at     timestamptz not null default '-infinity',
    constraint status_is_known check (status in ('open', 'frozen', 'closed')),
    constraint sums_are_not_negative check (dr >= 0 and cr >= 0),
    constraint held_is_not_negative check (held >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on column ledger.balance.floor is 'Available may not be taken below this; null is no floor, for the bank''s own accounts.';

-- Numbers journals, holds and releases alike, so that a refusal is told by its number alone.
create sequence ledger.journal_id cache 1;

create table ledger.journal (
    id             bigint      primary key,
    kind           text        not null,
    ref_id         bigint,
    actor          text        not null,
    on_behalf_of   text,
    task_id        bigint,
    approval_id    bigint,
    reverses       bigint,
    hold_id        bigint,
    effective_at   timestamptz not null,
    posted_at      timestamptz not null,
    meta           jsonb,
    digest         bytea       not null,
    constraint kind_is_bounded check (length(kind) between 1 and 50),
    constraint actor_is_bounded check (length(actor) between 1 and 100),
    constraint reversal_captures_no_hold check (reverses is null or hold_id is null)
);
create index journal_by_reversed on ledger.journal (reverses) where reverses is not null;
comment on column ledger.journal.meta is 'Codes and references for machines; personal data is kept elsewhere.';
comment on column ledger.journal.reverses is 'The journal that this one takes back, wholly or in part.';
comment on column ledger.journal.hold_id is 'The hold that this journal captures, wholly or in part.';

-- amount > 0 gives to the account (credit), amount < 0 takes from it (debit). dr_after and cr_after are the account's sums
-- after the entry, so that every entry carries the balance that it left. There are no foreign keys, as ledger.post, the only
-- writer, has the journal and the locked balance in hand, and each would cost a look-up an entry.
create table ledger.entry (
    account_id  bigint      not null,
    seq         bigint      not null,
    journal_id  bigint      not null,
    amount      bigint      not null,
    dr_after    bigint      not null,
    cr_after    bigint      not null,
    posted_at   timestamptz not null,
    primary key (account_id, seq),
    constraint amount_is_not_zero check (amount <> 0),
    constraint sums_are_not_negative check (dr_after >= 0 and cr_after >= 0)
);
create index entry_by_journal on ledger.entry (journal_id);

-- Money set aside. What became of it stands in hold_change; while some of it is left, open_hold has a row.
create table ledger.hold (
    id            bigint      primary key,
    account_id    bigint      not null references ledger.account,
    amount        bigint      not null,
    kind          text        not null,
    ref_id        bigint,
    actor         text        not null,
    on_behalf_of  text,
    task_id       bigint,
    approval_id   bigint,
    placed_at     timestamptz not null,
    expires_at    timestamptz,
    meta          jsonb,
    digest        bytea       not null,
    constraint amount_is_positive check (amount > 0),
    constraint expiry_is_later check (expires_at > placed_at),
    constraint kind_is_bounded check (length(kind) between 1 and 50),
    constraint actor_is_bounded check (length(actor) between 1 and 100)
);
create index hold_by_account on ledger.hold (account_id, id);

-- taken is what a capture posted, freed is what became available again.
create table ledger.hold_change (
    hold_id     bigint      not null references ledger.hold,
    n           integer     not null,
    kind        text        not null,
    taken       bigint      not null,
    freed       bigint      not null,
    journal_id  bigint,
    actor       text        not null,
    changed_at  timestamptz not null,
    digest      bytea       not null,
    primary key (hold_id, n),
    constraint kind_is_known check (kind in ('captured', 'released', 'expired')),
    constraint only_a_capture_takes check ((kind = 'captured') = (taken > 0) and (kind = 'captured') = (journal_id is not null)),
    constraint freed_is_not_negative check (freed >= 0),
    constraint actor_is_bounded check (length(actor) between 1 and 100)
);

create table ledger.open_hold (
    hold_id     bigint      primary key references ledger.hold,
    account_id  bigint      not null,
    remaining   bigint      not null,
    changes     integer     not null default 0,
    expires_at  timestamptz,
    constraint remaining_is_positive check (remaining > 0)
);
create index open_hold_by_account on ledger.open_hold (account_id);
create index open_hold_by_expiry on ledger.open_hold (expires_at) where expires_at is not null;

-- A journal, hold or release that was refused under an idempotency key: the id it would have had, and why. Replays read it.
create table ledger.refusal (
    ref_id      bigint      primary key,
    code        text        not null,
    refused_at  timestamptz not null default now(),
    digest      bytea       not null,
    constraint code_is_bounded check (length(code) between 1 and 50)
);

-- Up to when the books are closed: nothing is posted with an effective date before the last of these.
create table ledger.closed_period (
    n             integer     primary key,
    closed_until  timestamptz not null,
    actor         text        not null,
    closed_at     timestamptz not null default clock_timestamp(),
    digest        bytea       not null,
    constraint actor_is_bounded check (length(actor) between 1 and 100)
);

do $$
declare
    v_table text;
begin
    foreach v_table in array array['asset', 'account', 'account_change', 'journal', 'entry', 'hold', 'hold_change', 'refusal', 'closed_period'] loop
        execute format('create trigger %s_is_a_fact before update or delete or truncate on ledger.%I'
                       ' for each statement execute function db.refuse_change()', v_table, v_table);
    end loop;
    foreach v_table in array array['asset', 'account', 'account_change', 'hold', 'hold_change', 'refusal', 'closed_period'] loop
        execute format('create trigger %s_has_a_digest before insert on ledger.%I'
                       ' for each row execute function db.digest_row()', v_table, v_table);
    end loop;
end
$$;

insert into ledger.asset (code, kind, scale) values
    ('CZK', 'currency', 2), ('EUR', 'currency', 2), ('USD', 'currency', 2), ('GBP', 'currency', 2),
    ('CHF', 'currency', 2), ('JPY', 'currency', 0), ('SEK', 'currency', 2), ('PLN', 'currency', 2);
