-- enqueue --
-- Store tasks and put each in its first place; see repeatable/20_enqueue.sql. One that comes alone may be handed to who waits for it.
select e.ids,
       case when cardinality(e.ids) = 1 and work.hand_over(e.ids[1]) then true else work.announce(false) end as announced,
       work.task_digests(e.ids) as digests
  from (select work.enqueue(%(principal)s::text, %(ids)s::bigint[], %(agents)s::text[], %(types)s::text[], %(payloads)s::text[],
                            %(priorities)s::integer[], %(max_attempts)s::integer[], %(run_at)s::timestamptz[],
                            %(deadline_at)s::timestamptz[], %(order_keys)s::text[], %(after_ord)s::integer[],
                            %(after)s::bigint[]) as ids
        -- Once, and before the tasks are read again.
        offset 0) e

-- next_ids --
-- Ids for tasks that are about to be stored.
select nextval('work.task_id') as id
  from generate_series(1, %(count)s::integer)

-- unknown --
-- Of given task ids, those that are no task.
select u.id
  from unnest(%(task_ids)s::bigint[]) as u (id)
 where not exists (select from work.task t where t.id = u.id)
 order by u.id

-- claim --
-- Begin attempts of the first queued tasks of some agents; see repeatable/30_claim.sql.
select task_id, fence, agent, type, payload, attempts, deadline_at, timeout_s
  from work.claim(%(agents)s::text[], %(types)s::text[], %(worker)s::text, %(worker_id)s::bigint, %(limit)s::bigint,
                  %(lease_s)s::integer)

-- claim_lightly --
-- The same, as all that a transaction does, and not waited for on disk.
select task_id, fence, agent, type, payload, attempts, deadline_at, timeout_s
  from work.claim_lightly(%(agents)s::text[], %(types)s::text[], %(worker)s::text, %(worker_id)s::bigint, %(limit)s::bigint,
                          %(lease_s)s::integer)

-- claim_openly --
-- The same, and what comes later is handed over, up to as many as were asked for; see repeatable/35_hand_over.sql.
select task_id, fence, agent, type, payload, attempts, deadline_at, timeout_s
  from work.claim_openly(%(agents)s::text[], %(types)s::text[], %(worker)s::text, %(worker_id)s::bigint, %(limit)s::bigint,
                         %(channel)s::text, %(heard)s::bigint, %(open_agents)s::text[], %(open_types)s::text[])

-- take_up --
-- A worker has heard of what it was handed.
select work.take_up(%(task_ids)s::bigint[], %(fences)s::bigint[]) is null as taken_up

-- close_claim --
-- A worker is handed nothing more.
select work.close_claim(%(worker_id)s::bigint) is null as closed

-- claim_these --
-- Begin attempts of certain tasks, as far as they are queued and nobody else has them in hand.
select task_id, fence, agent, type, payload, attempts, deadline_at, timeout_s
  from work.claim_these(%(task_ids)s::bigint[], %(worker)s::text, %(lease_s)s::integer)

-- finish --
-- End attempts whose fence still holds, for good; for each given one, whether it did.
select work.finish(%(task_ids)s::bigint[], %(fences)s::bigint[], %(states)s::text[], %(results)s::text[], %(errors)s::text[],
                   %(worker)s::text) as held

-- fail --
-- End attempts that came to nothing; for each given one what became of it.
select work.fail(%(task_ids)s::bigint[], %(fences)s::bigint[], %(ended)s::text[], %(errors)s::text[], %(retry_s)s::real[]) as became

-- ended_under --
-- For each given attempt, whether its own fence is what ended it, and in that way: the answer of a call whose answer was lost.
select case when u.ended in ('done', 'failed')
            then exists (select from work.outcome o where o.task_id = u.task_id and o.fence = u.fence and o.state = u.ended)
            else exists (select from work.attempt a where a.task_id = u.task_id and a.fence = u.fence and a.ended = u.ended) end as held
  from unnest(%(task_ids)s::bigint[], %(fences)s::bigint[], %(ended)s::text[]) with ordinality as u (task_id, fence, ended, ord)
 order by u.ord

