-- work.hold: lock an attempt until the caller's transaction ends, so that nobody else ends it; false where the fence does not hold.
create or replace function work.hold(p_task bigint, p_fence bigint) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    perform 1 from work.run r where r.task_id = p_task and r.fence = p_fence for update;
    return found;
end
$$;

-- work.record: keep what a step of an attempt gave, or that it is meant; `kept`, `lost` (the fence does not hold) or `full` (the task
-- has as many steps as it may have).
create or replace function work.record(
    p_task bigint, p_fence bigint, p_name text, p_state text, p_try integer, p_kind text, p_input_hash bytea, p_output jsonb,
    p_error text, p_detail jsonb, p_took_ms bigint, p_most bigint
) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_now  timestamptz;
    v_by   text;
    v_step bigint;
begin
    select r.worker into v_by from work.run r where r.task_id = p_task and r.fence = p_fence for key share;
    if not found then
        return 'lost';
    end if;
    if (select count(*) from (select from work.step s where s.task_id = p_task limit p_most) s) >= p_most then
        return 'full';
    end if;
    v_now := db.clock();
    insert into work.step (task_id, name, state, fence, try, kind, input_hash, output, error, detail, started_at, ended_at)
    values (p_task, p_name, p_state, p_fence, p_try, p_kind, p_input_hash, p_output, p_error, p_detail,
            v_now - make_interval(secs => p_took_ms / 1000.0), v_now)
    returning id into v_step;
    perform audit.append(
        v_by, 'tasks.record_step', 'task', p_task, format('{"kind":"%s","state":"%s","try":%s}', p_kind, p_state, p_try), p_task,
        'step', array[v_step], work.step_digests(array[v_step]), p_name);
    return 'kept';
end
$$;

-- work.lock_event: who would wait for a type of event holds this lock alone, and its publishers share it; so that of an event and a
-- wait that come at the same moment, one sees the other.
create or replace function work.lock_event(p_type text) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(7331022, hashtext(p_type));
end
$$;

-- work.match_keys: a number for each member of a JSON object that is a number, a text, true, false or null. An object that contains
-- another one has all its numbers.
create or replace function work.match_keys(p_object jsonb) returns bigint[]
language sql
immutable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select array_agg(jsonb_hash_extended(jsonb_build_object(e.key, e.value), 0) order by 1)
      from jsonb_each(case jsonb_typeof(p_object) when 'object' then p_object end) e
     where jsonb_typeof(e.value) not in ('object', 'array');
$$;

-- work.park: an attempt ends and its task waits, without being counted; false where the fence does not hold. The time to wake it is
-- p_wake_at, or p_in_s seconds from now; what it means to wait for is kept as a step, once. A step that is done is not waited for.
create or replace function work.park(
    p_task bigint, p_fence bigint, p_kind text, p_step text, p_input_hash bytea, p_wake_at timestamptz, p_in_s double precision,
    p_event_type text, p_match jsonb, p_question jsonb
) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now  timestamptz;
    v_wake timestamptz;
    v_run  record;
    v_step bigint;
begin
    delete from work.run r where r.task_id = p_task and r.fence = p_fence
    returning r.queue, r.priority, r.attempts, r.crashes, r.extras, r.worker into v_run;
    if not found then
        return false;
    end if;
    if exists (select from work.step s where s.task_id = p_task and s.name = p_step and s.state = 'done') then
        raise exception 'step % of task % is done', p_step, p_task using errcode = 'unique_violation';
    end if;
    v_now := db.clock();
    v_wake := coalesce(p_wake_at, v_now + make_interval(secs => p_in_s));
    insert into work.step (task_id, name, state, fence, try, kind, input_hash, detail, started_at, ended_at)
    values (p_task, p_step, 'intent', p_fence, 0, p_kind, p_input_hash, jsonb_build_object('wake_at', v_wake), v_now, v_now)
        on conflict (task_id, name) where state = 'intent' do nothing
    returning id into v_step;
    perform audit.append(
        v_run.worker, 'tasks.park', 'task', p_task, format('{"for":"%s"}', p_kind), p_task, case when v_step is not null then 'step' end,
        case when v_step is not null then array[v_step] end,
        case when v_step is not null then work.step_digests(array[v_step]) end, p_step);
    insert into work.wait (task_id, queue, priority, attempts, crashes, extras, kind, since, wake_at, step, event_type, match_key, match,
                           question)
    values (p_task, v_run.queue, v_run.priority, v_run.attempts - 1, v_run.crashes, v_run.extras, p_kind, v_now, v_wake, p_step,
            p_event_type, case when p_event_type is not null then coalesce((work.match_keys(p_match))[1], 0) end, p_match, p_question);
    return true;
