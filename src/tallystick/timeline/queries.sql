-- of_tasks --
-- The events of some tasks and of some journals: those done in a task or about one, those that tell of its steps and its end, and calls
-- that ended attempts of several tasks, which name them. Such a call is written into the record right after its attempts have ended.
with ended as (
    select a.task_id, a.ended_at as at
      from work.attempt a
     where a.task_id = any (%(tasks)s::bigint[])
    union
    select o.task_id, o.finished_at
      from work.outcome o
     where o.task_id = any (%(tasks)s::bigint[]) and o.state <> 'done'
), found as (
    select e.id from audit.event e where e.task_id = any (%(tasks)s::bigint[])
    union
    select e.id from audit.event e where e.subject_kind = 'task' and e.subject_id = any (%(tasks)s::bigint[])
    union
    select audit.tells_of(k.kind, t.id)
      from unnest(%(tasks)s::bigint[]) as t (id)
     cross join (values ('task'), ('outcome')) as k (kind)
    union
    select audit.tells_of('step', s.id)
      from work.step s
     where s.task_id = any (%(tasks)s::bigint[]) and s.kind in ('sleep', 'event', 'approval') and s.state = 'done'
    union
    select f.id
      from ended n
     cross join unnest(array['tasks.fail', 'tasks.reap', 'tasks.expire']) as v (verb)
     cross join lateral audit.find(null, null, null, null, v.verb, null, null, n.at - interval '1 second', n.at + interval '5 minutes',
                                   0, 9223372036854775807, true, 1000) as f (id)
      join audit.event e on e.id = f.id
      left join audit.payload p on p.event_id = e.id
     cross join lateral (select coalesce(p.body, e.leaf::jsonb -> 'detail') -> 'tasks' as tasks) as d
     where d.tasks @> jsonb_build_array(jsonb_build_array(n.task_id)) or d.tasks @> jsonb_build_array(n.task_id)
    union
    select audit.tells_of('journal', j.id) from unnest(%(journals)s::bigint[]) as j (id)
)
select f.id
  from found f
 where f.id > %(after)s::bigint
 order by f.id
 limit %(limit)s::bigint

-- of_thing --
-- The events about a thing, or with it among their items.
select f.id
  from audit.find(null, null, %(kind)s::text, %(id)s::bigint, null, null, null, null, null, %(after)s::bigint, 9223372036854775807, true,
                  %(limit)s::bigint) as f (id)

-- of_transfer --
-- The calls that proposed or settled a transfer together with others, which name it. They are about the first of them, which has that id
-- or a lower one.
select e.id
  from actions.transfer t
 cross join lateral (values ('transfers.propose', t.created_at), ('transfers.settle', t.settled_at)) as m (verb, at)
 cross join lateral (select e.id, e.verb, e.at, e.leaf
                       from audit.event e
                      where e.subject_kind = 'transfer' and e.subject_id <= t.id
                      order by e.subject_id desc
                      limit 5000) as e
  left join audit.payload p on p.event_id = e.id
 cross join lateral (select coalesce(p.body, e.leaf::jsonb -> 'detail') -> 'transfers' as transfers) as d
 where t.id = %(transfer)s::bigint
   and e.id > %(after)s::bigint
   and e.verb = m.verb
   and e.at between m.at - interval '1 second' and m.at + interval '5 minutes'
   and (d.transfers @> jsonb_build_array(jsonb_build_array(t.id::text)) or d.transfers @> jsonb_build_array(jsonb_build_array(t.id))
        or d.transfers @> jsonb_build_array(t.id))
 order by e.id

-- question_of_transfer --
-- The action that a transfer is, or is part of, where people were asked about it or several were decided as one, and the approval.
select a.id as action, a.approval_id as approval
  from actions.transfer t
  join actions.action a on a.id = t.action_id
 where t.id = %(transfer)s::bigint