-- wake --
-- Queue a parked task again, with what its wait gave; false where it is not parked.
select work.wake(%(task_id)s::bigint, %(output)s::jsonb) as woken

-- report --
-- End a queued task on the word of an outside worker; whether it was queued.
select work.report(%(task_id)s::bigint, %(state)s::text, %(result)s::jsonb, %(error)s::text, %(worker)s::text) as ended

-- register --
-- A worker begins to hold a lease.
select work.register(%(name)s::text, %(lease_s)s::integer) as id

-- beat --
-- A worker lives; false where its lease was over.
select work.beat(%(worker_id)s::bigint, %(lease_s)s::integer) as lives

-- held_by --
-- The attempts that a worker holds, and whether it has heard of each.
select r.task_id, r.fence, r.lease_until is null as heard
  from work.run r
 where r.worker_id = %(worker_id)s::bigint

-- leave --
-- A worker ends its lease; how many attempts went back.
select work.leave(%(worker_id)s::bigint) as returned

-- extend --
-- An attempt has its own lease anew; false where the fence does not hold.
select work.extend(%(task_id)s::bigint, %(fence)s::bigint, %(lease_s)s::integer) as held

-- reap --
-- End attempts whose lease is over, or that took too long.
select task_id, ended, became
  from work.reap(%(limit)s::bigint)

-- expire --
-- End tasks whose deadline has passed.
select expire as task_id
  from work.expire(%(limit)s::bigint)

-- hold --
-- Lock an attempt; false where the fence does not hold.
select work.hold(%(task_id)s::bigint, %(fence)s::bigint) as held

-- record --
-- Keep what a step gave; whether it is kept.
select work.record(%(task_id)s::bigint, %(fence)s::bigint, %(name)s::text, %(state)s::text, %(attempt)s::integer, %(kind)s::text,
                   %(input_hash)s::bytea, %(output)s::jsonb, %(error)s::text, %(detail)s::jsonb, %(took_ms)s::bigint, %(most)s::bigint)
       as became

-- steps --
-- What the steps of a task gave, in the order they were recorded.
select s.name, s.kind, s.state, s.fence, s.try::integer as attempt, s.input_hash, s.output, s.error, s.detail, s.started_at, s.ended_at
  from work.step s
 where s.task_id = %(task_id)s::bigint
 order by s.id
 limit %(limit)s::bigint

-- attempts --
-- The attempts of a task that came to nothing, oldest first.
select a.fence, a.ended, a.error, a.worker, a.started_at, a.ended_at
  from work.attempt a
 where a.task_id = %(task_id)s::bigint
 order by a.fence
 limit %(limit)s::bigint

-- lock_event --
-- Keep publishers of a type of event away until the transaction ends.
select work.lock_event(%(type)s::text) is null as locked

-- park --
-- End an attempt so that its task waits; false where the fence does not hold.
select work.park(%(task_id)s::bigint, %(fence)s::bigint, %(kind)s::text, %(step)s::text, %(input_hash)s::bytea,
                 %(wake_at)s::timestamptz, %(in_s)s::double precision, %(event_type)s::text, %(match)s::jsonb, %(question)s::jsonb)
       as held

-- wake_due --
-- Queue tasks whose time has come; how many.
select work.wake_due(%(limit)s::bigint) as woken

-- wake_for_event --
-- Queue the tasks that wait for such an event; how many.
select work.wake_for_event(%(type)s::text, %(payload)s::jsonb, %(event)s::jsonb) as woken

-- answer --
-- A person's answer to a parked task; false where it does not wait for that.
select work.answer(%(task_id)s::bigint, %(step)s::text, %(answer)s::jsonb) as answered

-- questions --
-- What parked tasks ask people, oldest first.
select w.task_id, q.agent, q.type, w.step, w.question, w.since, w.wake_at
  from work.wait w
  join work.queue q on q.id = w.queue
 where w.kind = 'approval'
   and w.task_id > %(after)s::bigint
 order by w.task_id
 limit %(limit)s::bigint

-- cancel --
-- End a task that has not ended; the place it was in.
select work.cancel(%(task_id)s::bigint, %(reason)s::text, %(by)s::text) as place

-- put_back --
-- A task that was given up is tried again; false where it was not.
select work.put_back(%(task_id)s::bigint) as put_back

