-- work.claim: begin attempts of the oldest queued tasks of some agents, at most p_limit in all, of some types only where p_types
-- is given. Each attempt gets a fence and a deadline p_lease_s seconds from now. Rows that another transaction has in hand are
-- skipped. Of several agents, each one's oldest are locked before the oldest of all are taken.
--
-- Each agent's queue is read in order by its own index, so that a claim costs the same however long the queue is, and a queue
-- that nobody serves costs nothing. The planner would not always see that: it guesses from statistics, and a queue was empty
-- when they were taken or is now. So it is told here what not to do.
create or replace function work.claim(p_agents text[], p_types text[], p_worker text, p_limit bigint, p_lease_s integer)
returns table (task_id bigint, fence bigint, agent text, type text, payload jsonb, attempts integer, deadline_at timestamptz)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
    return query
    with chosen as materialized (
        select r.ctid
          from unnest(p_agents) as a (agent)
         cross join lateral (
                   select q.ctid, q.task_id
                     from work.ready q
                    where q.agent = a.agent and (p_types is null or q.type = any (p_types))
                    order by q.task_id
                    limit p_limit
                      for update skip locked
               ) r
         order by r.task_id
         limit p_limit
    ), taken as (
        -- The rows are locked, so they are still where they were read.
        delete from work.ready q
         where q.ctid = any (array(select c.ctid from chosen c))
        returning q.task_id, q.attempts
    ), running as (
        insert into work.run (task_id, fence, worker, attempts, deadline_at)
        select t.task_id, nextval('work.fence'), p_worker, t.attempts + 1,
               clock_timestamp() + make_interval(secs => p_lease_s)
          from taken t
        returning task_id, fence, attempts, deadline_at
    )
    select r.task_id, r.fence, t.agent, t.type, t.payload, r.attempts::integer, r.deadline_at
      from running r
      join work.task t on t.id = r.task_id
     order by r.task_id;
end
$$;