-- of_entries --
-- The entries of an account above a number, and the event of each one's journal.
select n.seq, n.journal_id, audit.tells_of('journal', n.journal_id) as event_id
  from ledger.entry n
 where n.account_id = %(account)s::bigint and n.seq > %(seq)s::bigint
 order by n.seq
 limit %(limit)s::bigint

-- last_before --
-- The last entry of an account that was made before a time.
select coalesce(max(n.seq), 0) as seq
  from ledger.entry n
 where n.account_id = %(account)s::bigint and n.posted_at < %(start)s::timestamptz

-- of_agent --
-- The next events of the record, and which of them an agent did, or were done in its tasks or to them.
select e.id,
       e.principal = %(agent)s::text
       or exists (select
                    from work.task t
                    join work.queue q on q.id = t.queue
                   where t.id in (e.task_id, case when e.subject_kind = 'task' then e.subject_id end) and q.agent = %(agent)s::text)
       or e.items_kind in ('task', 'outcome')
          and exists (select
                        from work.task t
                        join work.queue q on q.id = t.queue
                       where t.id = any (e.refs) and q.agent = %(agent)s::text)
       or e.items_kind = 'step'
          and exists (select
                        from work.step s
                        join work.task t on t.id = s.task_id
                        join work.queue q on q.id = t.queue
                       where s.id = any (e.refs) and q.agent = %(agent)s::text) as wanted
  from audit.event e
 where e.id > %(after)s::bigint
 order by e.id
 limit %(limit)s::bigint

-- first_id --
-- An id that all events from a time on have reached.
select audit.first_id(%(start)s::timestamptz) as id

-- tasks_of_agent --
-- Those of some tasks that are an agent's.
select t.id
  from work.task t
  join work.queue q on q.id = t.queue
 where t.id = any (%(ids)s::bigint[]) and q.agent = %(agent)s::text

-- steps_of_tasks --
-- Those of some steps that are of some tasks.
select s.id
  from work.step s
 where s.id = any (%(ids)s::bigint[]) and s.task_id = any (%(tasks)s::bigint[])

-- steps_of_agent --
-- Those of some steps that are of an agent's tasks.
select s.id
  from work.step s
  join work.task t on t.id = s.task_id
  join work.queue q on q.id = t.queue
 where s.id = any (%(ids)s::bigint[]) and q.agent = %(agent)s::text

-- tasks --
-- What is kept readable of tasks.
select t.id, t.text, t.salt is null as erased
  from work.task_texts(%(ids)s::bigint[]) as t

-- outcomes --
-- What is kept readable of the ends of tasks.
select t.id, t.text, t.salt is null as erased
  from work.outcome_texts(%(ids)s::bigint[]) as t

-- steps --
-- What is kept readable of steps.
select t.id, t.text, t.salt is null as erased
  from work.step_texts(%(ids)s::bigint[]) as t

-- events --
-- What is kept readable of the events that agents leave.
select t.id, t.text, t.salt is null as erased
  from memory.event_texts(%(ids)s::bigint[]) as t

-- cases --
-- What is kept readable of cases.
select t.id, t.text, t.salt is null as erased
  from cases.case_texts(%(ids)s::bigint[]) as t

-- journals --
-- What the books have of journals.
select j.id,
       jsonb_strip_nulls(jsonb_build_object(
           'journal', j.id::text, 'kind', j.kind, 'ref_id', j.ref_id::text, 'reverses', j.reverses::text, 'hold', j.hold_id::text,
           'posted_at', j.posted_at, 'effective_at', j.effective_at,
           'entries', (select jsonb_agg(jsonb_build_object('account', a.name, 'currency', a.asset,
                                                           'amount', round(n.amount / 10::numeric ^ s.scale, s.scale)::text)
                                        order by n.account_id, n.seq)
                         from ledger.entry n
                         join ledger.account a on a.id = n.account_id
                         join ledger.asset s on s.code = a.asset
                        where n.journal_id = j.id)))::text as text,
       false as erased
  from ledger.journal j
 where j.id = any (%(ids)s::bigint[])
