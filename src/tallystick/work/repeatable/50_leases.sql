-- work.register: a worker begins; its id, which holds a lease for all that it will run.
create or replace function work.register(p_name text, p_lease_s integer) returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into work.worker (id, name, started_at, lease_until)
    values (nextval('work.worker_id'), p_name, db.clock(), db.clock() + make_interval(secs => p_lease_s))
    returning id;
$$;

-- work.beat: a worker lives, and its lease is as long as ever again; false where the lease was over, which it stays.
create or replace function work.beat(p_worker_id bigint, p_lease_s integer) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    update work.worker w
       set lease_until = db.clock() + make_interval(secs => p_lease_s)
     where w.id = p_worker_id and w.lease_until > db.clock();
    return found;
end
$$;

-- work.leave: a worker ends its lease, with whatever it still runs; how many attempts go back to the queue.
create or replace function work.leave(p_worker_id bigint) returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
declare
    v_name   text;
    v_tasks  bigint[];
    v_fences bigint[];
begin
    delete from work.open_claim o where o.worker_id = p_worker_id;
    delete from work.worker w where w.id = p_worker_id returning w.name into v_name;
    select array_agg(r.task_id), array_agg(r.fence) into v_tasks, v_fences from work.run r where r.worker_id = p_worker_id;
    if v_tasks is null then
        return 0;
    end if;
    perform audit.append(coalesce(v_name, 'tallystick'), 'tasks.leave', 'task', v_tasks[1],
                         format('{"tasks":["%s"],"count":%s}', array_to_string(v_tasks[1:200], '","'), cardinality(v_tasks)));
    return (select count(*) filter (where b.became <> 'lost')
              from unnest(work.fail(v_tasks, v_fences, array_fill('returned'::text, array[cardinality(v_tasks)]),
                                    array_fill('worker_stopped: the worker that ran it was stopped'::text, array[cardinality(v_tasks)]),
                                    null)) as b (became));
end
$$;

-- work.extend: an attempt with a lease of its own has it anew; false where the fence does not hold.
create or replace function work.extend(p_task bigint, p_fence bigint, p_lease_s integer) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    update work.run r
       set lease_until = db.clock() + make_interval(secs => p_lease_s)
     where r.task_id = p_task and r.fence = p_fence and r.worker_id is null;
    return found;
end
$$;

-- work.reap: end up to p_limit attempts whose lease is over (crash), that took too long (timeout), or that were handed to a worker which
-- lives and did not take them up (returned); how each ended up. Any worker may do so at any time. Runs that somebody is finishing at this moment are left to them.
create or replace function work.reap(p_limit bigint)
returns table (task_id bigint, ended text, became text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now    constant timestamptz := db.clock();
    v_tasks  bigint[];
    v_fences bigint[];
    v_ended  text[];
begin
    delete from work.worker w
     where w.id in (select x.id from work.worker x where x.lease_until <= v_now for update skip locked);
    select array_agg(r.task_id order by r.task_id), array_agg(r.fence order by r.task_id), array_agg(r.ended order by r.task_id)
      into v_tasks, v_fences, v_ended
      from (select r.task_id, r.fence,
                   case when r.deadline_at <= v_now and (r.lease_until is null or r.deadline_at <= r.lease_until) then 'timeout'
                        when r.lease_until is not null and exists (select from work.worker w where w.id = r.worker_id) then 'returned'
                        else 'crash' end as ended
              from work.run r
             where (r.worker_id is not null and not exists (select from work.worker w where w.id = r.worker_id))
                or r.lease_until <= v_now
                or r.deadline_at <= v_now
             order by r.task_id
             limit p_limit
               for update of r skip locked) r;
    -- Who is gone, or does not hear, is handed nothing more.
    delete from work.open_claim o
     where o.worker_id in (select x.worker_id
                             from work.open_claim x
                            where not exists (select from work.worker w where w.id = x.worker_id)
                               or exists (select from work.run r
                                           where r.task_id = any (v_tasks) and r.worker_id = x.worker_id
                                             and r.lease_until is not null)
                              for update of x skip locked);
    if v_tasks is null then
        return;
    end if;
    return query
    select u.task_id, u.ended, u.became
      from unnest(v_tasks, v_ended,
                  work.fail(v_tasks, v_fences, v_ended,
                            array(select case e.ended when 'crash' then 'lease_lost: the worker that ran it was lost'
                                                      when 'returned' then 'not_taken_up: the worker it was handed to did not hear of it'
                                                      else 'attempt_timeout: the attempt took too long' end
                                    from unnest(v_ended) with ordinality as e (ended, ord) order by e.ord),
                            null)) as u (task_id, ended, became);
end
$$;

-- work.expire: end up to p_limit tasks whose deadline has passed, wherever they are; which. Those that somebody has in hand at this
-- moment are left to the next call.
create or replace function work.expire(p_limit bigint) returns setof bigint
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
begin
    select array_agg(d.task_id) into v_tasks
      from (select d.task_id from work.due d where d.deadline_at <= v_now order by d.deadline_at limit p_limit) d;
    if v_tasks is not null then
        return query
        select e.task_id
          from work.end_these(v_tasks, true, 'failed', 'deadline_passed: it was not finished by its deadline', 'tallystick') as e
         order by e.task_id;
    end if;
end
$$;
