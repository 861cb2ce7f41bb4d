-- work.answer: a person's answer to what a parked task asked; false where it does not wait for that.
create or replace function work.answer(p_task bigint, p_step text, p_answer jsonb) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    perform 1 from work.wait w where w.task_id = p_task and w.kind = 'approval' and w.step = p_step for update;
    if not found then
        return false;
    end if;
    perform work.go_on(array[p_task], array[p_answer]);
    return true;
end
$$;

-- work.cancel: end a task that has not ended, wherever it is; the place it was in, or null. An attempt of it that runs has lost its
-- fence with this.
create or replace function work.cancel(p_task bigint, p_reason text, p_by text) returns text
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select work.end_anywhere(p_task, 'cancelled', p_reason, p_by);
$$;

-- work.put_back: a task that was given up has all its attempts again; false where it is not among those.
create or replace function work.put_back(p_task bigint) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_dead record;
    v_turn record;
begin
    delete from work.dead d where d.task_id = p_task returning d.queue, d.priority, d.extras into v_dead;
    if not found then
        return false;
    end if;
    insert into work.wait (task_id, queue, priority, attempts, crashes, extras, kind, since)
    values (p_task, v_dead.queue, v_dead.priority, 0, 0, v_dead.extras, 'turn', db.clock());
    insert into work.turn (agent, key, task_id, in_turn)
    select q.agent, t.order_key, t.id, false
      from work.task t
      join work.queue q on q.id = t.queue
     where t.id = p_task and t.order_key is not null
    returning agent, key into v_turn;
    if found then
        perform work.give_turns(array[v_turn.agent], array[v_turn.key]);
    else
        perform work.admit(array[p_task]);
    end if;
    return true;
end
$$;

-- work.configure: how often and how long tasks of a queue are tried; null leaves what stands.
drop function if exists work.configure(text, text, integer, integer, integer, real, real, integer);
create or replace function work.configure(
    p_agent text, p_type text, p_max_attempts integer, p_max_crashes integer, p_timeout_s integer, p_backoff_s real,
    p_max_backoff_s real, p_per_key integer, p_by text
) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before work.queue;
    v_after  work.queue;
begin
    select q.* into v_before from work.queue q where q.agent = p_agent and q.type = p_type;
    insert into work.queue as q (agent, type, max_attempts, max_crashes, timeout_s, backoff_s, max_backoff_s, per_key)
    values (p_agent, p_type, coalesce(p_max_attempts, 5), coalesce(p_max_crashes, 5), coalesce(p_timeout_s, 3600),
            least(coalesce(p_backoff_s, 1), p_max_backoff_s), coalesce(p_max_backoff_s, greatest(300, p_backoff_s)),
            coalesce(p_per_key, 1))
        on conflict (agent, type) do update
       set max_attempts = coalesce(p_max_attempts, q.max_attempts),
           max_crashes = coalesce(p_max_crashes, q.max_crashes),
           timeout_s = coalesce(p_timeout_s, q.timeout_s),
           backoff_s = least(coalesce(p_backoff_s, q.backoff_s), p_max_backoff_s),
           max_backoff_s = coalesce(p_max_backoff_s, greatest(q.max_backoff_s, p_backoff_s)),
           per_key = coalesce(p_per_key, q.per_key)
    returning q.* into v_after;
    if v_before is distinct from v_after then
        perform audit.append(p_by, 'tasks.configure', 'queue', v_after.id,
                             format('{"after":%s,"before":%s}', to_jsonb(v_after),
                                    case when v_before.id is null then 'null' else to_jsonb(v_before)::text end));
    end if;
end
$$;

-- work.brake_on: pause an agent or a type, or let only so many of its tasks run at a time; null leaves what stands.
create or replace function work.brake_on(p_kind text, p_name text, p_by text, p_max_running integer) returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    -- What is handed over at this moment is begun before the limit, and counted by it.
    select pg_advisory_xact_lock(7331026) where p_max_running is not null;
    insert into work.brake as b (kind, name, max_running, paused_at, paused_by)
    values (p_kind, p_name, p_max_running, case when p_by is not null then db.clock() end, p_by)
        on conflict (kind, name) do update
       set max_running = coalesce(p_max_running, b.max_running),
           paused_at = coalesce(b.paused_at, case when p_by is not null then db.clock() end),
           paused_by = coalesce(b.paused_by, p_by);
$$;

-- work.brake_off: end a pause, or a limit; false where there is none.
create or replace function work.brake_off(p_kind text, p_name text, p_pause boolean) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    delete from work.brake b
     where b.kind = p_kind and b.name = p_name
       and case when p_pause then b.paused_at is not null and b.max_running is null
                else b.max_running is not null and b.paused_at is null end;
    if found then
        return true;
    end if;
    update work.brake b
       set paused_at = case when p_pause then null else b.paused_at end,
           paused_by = case when p_pause then null else b.paused_by end,
           max_running = case when p_pause then b.max_running end
     where b.kind = p_kind and b.name = p_name
       and case when p_pause then b.paused_at is not null else b.max_running is not null end;
    return found;
end
$$;
