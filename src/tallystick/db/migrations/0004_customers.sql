-- Customers, the accounts they may use, and their standing orders.
create schema customers;

create table customers.customer (
    id          bigint      generated always as identity primary key,
    name        text        not null constraint customer_name_is_unique unique,
    full_name   text,
    birth_date  date,
    sex         text,
    region      text,
    created_at  timestamptz not null default now(),
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint full_name_is_bounded check (length(full_name) <= 200),
    constraint region_is_bounded check (length(region) <= 100),
    constraint sex_is_known check (sex in ('F', 'M'))
);
comment on column customers.customer.name is 'What the bank calls the customer, as CUST-1042; the person''s own name is full_name.';

create table customers.disposition (
    customer_id  bigint not null references customers.customer,
    account_id   bigint not null references ledger.account,
    role         text   not null,
    primary key (customer_id, account_id),
    constraint role_is_known check (role in ('owner', 'user'))
);
-- An account has one owner at most.
create unique index disposition_owner on customers.disposition (account_id) where role = 'owner';
create index disposition_by_account on customers.disposition (account_id);

create table customers.standing_order (
    id            bigint generated always as identity primary key,
    name          text   not null constraint standing_order_name_is_unique unique,
    account_id    bigint not null references ledger.account,
    to_bank       text   not null,
    to_account    text   not null,
    amount        bigint not null,
    asset         text   not null references ledger.asset,
    purpose       text,
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint destination_is_bounded check (length(to_bank) <= 50 and length(to_account) <= 50),
    constraint purpose_is_bounded check (length(purpose) <= 100),
    constraint amount_is_positive check (amount > 0)
);
comment on column customers.standing_order.name is 'What the bank calls the order; adding it again under the same name adds nothing.';
create index standing_order_by_account on customers.standing_order (account_id);
