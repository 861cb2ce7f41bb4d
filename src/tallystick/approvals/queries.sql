-- lock --
-- Lock a question; whether there is one.
select approvals.lock(%(id)s::bigint) as locked

-- ask --
-- Store a question and what is shown of it; the ids of both.
select approval_id, row_id
  from approvals.ask(%(action)s::text, %(action_id)s::bigint, %(digest)s::bytea, %(shown)s::jsonb, %(maker)s::text,
                     %(excluded)s::text[], %(roles)s::text[], %(counts)s::integer[], %(expires_s)s::integer, %(wider)s::text[],
                     %(escalate_s)s::integer, %(by)s::text, %(accounts)s::bigint[], %(customers)s::bigint[])

-- vote --
-- Take down what a person says, and what becomes of the question by it.
select code, clock, row_id
  from approvals.vote(%(id)s::bigint, %(person)s::text, %(kind)s::text, %(roles)s::text[], %(vote)s::text, %(digest)s::bytea,
                      %(reason)s::text)

-- amend --
-- Let a question be about something else.
select code, clock, row_id
  from approvals.amend(%(id)s::bigint, %(digest)s::bytea, %(shown)s::jsonb, %(by)s::text, %(editors)s::text[], %(accounts)s::bigint[],
                       %(customers)s::bigint[])

-- withdraw --
-- Take a question back.
select code, clock, row_id
  from approvals.withdraw(%(id)s::bigint)

-- consume --
-- Use what was approved, once.
select code, clock, row_id
  from approvals.consume(%(id)s::bigint, %(digest)s::bytea)

-- say --
-- Store a comment.
select code, clock, row_id
  from approvals.say(%(id)s::bigint, %(by)s::text, %(text)s::text)

-- close_review --
-- Close the review of a broken glass.
select code, clock, row_id
  from approvals.close_review(%(id)s::bigint, %(person)s::text, %(kind)s::text, %(roles)s::text[], %(verdict)s::text)

-- move_on --
-- Let the clock have its say on the questions whose time has come.
select approval_id, clock
  from approvals.move_on(%(limit)s::integer)

-- shown_digest --
-- The salted digest of what was shown.
select sha256(t.salt || convert_to(t.text, 'UTF8')) as digest
  from approvals.shown_texts(array[%(id)s::bigint]) as t

-- vote_digest --
-- The salted digest of a vote.
select sha256(t.salt || convert_to(t.text, 'UTF8')) as digest
  from approvals.vote_texts(array[%(id)s::bigint]) as t

-- comment_digest --
-- The salted digest of a comment.
select sha256(t.salt || convert_to(t.text, 'UTF8')) as digest
  from approvals.comment_texts(array[%(id)s::bigint]) as t

-- get --
-- A question as it stands.
select id, action, action_id, version, digest, maker, excluded, roles, counts, wider, status, asked_at, expires_at, escalate_at,
       escalated_at, broken_at, changed_at, accounts, customers
  from approvals.approval
 where id = %(id)s::bigint

-- page --
-- A page of questions below an id, newest first. A role is asked where it has a place, or where it was escalated to. Those of a person
-- are those that they made, and those that were made in their name.
select id, action, action_id, version, digest, maker, excluded, roles, counts, wider, status, asked_at, expires_at, escalate_at,
       escalated_at, broken_at, changed_at, accounts, customers
  from approvals.approval
 where id < %(before)s::bigint
   and (%(status)s::text is null or status = %(status)s::text)
   and (%(action)s::text is null or action = %(action)s::text)
   and (%(role)s::text is null
        or %(role)s::text = any (roles) or (escalated_at is not null and %(role)s::text = any (wider)))
   and (%(maker)s::text is null or maker = %(maker)s::text)
   and (%(of)s::text is null or maker = %(of)s::text or %(of)s::text = any (excluded))
 order by id desc
 limit %(limit)s::bigint

