-- append --
-- Write events in the order given; their ids, which rise in that order.
select audit.write(%(principals)s::text[], %(on_behalf_of)s::text[], %(verbs)s::text[], %(subject_kinds)s::text[],
                   %(subject_ids)s::bigint[], %(task_ids)s::bigint[], %(steps)s::text[], %(decision_ids)s::bigint[],
                   %(approval_ids)s::bigint[], %(request_ids)s::text[], %(trace_ids)s::text[], %(details)s::text[],
                   %(items_kinds)s::text[], %(refs)s::text[], %(items)s::bytea[], %(payloads)s::text[]) as ids

-- latest --
-- The newest event of a subject, of one verb where that is given.
select e.id, e.at, e.principal, e.on_behalf_of, e.verb, e.subject_kind, e.subject_id, e.task_id, e.step, e.decision_id, e.approval_id,
       e.request_id, e.trace_id, e.leaf::jsonb -> 'detail' as detail, p.body as payload, p.erased_by, e.items_kind, e.refs, l.idx as index, e.leaf
  from audit.event e
  left join audit.payload p on p.event_id = e.id
  left join audit.leaf l on l.event_id = e.id
 where e.subject_kind = %(subject_kind)s::text
   and e.subject_id = %(subject_id)s::bigint
   and (%(verb)s::text is null or e.verb = %(verb)s::text)
 order by e.id desc
 limit 1

-- sealers_turn --
-- Whether this transaction is the one that seals.
select pg_try_advisory_xact_lock(7331030) as mine

-- pending --
-- Events that are not in the tree, those of the oldest calls first.
select p.event_id, e.leaf
  from audit.pending p
  join audit.event e on e.id = p.event_id
 order by p.event_id
 limit %(limit)s::bigint

-- size --
-- How many leaves the tree has.
select coalesce(max(l.idx) + 1, 0) as size
  from audit.leaf l

-- add_leaves --
-- Put events at the end of the tree.
with gone as (
    delete from audit.pending p
     where p.event_id = any (%(event_ids)b::bigint[])
), stood as (
    insert into audit.node (level, n, hash)
    select u.level, u.n, u.hash
      from unnest(%(levels)s::smallint[], %(ns)s::bigint[], %(nodes)s::bytea[]) as u (level, n, hash)
)
insert into audit.leaf (idx, event_id, hash)
select %(size)s::bigint + u.ord - 1, u.event_id, u.hash
  from unnest(%(event_ids)b::bigint[], %(hashes)b::bytea[]) with ordinality as u (event_id, hash, ord)

-- tiles --
-- Hashes of tiles, one after another: of level 0 the leaves', above it those of full subtrees.
select u.level::integer as level, u.n,
       case when u.level = 0
            then (select string_agg(l.hash, ''::bytea order by l.idx)
                    from audit.leaf l
                   where l.idx >= u.n * 256 and l.idx < (u.n + 1) * 256)
            else (select string_agg(o.hash, ''::bytea order by o.n)
                    from audit.node o
                   where o.level = u.level and o.n >= u.n * 256 and o.n < (u.n + 1) * 256)
       end as hashes
  from unnest(%(levels)s::integer[], %(ns)s::bigint[]) as u (level, n)

-- origin --
-- The origin that checkpoints are signed under now.
select o.n, o.name, o.opened_at, o.follows
  from audit.origin o
 order by o.n desc
 limit 1

-- open_origin --
-- Begin to sign under another name.
insert into audit.origin (n, name, opened_at, follows)
values (%(n)s::integer, %(name)s::text, clock_timestamp(), %(follows)s::text)

-- newest_checkpoint --
-- The last checkpoint that was signed.
select c.size, c.origin, c.root, c.note, c.signed_at
  from audit.checkpoint c
 order by c.size desc
 limit 1

-- checkpoint_at --
-- The checkpoint of a size.
select c.size, c.origin, c.root, c.note, c.signed_at
  from audit.checkpoint c
 where c.size = %(size)s::bigint

-- keep_checkpoint --
-- Keep a checkpoint, the only one of its size for ever.
insert into audit.checkpoint (size, origin, root, note, signed_at)
values (%(size)s::bigint, %(origin)s::integer, %(root)s::bytea, %(note)s::text, clock_timestamp())

-- lag --
-- How far sealing is behind.
select (select coalesce(max(l.idx) + 1, 0) from audit.leaf l) as size,
       (select count(*) from (select from audit.pending limit 1000000) p) as pending,
       (select extract(epoch from clock_timestamp() - e.at)::double precision
          from audit.event e
         where e.id = (select min(p.event_id) from audit.pending p)) as oldest_s,
       (select max(c.size) from audit.checkpoint c) as signed,
       (select max(c.signed_at) from audit.checkpoint c) as signed_at

-- page --
-- A page of the events that are asked for, in the order of their ids or against it.
select e.id, e.at, e.principal, e.on_behalf_of, e.verb, e.subject_kind, e.subject_id, e.task_id, e.step, e.decision_id, e.approval_id,
       e.request_id, e.trace_id, e.leaf::jsonb -> 'detail' as detail, p.body as payload, p.erased_by, e.items_kind, e.refs, l.idx as index,
       e.leaf
  from audit.find(%(principal)s::text, %(on_behalf_of)s::text, %(kind)s::text, %(subject)s::bigint, %(verb)s::text, %(task_id)s::bigint,
                  %(request_id)s::text, %(start)s::timestamptz, %(end)s::timestamptz, %(after)s::bigint, %(before)s::bigint,
                  %(ascending)s::boolean, %(limit)s::bigint) with ordinality as f (id, ord)
  join audit.event e on e.id = f.id
  left join audit.payload p on p.event_id = e.id
  left join audit.leaf l on l.event_id = e.id
 order by f.ord

-- by_ids --
-- Events by their ids, in the order of these.
select e.id, e.at, e.principal, e.on_behalf_of, e.verb, e.subject_kind, e.subject_id, e.task_id, e.step, e.decision_id, e.approval_id,
       e.request_id, e.trace_id, e.leaf::jsonb -> 'detail' as detail, p.body as payload, p.erased_by, e.items_kind, e.refs, l.idx as index,
       e.leaf
  from audit.event e
  left join audit.payload p on p.event_id = e.id
  left join audit.leaf l on l.event_id = e.id
 where e.id = any (%(ids)s::bigint[])
 order by e.id

-- tells_of --
-- The event that tells of a thing first: among its items, or as what it is about; null where there is none.
select coalesce(audit.tells_of(%(kind)s::text, %(id)s::bigint),
                (select min(e.id) from audit.event e where e.subject_kind = %(kind)s::text and e.subject_id = %(id)s::bigint)) as event_id

-- digests --
-- The digests of an event's items, one after another.
select coalesce(e.items, ''::bytea) as items
  from audit.event e
 where e.id = %(event_id)s::bigint

-- leaves --
-- Leaves of the tree, from one index on, in order.
select e.leaf
  from audit.leaf l
  join audit.event e on e.id = l.event_id
 where l.idx >= %(first)s::bigint and l.idx < %(first)s::bigint + %(count)s::bigint
 order by l.idx
