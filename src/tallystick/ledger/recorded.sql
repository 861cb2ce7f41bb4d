-- journal --
-- What the digests of journals are made of.
select id, null::bytea as salt, null::text as text, sent, null::bigint as erased_by
  from ledger.journal_rows(%(ids)s::bigint[])

-- journal_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from ledger.journal t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