-- page_within --
-- As page, for one who has some accounts and customers in reach (null: all of them): questions that touch some of these and nothing
-- else, and those that were made by them or in their name. That the arrays overlap follows from the rest, and lets an index find them.
select a.id, a.action, a.action_id, a.version, a.digest, a.maker, a.excluded, a.roles, a.counts, a.wider, a.status, a.asked_at, a.expires_at,
       a.escalate_at, a.escalated_at, a.broken_at, a.changed_at, a.accounts, a.customers
  from ((select w.id
           from approvals.approval w
          where w.id < %(before)s::bigint
            and (%(status)s::text is null or w.status = %(status)s::text)
            and (%(action)s::text is null or w.action = %(action)s::text)
            and (%(role)s::text is null
                 or %(role)s::text = any (w.roles) or (w.escalated_at is not null and %(role)s::text = any (w.wider)))
            and (%(accounts)s::bigint[] is null or %(customers)s::bigint[] is null
                 or w.accounts && %(accounts)s::bigint[] or w.customers && %(customers)s::bigint[])
            and cardinality(w.accounts) + cardinality(w.customers) > 0
            and (%(accounts)s::bigint[] is null or w.accounts <@ %(accounts)s::bigint[])
            and (%(customers)s::bigint[] is null or w.customers <@ %(customers)s::bigint[])
          order by w.id desc
          limit %(limit)s::bigint)
        union
        (select o.id
           from approvals.approval o
          where o.id < %(before)s::bigint
            and (%(status)s::text is null or o.status = %(status)s::text)
            and (%(action)s::text is null or o.action = %(action)s::text)
            and (%(role)s::text is null
                 or %(role)s::text = any (o.roles) or (o.escalated_at is not null and %(role)s::text = any (o.wider)))
            and (o.maker = %(of)s::text or %(of)s::text = any (o.excluded))
          order by o.id desc
          limit %(limit)s::bigint)) as p
  join approvals.approval a on a.id = p.id
 order by a.id desc
 limit %(limit)s::bigint

-- shown --
-- What was shown of a version.
select version, digest, shown, said_by, at
  from approvals.shown
 where approval_id = %(id)s::bigint and version = %(version)s::integer

-- votes --
-- All that people said of a question, of all its versions, oldest first.
select id, version, person, vote, places, reason, at, approvals.is_gone(person) as gone
  from approvals.vote
 where approval_id = %(id)s::bigint
 order by id
 limit 2000

-- places --
-- The roles of the quorum that a vote could fill a place of.
select places
  from approvals.vote
 where id = %(id)s::bigint

-- comments --
-- What was remarked on a question, oldest first.
select id, said_by, text, at
  from approvals.comment
 where approval_id = %(id)s::bigint
 order by id
 limit 1000

-- reviews --
-- A page of reviews below an id, newest first; only those that are open, or closed, where that is given.
select r.approval_id, a.action, a.maker,
       array(select v.person
               from approvals.vote v
              where v.approval_id = r.approval_id and v.version = a.version and v.vote = 'break_glass'
              order by v.id) as broken_by,
       r.opened_at, r.closed_at, r.closed_by, r.verdict
  from approvals.review r
  join approvals.approval a on a.id = r.approval_id
 where r.approval_id < %(before)s::bigint
   and (%(open)s::boolean is null or %(open)s::boolean = (r.closed_at is null))
   and (%(id)s::bigint is null or r.approval_id = %(id)s::bigint)
   and (not %(narrow)s::boolean or cardinality(a.accounts) + cardinality(a.customers) > 0)
   and (%(accounts)s::bigint[] is null or a.accounts <@ %(accounts)s::bigint[])
   and (%(customers)s::bigint[] is null or a.customers <@ %(customers)s::bigint[])
 order by r.approval_id desc
 limit %(limit)s::bigint

-- open_reviews --
-- How many reviews are open.
select count(*) as open
  from approvals.review r
  join approvals.approval a on a.id = r.approval_id
 where r.closed_at is null
   and (not %(narrow)s::boolean or cardinality(a.accounts) + cardinality(a.customers) > 0)
   and (%(accounts)s::bigint[] is null or a.accounts <@ %(accounts)s::bigint[])
   and (%(customers)s::bigint[] is null or a.customers <@ %(customers)s::bigint[])
