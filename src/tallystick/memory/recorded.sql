-- event --
-- What agents left for others.
select id, salt, text, null::bytea as sent, erased_by
  from memory.event_texts(%(ids)s::bigint[])

-- event_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from memory.event t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
