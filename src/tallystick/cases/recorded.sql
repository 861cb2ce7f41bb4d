-- case --
-- What cases were opened with.
select id, salt, text, null::bytea as sent, null::bigint as erased_by
  from cases.case_texts(%(ids)s::bigint[])
