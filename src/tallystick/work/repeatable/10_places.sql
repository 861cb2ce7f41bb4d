-- How tasks move between their places; only the verbs of this schema call these.
--
-- Locks are taken in this order, so that no two calls wait for each other: rows of ready, run and dead by task id; then order keys
-- (advisory, sorted); then rows of wait by task id. Rows of due, turn and dependency are touched only by who holds the place of
-- their task, those of turn with their order key held as well, so they are never waited for. What would have to go against the
-- order looks again from the beginning, or skips what is locked.
--
-- Every row is looked up by its key. A session keeps its plans, and would keep those that it made when a table was empty and to read
-- all of it was cheap; so the functions of this schema are told not to (enable_seqscan), and not to plan anew for each call
-- (plan_cache_mode), which would take longer than the call.

-- work.extend_history: partitions for all task ids up to p_reach. One caller at a time.
create or replace function work.extend_history(p_reach bigint) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    span     constant bigint := 1000000;
    v_from   bigint;
    v_parent text;
    v_part   text;
begin
    perform pg_advisory_xact_lock(7331020);
    loop
        select coalesce(max(h.to_id), 0) into v_from from work.history h;
        exit when v_from > p_reach;
        foreach v_parent in array array['task', 'outcome', 'attempt', 'step'] loop
            v_part := format('%s_%s', v_parent, lpad((v_from / span)::text, 6, '0'));
            execute format('create table work.%I (like work.%I including all)', v_part, v_parent);
            execute format('create trigger facts_are_kept before update or delete or truncate on work.%I
                            for each statement execute function db.refuse_change()', v_part);
            execute format('grant select on work.%I to tallystick_app, tallystick_auditor', v_part);
            -- Attached, not created in place: that waits for nobody who works with the other partitions.
            execute format('alter table work.%I attach partition work.%I for values from (%s) to (%s)',
                           v_parent, v_part, v_from, v_from + span);
        end loop;
        insert into work.history (from_id, to_id, made_at) values (v_from, v_from + span, db.clock());
    end loop;
end
$$;

-- work.admit: of waiting tasks whose turn it is, those that nothing holds up are queued; the others wait for what they are to run
-- after, or for their time. The caller has locked them.
create or replace function work.admit(p_tasks bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := db.clock();
    v_free bigint[];
begin
    update work.wait w
       set kind = 'tasks'
     where w.task_id = any (p_tasks) and w.kind <> 'tasks'
       and exists (select from work.dependency d where d.task_id = w.task_id);
    select array_agg(u.id) into v_free
      from unnest(p_tasks) as u (id)
     where not exists (select from work.dependency d where d.task_id = u.id);
    update work.wait w
       set kind = 'run_at', wake_at = t.run_at
      from work.task t
     where w.task_id = any (v_free) and t.id = w.task_id and t.run_at > v_now;
    with gone as (
        delete from work.wait w
         where w.task_id = any (v_free) and w.kind <> 'run_at'
        returning w.task_id, w.queue, w.priority, w.attempts, w.crashes, w.extras
    )
    insert into work.ready (task_id, queue, priority, attempts, crashes, extras)
    select g.task_id, g.queue, g.priority, g.attempts, g.crashes, g.extras
      from gone g;
end
$$;

-- work.tell_ends: one event of the record with the outcomes of tasks that no attempt has ended.
create or replace function work.tell_ends(p_tasks bigint[], p_by text) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids bigint[];
begin
    select array_agg(o.task_id order by o.task_id) into v_ids from work.outcome o where o.task_id = any (p_tasks);
    if v_ids is not null then
        perform audit.append(p_by, 'tasks.end', 'task', v_ids[1], format('{"ended":%s}', cardinality(v_ids)),
                             case when cardinality(v_ids) = 1 then v_ids[1] end, 'outcome', v_ids, work.outcome_digests(v_ids));
    end if;
end
$$;

-- work.announce: wake those who wait for tasks when the caller's transaction commits; whether that will be done.
--
-- Of transactions that notify, one commits at a time. So where it is not certain to be needed (p_always), only one of them does, and
-- the others ring the bell after their commit.
create or replace function work.announce(p_always boolean) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not p_always and not pg_try_advisory_xact_lock(7331022) then
        return false;
    end if;
    perform pg_notify('tallystick_work', '');
    return true;
end
$$;

-- work.lock_keys: hold the order keys of tasks until the caller's transaction ends, so that who has a turn is decided by one at a
-- time. Keys that are held already cost nothing.
create or replace function work.lock_keys(p_agents text[], p_keys text[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_hash integer;
begin
    for v_hash in
        select k.hash
          from (select distinct hashtext(u.agent || chr(31) || u.key) as hash from unnest(p_agents, p_keys) as u (agent, key)) k
         order by k.hash
    loop
        perform pg_advisory_xact_lock(7331021, v_hash);
    end loop;
end
$$;

-- work.next_in_turn: the tasks that have their turn next under some order keys, when p_leaving have left theirs. The caller holds
-- the keys.
create or replace function work.next_in_turn(p_agents text[], p_keys text[], p_leaving bigint[]) returns bigint[]
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_leaving constant bigint[] := coalesce(p_leaving, '{}');
    v_next    bigint[];
    v_busy    bigint;
    v_task    record;
begin
    for i in 1 .. coalesce(cardinality(p_keys), 0) loop
        select count(*) into v_busy
          from work.turn t
         where t.agent = p_agents[i] and t.key = p_keys[i] and t.in_turn and t.task_id <> all (v_leaving);
        for v_task in
            select t.task_id, q.per_key
              from work.turn t
              join work.task k on k.id = t.task_id
              join work.queue q on q.id = k.queue
             where t.agent = p_agents[i] and t.key = p_keys[i] and not t.in_turn and t.task_id <> all (v_leaving)
             order by t.task_id
        loop
            exit when v_busy >= v_task.per_key;
            v_next := v_next || v_task.task_id;
            v_busy := v_busy + 1;
        end loop;
    end loop;
    return v_next;
end
$$;

-- work.give_turns: let as many tasks of some order keys have their turn as may.
create or replace function work.give_turns(p_agents text[], p_keys text[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_next bigint[];
begin
    perform work.lock_keys(p_agents, p_keys);
    v_next := work.next_in_turn(p_agents, p_keys, null);
    perform 1 from work.wait w where w.task_id = any (v_next) order by w.task_id for update;
    update work.turn t set in_turn = true where t.task_id = any (v_next);
    perform work.admit(v_next);
end
$$;

-- work.move_on: what the end of tasks means for others; which of p_waiting were ended.
--
-- p_left gave up their turn, with their end or because they are dead. Tasks that were to run after one of p_done come nearer to
-- their own beginning; those after one of p_not_done are cancelled, as are those after them. p_waiting are to be ended here as
-- p_state, p_error and p_by say, as far as they still wait when they are locked, with the same consequences.
create or replace function work.move_on(
    p_left bigint[], p_done bigint[], p_not_done bigint[], p_waiting bigint[] default null, p_state text default null,
    p_error text default null, p_by text default null
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_ended  bigint[] := p_waiting;
    v_gone   bigint[];
    v_on     bigint[];
    v_freed  bigint[];
    v_next   bigint[];
    v_locked bigint[] := '{}';
    v_seen   bigint[];
    v_agents text[];
    v_keys   text[];
    k_agents text[] := '{}';
    k_keys   text[] := '{}';
begin
    -- Nobody adds to what is to run after a task that ended: its place is locked by this transaction, and whoever enqueues such a
    -- task locks it too.
    select array_agg(distinct d.task_id) into v_freed from work.dependency d where d.on_task = any (p_done);
    -- Keys come before rows. Where a look at the rows shows another key that is needed, the rows and the keys are given back, and all
    -- of it is taken anew with that key among them.
    loop
        begin
            perform work.lock_keys(k_agents, k_keys);
            v_ended := p_waiting;
            v_locked := '{}';
            loop
                with recursive after_ (task_id, on_task) as (
                    select d.task_id, d.on_task from work.dependency d where d.on_task = any (p_not_done || v_ended)
                    union
                    select d.task_id, d.on_task from after_ a join work.dependency d on d.on_task = a.task_id
                )
                select array_agg(f.task_id), array_agg(f.on_task) into v_gone, v_on
                  from (select a.task_id, min(a.on_task) as on_task
                          from after_ a
                         where a.task_id <> all (coalesce(v_ended, '{}'))
                         group by a.task_id) f;
                select array_agg(k.agent), array_agg(k.key) into v_agents, v_keys
                  from (select distinct t.agent, t.key from work.turn t where t.task_id = any (p_left || v_ended || v_gone)) k;
                if exists (select from unnest(v_agents, v_keys) as u (agent, key)
                            where not exists (select from unnest(k_agents, k_keys) as h (agent, key) where h.agent = u.agent and h.key = u.key)) then
                    k_agents := k_agents || v_agents;
                    k_keys := k_keys || v_keys;
                    raise exception using errcode = 'TS006';
                end if;
                v_next := work.next_in_turn(v_agents, v_keys, p_left || v_ended || v_gone);
                exit when not exists (select unnest(v_ended || v_gone || v_freed || v_next) except select unnest(v_locked));
                -- Whoever else would move one of these is waited for here. What they did to it, or added behind it, is seen by looking again.
                v_locked := v_locked || v_ended || v_gone || v_freed || v_next;
                select array_agg(l.task_id) into v_seen
                  from (select w.task_id from work.wait w where w.task_id = any (v_locked) order by w.task_id for update) l;
                select array_agg(u.id) into v_ended from unnest(v_ended) as u (id) where u.id = any (v_seen);
            end loop;
            exit;
        exception when sqlstate 'TS006' then
            null;
        end;
    end loop;

    with gone as (
        delete from work.wait w
         where w.task_id = any (v_ended || v_gone)
        returning w.task_id, w.queue, w.attempts
    )
    insert into work.outcome (task_id, fence, queue, state, error, worker, attempts, finished_at)
    select g.task_id, nextval('work.fence'), g.queue,
           case when f.on_task is null then p_state else 'cancelled' end,
           case when f.on_task is null then p_error
                else format('dependency_failed: task %s did not end well', f.on_task) end,
           case when f.on_task is null then p_by else 'tallystick' end,
           g.attempts, db.clock()
      from gone g
      left join unnest(v_gone, v_on) as f (task_id, on_task) on f.task_id = g.task_id;
    perform work.tell_ends(v_ended || v_gone, coalesce(p_by, 'tallystick'));
    delete from work.due d where d.task_id = any (v_ended || v_gone);
    delete from work.dependency d where d.on_task = any (p_done) or d.task_id = any (v_ended || v_gone);
    delete from work.turn t where t.task_id = any (p_left || v_ended || v_gone);
    update work.turn t set in_turn = true where t.task_id = any (v_next);
    select array_agg(w.task_id) into v_freed from work.wait w where w.task_id = any (v_freed) and w.kind = 'tasks';
    if cardinality(v_freed || v_next) > 0 then
        perform work.admit(v_freed || v_next);
        perform work.announce(true);
    end if;
    return v_ended;
end
$$;

-- work.ended: what the end of tasks means for them and for others. Those with extras leave their turn and their deadline.
create or replace function work.ended(p_extras bigint[], p_done bigint[], p_not_done bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_extras is not null then
        delete from work.due d where d.task_id = any (p_extras);
    elsif not exists (select from work.dependency d where d.on_task = any (p_done) or d.on_task = any (p_not_done)) then
        return;
    end if;
    perform work.move_on(p_extras, p_done, p_not_done);
end
$$;

-- work.end_these: end those of some tasks that are queued, running or dead, without their attempts, and those that wait where
-- p_waiting says so; each with the place it was in. Those that somebody else has in hand are left.
create or replace function work.end_these(p_tasks bigint[], p_waiting boolean, p_state text, p_error text, p_by text)
returns table (task_id bigint, place text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := db.clock();
    v_ids    bigint[];
    v_places text[];
    v_extras bigint[];
    v_wait   bigint[];
begin
    with ready as (
        delete from work.ready r
         where r.task_id in (select l.task_id from work.ready l where l.task_id = any (p_tasks) for update skip locked)
        returning r.task_id, r.queue, r.attempts, r.extras
    ), run as (
        delete from work.run r
         where r.task_id in (select l.task_id from work.run l where l.task_id = any (p_tasks) for update skip locked)
        returning r.task_id, r.queue, r.attempts, r.extras, r.fence, r.started_at, r.worker
    ), dead as (
        delete from work.dead d
         where d.task_id in (select l.task_id from work.dead l where l.task_id = any (p_tasks) for update skip locked)
        returning d.task_id, d.queue, d.attempts, d.extras
    ), noted as (
        insert into work.attempt (task_id, fence, ended, error, worker, started_at, ended_at)
        select r.task_id, r.fence, 'returned', p_error, r.worker, r.started_at, v_now
          from run r
    ), gone as (
        select r.task_id, 'ready' as place, r.queue, r.attempts, r.extras, null::timestamptz as started_at from ready r
        union all
        select r.task_id, 'run', r.queue, r.attempts, r.extras, r.started_at from run r
        union all
        select d.task_id, 'dead', d.queue, d.attempts, d.extras, null from dead d
    ), written as (
        insert into work.outcome (task_id, fence, queue, state, error, worker, attempts, started_at, finished_at)
        select g.task_id, nextval('work.fence'), g.queue, p_state, p_error, p_by, g.attempts, g.started_at, v_now
          from gone g
    )
    select array_agg(g.task_id), array_agg(g.place), array_agg(g.task_id) filter (where g.extras)
      into v_ids, v_places, v_extras
      from gone g;
    if p_waiting then
        select array_agg(w.task_id) into v_wait from work.wait w where w.task_id = any (p_tasks);
    end if;
    perform work.tell_ends(v_ids, p_by);
    delete from work.due d where d.task_id = any (v_extras);
    v_wait := work.move_on(v_extras, null, v_ids, v_wait, p_state, p_error, p_by);
    return query
    select u.id, u.place from unnest(v_ids, v_places) as u (id, place)
    union all
    select u.id, 'wait' from unnest(v_wait) as u (id);
end
$$;

-- work.end_anywhere: end a task wherever it is, without its attempt; the place it was in, or null where it had ended before or was
-- never there. Who has it in hand is waited for, and a task that moves meanwhile is followed.
create or replace function work.end_anywhere(p_task bigint, p_state text, p_error text, p_by text) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_place text;
begin
    for i in 1 .. 20 loop
        perform 1 from work.ready r where r.task_id = p_task for update;
        if not found then
            perform 1 from work.run r where r.task_id = p_task for update;
        end if;
        if not found then
            perform 1 from work.dead d where d.task_id = p_task for update;
        end if;
        if found then
            select e.place into v_place from work.end_these(array[p_task], false, p_state, p_error, p_by) as e;
            return v_place;
        end if;
        begin
            if work.move_on(null, null, null, array[p_task], p_state, p_error, p_by) is not null then
                return 'wait';
            end if;
            -- It does not wait. What was locked to end it there is given back before anything else is locked.
            raise exception using errcode = 'TS005';
        exception when sqlstate 'TS005' then
            null;
        end;
        if exists (select from work.outcome o where o.task_id = p_task) or not exists (select from work.task t where t.id = p_task) then
            return null;
        end if;
    end loop;
    raise exception 'task % moves too fast to be ended', p_task using errcode = '55P03';
end
$$;
