-- case --
-- What cases were opened with.
select id, salt, text, null::bytea as sent, erased_by
  from cases.case_texts(%(ids)s::bigint[])

-- case_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from cases.case t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
