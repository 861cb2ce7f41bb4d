-- work.enqueue: store tasks and put each in its first place; their ids, in order.
--
-- The arrays run in parallel, one element a task; those that are null stand for absent values throughout. p_ids are ids of ours that
-- rise; null has them made here. p_after_ord and p_after pair a place in the arrays (from 1) with a task that is there, which that one
-- is to run after.
--
-- A task that something else is to run after is locked where it is, so that its end is seen by one of the two.
create or replace function work.enqueue(
    p_principal    text,
    p_ids          bigint[],
    p_agent        text[],
    p_type         text[],
    p_payload      text[],
    p_priority     integer[],
    p_max_attempts integer[],
    p_run_at       timestamptz[],
    p_deadline_at  timestamptz[],
    p_order_key    text[],
    p_after_ord    integer[],
    p_after        bigint[]
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    n         constant integer := cardinality(p_agent);
    v_now     constant timestamptz := db.clock();
    v_ids     bigint[];
    v_edge    bigint;
    v_failed  bigint[];
    v_agents  text[];
    v_keys    text[];
    v_seed    constant bytea := uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
begin
    insert into work.queue (agent, type)
    select distinct u.agent, u.type
      from unnest(p_agent, p_type) as u (agent, type)
     where not exists (select from work.queue q where q.agent = u.agent and q.type = u.type)
     order by u.agent, u.type
        on conflict do nothing;
    if p_ids is null then
        select array_agg(nextval('work.task_id')) into v_ids from generate_series(1, n);
    else
        v_ids := p_ids;
    end if;
    select max(h.to_id) into v_edge from work.history h;
    if v_ids[n] >= v_edge - 200000 and (v_ids[n] >= v_edge or pg_try_advisory_xact_lock(7331020)) then
        perform work.extend_history(v_ids[n] + 1000000);
    end if;
    -- This transaction may have used the table before another one made the range of these ids. A session hears of that when it locks
    -- a relation which it does not hold: this one, which is let go at once.
    perform pg_relation_size('work.worker_id');

    if p_run_at is null and p_deadline_at is null and p_order_key is null and p_after is null then
        with stored as (
            insert into work.task (id, queue, payload, priority, max_attempts, created_by, created_at, salt)
            select u.id, q.id, u.payload::jsonb, coalesce(u.priority, 0), u.max_attempts, p_principal, v_now,
                   work.salt(v_seed, u.id)
              from unnest(v_ids, p_agent, p_type, p_payload, p_priority, p_max_attempts)
                   as u (id, agent, type, payload, priority, max_attempts)
              join work.queue q on q.agent = u.agent and q.type = u.type
            returning id, queue, priority
        )
        insert into work.ready (task_id, queue, priority, attempts, crashes, extras)
        select s.id, s.queue, s.priority, 0, 0, false
          from stored s;
        return v_ids;
    end if;

    select array_agg(u.agent), array_agg(u.key) into v_agents, v_keys
      from (select distinct u.agent, u.key from unnest(p_agent, p_order_key) as u (agent, key) where u.key is not null) u;
    v_failed := work.hold_still(array(select distinct a.task from unnest(p_after) as a (task) order by a.task), v_agents, v_keys);
    with stored as (
        insert into work.task (id, queue, payload, priority, max_attempts, run_at, deadline_at, order_key, created_by, created_at)
        select u.id, q.id, u.payload::jsonb, coalesce(u.priority, 0), u.max_attempts, u.run_at, u.deadline_at, u.order_key,
               p_principal, v_now
          from unnest(v_ids, p_agent, p_type, p_payload, p_priority, p_max_attempts, p_run_at, p_deadline_at, p_order_key)
               as u (id, agent, type, payload, priority, max_attempts, run_at, deadline_at, order_key)
          join work.queue q on q.agent = u.agent and q.type = u.type
        returning id, queue, priority, deadline_at, order_key
    ), due as (
        insert into work.due (task_id, deadline_at)
        select s.id, s.deadline_at from stored s where s.deadline_at is not null
    ), turns as (
        insert into work.turn (agent, key, task_id, in_turn)
        select u.agent, s.order_key, s.id, false
          from stored s
          join unnest(v_ids, p_agent) as u (id, agent) on u.id = s.id
         where s.order_key is not null
    )
    insert into work.wait (task_id, queue, priority, attempts, crashes, extras, kind, since)
    select s.id, s.queue, s.priority, 0, 0, s.deadline_at is not null or s.order_key is not null,
           case when s.order_key is null then 'tasks' else 'turn' end, v_now
      from stored s;
    if p_after is not null then
        insert into work.dependency (on_task, task_id)
        select distinct a.task, v_ids[a.ord]
          from unnest(p_after_ord, p_after) as a (ord, task)
         where a.task = any (v_failed)
            or not exists (select from work.outcome o where o.task_id = a.task and o.state = 'done');
        perform work.move_on(null, null, v_failed);
    end if;
    perform work.admit(array(select u.id
                               from unnest(v_ids) with ordinality as u (id, ord)
                              where p_order_key is null or p_order_key[u.ord] is null));
    perform work.give_turns(v_agents, v_keys);
    return v_ids;
end
$$;

-- work.stays_active: whether a task is queued, running or dead (`live`, and then it stays where it is until the caller commits), is
-- done, or ended otherwise; null where it is none of these, so it waits, or moves.
create or replace function work.stays_active(p_task bigint) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_state text;
begin
    perform 1 from work.ready r where r.task_id = p_task for key share;
    if found then return 'live'; end if;
    perform 1 from work.run r where r.task_id = p_task for key share;
    if found then return 'live'; end if;
    perform 1 from work.dead d where d.task_id = p_task for key share;
    if found then return 'live'; end if;
    select o.state into v_state from work.outcome o where o.task_id = p_task;
    if found then
        return case when v_state = 'done' then 'done' else 'not done' end;
    end if;
    -- Somebody may drop what is long over at this moment.
    return case when not exists (select from work.task t where t.id = p_task) then 'not done' end;
end
$$;

-- work.hold_still: lock tasks where they are, in the order of their ids, and order keys; which of the tasks ended without being done.
--
-- What is queued, running or dead comes before keys, and what waits comes after them. Where a task no longer waits when that is its
-- turn, all locks are given back before they are taken anew: whoever moved it may need one of the keys.
create or replace function work.hold_still(p_tasks bigint[], p_agents text[], p_keys text[]) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_task   bigint;
    v_state  text;
    v_wait   bigint[];
    v_failed bigint[];
begin
    if cardinality(p_tasks) = 0 then
        perform work.lock_keys(p_agents, p_keys);
        return '{}';
    end if;
    for i in 1 .. 20 loop
        v_wait := '{}';
        v_failed := '{}';
        begin
            foreach v_task in array p_tasks loop
                v_state := work.stays_active(v_task);
                if v_state is null then
                    v_wait := v_wait || v_task;
                elsif v_state = 'not done' then
                    v_failed := v_failed || v_task;
                end if;
            end loop;
            perform work.lock_keys(p_agents, p_keys);
            foreach v_task in array v_wait loop
                perform 1 from work.wait w where w.task_id = v_task for key share;
                if not found then
                    raise exception using errcode = 'TS006';
                end if;
            end loop;
            return v_failed;
        exception when sqlstate 'TS006' then
            null;
        end;
    end loop;
    raise exception 'task % moves too fast to be waited for', v_task using errcode = '55P03';
end
$$;

drop function if exists work.stays_anywhere(bigint);
