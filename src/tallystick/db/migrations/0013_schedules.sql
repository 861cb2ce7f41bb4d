-- Schedules: tasks that are enqueued at the times of a cron text in a time zone. What a schedule says is a fact for each version
-- of it, and so is each time it fired. Only where it stands is state: version, next_at, whether it is paused or removed.
create schema schedules;

create table schedules.schedule (
    id            bigint       generated always as identity primary key,
    name          text         not null,
    created_by    text         not null,
    created_at    timestamptz  not null,
    version       integer      not null default 1,
    next_at       timestamptz,
    paused_at     timestamptz,
    paused_by     text,
    pause_reason  text,
    removed_at    timestamptz,
    removed_by    text,
    constraint name_is_bounded check (length(name) between 1 and 100),
    constraint version_is_counted_from_one check (version >= 1),
    constraint a_pause_has_somebody check ((paused_at is null) = (paused_by is null)),
    constraint only_a_pause_has_a_reason check (pause_reason is null or paused_at is not null),
    constraint reason_is_bounded check (length(pause_reason) <= 100),
    constraint a_removal_has_somebody check ((removed_at is null) = (removed_by is null))
);
create unique index a_schedule_has_a_name_of_its_own on schedules.schedule (name) where removed_at is null;
create index schedule_by_next on schedules.schedule (next_at) where paused_at is null and removed_at is null;
comment on column schedules.schedule.next_at is 'The first time that nobody has looked at; null where there is none any more.';
comment on column schedules.schedule.pause_reason is 'The code of what went wrong, where the schedule was paused for that.';

-- What a schedule says from set_at on. Its tasks are enqueued in the name of set_by.
create table schedules.version (
    schedule_id    bigint       not null references schedules.schedule,
    n              integer      not null,
    agent          text         not null,
    type           text         not null,
    payload        jsonb        not null,
    cron           text         not null,
    time_zone      text         not null,
    priority       smallint     not null,
    catch_up       text         not null,
    fire_at_field  text,
    set_by         text         not null,
    set_at         timestamptz  not null,
    primary key (schedule_id, n),
    constraint agent_is_bounded check (length(agent) between 1 and 100),
    constraint type_is_bounded check (length(type) between 1 and 100),
    constraint payload_is_an_object check (jsonb_typeof(payload) = 'object'),
    constraint cron_is_bounded check (length(cron) between 9 and 200),
    constraint time_zone_is_bounded check (length(time_zone) between 1 and 100),
    constraint priority_is_bounded check (priority between -1000 and 1000),
    constraint catch_up_is_known check (catch_up in ('latest', 'all', 'none')),
    constraint fire_at_field_is_free check (not payload ? fire_at_field),
    constraint set_by_is_bounded check (length(set_by) between 1 and 100)
);
comment on column schedules.version.fire_at_field is 'The field of the task''s payload that is given the time it is for.';

-- The times that came to a task: one each, whoever looked. A task may be dropped from history, so this is no foreign key.
create table schedules.firing (
    schedule_id  bigint       not null references schedules.schedule,
    fire_at      timestamptz  not null,
    version      integer      not null,
    task_id      bigint       not null constraint a_task_is_of_one_time unique,
    fired_at     timestamptz  not null,
    primary key (schedule_id, fire_at),
    constraint firing_is_of_a_version foreign key (schedule_id, version) references schedules.version,
    constraint fire_at_is_a_whole_minute check (date_trunc('minute', fire_at, 'UTC') = fire_at)
);

create trigger version_is_a_fact before update or delete or truncate on schedules.version
    for each statement execute function db.refuse_change();
create trigger firing_is_a_fact before update or delete or truncate on schedules.firing
    for each statement execute function db.refuse_change();
