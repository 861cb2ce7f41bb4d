-- enqueue --
-- Store tasks and queue them, in the order given; their ids rise in that order.
with stored as (
    insert into work.task (agent, type, payload, created_by)
    select u.agent, u.type, u.payload, %(principal)s::text
      from unnest(%(agents)s::text[], %(types)s::text[], %(payloads)s::text[]::jsonb[])
           with ordinality as u (agent, type, payload, ord)
     order by u.ord
    returning id, agent, type
), queued as (
    insert into work.ready (task_id, agent, type)
    select id, agent, type
      from stored
)
select id
  from stored
 order by id

-- claim --
-- Begin attempts of the oldest queued tasks of some agents; see repeatable/10_claim.sql.
select task_id, fence, agent, type, payload, attempts, deadline_at
  from work.claim(%(agents)s::text[], %(types)s::text[], %(worker)s::text, %(limit)s::bigint, %(lease_s)s::integer)

-- claim_these --
-- Begin attempts of certain tasks, as far as they are queued and nobody else has them in hand.
with chosen as materialized (
    select q.task_id
      from work.ready q
     where q.task_id = any (%(task_ids)s::bigint[])
     order by q.task_id
       for update skip locked
), taken as (
    delete from work.ready q
     using chosen c
     where q.task_id = c.task_id
    returning q.task_id, q.attempts
), running as (
    insert into work.run (task_id, fence, worker, attempts, deadline_at)
    select t.task_id, nextval('work.fence'), %(worker)s::text, t.attempts + 1,
           clock_timestamp() + make_interval(secs => %(lease_s)s::integer)
      from taken t
    returning task_id, fence, attempts, deadline_at
)
select r.task_id, r.fence, t.agent, t.type, t.payload, r.attempts, r.deadline_at
  from running r
  join work.task t on t.id = r.task_id
 order by r.task_id

-- finish --
-- End attempts whose fence still holds; for each given one, whether it did. Runs are locked in id order. An attempt that is
-- given twice ends once, by the first. Each run is looked up by its key, and a locked row is still where it was read, so that
-- dead rows cost nothing.
with given as materialized (
    select u.task_id, u.fence, u.state, u.result, u.error, u.ord,
           row_number() over (partition by u.task_id, u.fence order by u.ord) = 1 as first
      from unnest(%(task_ids)s::bigint[], %(fences)s::bigint[], %(states)s::text[], %(results)s::text[]::jsonb[],
                  %(errors)s::text[])
           with ordinality as u (task_id, fence, state, result, error, ord)
), locked as materialized (
    select l.place
      from (select task_id, fence from given where first order by task_id) g
     cross join lateral (
               select r.ctid as place
                 from work.run r
                where r.task_id = g.task_id and r.fence = g.fence
                  for update
           ) l
), gone as (
    delete from work.run r
     where r.ctid = any (array(select l.place from locked l))
    returning r.task_id, r.fence, r.attempts, r.started_at
), ended as (
    insert into work.outcome (task_id, fence, state, result, error, worker, attempts, started_at)
    select g.task_id, o.fence, g.state, g.result, g.error, %(worker)s::text, o.attempts, o.started_at
      from gone o
      join given g on g.task_id = o.task_id and g.fence = o.fence and g.first
)
select o.task_id is not null as held
  from given g
  left join gone o on o.task_id = g.task_id and o.fence = g.fence and g.first
 order by g.ord

-- give_back --
-- End attempts that came to nothing, where the fence still holds: the task is queued again, or dead after its last attempt.
with given as materialized (
    select u.task_id, u.fence
      from unnest(%(task_ids)s::bigint[], %(fences)s::bigint[]) as u (task_id, fence)
), locked as materialized (
    select l.place
      from (select distinct task_id, fence from given order by task_id, fence) g
     cross join lateral (
               select r.ctid as place
                 from work.run r
                where r.task_id = g.task_id and r.fence = g.fence
                  for update
           ) l
), gone as (
    delete from work.run r
     where r.ctid = any (array(select l.place from locked l))
    returning r.task_id, r.fence, r.worker, r.attempts, r.started_at
), again as (
    insert into work.ready (task_id, agent, type, attempts)
    select g.task_id, t.agent, t.type, g.attempts
      from gone g
      join work.task t on t.id = g.task_id
     where g.attempts < %(max_attempts)s::integer
), dead as (
    insert into work.outcome (task_id, fence, state, error, worker, attempts, started_at)
    select g.task_id, g.fence, 'dead', %(error)s::text, g.worker, g.attempts, g.started_at
      from gone g
     where g.attempts >= %(max_attempts)s::integer
)
select g.task_id, g.attempts >= %(max_attempts)s::integer as dead
  from gone g
 order by g.task_id

