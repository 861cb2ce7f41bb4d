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

-- lines --
-- The next facts of a range of task ids after one of them, each as a line of JSON: a task, its attempts, its steps, its outcome.
with facts as (
    (select t.id as task_id, 0 as part, '' as name, '' as state, 0::bigint as fence, 0 as try,
            jsonb_build_object(
                'fact', 'task', 'id', t.id, 'agent', q.agent, 'type', q.type, 'payload', t.payload, 'priority', t.priority,
                'max_attempts', t.max_attempts, 'run_at', t.run_at, 'deadline_at', t.deadline_at, 'order_key', t.order_key,
                'created_by', t.created_by, 'created_at', t.created_at) as line
       from work.task t
       join work.queue q on q.id = t.queue
      where t.id >= %(task_id)s::bigint
        and t.id < %(to_id)s::bigint
        and (t.id, 0) > (%(task_id)s::bigint, %(part)s::integer)
      order by t.id
      limit %(limit)s::bigint)
    union all
    (select a.task_id, 1, '', '', a.fence, 0,
            jsonb_build_object(
                'fact', 'attempt', 'task_id', a.task_id, 'fence', a.fence, 'ended', a.ended, 'error', a.error,
                'worker', a.worker, 'started_at', a.started_at, 'ended_at', a.ended_at)
       from work.attempt a
      where a.task_id >= %(task_id)s::bigint
        and a.task_id < %(to_id)s::bigint
        and (a.task_id, 1, a.fence) > (%(task_id)s::bigint, %(part)s::integer, %(fence)s::bigint)
      order by a.task_id, a.fence
      limit %(limit)s::bigint)
    union all
    (select s.task_id, 2, s.name, s.state, s.fence, s.try,
            jsonb_build_object(
                'fact', 'step', 'id', s.id, 'task_id', s.task_id, 'name', s.name, 'state', s.state, 'fence', s.fence, 'try', s.try,
                'kind', s.kind, 'input_hash', encode(s.input_hash, 'hex'), 'output', s.output, 'error', s.error,
                'detail', s.detail, 'started_at', s.started_at, 'ended_at', s.ended_at)
       from work.step s
      where s.task_id >= %(task_id)s::bigint
        and s.task_id < %(to_id)s::bigint
        and (s.task_id, 2, s.name, s.state, s.fence, s.try)
            > (%(task_id)s::bigint, %(part)s::integer, %(name)s::text, %(state)s::text, %(fence)s::bigint, %(try)s::integer)
      order by s.task_id, s.name, s.state, s.fence, s.try
      limit %(limit)s::bigint)
    union all
    (select o.task_id, 3, '', '', 0, 0,
            jsonb_build_object(
                'fact', 'outcome', 'task_id', o.task_id, 'fence', o.fence, 'state', o.state, 'result', o.result,
                'error', o.error, 'worker', o.worker, 'attempts', o.attempts, 'started_at', o.started_at,
                'finished_at', o.finished_at)
       from work.outcome o
      where o.task_id >= %(task_id)s::bigint
        and o.task_id < %(to_id)s::bigint
        and (o.task_id, 3) > (%(task_id)s::bigint, %(part)s::integer)
      order by o.task_id
      limit %(limit)s::bigint)
)
select f.task_id, f.part, f.name, f.state, f.fence, f.try as try_number, f.line::text as line
  from facts f
 order by f.task_id, f.part, f.name, f.state, f.fence, f.try
 limit %(limit)s::bigint

-- drop_history --
-- Give up the facts of the oldest range of task ids; the verdict, see repeatable/80_history.sql.
select work.drop_history(%(from_id)s::bigint, %(ended_before)s::timestamptz, %(exported)s::jsonb) as verdict
