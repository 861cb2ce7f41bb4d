-- Addresses and credentials of customers, and when their standing orders are carried out.
alter table customers.customer
    add column street text,
    add column city text,
    add constraint street_is_bounded check (length(street) <= 200),
    add constraint city_is_bounded check (length(city) <= 100);

-- By what a customer proves who they are. Only a hash is kept (scrypt), with its salt.
create table customers.credential (
    customer_id  bigint      primary key references customers.customer,
    salt         bytea       not null,
    hash         bytea       not null,
    set_by       text        not null,
    set_at       timestamptz not null,
    constraint salt_is_bounded check (octet_length(salt) = 16),
    constraint hash_is_bounded check (octet_length(hash) = 32)
);

-- What a standing order says from a change on; the newest holds. `nostro` is by way of which account of ours it is paid.
create table customers.standing_term (
    order_id      bigint      not null references customers.standing_order,
    n             integer     not null,
    nostro        text        not null,
    to_name       text        not null,
    to_bank       text        not null,
    to_account    text        not null,
    amount        bigint      not null,
    purpose       text,
    first_on      date        not null,
    every         text        not null,
    status        text        not null,
    by_principal  text        not null,
    at            timestamptz not null default clock_timestamp(),
    erased_by     bigint,
    primary key (order_id, n),
    constraint destination_is_bounded check (length(to_name) <= 140 and length(to_bank) <= 50 and length(to_account) <= 50),
    constraint purpose_is_bounded check (length(purpose) <= 140),
    constraint amount_is_positive check (amount > 0),
    constraint every_is_known check (every in ('once', 'week', 'month')),
    constraint status_is_known check (status in ('active', 'ended'))
);

-- A day on which an order was due, and what came of it; a day comes to one payment.
create table customers.standing_run (
    order_id    bigint      not null references customers.standing_order,
    due_on      date        not null,
    n           integer     not null,
    outcome     text        not null,
    payment_id  bigint,
    action_id   bigint,
    at          timestamptz not null default clock_timestamp(),
    primary key (order_id, due_on),
    constraint outcome_is_known check (outcome in ('paid', 'failed', 'held', 'denied'))
);
