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

-- approval_states --
-- How questions stand, and whether events tell of them that are not signed yet.
with later as materialized (
    select e.approval_id
      from audit.pending p
      join audit.event e on e.id = p.event_id
     union
    select e.approval_id
      from audit.leaf l
      join audit.event e on e.id = l.event_id
     where l.idx >= (select max(c.size) from audit.checkpoint c)
)
select a.id,
       jsonb_build_object(
           'maker', a.maker,
           'excluded', array(select e.name from unnest(a.excluded) as e (name) order by e.name collate "C"),
           'approve', (select jsonb_agg(jsonb_build_array(r.role, r.places) order by r.n)
                         from unnest(a.roles, a.counts) with ordinality as r (role, places, n)),
           'version', a.version,
           'status', a.status,
           'digest', case when a.erased_by is null then encode(a.digest, 'hex') end,
           'later', exists (select from later l where l.approval_id = a.id)) as state
  from approvals.approval a
 where a.id > %(after)s::bigint
 order by a.id
 limit %(limit)s::bigint
