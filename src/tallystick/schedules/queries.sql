-- clock --
-- The time.
select db.clock() as now

-- add --
-- Store a schedule; no row means that one of this name is there.
insert into schedules.schedule (name, created_by, created_at, next_at)
values (%(name)s::text, %(principal)s::text, %(now)s::timestamptz, %(next_at)s::timestamptz)
    on conflict (name) where removed_at is null do nothing
returning id

-- add_version --
-- Store what a schedule says from now on.
insert into schedules.version (schedule_id, n, agent, type, payload, cron, time_zone, priority, catch_up, fire_at_field,
                               set_by, set_at)
values (%(schedule_id)s::bigint, %(n)s::integer, %(agent)s::text, %(type)s::text, %(payload)s::jsonb, %(cron)s::text,
        %(time_zone)s::text, %(priority)s::smallint, %(catch_up)s::text, %(fire_at_field)s::text, %(principal)s::text,
        %(now)s::timestamptz)

-- find --
-- The schedule of a name.
select id
  from schedules.schedule
 where name = %(name)s::text and removed_at is null

-- lock --
-- The same, with its row locked until the transaction ends.
select id
  from schedules.schedule
 where name = %(name)s::text and removed_at is null
   for no key update

-- get --
-- A schedule as it stands, removed or not.
select s.id, s.name, s.version, v.agent, v.type, v.payload, v.cron, v.time_zone, v.priority, v.catch_up, v.fire_at_field,
       s.created_by, s.created_at, v.set_by, v.set_at, s.next_at, s.paused_at, s.paused_by, s.pause_reason
  from schedules.schedule s
  join schedules.version v on v.schedule_id = s.id and v.n = s.version
 where s.id = %(schedule_id)s::bigint

-- first_plan --
-- What a schedule said at first.
select agent, type, payload, cron, time_zone, priority, catch_up, fire_at_field
  from schedules.version
 where schedule_id = %(schedule_id)s::bigint and n = 1

-- page --
-- A page of schedules below an id, newest first; of one agent or in one state where given.
select s.id, s.name, s.version, v.agent, v.type, v.payload, v.cron, v.time_zone, v.priority, v.catch_up, v.fire_at_field,
       s.created_by, s.created_at, v.set_by, v.set_at, s.next_at, s.paused_at, s.paused_by, s.pause_reason
  from schedules.schedule s
  join schedules.version v on v.schedule_id = s.id and v.n = s.version
 where s.id < %(before)s::bigint
   and s.removed_at is null
   and (%(agent)s::text is null or v.agent = %(agent)s::text)
   and (%(state)s::text is null
        or %(state)s::text = case when s.paused_at is not null then 'paused' when s.next_at is null then 'ended' else 'active' end)
 order by s.id desc
 limit %(limit)s::bigint

-- set_version --
-- Let a schedule go by another version, and go on at another time.
update schedules.schedule
   set version = %(n)s::integer, next_at = %(next_at)s::timestamptz
 where id = %(schedule_id)s::bigint

-- pause --
-- Stop a schedule.
update schedules.schedule
   set paused_at = %(now)s::timestamptz, paused_by = %(principal)s::text, pause_reason = %(reason)s::text
 where id = %(schedule_id)s::bigint

-- resume --
-- Let a schedule go on from a time.
update schedules.schedule
   set paused_at = null, paused_by = null, pause_reason = null, next_at = %(next_at)s::timestamptz
 where id = %(schedule_id)s::bigint

-- remove --
-- End a schedule for good; its name is free again.
update schedules.schedule
   set removed_at = %(now)s::timestamptz, removed_by = %(principal)s::text
 where id = %(schedule_id)s::bigint

-- lock_due --
-- Lock the schedules whose time has come, those that wait longest first; what another has in hand is skipped, never waited for.
select s.id, s.name, s.version, v.agent, v.type, v.payload, v.cron, v.time_zone, v.priority, v.catch_up, v.fire_at_field,
       s.created_by, s.created_at, v.set_by, v.set_at, s.next_at, s.paused_at, s.paused_by, s.pause_reason
  from schedules.schedule s
  join schedules.version v on v.schedule_id = s.id and v.n = s.version
 where s.next_at <= (select db.clock())
   and s.paused_at is null
   and s.removed_at is null
 order by s.next_at, s.name
 limit %(limit)s::bigint
   for no key update of s skip locked

-- fired_before --
-- Which of some times of schedules have fired already.
select f.schedule_id, f.fire_at, f.version, f.task_id, f.fired_at
  from unnest(%(schedule_ids)b::bigint[], %(times)s::timestamptz[]) as u (schedule_id, fire_at)
  join schedules.firing f on f.schedule_id = u.schedule_id and f.fire_at = u.fire_at

-- add_firings --
-- Store which times of schedules came to which tasks; a time that is there already is left out.
insert into schedules.firing (schedule_id, fire_at, version, task_id, fired_at)
select u.schedule_id, u.fire_at, u.version, u.task_id, %(now)s::timestamptz
  from unnest(%(schedule_ids)b::bigint[], %(times)s::timestamptz[], %(versions)b::integer[], %(task_ids)b::bigint[])
       as u (schedule_id, fire_at, version, task_id)
    on conflict (schedule_id, fire_at) do nothing
returning schedule_id, fire_at, version, task_id, fired_at

-- go_on --
-- Let schedules go on at other times.
update schedules.schedule s
   set next_at = u.next_at
  from unnest(%(schedule_ids)b::bigint[], %(times)s::timestamptz[]) as u (schedule_id, next_at)
 where s.id = u.schedule_id

-- firings --
-- The last times at which a schedule fired, newest first.
select schedule_id, fire_at, version, task_id, fired_at
  from schedules.firing
 where schedule_id = %(schedule_id)s::bigint
 order by fire_at desc
 limit %(limit)s::bigint
