-- Durable work. What a task is, what its steps gave and how it ended are facts, written once, in partitions by ranges of task id.
-- Where a task is now is state, in small tables whose rows come and go: a task has at any time exactly one row in one of ready,
-- wait, run, dead and outcome. No status column is ever flipped.
--
-- The application changes all of these by the functions of this schema only, which keep that; so the small tables, which are
-- written for every task, carry no foreign keys.
create schema work;

create sequence work.task_id;
create sequence work.fence;
create sequence work.worker_id;
create sequence work.step_id;

-- A kind of work: what an agent does of one type, and how often and how long it is tried.
create table work.queue (
    id             integer   generated always as identity primary key,
    agent          text      not null,
    type           text      not null,
    max_attempts   smallint  not null default 5,
    max_crashes    smallint  not null default 5,
    timeout_s      integer   not null default 3600,
    backoff_s      real      not null default 1,
    max_backoff_s  real      not null default 300,
    per_key        smallint  not null default 1,
    constraint a_queue_is_named_once unique (agent, type),
    constraint agent_is_bounded check (length(agent) between 1 and 100),
    constraint type_is_bounded check (length(type) between 1 and 100),
    constraint attempts_are_bounded check (max_attempts between 1 and 1000 and max_crashes between 1 and 1000),
    constraint timeout_is_bounded check (timeout_s between 1 and 86400),
    constraint backoff_is_bounded check (backoff_s between 0 and max_backoff_s and max_backoff_s <= 86400),
    constraint per_key_is_bounded check (per_key between 1 and 1000)
);

-- What is paused or may run only so often at a time: an agent, or a type of any agent.
create table work.brake (
    kind         text         not null,
    name         text         not null,
    max_running  integer,
    paused_at    timestamptz,
    paused_by    text,
    primary key (kind, name),
    constraint kind_is_known check (kind in ('agent', 'type')),
    constraint a_brake_holds_something check (max_running is not null or paused_at is not null),
    constraint max_running_is_positive check (max_running > 0),
    constraint a_pause_has_somebody check ((paused_at is null) = (paused_by is null))
);

-- Workers beside the database, which hold a lease for all they run.
create table work.worker (
    id           bigint       primary key,
    name         text         not null,
    started_at   timestamptz  not null,
    lease_until  timestamptz  not null,
    constraint worker_is_bounded check (length(name) between 1 and 100)
);

create table work.task (
    id            bigint       primary key,
    queue         integer      not null,
    payload       jsonb        not null,
    priority      smallint     not null,
    max_attempts  smallint,
    run_at        timestamptz,
    deadline_at   timestamptz,
    order_key     text,
    created_by    text         not null,
    created_at    timestamptz  not null,
    constraint payload_is_an_object check (jsonb_typeof(payload) = 'object'),
    constraint max_attempts_is_bounded check (max_attempts between 1 and 1000),
    constraint order_key_is_bounded check (length(order_key) between 1 and 200)
) partition by range (id);
create index task_by_queue on work.task (queue, id);

-- extras says that the task has a deadline or an order key, which its end has to see to.
create table work.ready (
    task_id   bigint    primary key,
    queue     integer   not null,
    priority  smallint  not null,
    attempts  smallint  not null,
    crashes   smallint  not null,
    extras    boolean   not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, fillfactor = 70);
create index ready_in_order on work.ready (queue, priority desc, task_id);

-- run_at, backoff and sleep end by the clock; turn when those before it under its order key ended; tasks when those it is to run
-- after are done; event and approval by what they wait for, or by the clock.
create table work.wait (
    task_id     bigint       primary key,
    queue       integer      not null,
    priority    smallint     not null,
    attempts    smallint     not null,
    crashes     smallint     not null,
    extras      boolean      not null,
    kind        text         not null,
    since       timestamptz  not null,
    wake_at     timestamptz,
    step        text,
    event_type  text,
    match_key   bigint,
    match       jsonb,
    question    jsonb,
    constraint kind_is_known check (kind in ('run_at', 'backoff', 'turn', 'tasks', 'sleep', 'event', 'approval')),
    constraint what_ends_by_the_clock_has_a_time check (kind not in ('run_at', 'backoff', 'sleep') or wake_at is not null),
    constraint a_parked_task_has_a_step check ((kind in ('sleep', 'event', 'approval')) = (step is not null)),
    constraint only_an_event_has_a_type check ((kind = 'event') = (event_type is not null)),
    constraint an_event_is_looked_up_by_its_match check ((kind = 'event') = (match_key is not null)),
    constraint match_is_an_object check (jsonb_typeof(match) = 'object'),
    constraint an_approval_has_a_question check ((kind = 'approval') = (question is not null))
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, fillfactor = 80);
create index wait_by_time on work.wait (wake_at) where wake_at is not null;
create index wait_for_event on work.wait (event_type, match_key) where event_type is not null;
create index wait_for_people on work.wait (task_id) where kind = 'approval';

