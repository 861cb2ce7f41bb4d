-- work.take: begin attempts of the first tasks of some queues, at most p_limit in all: highest priority first, then oldest. Rows that
-- another transaction has in hand are skipped. Of several queues, each one's first are locked before the first of all are taken.
--
-- Each queue is read in order by its index, so that a claim costs the same however long the queue is, and a queue that nobody
-- serves costs nothing. The planner would not always see that: it guesses from statistics, and a queue was empty when they were
-- taken or is now. So it is told here what not to do.
create or replace function work.take(p_queues integer[], p_worker text, p_worker_id bigint, p_limit bigint, p_lease_s integer)
returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz,
               timeout_s integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := db.clock();
begin
    perform work.pass_fences();
    return query
    with chosen as materialized (
        select r.ctid
          from unnest(p_queues) as u (queue)
         cross join lateral (
                   select q.ctid, q.priority, q.task_id
                     from work.ready q
                    where q.queue = u.queue
                    order by q.priority desc, q.task_id
                    limit p_limit
                      for update skip locked
               ) r
         order by r.priority desc, r.task_id
         limit p_limit
    ), taken as (
        -- The rows are locked, so they are still where they were read.
        delete from work.ready q
         where q.ctid = any (array(select c.ctid from chosen c))
        returning q.task_id, q.queue, q.priority, q.attempts, q.crashes, q.extras
    ), running as (
        insert into work.run
               (task_id, fence, queue, priority, attempts, crashes, extras, worker, worker_id, started_at, deadline_at, lease_until)
        select t.task_id, nextval('work.fence'), t.queue, t.priority, t.attempts + 1, t.crashes, t.extras, p_worker, p_worker_id,
               v_now, v_now + make_interval(secs => q.timeout_s),
               case when p_worker_id is null then v_now + make_interval(secs => p_lease_s) end
          from taken t
          join work.queue q on q.id = t.queue
        returning task_id, fence, queue, priority, attempts, deadline_at, lease_until
    )
    select r.task_id, r.fence, q.agent, q.type, t.payload, r.attempts::integer, least(r.deadline_at, r.lease_until), q.timeout_s
      from running r
      join work.task t on t.id = r.task_id
      join work.queue q on q.id = r.queue
     order by r.priority desc, r.task_id;
end
$$;

-- work.pass_fences: after a crash of the server, put the fences past all that were given out before it. Those of the last moments may
-- have been forgotten, as light claims are not waited for on disk; so the upper bits of a fence count such starts, and the lower 40
-- the fences since.
create or replace function work.pass_fences() returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from work.since_start) then
        return;
    end if;
    perform pg_advisory_xact_lock(7331023);
    if exists (select from work.since_start) then
        return;
    end if;
    perform setval('work.fence', ((f.last_value >> 40) + 1) << 40) from work.fence f;
    insert into work.since_start default values;
    -- This is on disk before anybody else sees it, so from here on the transaction is one that is waited for.
    perform set_config('synchronous_commit', 'on', true);
    perform set_config('tallystick.passed_fences', 'on', true);
end
$$;

-- work.claim_lightly: `work.claim` as the only thing that its transaction does, which is not waited for on disk. All that an attempt
-- writes is, and so is its claim then, as the log is written in order. A server that crashes before may forget the claim: the task is
-- queued as it was, and the fence opens nothing.
create or replace function work.claim_lightly(
    p_agents text[], p_types text[], p_worker text, p_worker_id bigint, p_limit bigint, p_lease_s integer
) returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz,
               timeout_s integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('tallystick.passed_fences', true) is distinct from 'on' then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    return query select t.* from work.claim(p_agents, p_types, p_worker, p_worker_id, p_limit, p_lease_s) as t;
end
$$;

-- work.claim: begin attempts of queued tasks of some agents, at most p_limit in all, of some types only where p_types is given. What
-- is paused is left, and where only so many may run at a time, no more are taken. A worker that holds a lease is named by its id;
-- without one, each attempt has a lease of its own, of p_lease_s seconds.
create or replace function work.claim(
    p_agents text[], p_types text[], p_worker text, p_worker_id bigint, p_limit bigint, p_lease_s integer
) returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz,
               timeout_s integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_queues integer[];
begin
    if p_worker_id is not null then
        perform 1 from work.worker w where w.id = p_worker_id and w.lease_until > db.clock() for key share;
        if not found then
            raise exception 'worker % holds no lease', p_worker_id using errcode = 'TS004';
        end if;
    end if;
    select array_agg(q.id) into v_queues
      from work.queue q
     where q.agent = any (p_agents)
       and (p_types is null or q.type = any (p_types))
       and not exists (select from work.brake b
                        where b.paused_at is not null
                          and ((b.kind = 'agent' and b.name = q.agent) or (b.kind = 'type' and b.name = q.type)));
    if v_queues is null then
        return;
    end if;
    if not exists (select from work.brake b where b.max_running is not null) then
        return query select t.* from work.take(v_queues, p_worker, p_worker_id, p_limit, p_lease_s) as t;
        return;
    end if;

    return query select t.* from work.take_within(v_queues, null::bigint[], p_worker, p_worker_id, p_limit, p_lease_s) as t;
