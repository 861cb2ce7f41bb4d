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
select o.n, o.name, o.follows
  from audit.origin o
 order by o.n desc
 limit 1

-- open_origin --
-- Begin to sign under another name.
insert into audit.origin (n, name, follows)
values (%(n)s::integer, %(name)s::text, %(follows)s::text)

-- newest_checkpoint --
-- The last checkpoint that was signed.
select c.size, c.origin, c.root, c.note
  from audit.checkpoint c
 order by c.size desc
 limit 1

-- checkpoint_at --
-- The checkpoint of a size.
select c.size, c.origin, c.root, c.note
  from audit.checkpoint c
 where c.size = %(size)s::bigint

-- keep_checkpoint --
-- Keep a checkpoint, the only one of its size for ever.
insert into audit.checkpoint (size, origin, root, note)
values (%(size)s::bigint, %(origin)s::integer, %(root)s::bytea, %(note)s::text)

-- lag --
-- How far sealing is behind.
select (select coalesce(max(l.idx) + 1, 0) from audit.leaf l) as size,
       (select count(*) from (select from audit.pending limit 1000000) p) as pending,
       (select extract(epoch from clock_timestamp() - min(e.at))::double precision
          from audit.event e
         where e.id = any (array[(select min(p.event_id) from audit.pending p),
                                 (select l.event_id
                                    from audit.leaf l
                                   where l.idx = coalesce((select max(c.size) from audit.checkpoint c), 0))])) as oldest_s,
       (select max(c.size) from audit.checkpoint c) as signed,
       (select extract(epoch from clock_timestamp() - e.at)::double precision
          from audit.leaf l
          join audit.event e on e.id = l.event_id
         where l.idx = (select max(c.size) - 1 from audit.checkpoint c)) as signed_s

-- sealed --
-- Events of a range of indexes as they were sealed, with what lies beside them.
select l.idx as index, l.hash, e.id, e.leaf, e.items_kind, e.refs, e.items, p.event_id is not null as has_payload, p.salt,
       p.body::text as text, p.erased_by
  from audit.leaf l
  join audit.event e on e.id = l.event_id
  left join audit.payload p on p.event_id = e.id
 where l.idx >= %(first)s::bigint and l.idx <= %(last)s::bigint
 order by l.idx

-- indexes_of --
-- The places of events in the tree.
select l.idx as index
  from audit.leaf l
 where l.event_id = any (%(event_ids)s::bigint[])
 order by l.idx

-- range_of --
-- The first and the last index among the events of a time, as far as the tree has them.
select min(l.idx) as first, max(l.idx) as last
  from audit.event e
  join audit.leaf l on l.event_id = e.id
 where e.at >= %(since)s::timestamptz and e.at < %(until)s::timestamptz and l.idx < %(size)s::bigint

-- signed_sizes --
-- Sizes that were signed before a leaf, newest first.
select c.size
  from audit.checkpoint c
 where c.size <= %(before)s::bigint
 order by c.size desc
 limit %(limit)s::bigint

-- origins --
-- All origins there were, the first one first.
select o.n, o.name, o.follows
  from audit.origin o
 order by o.n

-- checkpoints --
-- Checkpoints of a range of sizes.
select c.size, c.origin, c.root, c.note
  from audit.checkpoint c
 where c.size >= %(first)s::bigint and c.size <= %(last)s::bigint
 order by c.size

-- nodes --
-- Roots of full subtrees that end in a range of leaves.
select o.level::integer as level, o.n, o.hash
  from audit.node o
 where ((o.n + 1)::numeric * power(256::numeric, o.level)) between %(first)s::bigint and %(last)s::bigint
 order by o.level, o.n

-- count_nodes --
-- How many roots of full subtrees are kept.
select count(*) as nodes
  from audit.node o

-- columns --
-- Events in id order, as they are looked up and as they are sealed.
select e.id, e.at, e.principal, e.on_behalf_of, e.verb, e.subject_kind, e.subject_id, e.task_id, e.step, e.decision_id, e.approval_id,
       e.request_id, e.trace_id, e.items_kind, e.refs, e.items, e.leaf, l.idx as index,
       exists (select from audit.pending p where p.event_id = e.id) as is_pending
  from audit.event e
  left join audit.leaf l on l.event_id = e.id
 where e.id > %(after)s::bigint
 order by e.id
 limit %(limit)s::bigint

-- payload_text --
-- What an event carries beside its leaf; nothing where it was erased.
select p.body::text as text
  from audit.payload p
 where p.event_id = %(event_id)s::bigint

-- strays --
-- Rows of the record that belong to no event.
select 'audit.leaf' as relation, l.idx as id
  from audit.leaf l
 where not exists (select from audit.event e where e.id = l.event_id)
union all
select 'audit.pending', p.event_id
  from audit.pending p
 where not exists (select from audit.event e where e.id = p.event_id)
    or exists (select from audit.leaf l where l.event_id = p.event_id)
union all
select 'audit.payload', p.event_id
  from audit.payload p
 where not exists (select from audit.event e where e.id = p.event_id)
 limit 1000

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