end
$$;

-- work.go_on: queue waiting tasks, those that are parked with what their wait gave; the caller has locked their rows.
create or replace function work.go_on(p_tasks bigint[], p_outputs jsonb[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now   constant timestamptz := db.clock();
    v_tasks bigint[];
    v_steps bigint[];
begin
    with gone as (
        delete from work.wait w where w.task_id = any (p_tasks)
        returning w.task_id, w.queue, w.priority, w.attempts, w.crashes, w.extras, w.kind, w.step, w.since
    ), told as (
        insert into work.step (task_id, name, state, fence, try, kind, input_hash, output, started_at, ended_at)
        select g.task_id, g.step, 'done', i.fence, 1, g.kind, i.input_hash, u.output, g.since, v_now
          from gone g
          join unnest(p_tasks, p_outputs) as u (task_id, output) on u.task_id = g.task_id
          -- The limit says nothing new, and has each one looked up by its key: history may be long.
         cross join lateral (
                   select s.fence, s.input_hash
                     from work.step s
                    where s.task_id = g.task_id and s.name = g.step and s.state = 'intent'
                    limit 1
               ) i
         where g.step is not null
        returning id, task_id
    ), queued as (
        insert into work.ready (task_id, queue, priority, attempts, crashes, extras)
        select g.task_id, g.queue, g.priority, g.attempts, g.crashes, g.extras
          from gone g
    )
    select array_agg(t.task_id order by t.id), array_agg(t.id order by t.id) into v_tasks, v_steps from told t;
    if v_steps is not null then
        perform audit.append(
            'tallystick', 'tasks.go_on', 'task', v_tasks[1], format('{"tasks":%s}', cardinality(v_tasks)),
            case when cardinality(v_tasks) = 1 then v_tasks[1] end, 'step', v_steps, work.step_digests(v_steps));
    end if;
end
$$;

-- work.wake: queue a parked task, with what its wait gave; false where it is not parked.
create or replace function work.wake(p_task bigint, p_output jsonb) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    perform 1 from work.wait w where w.task_id = p_task and w.step is not null for update;
    if not found then
        return false;
    end if;
    perform work.go_on(array[p_task], array[p_output]);
    return true;
end
$$;

-- work.wake_due: queue up to p_limit tasks whose time has come, earliest first; how many. Where an event or an answer was waited for,
-- the wait gives {"timed_out": true}.
create or replace function work.wake_due(p_limit bigint) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    -- A variable, so that the index by time is read up to now and not to its end.
    v_now     constant timestamptz := db.clock();
    v_tasks   bigint[];
    v_outputs jsonb[];
begin
    select array_agg(w.task_id), array_agg(case when w.kind in ('event', 'approval') then '{"timed_out": true}'::jsonb end)
      into v_tasks, v_outputs
      from (select w.task_id, w.kind from work.wait w where w.wake_at <= v_now order by w.wake_at limit p_limit
               for update skip locked) w;
    if v_tasks is null then
        return 0;
    end if;
    perform work.go_on(v_tasks, v_outputs);
    return cardinality(v_tasks);
end
$$;

-- work.wake_for_event: queue the tasks that wait for such an event, which is what their wait gives; how many. Called after
-- the event was stored, in its transaction; the lock makes every wait that does not see the event visible here.
create or replace function work.wake_for_event(p_type text, p_payload jsonb, p_event jsonb) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_keys  bigint[];
    v_tasks bigint[];
begin
    perform pg_advisory_xact_lock_shared(7331022, hashtext(p_type));
    -- A wait without a member to look it up by has 0.
    v_keys := coalesce(work.match_keys(p_payload), '{}') || 0::bigint;
    select array_agg(w.task_id) into v_tasks
      from (select w.task_id from work.wait w
             where w.event_type = p_type and w.match_key = any (v_keys) and (w.match is null or p_payload @> w.match)
             order by w.task_id for update) w;
    if v_tasks is null then
        return 0;
    end if;
    perform work.go_on(v_tasks, array_fill(p_event, array[cardinality(v_tasks)]));
    return cardinality(v_tasks);
end
$$;
