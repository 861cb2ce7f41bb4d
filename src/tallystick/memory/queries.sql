-- publish --
-- Keep a fact for ever.
insert into memory.event (agent, type, payload, created_by)
values (%(agent)s::text, %(type)s::text, %(payload)s::jsonb, %(principal)s::text)
returning id, agent, type, payload, created_at

-- digest --
-- The salted digest of an event.
select sha256(t.salt || convert_to(t.text, 'UTF8')) as digest
  from memory.event_texts(array[%(id)s::bigint]) as t

-- page --
-- A page of every agent's events below an id, newest first.
select id, agent, type, payload, created_at
  from memory.event
 where id < %(before)s::bigint
 order by id desc
 limit %(limit)s::bigint

-- page_of_agent --
-- A page of one agent's events below an id, newest first.
select id, agent, type, payload, created_at
  from memory.event
 where agent = %(agent)s::text and id < %(before)s::bigint
 order by id desc
 limit %(limit)s::bigint

-- first --
-- The first event of a type since some time whose payload contains something.
select id, agent, type, payload, created_at
  from memory.event
 where type = %(type)s::text
   and created_at >= %(since)s::timestamptz
   and (%(match)s::jsonb is null or payload @> %(match)s::jsonb)
 order by id
 limit 1
