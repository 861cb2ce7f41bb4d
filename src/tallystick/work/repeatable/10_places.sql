-- How tasks move between their places; only the verbs of this schema call these. Each locks rows in the order of task ids.

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
-- after, or for their time.
create or replace function work.admit(p_tasks bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := db.clock();
begin
    -- Whoever else releases one of these is waited for here, so that one of the two sees that nothing is left.
    perform 1 from work.wait w where w.task_id = any (p_tasks) order by w.task_id for update;
    update work.wait w
       set kind = 'tasks'
     where w.task_id = any (p_tasks) and w.kind <> 'tasks'
       and exists (select from work.dependency d where d.task_id = w.task_id);
    update work.wait w
       set kind = 'run_at', wake_at = t.run_at
      from work.task t
     where w.task_id = any (p_tasks) and t.id = w.task_id and t.run_at > v_now
       and not exists (select from work.dependency d where d.task_id = w.task_id);
    with gone as (
        delete from work.wait w
         using work.task t
         where w.task_id = any (p_tasks) and t.id = w.task_id and (t.run_at is null or t.run_at <= v_now)
           and not exists (select from work.dependency d where d.task_id = w.task_id)
        returning w.task_id, w.queue, w.priority, w.attempts, w.crashes, w.extras
    )
    insert into work.ready (task_id, queue, priority, attempts, crashes, extras)
    select g.task_id, g.queue, g.priority, g.attempts, g.crashes, g.extras
      from gone g;
end
$$;

-- work.next_in_turn: let as many tasks of an order key have their turn as may. The lock makes all who ask this one after another.
create or replace function work.next_in_turn(p_agent text, p_key text) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_busy  integer;
    v_next  record;
    v_tasks bigint[] := '{}';
begin
    perform pg_advisory_xact_lock(7331021, hashtext(p_agent || chr(31) || p_key));
    select count(*) into v_busy from work.turn t where t.agent = p_agent and t.key = p_key and t.in_turn;
    for v_next in
        select t.task_id, q.per_key
          from work.turn t
          join work.task k on k.id = t.task_id
          join work.queue q on q.id = k.queue
         where t.agent = p_agent and t.key = p_key and not t.in_turn
         order by t.task_id
    loop
        exit when v_busy >= v_next.per_key;
        update work.turn t set in_turn = true where t.task_id = v_next.task_id;
        v_tasks := v_tasks || v_next.task_id;
        v_busy := v_busy + 1;
    end loop;
    perform work.admit(v_tasks);
end
$$;

-- work.leave_turn: tasks give up their turn under their order keys, and the next have theirs.
create or replace function work.leave_turn(p_tasks bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_agents text[];
    v_keys   text[];
begin
    with gone as (
        delete from work.turn t where t.task_id = any (p_tasks) returning t.agent, t.key
    ), once as (
        select distinct g.agent, g.key from gone g
    )
    select array_agg(o.agent order by hashtext(o.agent || chr(31) || o.key), o.agent, o.key),
           array_agg(o.key order by hashtext(o.agent || chr(31) || o.key), o.agent, o.key)
      into v_agents, v_keys
      from once o;
    for i in 1 .. coalesce(cardinality(v_keys), 0) loop
        perform work.next_in_turn(v_agents[i], v_keys[i]);
    end loop;
end
$$;

-- work.ended: what the end of tasks means for others. Those with extras leave their turn and their deadline; tasks that were to run
-- after one that is done come nearer to their own, and those after one that is not are cancelled, as are those after them.
create or replace function work.ended(p_extras bigint[], p_done bigint[], p_not_done bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_freed    bigint[];
    v_not_done bigint[] := p_not_done;
    v_on       bigint[];
    v_gone     bigint[];
begin
    if p_extras is not null then
        delete from work.due d where d.task_id = any (p_extras);
        perform work.leave_turn(p_extras);
    end if;
    if not exists (select from work.dependency d where d.on_task = any (p_done) or d.on_task = any (v_not_done)) then
        return;
    end if;
    with met as (
        delete from work.dependency d where d.on_task = any (p_done) returning d.task_id
    )
    select array_agg(distinct m.task_id order by m.task_id) into v_freed from met m;
    if v_freed is not null then
        perform 1 from work.wait w where w.task_id = any (v_freed) order by w.task_id for update;
        select array_agg(w.task_id) into v_freed from work.wait w where w.task_id = any (v_freed) and w.kind = 'tasks';
        perform work.admit(v_freed);
    end if;
    loop
        with failed as (
            delete from work.dependency d where d.on_task = any (v_not_done) returning d.task_id, d.on_task
        )
        select array_agg(f.task_id order by f.task_id), array_agg(f.on_task order by f.task_id) into v_gone, v_on
          from (select f.task_id, min(f.on_task) as on_task from failed f group by f.task_id) f;
        exit when v_gone is null;
        perform 1 from work.wait w where w.task_id = any (v_gone) order by w.task_id for update;
        with left_ as (
            delete from work.wait w where w.task_id = any (v_gone)
            returning w.task_id, w.queue, w.attempts
        ), written as (
            insert into work.outcome (task_id, fence, queue, state, error, worker, attempts, finished_at)
            select l.task_id, nextval('work.fence'), l.queue, 'cancelled',
                   format('dependency_failed: task %s did not end well', v_on[array_position(v_gone, l.task_id)]),
                   'tallystick', l.attempts, db.clock()
              from left_ l
            returning task_id
        )
        select array_agg(w.task_id order by w.task_id) into v_not_done from written w;
        exit when v_not_done is null;
        delete from work.dependency d where d.task_id = any (v_not_done);
        delete from work.due d where d.task_id = any (v_not_done);
        perform work.leave_turn(v_not_done);
    end loop;
end
$$;

-- work.end_anywhere: end a task wherever it is, without its attempt; the place it was in, or null where it had ended before or was
-- never there. A task that moves meanwhile is followed.
create or replace function work.end_anywhere(p_task bigint, p_state text, p_error text, p_by text) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_place   text;
    v_queue   integer;
    v_tries   smallint;
    v_extras  boolean;
    v_fence   bigint;
    v_started timestamptz;
    v_worker  text;
begin
    for i in 1 .. 20 loop
        delete from work.ready r where r.task_id = p_task returning 'ready', r.queue, r.attempts, r.extras
          into v_place, v_queue, v_tries, v_extras;
        exit when found;
        delete from work.run r where r.task_id = p_task
        returning 'run', r.queue, r.attempts, r.extras, r.fence, r.started_at, r.worker
          into v_place, v_queue, v_tries, v_extras, v_fence, v_started, v_worker;
        exit when found;
        delete from work.wait w where w.task_id = p_task returning 'wait', w.queue, w.attempts, w.extras
          into v_place, v_queue, v_tries, v_extras;
        exit when found;
        delete from work.dead d where d.task_id = p_task returning 'dead', d.queue, d.attempts, d.extras
          into v_place, v_queue, v_tries, v_extras;
        exit when found;
        if exists (select from work.outcome o where o.task_id = p_task) or not exists (select from work.task t where t.id = p_task) then
            return null;
        end if;
    end loop;
    if v_place is null then
        raise exception 'task % moves too fast to be ended', p_task using errcode = '55P03';
    end if;
    if v_place = 'run' then
        insert into work.attempt (task_id, fence, ended, error, worker, started_at, ended_at)
        values (p_task, v_fence, 'returned', p_error, v_worker, v_started, db.clock());
    end if;
    insert into work.outcome (task_id, fence, queue, state, error, worker, attempts, started_at, finished_at)
    values (p_task, nextval('work.fence'), v_queue, p_state, p_error, p_by, v_tries, v_started, db.clock());
    delete from work.dependency d where d.task_id = p_task;
    perform work.ended(case when v_extras then array[p_task] end, null, array[p_task]);
    return v_place;
end
$$;