end
$$;

-- work.take_within: begin attempts of the first tasks of some queues, or of certain tasks of them, as far as the limits of their
-- agents and types leave room.
create or replace function work.take_within(
    p_queues integer[], p_tasks bigint[], p_worker text, p_worker_id bigint, p_limit bigint, p_lease_s integer
) returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz,
                 timeout_s integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_now   constant timestamptz := db.clock();
    v_rooms jsonb;
    v_first refcursor;
    v_next  record;
    v_tasks bigint[] := '{}';
    v_brake text;
begin
    perform work.pass_fences();
    -- Whoever would take tasks under the same limit waits here, so that what runs is counted once.
    perform 1
       from work.brake b
      where b.max_running is not null
        and exists (select from work.queue q
                     where q.id = any (p_queues)
                       and ((b.kind = 'agent' and b.name = q.agent) or (b.kind = 'type' and b.name = q.type)))
      order by b.kind, b.name
        for update;
    select coalesce(jsonb_object_agg(b.kind || ' ' || b.name, b.max_running - (
               select count(*)
                 from work.run r
                 join work.queue q on q.id = r.queue
                where (b.kind = 'agent' and q.agent = b.name) or (b.kind = 'type' and q.type = b.name))), '{}')
      into v_rooms
      from work.brake b
     where b.max_running is not null;
    if p_tasks is null then
        open v_first for
        select r.task_id, q.agent, q.type
          from unnest(p_queues) as u (queue)
          join work.queue q on q.id = u.queue
         cross join lateral (
                   select y.task_id, y.priority
                     from work.ready y
                    where y.queue = u.queue
                    order by y.priority desc, y.task_id
                    limit greatest(0, least(p_limit, (v_rooms ->> ('agent ' || q.agent))::bigint, (v_rooms ->> ('type ' || q.type))::bigint))
                      for update skip locked
               ) r
         order by r.priority desc, r.task_id;
    else
        open v_first for
        select y.task_id, q.agent, q.type
          from work.ready y
          join work.queue q on q.id = y.queue
         where y.task_id = any (p_tasks) and y.queue = any (p_queues)
         order by y.priority desc, y.task_id
           for update of y skip locked;
    end if;
    loop
        fetch v_first into v_next;
        exit when not found or cardinality(v_tasks) >= p_limit;
        continue when (v_rooms ->> ('agent ' || v_next.agent))::bigint <= 0 or (v_rooms ->> ('type ' || v_next.type))::bigint <= 0;
        v_tasks := v_tasks || v_next.task_id;
        foreach v_brake in array array['agent ' || v_next.agent, 'type ' || v_next.type] loop
            if v_rooms ? v_brake then
                v_rooms := jsonb_set(v_rooms, array[v_brake], to_jsonb((v_rooms ->> v_brake)::bigint - 1));
            end if;
        end loop;
    end loop;
    close v_first;
    return query
    with taken as (
        delete from work.ready y
         where y.task_id = any (v_tasks)
        returning y.task_id, y.queue, y.priority, y.attempts, y.crashes, y.extras
    ), running as (
        insert into work.run
               (task_id, fence, queue, priority, attempts, crashes, extras, worker, worker_id, started_at, deadline_at, lease_until)
        select t.task_id, nextval('work.fence'), t.queue, t.priority, t.attempts + 1, t.crashes, t.extras, p_worker, p_worker_id,
               v_now, v_now + make_interval(secs => q.timeout_s),
               case when p_worker_id is null then v_now + make_interval(secs => p_lease_s) end
          from taken t
          join work.queue q on q.id = t.queue
        returning task_id, fence, queue, priority, attempts, deadline_at, lease_until
    )
    select r.task_id, r.fence, q.agent, q.type, t.payload, r.attempts::integer, least(r.deadline_at, r.lease_until), q.timeout_s
      from running r
      join work.task t on t.id = r.task_id
      join work.queue q on q.id = r.queue
     order by r.priority desc, r.task_id;
end
$$;

-- work.claim_these: begin attempts of certain tasks, as far as they are queued, nobody else has them in hand, and nothing of them is
-- paused or at its limit.
create or replace function work.claim_these(p_tasks bigint[], p_worker text, p_lease_s integer)
returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz,
               timeout_s integer)
language sql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
    select t.*
      from work.take_within(
               array(select distinct r.queue
                       from work.ready r
                       join work.queue q on q.id = r.queue
                      where r.task_id = any (p_tasks)
                        and not exists (select from work.brake b
                                         where b.paused_at is not null
                                           and ((b.kind = 'agent' and b.name = q.agent) or (b.kind = 'type' and b.name = q.type)))),
               p_tasks, p_worker, null::bigint, cardinality(p_tasks)::bigint, p_lease_s) as t;
$$;
