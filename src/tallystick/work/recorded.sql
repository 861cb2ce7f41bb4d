-- task --
-- What tasks were made to be.
select id, salt, text, null::bytea as sent, erased_by
  from work.task_texts(%(ids)s::bigint[])

-- outcome --
-- How tasks ended.
select id, salt, text, null::bytea as sent, erased_by
  from work.outcome_texts(%(ids)s::bigint[])

-- step --
-- What steps gave.
select id, salt, text, null::bytea as sent, erased_by
  from work.step_texts(%(ids)s::bigint[])

-- task_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from work.task t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint

-- outcome_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.task_id as id
  from work.outcome t
 where t.task_id > %(after)s::bigint
 order by t.task_id
 limit %(limit)s::bigint

-- step_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from work.step t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
