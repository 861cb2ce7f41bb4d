-- Tasks as facts, and small tables for what is queued and running. A task has at any time exactly one of: a row in ready,
-- a row in run, a row in outcome. No status column is ever flipped.
create schema work;

create table work.task (
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
create index task_by_agent on work.task (agent, id);
create index task_by_type on work.task (type, id);

-- agent and type are the task's, so that claiming reads this small table only. attempts were begun and came to nothing.
create table work.ready (
    task_id   bigint   primary key references work.task,
    agent     text     not null,
    type      text     not null,
    attempts  smallint not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, fillfactor = 70);
create index ready_by_agent on work.ready (agent, task_id);

create sequence work.fence;

-- fence is the number that only the current attempt holds; a run past its deadline may be taken back. attempts counts this one.
create table work.run (
    task_id      bigint      primary key references work.task,
    fence        bigint      not null,
    worker       text        not null,
    attempts     smallint    not null,
    started_at   timestamptz not null default clock_timestamp(),
    deadline_at  timestamptz not null,
    constraint worker_is_bounded check (length(worker) between 1 and 100)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, fillfactor = 70);
create index run_by_deadline on work.run (deadline_at);

-- started_at is null where nothing of ours ran the task: an outside worker reported on it.
create table work.outcome (
    task_id      bigint      primary key references work.task,
    fence        bigint      not null,
    state        text        not null,
    result       jsonb,
    error        text,
    worker       text        not null,
    attempts     smallint    not null,
    started_at   timestamptz,
    finished_at  timestamptz not null default clock_timestamp(),
    constraint state_is_known check (state in ('done', 'failed', 'cancelled', 'dead')),
    constraint failure_has_an_error check ((state in ('failed', 'dead')) = (error is not null))
);
-- Nearly all tasks are done; the few that are not are the ones that people look for.
create index outcome_not_done on work.outcome (state, task_id) where state <> 'done';

create trigger task_is_a_fact before update or delete or truncate on work.task
    for each statement execute function db.refuse_change();
create trigger outcome_is_a_fact before update or delete or truncate on work.outcome
    for each statement execute function db.refuse_change();