-- fence is the number that only the current attempt holds. attempts counts this one. A run whose worker's lease, or its own, is
-- over has crashed; one past its deadline took too long.
create table work.run (
    task_id      bigint       primary key,
    fence        bigint       not null,
    queue        integer      not null,
    priority     smallint     not null,
    attempts     smallint     not null,
    crashes      smallint     not null,
    extras       boolean      not null,
    worker       text         not null,
    worker_id    bigint,
    started_at   timestamptz  not null,
    deadline_at  timestamptz  not null,
    lease_until  timestamptz,
    constraint a_run_has_a_lease check ((worker_id is null) <> (lease_until is null))
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0, fillfactor = 70);

-- Tasks that were given up: a person looks at them, and may put them back.
create table work.dead (
    task_id   bigint       primary key,
    queue     integer      not null,
    priority  smallint     not null,
    attempts  smallint     not null,
    crashes   smallint     not null,
    extras    boolean      not null,
    fence     bigint       not null,
    error     text         not null,
    worker    text         not null,
    since     timestamptz  not null
);

-- started_at is null where nothing of ours ran the task: an outside worker reported on it, or it was cancelled before.
create table work.outcome (
    task_id      bigint       primary key,
    fence        bigint       not null,
    queue        integer      not null,
    state        text         not null,
    result       jsonb,
    error        text,
    worker       text         not null,
    attempts     smallint     not null,
    started_at   timestamptz,
    finished_at  timestamptz  not null,
    constraint state_is_known check (state in ('done', 'failed', 'cancelled')),
    constraint what_is_not_done_has_an_error check ((state = 'done') = (error is null))
) partition by range (task_id);
-- Nearly all tasks are done; the few that are not are the ones that people look for.
create index outcome_not_done on work.outcome (state, task_id) where state <> 'done';
create index outcome_by_time on work.outcome using brin (finished_at) with (pages_per_range = 32);

-- An attempt that came to nothing, and why.
create table work.attempt (
    task_id     bigint       not null,
    fence       bigint       not null,
    ended       text         not null,
    error       text         not null,
    worker      text         not null,
    started_at  timestamptz  not null,
    ended_at    timestamptz  not null,
    primary key (task_id, fence),
    constraint end_is_known check (ended in ('error', 'timeout', 'crash', 'returned'))
) partition by range (task_id);
create index attempt_by_time on work.attempt using brin (ended_at) with (pages_per_range = 32);

-- What the parts of a task gave: one row a try, and one before a call to the outside or a wait. Later rows of a task have higher ids,
-- whatever the clock does.
create table work.step (
    id          bigint       not null default nextval('work.step_id'),
    task_id     bigint       not null,
    name        text         not null,
    state       text         not null,
    fence       bigint       not null,
    try         smallint     not null,
    kind        text         not null,
    input_hash  bytea        not null,
    output      jsonb,
    error       text,
    detail      jsonb,
    started_at  timestamptz  not null,
    ended_at    timestamptz  not null,
    primary key (task_id, name, state, fence, try),
    constraint name_is_bounded check (length(name) between 1 and 200),
    constraint state_is_known check (state in ('intent', 'failed', 'done')),
    constraint kind_is_known check (kind in ('step', 'call', 'model', 'sleep', 'event', 'approval')),
    constraint a_failed_try_has_an_error check ((state = 'failed') = (error is not null)),
    constraint hash_is_sha256 check (length(input_hash) = 32)
) partition by range (task_id);
create unique index a_step_is_done_once on work.step (task_id, name) where state = 'done';
create unique index a_step_is_meant_once on work.step (task_id, name) where state = 'intent';

-- Tasks that are to run one after the other, in the order of their ids, under one key of an agent; those whose turn it is have
-- in_turn. A row leaves with the end of its task.
create table work.turn (
    agent    text     not null,
    key      text     not null,
    task_id  bigint   primary key,
    in_turn  boolean  not null
);
create index turn_in_order on work.turn (agent, key, in_turn, task_id);

-- What a task is to run after and is not done yet.
create table work.dependency (
    on_task  bigint  not null,
    task_id  bigint  not null,
    primary key (on_task, task_id)
);
create index dependency_by_task on work.dependency (task_id);

-- Tasks that have to be finished by some time; a row leaves with the end of its task.
create table work.due (
    task_id      bigint       primary key,
    deadline_at  timestamptz  not null
);
create index due_by_time on work.due (deadline_at);

-- The partitions of the facts, oldest first; `exported` tells what the file says that was written before it was dropped.
create table work.history (
    from_id     bigint       primary key,
    to_id       bigint       not null unique,
    made_at     timestamptz  not null,
    dropped_at  timestamptz,
    exported    jsonb,
    constraint a_partition_has_room check (to_id > from_id),
    constraint what_is_dropped_was_exported check ((dropped_at is null) = (exported is null))
);
