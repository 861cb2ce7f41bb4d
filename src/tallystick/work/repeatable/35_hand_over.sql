-- A claim that found less than it asked for stands open, and tasks are handed to it by the very transactions that store them: the
-- attempt begins with that commit, and a notification brings it to its worker. That saves the claim, which would come after the commit.
--
-- What is handed over is what a claim would have taken at that moment. It has a lease of a few seconds, until the worker says
-- that it has heard of it (work.take_up). One that does not has its task taken back, uncounted, and is handed nothing more
-- before it claims again.

-- work.claim_openly: `work.claim_lightly`, whose worker is handed what comes later, up to p_limit in all. p_heard is how much
-- of what it was handed on p_channel the worker knows of; what it does not know of yet takes up places as well.
create or replace function work.claim_openly(
    p_agents text[], p_types text[], p_worker text, p_worker_id bigint, p_limit bigint, p_channel text, p_heard bigint,
    p_open_agents text[], p_open_types text[]
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
    v_lanes smallint[];
    v_limit bigint := p_limit;
    v_taken bigint := 0;
begin
    if current_setting('tallystick.passed_fences', true) is distinct from 'on' then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform 1 from work.worker w where w.id = p_worker_id and w.lease_until > db.clock() for key share;
    if not found then
        raise exception 'worker % holds no lease', p_worker_id using errcode = 'TS004';
    end if;
    perform work.pass_fences();
    insert into work.open_claim (worker_id, lane, channel, queues, given, up_to)
    select p_worker_id, l.lane, p_channel, q.queues, 0, 0
      from generate_series(0, 3) as l (lane),
           (select array_agg(q.id) as queues
              from unnest(p_open_agents, p_open_types) as u (agent, type)
              join work.queue q on q.agent = u.agent and q.type = u.type) q
     where q.queues is not null
       and not exists (select from work.open_claim o where o.worker_id = p_worker_id and o.lane = l.lane)
        on conflict do nothing;
    -- A lane by which something is handed over at this moment is left as it is.
    select array_agg(o.lane order by o.lane) into v_lanes
      from (select o.lane from work.open_claim o where o.worker_id = p_worker_id for no key update skip locked) o;
    update work.open_claim o
       set channel = p_channel, given = 0, up_to = 0
     where o.worker_id = p_worker_id and o.lane = any (v_lanes) and o.channel <> p_channel;
    select p_limit - coalesce(sum(case when o.lane = any (v_lanes) then o.given else o.up_to end), 0) + p_heard into v_limit
      from work.open_claim o
     where o.worker_id = p_worker_id and o.channel = p_channel;
    v_limit := least(v_limit, p_limit);
    if v_limit > 0 then
        return query select t.* from work.claim(p_agents, p_types, p_worker, p_worker_id, v_limit, 60) as t;
        get diagnostics v_taken = row_count;
    end if;
    -- As evenly as may be.
    update work.open_claim o
       set up_to = o.given + (greatest(v_limit - v_taken, 0) + cardinality(v_lanes) - array_position(v_lanes, o.lane))
                             / cardinality(v_lanes)
     where o.worker_id = p_worker_id and o.lane = any (v_lanes);
end
$$;

-- work.hand_over: begin an attempt of a task that the caller's transaction has just queued, for a worker that waits; whether there is
-- one. It is left to claims where anything that its worker serves is queued already, as that comes first, where its agent or type is
-- paused or limited, and where too many others notify at this moment, as they commit one at a time.
create or replace function work.hand_over(p_task bigint) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_now   constant timestamptz := db.clock();
    v_task  record;
    v_to    record;
    v_ready record;
    v_fence bigint;
begin
    if not exists (select from work.open_claim o where o.given < o.up_to) or not exists (select from work.since_start) then
        return false;
    end if;
    select y.queue, q.agent, q.type, q.timeout_s, t.payload::text as payload into v_task
      from work.ready y
      join work.queue q on q.id = y.queue
      join work.task t on t.id = y.task_id
     where y.task_id = p_task;
    if not found or octet_length(v_task.payload) > 7000 then
        return false;
    end if;
    if not (pg_try_advisory_xact_lock(7331022) or pg_try_advisory_xact_lock(7331024, 1)
            or pg_try_advisory_xact_lock(7331024, 2) or pg_try_advisory_xact_lock(7331024, 3)) then
        return false;
    end if;
    -- Whoever sets a limit holds this alone, and counts what was begun before.
    if not pg_try_advisory_xact_lock_shared(7331026) then
        return false;
    end if;
    if exists (select from work.brake b
                where (b.kind = 'agent' and b.name = v_task.agent) or (b.kind = 'type' and b.name = v_task.type)) then
        return false;
    end if;
    if exists (select from work.ready y where y.queue = v_task.queue and y.task_id <> p_task) then
        return false;
    end if;
    select o.worker_id, o.lane, o.channel, o.queues, w.name into v_to
      from work.open_claim o
      join work.worker w on w.id = o.worker_id and w.lease_until > v_now
     where v_task.queue = any (o.queues)
       and o.given < o.up_to
     order by o.up_to - o.given desc
     limit 1
       for no key update of o skip locked
       for key share of w skip locked;
    if not found or exists (select from work.ready y where y.queue = any (v_to.queues) and y.task_id <> p_task) then
        return false;
    end if;
    -- The session that listens holds this.
    if pg_try_advisory_xact_lock(7331025, hashtext(v_to.channel)) then
        return false;
    end if;
    update work.open_claim o set given = o.given + 1 where o.worker_id = v_to.worker_id and o.lane = v_to.lane;
    delete from work.ready y
     where y.task_id = p_task
    returning y.queue, y.priority, y.attempts, y.crashes, y.extras into v_ready;
    insert into work.run
           (task_id, fence, queue, priority, attempts, crashes, extras, worker, worker_id, started_at, deadline_at, lease_until)
    values (p_task, nextval('work.fence'), v_ready.queue, v_ready.priority, v_ready.attempts + 1, v_ready.crashes, v_ready.extras,
            v_to.name, v_to.worker_id, v_now, v_now + make_interval(secs => v_task.timeout_s), v_now + interval '3 seconds')
    returning fence into v_fence;
    perform pg_notify(v_to.channel,
                      format('{"task_id":%s,"fence":%s,"agent":%s,"type":%s,"attempts":%s,"timeout_s":%s,"payload":%s}',
                             p_task, v_fence, to_json(v_task.agent), to_json(v_task.type), v_ready.attempts + 1, v_task.timeout_s,
                             v_task.payload));
    return true;
end
$$;

-- work.take_up: a worker has heard of what it was handed; from here on it has the lease of its worker alone.
create or replace function work.take_up(p_task bigint[], p_fence bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_places constant tid[] := work.lock_runs(p_task, p_fence);
begin
    update work.run r
       set lease_until = null
     where r.ctid = any (v_places) and r.worker_id is not null and r.lease_until > db.clock();
end
$$;

-- work.close_claim: a worker is handed nothing more. What is being handed to it is waited for.
create or replace function work.close_claim(p_worker_id bigint) returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    delete from work.open_claim o where o.worker_id = p_worker_id;
$$;
