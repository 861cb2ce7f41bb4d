-- work.lock_runs: lock attempts whose fence still holds, in the order of task ids; where their rows are, for the caller's next
-- statement. That finds them by place, so that dead rows cost nothing. It has to be another statement: a row that was waited for may
-- have been prolonged meanwhile, and then it is at a place which this statement does not see yet.
create or replace function work.lock_runs(p_task bigint[], p_fence bigint[]) returns tid[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    return (
        select array_agg(l.place)
          from (select distinct u.task_id, u.fence from unnest(p_task, p_fence) as u (task_id, fence) order by u.task_id) g
         cross join lateral (
                   select r.ctid as place
                     from work.run r
                    where r.task_id = g.task_id and r.fence = g.fence
                      for update
               ) l
    );
end
$$;

-- work.finish: end attempts whose fence still holds, done or failed for good, with one audit event; for each given one, in order,
-- whether it did hold, so that a batch is one statement, which is a transaction by itself where it stands alone. Runs
-- are locked in id order. An attempt that is given twice ends once, by the first.
create or replace function work.finish(
    p_task bigint[], p_fence bigint[], p_state text[], p_result text[], p_error text[], p_worker text
) returns boolean[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now    timestamptz;
    v_places tid[];
    v_held   boolean[];
    v_extras bigint[];
    v_done   bigint[];
    v_not    bigint[];
    v_ended  bigint[];
    v_items  bytea;
    v_seed   constant bytea := uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());
begin
    v_places := work.lock_runs(p_task, p_fence);
    v_now := db.clock();
    with given as materialized (
        select u.task_id, u.fence, u.state, u.result, u.error, u.ord,
               row_number() over (partition by u.task_id, u.fence order by u.ord) = 1 as first
          from unnest(p_task, p_fence, p_state, p_result, p_error) with ordinality as u (task_id, fence, state, result, error, ord)
    ), gone as (
        delete from work.run r
         where r.ctid = any (v_places)
        returning r.task_id, r.fence, r.queue, r.attempts, r.started_at, r.extras
    ), written as (
        insert into work.outcome (task_id, fence, queue, state, result, error, worker, attempts, started_at, finished_at, salt)
        select g.task_id, o.fence, o.queue, g.state, g.result::jsonb, g.error, p_worker, o.attempts, o.started_at, v_now,
               work.salt(v_seed, g.task_id)
          from gone o
          join given g on g.task_id = o.task_id and g.fence = o.fence and g.first
        returning task_id, sha256(salt || convert_to(work.outcome_text(task_id, fence, state, result, error), 'UTF8')) as digest
    )
    select array_agg(o.task_id is not null order by g.ord),
           array_agg(o.task_id) filter (where o.extras),
           array_agg(o.task_id order by g.ord) filter (where o.task_id is not null and g.state = 'done'),
           array_agg(o.task_id order by g.ord) filter (where o.task_id is not null and g.state <> 'done'),
           array_agg(w.task_id order by w.task_id) filter (where w.task_id is not null),
           string_agg(w.digest, '' order by w.task_id)
      into v_held, v_extras, v_done, v_not, v_ended, v_items
      from given g
      left join gone o on o.task_id = g.task_id and o.fence = g.fence and g.first
      left join written w on w.task_id = o.task_id;
    perform work.ended(v_extras, v_done, v_not);
    if v_ended is not null then
        -- A leaf is small: of a larger call it has the items alone, which are all of them.
        perform audit.append(
            p_worker, 'tasks.finish', 'task', coalesce(v_done[1], v_not[1]),
            (select '{"tasks":[' || string_agg(format('["%s","%s"]', u.task_id, u.state), ',' order by u.ord) || ']}'
               from unnest(p_task, p_state, v_held) with ordinality as u (task_id, state, held, ord)
              where u.held and u.ord <= 200),
            case when cardinality(v_ended) = 1 then v_ended[1] end, 'outcome', v_ended, v_items);
    end if;
    return v_held;
end
$$;

-- work.fail: end attempts that came to nothing, where the fence still holds; for each given one what became of it: `lost` (it did not
-- hold), `again` (queued, now or later) or `dead`.
--
-- p_ended: error and timeout count as attempts; crash is counted apart; returned is not counted. p_retry_s is when to try again, in
-- seconds; where it is null the queue's backoff says: it doubles with each, up to its bound, with jitter.
create or replace function work.fail(p_task bigint[], p_fence bigint[], p_ended text[], p_error text[], p_retry_s real[])
returns text[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_now    timestamptz;
    v_places tid[];
    v_became text[];
    v_dead   bigint[];
begin
    v_places := work.lock_runs(p_task, p_fence);
    v_now := db.clock();
    with given as materialized (
        select u.task_id, u.fence, u.ended, u.error, u.retry_s, u.ord,
               row_number() over (partition by u.task_id, u.fence order by u.ord) = 1 as first
          from unnest(p_task, p_fence, p_ended, p_error, p_retry_s) with ordinality as u (task_id, fence, ended, error, retry_s, ord)
    ), gone as (
        delete from work.run r
         where r.ctid = any (v_places)
        returning r.task_id, r.fence, r.queue, r.priority, r.attempts, r.crashes, r.extras, r.worker, r.started_at
    ), judged as materialized (
        select o.task_id, o.fence, o.queue, o.priority, o.extras, o.worker, o.started_at, g.ended, g.error, g.ord,
               o.attempts - (g.ended in ('crash', 'returned'))::integer as attempts,
               o.crashes + (g.ended = 'crash')::integer as crashes,
               case when g.ended = 'crash' then o.crashes + 1 >= q.max_crashes
                    when g.ended = 'returned' then false
                    else o.attempts >= coalesce(t.max_attempts, q.max_attempts) end as dead,
               case when g.ended = 'returned' or (g.ended = 'crash' and o.crashes = 0) then coalesce(g.retry_s, 0)
                    else coalesce(g.retry_s,
                                  least(q.max_backoff_s,
                                        q.backoff_s * 2 ^ least(case when g.ended = 'crash' then o.crashes else o.attempts end - 1, 30))
                                  * (0.5 + random() / 2)) end as delay_s
          from gone o
          join given g on g.task_id = o.task_id and g.fence = o.fence and g.first
          join work.task t on t.id = o.task_id
          join work.queue q on q.id = o.queue
    ), noted as (
        insert into work.attempt (task_id, fence, ended, error, worker, started_at, ended_at)
        select j.task_id, j.fence, j.ended, j.error, j.worker, j.started_at, v_now
          from judged j
    ), again as (
        insert into work.ready (task_id, queue, priority, attempts, crashes, extras)
        select j.task_id, j.queue, j.priority, j.attempts, j.crashes, j.extras
          from judged j
         where not j.dead and j.delay_s <= 0
    ), later as (
        insert into work.wait (task_id, queue, priority, attempts, crashes, extras, kind, since, wake_at)
        select j.task_id, j.queue, j.priority, j.attempts, j.crashes, j.extras, 'backoff', v_now,
               v_now + make_interval(secs => j.delay_s)
          from judged j
         where not j.dead and j.delay_s > 0
    ), given_up as (
        insert into work.dead (task_id, queue, priority, attempts, crashes, extras, fence, error, worker, since)
        select j.task_id, j.queue, j.priority, j.attempts, j.crashes, j.extras, j.fence, j.error, j.worker, v_now
          from judged j
         where j.dead
    )
    select array_agg(case when j.task_id is null then 'lost' when j.dead then 'dead' else 'again' end order by g.ord),
           array_agg(j.task_id) filter (where j.dead and j.extras)
      into v_became, v_dead
      from given g
      left join judged j on j.ord = g.ord;
    -- What is given up does not hold up those behind it.
    if v_dead is not null then
        perform work.move_on(v_dead, null, null);
    end if;
    return v_became;
end
$$;

-- work.report: end a queued task on the word of an outside worker; false where it is not queued.
create or replace function work.report(p_task bigint, p_state text, p_result jsonb, p_error text, p_worker text) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_queue  integer;
    v_tries  smallint;
    v_extras boolean;
begin
    delete from work.ready r where r.task_id = p_task returning r.queue, r.attempts, r.extras into v_queue, v_tries, v_extras;
    if not found then
        return false;
    end if;
    insert into work.outcome (task_id, fence, queue, state, result, error, worker, attempts, finished_at)
    values (p_task, nextval('work.fence'), v_queue, p_state, p_result, p_error, p_worker, v_tries + 1, db.clock());
    perform work.ended(case when v_extras then array[p_task] end,
                       case when p_state = 'done' then array[p_task] end, case when p_state <> 'done' then array[p_task] end);
    return true;
end
$$;
