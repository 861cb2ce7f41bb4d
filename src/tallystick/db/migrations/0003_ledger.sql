-- The books: assets, accounts with their hot balances, journals and their entries.
create schema ledger;

create table ledger.asset (
    code   text     primary key,
    kind   text     not null,
    scale  smallint not null,
    constraint code_is_short_and_upper check (code ~ '^[A-Z0-9][A-Z0-9.]{0,11}$'),
    constraint kind_is_known check (kind in ('currency', 'security')),
    constraint scale_is_small check (scale between 0 and 9)
);

-- Cold: read to check a posting, written when an account is opened or its state changes, under the lock of its balance.
create table ledger.account (
    id         bigint      generated always as identity primary key,
    name       text        not null constraint account_name_is_unique unique,
    asset      text        not null references ledger.asset,
    kind       text        not null,
    status     text        not null default 'open',
    opened_at  timestamptz not null default now(),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint kind_is_known check (kind in ('customer', 'internal')),
    constraint status_is_known check (status in ('open', 'frozen', 'closed'))
);

-- Hot: one narrow row an account, updated once a batch, without a second index so that updates stay in their page.
-- dr and cr are the sums of all that was ever taken and given; posted = cr - dr, available = posted - held.
create table ledger.balance (
    account_id  bigint      primary key references ledger.account,
    dr          bigint      not null default 0,
    cr          bigint      not null default 0,
    held        bigint      not null default 0,
    floor       bigint,
    seq         bigint      not null default 0,
    last_at     timestamptz not null default '-infinity',
    constraint sums_are_not_negative check (dr >= 0 and cr >= 0),
    constraint held_is_not_negative check (held >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
comment on column ledger.balance.floor is 'Available may not be taken below this; null is no floor, for the bank''s own accounts.';

create sequence ledger.journal_id cache 1;

create table ledger.journal (
    id             bigint      primary key,
    kind           text        not null,
    ref_id         bigint,
    actor          text        not null,
    on_behalf_of   text,
    task_id        bigint,
    approval_id    bigint,
    effective_at   timestamptz not null,
    posted_at      timestamptz not null,
    meta           jsonb,
    constraint kind_is_bounded check (length(kind) between 1 and 50),
    constraint actor_is_bounded check (length(actor) between 1 and 100)
);
comment on column ledger.journal.meta is 'Codes and references for machines; personal data is kept elsewhere.';

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

-- A journal that was refused under an idempotency key: the id it would have had, and why. Replays read it.
create table ledger.refusal (
    journal_id  bigint      primary key,
    code        text        not null,
    refused_at  timestamptz not null default now(),
    constraint code_is_bounded check (length(code) between 1 and 50)
);

create trigger journal_is_a_fact before update or delete or truncate on ledger.journal
    for each statement execute function db.refuse_change();
create trigger entry_is_a_fact before update or delete or truncate on ledger.entry
    for each statement execute function db.refuse_change();
create trigger refusal_is_a_fact before update or delete or truncate on ledger.refusal
    for each statement execute function db.refuse_change();

insert into ledger.asset (code, kind, scale) values
    ('CZK', 'currency', 2), ('EUR', 'currency', 2), ('USD', 'currency', 2), ('GBP', 'currency', 2),
    ('CHF', 'currency', 2), ('JPY', 'currency', 0), ('SEK', 'currency', 2), ('PLN', 'currency', 2);
