-- add_principal --
-- Make a principal, unless there is one of that name.
insert into identity.principal (name, kind)
values (%(name)s::text, %(kind)s::text)
    on conflict (name) do nothing

-- add_key --
-- Store the hash of a new key of a principal.
insert into identity.api_key (principal_id, prefix, hash)
select id, %(prefix)s::text, %(hash)s::bytea
  from identity.principal
 where name = %(name)s::text
returning id

-- principal_of_key --
-- Who a key belongs to, unless it was revoked.
select p.name, p.kind
  from identity.api_key k
  join identity.principal p on p.id = k.principal_id
 where k.hash = %(hash)s::bytea and k.revoked_at is null

-- keys --
-- Every key, newest first.
select k.id, p.name as principal, k.prefix, k.created_at, k.revoked_at
  from identity.api_key k
  join identity.principal p on p.id = k.principal_id
 order by k.id desc

-- revoke --
-- Revoke a key; no row means there is none, or it was revoked before.
update identity.api_key
   set revoked_at = now()
 where id = %(id)s::bigint and revoked_at is null
returning id
