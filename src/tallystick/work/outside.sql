-- strangers --
-- Of given attempts, the tasks of those that somebody else than this worker holds.
select r.task_id
  from unnest(%(task_ids)s::bigint[], %(fences)s::bigint[]) as u (task_id, fence)
  join work.run r on r.task_id = u.task_id and r.fence = u.fence
 where r.worker <> %(worker)s::text
 order by r.task_id

-- prolong --
-- Attempts with leases of their own have them anew, in the order of task ids; those whose fence does not hold.
select e.task_id, e.fence
  from (select u.task_id, u.fence, work.extend(u.task_id, u.fence, %(lease_s)s::integer) as held
          from (select u.task_id, u.fence
                  from unnest(%(task_ids)s::bigint[], %(fences)s::bigint[]) as u (task_id, fence)
                 order by u.task_id) u) e
 where not e.held

-- steps_page --
-- A page of what the steps of a task gave, in the order they were recorded.
select s.name, s.kind, s.state, s.fence, s.try::integer as attempt, s.input_hash, s.output, s.error, s.detail, s.started_at, s.ended_at
  from work.step s
 where s.task_id = %(task_id)s::bigint
 order by s.id
offset %(skip)s::bigint
 limit %(limit)s::bigint

-- lines_of_step --
-- All that is recorded of one step of a task.
select s.name, s.kind, s.state, s.fence, s.try::integer as attempt, s.input_hash, s.output, s.error, s.detail, s.started_at, s.ended_at
  from work.step s
 where s.task_id = %(task_id)s::bigint
   and s.name = %(name)s::text
 order by s.id

-- worker_name --
-- Who a worker is, whose lease may be over.
select w.name
  from work.worker w
 where w.id = %(worker_id)s::bigint

-- policy --
-- How often and how long tasks of a queue are tried.
select q.agent, q.type, q.max_attempts::integer as max_attempts, q.max_crashes::integer as max_crashes, q.timeout_s,
       q.backoff_s::double precision as backoff_s, q.max_backoff_s::double precision as max_backoff_s, q.per_key::integer as per_key
  from work.queue q
 where q.agent = %(agent)s::text
   and q.type = %(type)s::text

-- agents_of --
-- Whose tasks are; those that do not exist are left out.
select t.id, q.agent
  from work.task t
  join work.queue q on q.id = t.queue
 where t.id = any (%(ids)s::bigint[])
