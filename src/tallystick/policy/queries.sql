-- gather --
-- What rules need to know: counters, which stay locked, what is on lists, and which policy is in force.
select g.at, g.digest, g.body, g.ids, g.counts, g.sums, g.places, g.entries, g.unlisted
  from policy.gather(%(counters)b::text[], %(windows)b::bigint[], %(lists)b::text[], %(names)b::text[], %(ids)b::text[],
                     %(known)s::text) as g

-- keep --
-- Write decisions, and add what they reserve to counters.
select policy.keep(%(principals)b::text[], %(on_behalf_of)b::text[], %(actions)b::text[], %(digests)b::bytea[],
                   %(policies)b::text[], %(facts)b::text[], %(verdicts)b::text[], %(outcomes)b::text[], %(task_ids)s::bigint[],
                   %(approval_ids)s::bigint[], %(salts)b::bytea[], %(counters)b::bigint[], %(counts)b::bigint[], %(sums)b::bigint[]) as ids

-- reserve --
-- Add to counters, which are locked.
select policy.reserve(%(counters)b::bigint[], %(counts)b::bigint[], %(sums)b::bigint[])

-- consume --
-- Use decisions up.
select policy.consume(%(ids)b::bigint[])

-- in_force --
-- The policy in force, with its text where that is not known.
select d.digest, case when d.digest is distinct from %(known)s::text then d.body end as body
  from policy.document d
 where d.id = policy.in_force(db.clock())

-- body --
-- The text of a policy that was ever applied.
select d.body
  from policy.document d
 where d.digest = %(digest)s::text
 order by d.id
 limit 1

-- apply --
-- Put a policy in force.
select a.id, a.digest, a.name, a.effective_from, a.applied_by, a.applied_at
  from policy.apply(%(digest)s::text, %(name)s::text, %(body)s::text, %(effective_from)s::timestamptz, %(by)s::text) as a

-- applied --
-- A page of the policies that were applied, newest first.
select d.id, d.digest, d.name, d.effective_from, d.applied_by, d.applied_at
  from policy.document d
 where d.id < %(before)s::bigint
 order by d.id desc
 limit %(limit)s::bigint

-- applied_last --
-- When a policy was applied last.
select d.id, d.digest, d.name, d.effective_from, d.applied_by, d.applied_at
  from policy.document d
 where d.digest = %(digest)s::text
 order by d.id desc
 limit 1

-- in_force_since --
-- The application that the policy in force goes back to: what was applied after it, up to now, was the same document.
with past as (
    select d.id, d.digest, d.name, d.effective_from, d.applied_by, d.applied_at
      from policy.document d
     where d.effective_from <= db.clock()
)
select p.id, p.digest, p.name, p.effective_from, p.applied_by, p.applied_at
  from past p
 where not exists (
           select
             from past o
            where o.digest <> p.digest
              and (o.effective_from, o.id) > (p.effective_from, p.id)
       )
 order by p.effective_from, p.id
 limit 1

-- coming --
-- What will be in force, in the order of time.
select d.id, d.digest, d.name, d.effective_from, d.applied_by, d.applied_at
  from policy.document d
 where d.effective_from > db.clock()
 order by d.effective_from, d.id
 limit %(limit)s::bigint

-- decision --
-- One decision.
select d.id, d.at, d.principal, d.on_behalf_of, d.action, d.digest, d.policy, d.facts, d.verdict, d.outcome, d.task_id,
       d.approval_id, d.used_by is not null or exists (select from policy.consumption c where c.decision_id = d.id) as consumed,
       d.erased_by
  from policy.decision d
 where d.id = %(id)s::bigint

-- decisions --
-- A page of decisions below an id, newest first; what is null does not matter.
select d.id, d.at, d.principal, d.on_behalf_of, d.action, d.digest, d.policy, d.facts, d.verdict, d.outcome, d.task_id,
       d.approval_id, d.used_by is not null or exists (select from policy.consumption c where c.decision_id = d.id) as consumed,
       d.erased_by
  from policy.decision d
 where d.id < %(before)s::bigint
   and (%(since)s::timestamptz is null or d.id >= policy.first_decision(%(since)s::timestamptz))
   and (%(since)s::timestamptz is null or d.at >= %(since)s::timestamptz)
   and (%(principal)s::text is null or d.principal = %(principal)s::text)
   and (%(action)s::text is null or d.action = %(action)s::text)
   and (%(outcome)s::text is null or d.outcome = %(outcome)s::text)
 order by d.id desc
 limit %(limit)s::bigint

-- decisions_onward --
-- Decisions above an id, oldest first, since a time where that is given.
select d.id, d.at, d.principal, d.on_behalf_of, d.action, d.digest, d.policy, d.facts, d.verdict, d.outcome, d.task_id,
       d.approval_id, false as consumed,
       d.erased_by
  from policy.decision d
 where d.id > %(after)s::bigint
   and (%(since)s::timestamptz is null or d.at >= %(since)s::timestamptz)
 order by d.id
 limit %(limit)s::bigint

-- first_decision --
-- The first decision since a time.
select policy.first_decision(%(since)s::timestamptz) as id

-- count_decisions --
-- How many decisions there are above an id, counted up to a bound.
select count(*) as found
  from (select d.id from policy.decision d where d.id > %(after)s::bigint limit %(limit)s::bigint) d

-- next_version --
-- A number for an import.
select nextval('policy.list_version') as version

-- publish --
-- Have a list be what was imported.
select p.name, p.kind, p.version, p.entries, p.source, p.imported_by, p.imported_at
  from policy.publish(%(name)s::text, %(kind)s::text, %(version)s::bigint, %(source)s::text, %(by)s::text) as p

-- lists --
-- Every list.
select l.name, l.kind, l.version, l.entries, l.source, l.imported_by, l.imported_at
  from policy.list l
 order by l.name

-- find_entries --
-- Entries of a list, or of all, that are found by a name or an id.
select l.name as list, e.entry_id, e.name
  from policy.list l
  join policy.list_entry e on e.version = l.version
                          and e.normalized = case l.kind when 'names' then %(name_form)s::text else %(id_form)s::text end
 where %(list)s::text is null or l.name = %(list)s::text
 order by l.name, e.entry_id
 limit %(limit)s::bigint

-- some_entries --
-- Entries of a list above an id, in order.
select l.name as list, e.entry_id, e.name
  from policy.list l
  join policy.list_entry e on e.version = l.version
 where l.name = %(list)s::text
   and e.entry_id > %(after)s::text
 order by e.entry_id
 limit %(limit)s::bigint
