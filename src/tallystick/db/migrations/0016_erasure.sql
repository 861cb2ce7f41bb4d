-- Erasure: what was said of a customer is redacted where it stands and its salt destroyed, by one function of the owner; each row
-- that was redacted names the event that did it. Legal holds and retention periods stand against it.

-- The trigger for tables of facts that hold personal data. It is as db.refuse_change, but lets an update through that is part of an
-- erasure: the function that erases runs as the table's owner, and marks its own transaction. Nobody else can be both.
create function db.refuse_change_but_erasure() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' and current_setting('tallystick.erasing', true) = pg_current_xact_id()::text
       and current_user = (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = tg_relid) then
        return null;
    end if;
    raise exception 'rows of %.% are facts: they are never changed or removed', tg_table_schema, tg_table_name
        using errcode = 'TS002';
end
$$;
revoke all on function db.refuse_change_but_erasure() from public;

do $$
declare
    v_table text;
begin
    foreach v_table in array array[
        'customers.customer', 'customers.standing_order', 'cases.case', 'memory.event', 'work.task', 'work.outcome', 'work.attempt',
        'work.step', 'actions.transfer', 'payments.payment', 'payments.payment_step', 'payments.statement_line', 'payments.match',
        'payments.explanation', 'schedules.version'
    ] loop
        execute format('alter table %s add column erased_by bigint', v_table);
        execute format('comment on column %s.erased_by is ''The event of the record that tells of the erasure.''', v_table);
    end loop;
    foreach v_table in array array['cases.case', 'memory.event', 'work.task', 'work.outcome', 'work.step'] loop
        execute format('alter table %s add constraint what_is_erased_has_no_salt check (erased_by is null or salt is null)', v_table);
    end loop;
end
$$;

create or replace trigger event_is_a_fact before update or delete or truncate on memory.event
    for each statement execute function db.refuse_change_but_erasure();
create or replace trigger version_is_a_fact before update or delete or truncate on schedules.version
    for each statement execute function db.refuse_change_but_erasure();
create or replace trigger step_is_a_fact before update or delete or truncate on payments.payment_step
    for each statement execute function db.refuse_change_but_erasure();
create or replace trigger line_is_a_fact before update or delete or truncate on payments.statement_line
    for each statement execute function db.refuse_change_but_erasure();
create or replace trigger match_is_a_fact before update or delete or truncate on payments.match
    for each statement execute function db.refuse_change_but_erasure();
create or replace trigger explanation_is_a_fact before update or delete or truncate on payments.explanation
    for each statement execute function db.refuse_change_but_erasure();
create trigger payload_is_a_fact before update or delete or truncate on audit.payload
    for each statement execute function db.refuse_change_but_erasure();

-- What must not be erased, whatever its age, until the hold is lifted. The customer is named as the bank names them: there may be
-- cases of a customer who is not in customers.customer.
create table audit.legal_hold (
    id         bigint       generated always as identity primary key,
    customer   text         not null,
    reason     text         not null,
    placed_by  text         not null,
    placed_at  timestamptz  not null default clock_timestamp(),
    lifted_by  text,
    lifted_at  timestamptz,
    erased_by  bigint,
    constraint customer_is_bounded check (length(customer) between 1 and 100),
    constraint reason_is_a_code check (reason ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$'),
    constraint placed_by_is_bounded check (length(placed_by) between 1 and 100),
    constraint a_lift_has_somebody check ((lifted_at is null) = (lifted_by is null)),
    constraint what_is_held_is_not_erased check (erased_by is null or lifted_at is not null)
);
create index legal_hold_by_customer on audit.legal_hold (customer, id);

-- How long the data of a kind is kept at least, counted from when it was last of use.
create table audit.retention (
    kind         text         primary key,
    keep_months  integer      not null,
    set_by       text         not null,
    set_at       timestamptz  not null default clock_timestamp(),
    constraint kind_is_known
        check (kind in ('customer', 'transfer', 'payment', 'case', 'task', 'schedule', 'event', 'payload')),
    constraint keep_months_is_bounded check (keep_months between 0 and 1200),
    constraint set_by_is_bounded check (length(set_by) between 1 and 100)
);
insert into audit.retention (kind, keep_months, set_by)
values ('customer', 120, 'tallystick'), ('transfer', 120, 'tallystick'), ('payment', 120, 'tallystick'), ('case', 60, 'tallystick'),
       ('task', 60, 'tallystick'), ('schedule', 60, 'tallystick'), ('event', 60, 'tallystick'), ('payload', 60, 'tallystick');