-- configure --
-- How often and how long tasks of a queue are tried.
select work.configure(%(agent)s::text, %(type)s::text, %(max_attempts)s::integer, %(max_crashes)s::integer, %(timeout_s)s::integer,
                      %(backoff_s)s::real, %(max_backoff_s)s::real, %(per_key)s::integer, %(by)s::text) is null as configured

-- brake_on --
-- Pause or limit an agent or a type.
select work.brake_on(%(kind)s::text, %(name)s::text, %(by)s::text, %(max_running)s::integer) is null as braked

-- brake_off --
-- End a pause or a limit; false where there was none.
select work.brake_off(%(kind)s::text, %(name)s::text, %(pause)s::boolean) as ended

-- brakes --
-- What is paused or limited.
select b.kind, b.name, b.max_running, b.paused_at, b.paused_by
  from work.brake b
 order by b.kind, b.name

-- standing --
-- Where a task is, and whether it ended just so; numbers are compared by value.
select case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            when w.task_id is not null then 'waiting'
            when d.task_id is not null then 'dead'
            else 'queued' end as status,
       coalesce(o.state = %(state)s::text
                and o.result is not distinct from %(result)s::jsonb
                and o.error is not distinct from %(error)s::text, false) as same
  from work.task t
  left join work.run r on r.task_id = t.id
  left join work.wait w on w.task_id = t.id
  left join work.dead d on d.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 where t.id = %(task_id)s::bigint

-- get --
-- A task as it stands.
select t.id, q.agent, q.type, t.payload,
       case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            when w.task_id is not null then 'waiting'
            when d.task_id is not null then 'dead'
            else 'queued' end as status,
       o.result, coalesce(o.error, d.error) as error, t.created_by, t.created_at,
       coalesce(r.started_at, o.started_at) as started_at, coalesce(o.finished_at, d.since) as finished_at,
       t.priority::integer as priority,
       coalesce(o.attempts, r.attempts, w.attempts, d.attempts, y.attempts, 0)::integer as attempts,
       coalesce(r.crashes, w.crashes, d.crashes, y.crashes, 0)::integer as crashes,
       w.kind as waiting_for, w.wake_at, t.deadline_at, t.order_key, coalesce(o.worker, r.worker, d.worker) as worker
  from work.task t
  join work.queue q on q.id = t.queue
  left join work.ready y on y.task_id = t.id
  left join work.run r on r.task_id = t.id
  left join work.wait w on w.task_id = t.id
  left join work.dead d on d.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 where t.id = %(task_id)s::bigint

-- queues --
-- The queues of an agent, of a type, or of both.
select q.id
  from work.queue q
 where (%(agent)s::text is null or q.agent = %(agent)s::text)
   and (%(type)s::text is null or q.type = %(type)s::text)
 order by q.id

-- page --
-- The ids of a page of tasks of every status below an id, newest first.
select t.id
  from work.task t
 where t.id < %(before)s::bigint
 order by t.id desc
 limit %(limit)s::bigint

-- page_of_queues --
-- The ids of a page of tasks of some queues below an id, newest first.
select r.id
  from unnest(%(queues)s::integer[]) as u (queue)
 cross join lateral (
           select t.id
             from work.task t
            where t.queue = u.queue and t.id < %(before)s::bigint
            order by t.id desc
            limit %(limit)s::bigint
       ) r
 order by r.id desc
 limit %(limit)s::bigint

-- page_queued --
-- The ids of a page of queued tasks, newest first below an id, or oldest first above one.
select y.task_id
  from work.ready y
 where y.task_id < %(before)s::bigint
   and y.task_id > %(after)s::bigint
   and (%(queues)s::integer[] is null or y.queue = any (%(queues)s::integer[]))
 order by case when %(oldest_first)s::boolean then y.task_id end, y.task_id desc
 limit %(limit)s::bigint

-- page_waiting --
-- The ids of a page of waiting tasks below an id, newest first.
select w.task_id
  from work.wait w
 where w.task_id < %(before)s::bigint
   and (%(queues)s::integer[] is null or w.queue = any (%(queues)s::integer[]))
 order by w.task_id desc
 limit %(limit)s::bigint

