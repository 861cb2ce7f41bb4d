-- task --
-- What tasks were made to be.
select id, salt, text, null::bytea as sent, null::bigint as erased_by
  from work.task_texts(%(ids)s::bigint[])

-- outcome --
-- How tasks ended.
select id, salt, text, null::bytea as sent, null::bigint as erased_by
  from work.outcome_texts(%(ids)s::bigint[])

-- step --
-- What steps gave.
select id, salt, text, null::bytea as sent, null::bigint as erased_by
  from work.step_texts(%(ids)s::bigint[])
