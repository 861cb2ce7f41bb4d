-- open --
-- Store a case that has just come in.
insert into cases.case (door, customer, type, payload, payload_text, created_by, status)
values (%(door)s::text, %(customer)s::text, %(type)s::text, %(payload)s::jsonb, %(payload_text)s::text, %(principal)s::text,
        %(status)s::text)
returning id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result

-- digest --
-- The salted digest of what a case was opened with.
select sha256(t.salt || convert_to(t.text, 'UTF8')) as digest
  from cases.case_texts(array[%(id)s::bigint]) as t

-- get --
-- A case, of one door where that is given.
select id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result
  from cases.case
 where id = %(case_id)s::bigint
   and (%(door)s::text is null or door = %(door)s::text)

-- lock --
-- The same, with its row locked until the transaction ends.
select id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result
  from cases.case
 where id = %(case_id)s::bigint
   and (%(door)s::text is null or door = %(door)s::text)
   for no key update

-- set_status --
-- Change an event's status from one to another; no row means it was not in that status.
update cases.case
   set status = %(new)s::text, changed_at = clock_timestamp()
 where id = %(case_id)s::bigint and door = 'event' and status = %(old)s::text
returning id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result

-- record_result --
-- Write the result of a request that has none yet; no row means it has.
update cases.case
   set status = 'processed', result = %(result)s::jsonb, changed_at = clock_timestamp()
 where id = %(case_id)s::bigint and door = 'request' and status = 'received'
returning id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result

-- pending_events --
-- Events that nobody has begun to work on, above an id, oldest first; of some customers where these are given.
select id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result
  from cases.case
 where status = 'queued' and id > %(after)s::bigint
   and (%(among)s::text[] is null or customer = any (%(among)s::text[]))
 order by id
 limit %(limit)s::bigint

-- page --
-- A page of cases below an id, newest first; of one customer or some, door or status where given.
select id, door, customer, type, payload, payload_text, created_by, created_at, status, changed_at, result
  from cases.case
 where id < %(before)s::bigint
   and (%(customer)s::text is null or customer = %(customer)s::text)
   and (%(among)s::text[] is null or customer = any (%(among)s::text[]))
   and (%(door)s::text is null or door = %(door)s::text)
   and (%(status)s::text is null or status = %(status)s::text)
 order by id desc
 limit %(limit)s::bigint
