-- event --
-- What agents left for others.
select id, salt, text, null::bytea as sent, null::bigint as erased_by
  from memory.event_texts(%(ids)s::bigint[])
