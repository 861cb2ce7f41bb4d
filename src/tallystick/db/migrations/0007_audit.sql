-- The audit trail: one event for each call of a verb that changes something, written in the call's own transaction.
create schema audit;

create table audit.event (
    id            bigint      generated always as identity primary key,
    at            timestamptz not null default clock_timestamp(),
    principal     text        not null,
    on_behalf_of  text,
    verb          text        not null,
    subject_kind  text        not null,
    subject_id    bigint,
    task_id       bigint,
    request_id    text,
    detail        jsonb       not null default '{}',
    constraint principal_is_bounded check (length(principal) between 1 and 100),
    constraint verb_is_bounded check (length(verb) between 1 and 100)
);
create index event_by_subject on audit.event (subject_kind, subject_id, id) where subject_id is not null;

create trigger event_is_a_fact before update or delete or truncate on audit.event
    for each statement execute function db.refuse_change();