-- expired --
-- Runs past their deadline, oldest deadline first; those that somebody is finishing at this moment are left to them.
select r.task_id, r.fence
  from work.run r
 where r.deadline_at < statement_timestamp()
 order by r.deadline_at
 limit %(limit)s::bigint
   for update skip locked

-- report --
-- End a queued task on the word of an outside worker; no row means that it is not queued.
with taken as (
    delete from work.ready
     where task_id = %(task_id)s::bigint
    returning task_id, attempts
)
insert into work.outcome (task_id, fence, state, result, error, worker, attempts)
select t.task_id, nextval('work.fence'), %(state)s::text, %(result)s::jsonb, %(error)s::text, %(worker)s::text, t.attempts + 1
  from taken t
returning task_id

-- standing --
-- Where a task is, and whether it ended just so; numbers are compared by value.
select case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            else 'queued' end as status,
       coalesce(o.state = %(state)s::text
                and o.result is not distinct from %(result)s::jsonb
                and o.error is not distinct from %(error)s::text, false) as same
  from work.task t
  left join work.run r on r.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 where t.id = %(task_id)s::bigint

-- get --
-- A task as it stands.
select t.id, t.agent, t.type, t.payload,
       case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            else 'queued' end as status,
       o.result, o.error, t.created_at, coalesce(r.started_at, o.started_at) as started_at, o.finished_at
  from work.task t
  left join work.run r on r.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 where t.id = %(task_id)s::bigint

-- page --
-- A page of tasks of every status below an id, newest first.
select t.id, t.agent, t.type, t.payload,
       case when o.task_id is not null then o.state
            when r.task_id is not null then 'running'
            else 'queued' end as status,
       o.result, o.error, t.created_at, coalesce(r.started_at, o.started_at) as started_at, o.finished_at
  from work.task t
  left join work.run r on r.task_id = t.id
  left join work.outcome o on o.task_id = t.id
 where t.id < %(before)s::bigint
   and (%(agent)s::text is null or t.agent = %(agent)s::text)
   and (%(type)s::text is null or t.type = %(type)s::text)
 order by t.id desc
 limit %(limit)s::bigint

-- page_queued --
-- A page of queued tasks below an id, newest first.
select t.id, t.agent, t.type, t.payload, 'queued' as status, null::jsonb as result, null::text as error,
       t.created_at, null::timestamptz as started_at, null::timestamptz as finished_at
  from work.ready q
  join work.task t on t.id = q.task_id
 where q.task_id < %(before)s::bigint
   and (%(agent)s::text is null or q.agent = %(agent)s::text)
   and (%(type)s::text is null or q.type = %(type)s::text)
 order by q.task_id desc
 limit %(limit)s::bigint

-- page_running --
-- A page of running tasks below an id, newest first.
select t.id, t.agent, t.type, t.payload, 'running' as status, null::jsonb as result, null::text as error,
       t.created_at, r.started_at, null::timestamptz as finished_at
  from work.run r
  join work.task t on t.id = r.task_id
 where r.task_id < %(before)s::bigint
   and (%(agent)s::text is null or t.agent = %(agent)s::text)
   and (%(type)s::text is null or t.type = %(type)s::text)
 order by r.task_id desc
 limit %(limit)s::bigint

-- page_ended --
-- A page of tasks that ended in one state, below an id, newest first.
select t.id, t.agent, t.type, t.payload, o.state as status, o.result, o.error, t.created_at, o.started_at, o.finished_at
  from work.outcome o
  join work.task t on t.id = o.task_id
 where o.task_id < %(before)s::bigint
   and o.state = %(state)s::text
   and (%(agent)s::text is null or t.agent = %(agent)s::text)
   and (%(type)s::text is null or t.type = %(type)s::text)
 order by o.task_id desc
 limit %(limit)s::bigint

-- pending --
-- Queued tasks above an id, oldest first.
select t.id, t.agent, t.type, t.payload, 'queued' as status, null::jsonb as result, null::text as error,
       t.created_at, null::timestamptz as started_at, null::timestamptz as finished_at
  from work.ready q
  join work.task t on t.id = q.task_id
 where q.task_id > %(after)s::bigint
   and (%(agent)s::text is null or q.agent = %(agent)s::text)
   and (%(type)s::text is null or q.type = %(type)s::text)
 order by q.task_id
 limit %(limit)s::bigint
