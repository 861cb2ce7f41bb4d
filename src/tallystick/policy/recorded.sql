-- decision --
-- Decisions in the order of their ids' places, as the record tells of them.
select id, salt, text, erased_by, digest, used
  from policy.recorded(%(ids)s::bigint[])
