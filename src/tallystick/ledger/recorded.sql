-- journal --
-- What the digests of journals are made of.
select id, null::bytea as salt, null::text as text, sent, null::bigint as erased_by
  from ledger.journal_rows(%(ids)s::bigint[])