-- page_running --
-- The ids of a page of running tasks below an id, newest first.
select r.task_id
  from work.run r
 where r.task_id < %(before)s::bigint
   and (%(queues)s::integer[] is null or r.queue = any (%(queues)s::integer[]))
 order by r.task_id desc
 limit %(limit)s::bigint

-- page_dead --
-- The ids of a page of tasks that were given up, below an id, newest first.
select d.task_id
  from work.dead d
 where d.task_id < %(before)s::bigint
   and (%(queues)s::integer[] is null or d.queue = any (%(queues)s::integer[]))
 order by d.task_id desc
 limit %(limit)s::bigint

-- page_ended --
-- The ids of a page of tasks that ended in one state, below an id, newest first.
select o.task_id
  from work.outcome o
 where o.task_id < %(before)s::bigint
   and o.state = %(state)s::text
   and (%(queues)s::integer[] is null or o.queue = any (%(queues)s::integer[]))
 order by o.task_id desc
 limit %(limit)s::bigint

-- get_many --
-- Tasks as they stand.
select t.id, q.agent, q.type, t.payload,
       case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            when w.task_id is not null then 'waiting'
            when d.task_id is not null then 'dead'
            else 'queued' end as status,
       o.result, coalesce(o.error, d.error) as error, t.created_by, t.created_at,
       coalesce(r.started_at, o.started_at) as started_at, coalesce(o.finished_at, d.since) as finished_at,
       t.priority::integer as priority,
       coalesce(o.attempts, r.attempts, w.attempts, d.attempts, y.attempts, 0)::integer as attempts,
       coalesce(r.crashes, w.crashes, d.crashes, y.crashes, 0)::integer as crashes,
       w.kind as waiting_for, w.wake_at, t.deadline_at, t.order_key, coalesce(o.worker, r.worker, d.worker) as worker
  from unnest(%(task_ids)s::bigint[]) with ordinality as u (id, ord)
  join work.task t on t.id = u.id
  join work.queue q on q.id = t.queue
  left join work.ready y on y.task_id = t.id
  left join work.run r on r.task_id = t.id
  left join work.wait w on w.task_id = t.id
  left join work.dead d on d.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 order by u.ord

-- depths --
-- How it stands with each queue, and what ended in the last seconds.
with ready as (
    select y.queue, count(*) as n, min(y.task_id) as oldest from work.ready y group by y.queue
), waiting as (
    select w.queue, count(*) as n from work.wait w group by w.queue
), running as (
    select r.queue, count(*) as n from work.run r group by r.queue
), dead as (
    select d.queue, count(*) as n from work.dead d group by d.queue
), ended as (
    select o.queue, count(*) filter (where o.state = 'done') as done, count(*) filter (where o.state = 'failed') as failed
      from work.outcome o
     where o.finished_at > (select db.clock()) - make_interval(secs => %(window_s)s::integer)
     group by o.queue
), retried as (
    select t.queue, count(*) as n
      from work.attempt a
      join work.task t on t.id = a.task_id
     where a.ended_at > (select db.clock()) - make_interval(secs => %(window_s)s::integer)
     group by t.queue
)
select q.agent, q.type, coalesce(y.n, 0) as queued, coalesce(w.n, 0) as waiting, coalesce(r.n, 0) as running,
       coalesce(d.n, 0) as dead, extract(epoch from db.clock() - t.created_at)::double precision as oldest_s,
       coalesce(o.done, 0) as done, coalesce(o.failed, 0) as failed, coalesce(a.n, 0) as retried,
       exists (select from work.brake b where b.paused_at is not null
                and ((b.kind = 'agent' and b.name = q.agent) or (b.kind = 'type' and b.name = q.type))) as paused
  from work.queue q
  left join ready y on y.queue = q.id
  left join work.task t on t.id = y.oldest
  left join waiting w on w.queue = q.id
  left join running r on r.queue = q.id
  left join dead d on d.queue = q.id
  left join ended o on o.queue = q.id
  left join retried a on a.queue = q.id
 order by q.agent, q.type

-- outcome_digests --
-- The salted digests of how tasks ended, one after another.
select work.outcome_digests(%(ids)s::bigint[]) as digests
