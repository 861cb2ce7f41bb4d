-- waiting --
-- What a task waits for: of the tasks before it, by what it is to run after and by its order key, the first ones.
select w.kind, w.since, w.wake_at, w.step, w.event_type, w.match, w.question,
       array(select d.on_task
               from work.dependency d
              where d.task_id = w.task_id
              order by d.on_task
              limit 100) as after,
       array(select o.task_id
               from work.turn t
               join work.turn o on o.agent = t.agent and o.key = t.key
              where t.task_id = w.task_id and not t.in_turn and (o.in_turn or o.task_id < t.task_id)
              order by o.task_id
              limit 100) as behind
  from work.wait w
 where w.task_id = %(task_id)s::bigint
