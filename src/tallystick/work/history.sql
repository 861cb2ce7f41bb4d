-- history --
-- The ranges of task ids whose facts are or were kept together, oldest first.
select h.from_id, h.to_id, h.made_at, h.dropped_at, h.exported,
       h.dropped_at is null
       and coalesce(pg_sequence_last_value('work.task_id'), 0) >= h.to_id - 1
       and not exists (select from work.ready r where r.task_id >= h.from_id and r.task_id < h.to_id)
       and not exists (select from work.wait w where w.task_id >= h.from_id and w.task_id < h.to_id)
       and not exists (select from work.run r where r.task_id >= h.from_id and r.task_id < h.to_id)
       and not exists (select from work.dead d where d.task_id >= h.from_id and d.task_id < h.to_id) as complete
  from work.history h
 order by h.from_id

-- last_end --
-- When the last task of a range of ids ended; null where none has.
select max(o.finished_at) as last_end
  from work.outcome o
 where o.task_id >= %(from_id)s::bigint
   and o.task_id < %(to_id)s::bigint

-- tasks --
-- The next tasks of a range of ids after one of them, each as a line of JSON.
select t.id as task_id, 0 as part, '' as name, '' as state, 0::bigint as fence, 0 as try_number,
       jsonb_build_object(
           'fact', 'task', 'id', t.id, 'agent', q.agent, 'type', q.type, 'payload', t.payload, 'priority', t.priority,
           'max_attempts', t.max_attempts, 'run_at', t.run_at, 'deadline_at', t.deadline_at, 'order_key', t.order_key,
           'created_by', t.created_by, 'created_at', t.created_at)::text as line
  from work.task t
  join work.queue q on q.id = t.queue
 where t.id >= %(from_id)s::bigint
   and t.id < %(to_id)s::bigint
   and t.id > %(task_id)s::bigint
 order by t.id
 limit %(limit)s::bigint

-- attempts --
-- The next attempts of the tasks of a range of ids after one of them, each as a line of JSON.
select a.task_id, 1 as part, '' as name, '' as state, a.fence, 0 as try_number,
       jsonb_build_object(
           'fact', 'attempt', 'task_id', a.task_id, 'fence', a.fence, 'ended', a.ended, 'error', a.error, 'worker', a.worker,
           'started_at', a.started_at, 'ended_at', a.ended_at)::text as line
  from work.attempt a
 where a.task_id >= %(from_id)s::bigint
   and a.task_id < %(to_id)s::bigint
   and (a.task_id, a.fence) > (%(task_id)s::bigint, %(fence)s::bigint)
 order by a.task_id, a.fence
 limit %(limit)s::bigint

-- steps --
-- The next steps of the tasks of a range of ids after one of them, each as a line of JSON.
select s.task_id, 2 as part, s.name, s.state, s.fence, s.try::integer as try_number,
       jsonb_build_object(
           'fact', 'step', 'id', s.id, 'task_id', s.task_id, 'name', s.name, 'state', s.state, 'fence', s.fence, 'try', s.try,
           'kind', s.kind, 'input_hash', encode(s.input_hash, 'hex'), 'output', s.output, 'error', s.error, 'detail', s.detail,
           'started_at', s.started_at, 'ended_at', s.ended_at)::text as line
  from work.step s
 where s.task_id >= %(from_id)s::bigint
   and s.task_id < %(to_id)s::bigint
   and (s.task_id, s.name, s.state, s.fence, s.try)
       > (%(task_id)s::bigint, %(name)s::text, %(state)s::text, %(fence)s::bigint, %(try_number)s::smallint)
 order by s.task_id, s.name, s.state, s.fence, s.try
 limit %(limit)s::bigint

-- outcomes --
-- The next outcomes of the tasks of a range of ids after one of them, each as a line of JSON.
select o.task_id, 3 as part, '' as name, '' as state, 0::bigint as fence, 0 as try_number,
       jsonb_build_object(
           'fact', 'outcome', 'task_id', o.task_id, 'fence', o.fence, 'state', o.state, 'result', o.result, 'error', o.error,
           'worker', o.worker, 'attempts', o.attempts, 'started_at', o.started_at, 'finished_at', o.finished_at)::text as line
  from work.outcome o
 where o.task_id >= %(from_id)s::bigint
   and o.task_id < %(to_id)s::bigint
   and o.task_id > %(task_id)s::bigint
 order by o.task_id
 limit %(limit)s::bigint

-- drop_history --
-- Give up the facts of the oldest range of task ids; the verdict, see repeatable/80_history.sql.
select work.drop_history(%(from_id)s::bigint, %(ended_before)s::timestamptz, %(exported)s::jsonb) as verdict
