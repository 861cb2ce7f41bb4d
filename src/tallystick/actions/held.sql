-- lock_keys --
-- One transaction at a time for a key: whoever comes second sees what became of the first. In order, so that two batches cannot deadlock.
select pg_advisory_xact_lock(h.hash) is null as locked
  from (select distinct hashtextextended(%(scope)s::text || ' ' || u.key, 7331020) as hash
          from unnest(%(keys)s::text[]) as u (key)
         order by 1
        offset 0) as h

-- lock_accounts --
-- Take the locks of postings between accounts of some names, before those of counters.
select true as locked
  from actions.lock_accounts(%(names)s::text[])

-- uses --
-- What keys stand for.
select key, kind, hash, ref_id
  from db.claim
 where scope = %(scope)s::text and key = any (%(keys)s::text[])

-- insert_action --
-- Keep an action that people are to be asked about; its id.
insert into actions.action (type, principal, on_behalf_of, maker, payload, digest, decision_id, task_id)
values (%(type)s::text, %(principal)s::text, %(on_behalf_of)s::text, %(maker)s::jsonb, %(payload)s::jsonb, %(digest)s::bytea,
        %(decision_id)s::bigint, %(task_id)s::bigint)
returning id

-- set_approval --
-- Note who is asked about an action.
update actions.action
   set approval_id = %(approval_id)s::bigint
 where id = %(id)s::bigint and approval_id is null

-- by_approval --
-- The action that an approval is about, and who proposed it.
select id, type, principal, on_behalf_of, maker, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason,
       result, executed_by, ended_at
  from actions.action
 where approval_id = %(approval_id)s::bigint
   for no key update

-- end_action --
-- Fill in what became of an action; each ends once.
update actions.action
   set status = %(status)s::text, reason = %(reason)s::text, result = %(result)s::jsonb, executed_by = %(executed_by)s::bigint,
       ended_at = clock_timestamp()
 where id = %(id)s::bigint and status = 'held'

-- action --
-- One action.
select id, type, principal, on_behalf_of, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason, result,
       executed_by, ended_at
  from actions.action
 where id = %(id)s::bigint

-- actions --
-- A page of actions, newest first.
select id, type, principal, on_behalf_of, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason, result,
       executed_by, ended_at
  from actions.action
 where id < %(before)s::bigint
   and (%(type)s::text is null or type = %(type)s::text)
   and (%(status)s::text is null or status = %(status)s::text)
   and (%(principal)s::text is null or principal = %(principal)s::text)
   and (%(task_id)s::bigint is null or task_id = %(task_id)s::bigint)
 order by id desc
 limit %(limit)s::bigint

-- of_task --
-- Actions of a task, newest first: what people said of what it proposed.
select id, type, principal, on_behalf_of, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason, result,
       executed_by, ended_at
  from actions.action
 where task_id = %(task_id)s::bigint
 order by id desc
 limit %(limit)s::bigint

-- lock --
-- One action and who proposed it, locked.
select id, type, principal, on_behalf_of, maker, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason,
       result, executed_by, ended_at
  from actions.action
 where id = %(id)s::bigint
   for no key update

-- amend --
-- Let a held action be about something else.
update actions.action
   set payload = %(payload)s::jsonb, digest = %(digest)s::bytea, decision_id = %(decision_id)s::bigint
 where id = %(id)s::bigint and status = 'held'

-- asked_for --
-- How many actions of a task people have not decided yet.
select count(*) as asked
  from actions.action a
  join approvals.approval p on p.id = a.approval_id
 where a.task_id = %(task_id)s::bigint and a.status = 'held' and p.status = 'open'

-- of_approval --
-- The action that an approval is about.
select id, type, principal, on_behalf_of, payload, digest, decision_id, approval_id, task_id, proposed_at, status, reason, result,
       executed_by, ended_at
  from actions.action
 where approval_id = %(approval_id)s::bigint
