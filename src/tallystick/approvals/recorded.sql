-- approval_shown --
-- What people were shown.
select id, salt, text, null::bytea as sent, erased_by
  from approvals.shown_texts(%(ids)s::bigint[])

-- approval_vote --
-- What people voted.
select id, salt, text, null::bytea as sent, erased_by
  from approvals.vote_texts(%(ids)s::bigint[])

-- approval_comment --
-- What was remarked.
select id, salt, text, null::bytea as sent, erased_by
  from approvals.comment_texts(%(ids)s::bigint[])

-- approval_shown_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from approvals.shown t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint

-- approval_vote_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from approvals.vote t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint

-- approval_comment_ids --
-- The ids of all rows of this kind that events tell of, in order.
select t.id as id
  from approvals.comment t
 where t.id > %(after)s::bigint
 order by t.id
 limit %(limit)s::bigint
