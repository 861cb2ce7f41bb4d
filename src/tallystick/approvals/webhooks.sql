-- add_webhook --
-- Tell somebody from now on; null where there are enough.
select approvals.add_webhook(%(url)s::text, %(events)s::text[], %(inner)s::bytea, %(outer)s::bytea, %(by)s::text,
                             %(most)s::integer) as id

-- remove_webhook --
-- Tell somebody no more.
select approvals.remove_webhook(%(id)s::bigint, %(by)s::text) as removed

-- webhook --
-- One that is told, or was.
select id, url, events, created_by, created_at, removed_by, removed_at
  from approvals.webhook
 where id = %(id)s::bigint

-- webhooks --
-- Who is told, oldest first.
select id, url, events, created_by, created_at, removed_by, removed_at
  from approvals.webhook
 where removed_at is null
 order by id

-- subscribers --
-- Who is told of an event.
select id
  from approvals.webhook
 where removed_at is null and events && array[%(event)s::text, '*']
 order by id

-- sign --
-- Where a notice goes, and its signature.
select url, at, signature
  from approvals.sign(%(id)s::bigint, %(body)s::bytea)
