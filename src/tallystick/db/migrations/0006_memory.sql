-- Events: immutable facts that one agent leaves for others.
create schema memory;

create table memory.event (
    id          bigint      generated always as identity primary key,
    agent       text        not null,
    type        text        not null,
    payload     jsonb       not null,
    created_by  text        not null,
    created_at  timestamptz not null default clock_timestamp(),
    constraint agent_is_bounded check (length(agent) between 1 and 100),
    constraint type_is_bounded check (length(type) between 1 and 100),
    constraint payload_is_an_object check (jsonb_typeof(payload) = 'object')
);
create index event_by_agent on memory.event (agent, id);
create index event_by_type on memory.event (type, id);

create trigger event_is_a_fact before update or delete or truncate on memory.event
    for each statement execute function db.refuse_change();
