-- claim --
-- Take idempotency keys; see repeatable/10_claim.sql.
select ord, state, ref_id
  from db.claim(%(scopes)s::text[], %(keys)s::text[], %(hashes)s::bytea[], %(kinds)s::text[], %(ref_ids)s::bigint[])

-- notify --
-- Wake whoever listens on a channel.
select pg_notify(%(channel)s::text, '')

-- claimed --
-- What a key was used for before; no row means that it is free.
select kind, hash, ref_id
  from db.claim
 where scope = %(scope)s::text and key = %(key)s::text

-- schema_revision --
-- The revision that the schema is at.
select version_num::text as version_num
  from db.revision
