-- lock_nostro --
-- Nobody else reconciles this nostro until the transaction ends.
select payments.lock_nostro(%(nostro_id)s::bigint)

-- claim_import --
-- Take the idempotency key of an import; what it stands for is the number of the call.
select c.ord, c.state, c.ref_id
  from db.claim(array[%(scope)s::text], array[%(key)s::text], array[%(hash)s::bytea], array['statement_import'::text],
                array[nextval('payments.move_id')]) as c

-- by_digest --
-- The statements that a file of this digest brought to a nostro.
select id
  from payments.statement
 where nostro_id = %(nostro_id)s::bigint and digest = %(digest)s::bytea
 order by id

-- insert_statement --
-- Store the head of a statement; no row means that one of that name is there. Without days, it is of today.
insert into payments.statement (nostro_id, statement_id, digest, opening, opening_on, closing, closing_on, lines, imported_by)
values (%(nostro_id)s::bigint, %(statement_id)s::text, %(digest)s::bytea, %(opening)s::bigint,
        coalesce(%(opening_on)s::date, (now() at time zone 'UTC')::date), %(closing)s::bigint,
        coalesce(%(closing_on)s::date, (now() at time zone 'UTC')::date), %(lines)s::integer, %(principal)s::text)
    on conflict do nothing
returning id

-- insert_lines --
-- Store some of a statement's lines.
insert into payments.statement_line
       (statement_id, number, amount, booked_on, valued_on, end_to_end_id, reference, text)
select %(statement_id)s::bigint, u.number, u.amount, u.booked_on, u.valued_on, u.end_to_end_id, u.reference, u.text
  from unnest(%(numbers)b::integer[], %(amounts)b::bigint[], %(booked_on)b::date[], %(valued_on)b::date[],
              %(end_to_end_ids)b::text[], %(references)b::text[], %(texts)b::text[])
       as u (number, amount, booked_on, valued_on, end_to_end_id, reference, text)

-- match --
-- Match what is open of a statement; see repeatable/10_match.sql.
select rule, differs, lines
  from payments.match_statement(%(statement_id)s::bigint, %(tolerance_days)s::integer, %(principal)s::text)

-- match_by_hand --
-- A person's match; no row means that one of both is not there, or has its counterpart already.
select differs
  from payments.match_by_hand(%(statement_id)s::bigint, %(number)s::integer, %(entry_seq)s::bigint, %(principal)s::text,
                              %(why)s::text) as m (differs)

-- explain_line --
-- A person's word on a line that is missing in the books, or differs; no row means that there is nothing to explain.
insert into payments.explanation (nostro_id, statement_id, number, principal, why)
select s.nostro_id, l.statement_id, l.number, %(principal)s::text, %(why)s::text
  from payments.statement_line l
  join payments.statement s on s.id = l.statement_id
 where l.statement_id = %(statement_id)s::bigint and l.number = %(number)s::integer
   and not exists (select from payments.match m where m.statement_id = l.statement_id and m.number = l.number and not m.differs)
    on conflict do nothing
returning id

-- explain_entry --
-- A person's word on an entry that is missing in the statements; no row means that there is nothing to explain.
insert into payments.explanation (nostro_id, entry_seq, principal, why)
select s.nostro_id, e.seq, %(principal)s::text, %(why)s::text
  from payments.statement s
  join ledger.entry e on e.account_id = s.nostro_id and e.seq = %(entry_seq)s::bigint
 where s.id = %(statement_id)s::bigint
   and not exists (select from payments.match m where m.nostro_id = e.account_id and m.entry_seq = e.seq)
    on conflict do nothing
returning id

-- to_settle --
-- Sent payments that open lines of a statement tell of: the same end-to-end id and amount, the first with the first. Entries of
-- the nostro that say the same already take their lines first.
with line as (
    select l.number, l.end_to_end_id, l.amount, coalesce(l.booked_on, l.valued_on) as booked_on,
           row_number() over (partition by l.end_to_end_id, l.amount order by l.number) as place
      from payments.statement_line l
     where l.statement_id = %(statement_id)s::bigint and l.amount < 0 and l.end_to_end_id is not null
       and not exists (select from payments.match m where m.statement_id = l.statement_id and m.number = l.number)
       and not exists (select from payments.explanation x where x.statement_id = l.statement_id and x.number = l.number)
), taken as (
    select p.end_to_end_id, -e.amount as amount, count(*) as entries
      from ledger.entry e
      join payments.payment_step t on t.journal_id = e.journal_id
      join payments.payment p on p.id = t.payment_id
     where e.account_id = %(nostro_id)s::bigint
       and not exists (select from payments.match m where m.nostro_id = e.account_id and m.entry_seq = e.seq)
       and not exists (select from payments.explanation x where x.nostro_id = e.account_id and x.entry_seq = e.seq)
     group by p.end_to_end_id, e.amount
), payment as (
    select p.id, p.end_to_end_id, -p.amount as amount,
           row_number() over (partition by p.end_to_end_id, p.amount order by p.id) as place
      from payments.payment p
     where p.nostro_id = %(nostro_id)s::bigint and p.direction = 'out' and p.status = 'sent'
)
select p.id, l.booked_on
  from line l
  left join taken t on t.end_to_end_id = l.end_to_end_id and t.amount = l.amount
  join payment p on p.end_to_end_id = l.end_to_end_id and p.amount = l.amount and p.place = l.place - coalesce(t.entries, 0)
 order by p.id

-- heads --
-- A page of statements below an id, newest first; of one nostro, or some ids, where given.
select s.id, a.name as nostro, s.nostro_id, n.asset, c.scale::integer as scale, s.statement_id, s.opening, s.opening_on,
       s.closing, s.closing_on, s.lines, s.imported_by, s.imported_at
  from payments.statement s
  join payments.nostro n on n.account_id = s.nostro_id
  join ledger.account a on a.id = s.nostro_id
  join ledger.asset c on c.code = n.asset
 where s.id < %(before)s::bigint
   and (%(nostro_id)s::bigint is null or s.nostro_id = %(nostro_id)s::bigint)
   and (%(ids)s::bigint[] is null or s.id = any (%(ids)s::bigint[]))
 order by s.id desc
 limit %(limit)s::bigint

-- line_sums --
-- The lines of a statement by what became of them: how many, what they come to, and what the entries come to, mirrored.
select o.outcome, count(*) as lines, sum(l.amount)::numeric::bigint as amount,
       coalesce(sum(-e.amount), 0)::numeric::bigint as entry_amount
  from payments.statement_line l
  left join payments.match m on m.statement_id = l.statement_id and m.number = l.number
  left join payments.explanation x on x.statement_id = l.statement_id and x.number = l.number
  left join ledger.entry e on m.differs and e.account_id = m.nostro_id and e.seq = m.entry_seq
 cross join lateral (select case when x.id is not null then 'explained'
                                 when m.number is null then 'missing_in_ledger'
                                 when m.differs then 'differing'
                                 else 'matched' end) as o (outcome)
 where l.statement_id = %(statement_id)s::bigint
 group by o.outcome

-- entry_sums --
-- Entries of a nostro up to a statement's last day that no line tells of, mirrored; explained ones where they are of its days.
select o.outcome, count(*) as lines, coalesce(sum(-e.amount), 0)::numeric::bigint as entry_amount
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
  left join payments.payment_step t on t.journal_id = e.journal_id
  left join payments.explanation x on x.nostro_id = e.account_id and x.entry_seq = e.seq
 cross join lateral (select case when x.id is not null then 'explained' else 'missing_in_statement' end) as o (outcome)
 where e.account_id = %(nostro_id)s::bigint
   and coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) <= %(closing_on)s::date
   and (x.id is null or coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) >= %(opening_on)s::date)
   and not exists (select from payments.match m where m.nostro_id = e.account_id and m.entry_seq = e.seq)
 group by o.outcome

-- ours --
-- What the nostro account came to before a statement's first day and after its last, mirrored.
select coalesce(sum(-e.amount) filter (where coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) < %(opening_on)s::date), 0)
           ::numeric::bigint as opening,
       coalesce(sum(-e.amount), 0)::numeric::bigint as closing
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
  left join payments.payment_step t on t.journal_id = e.journal_id
 where e.account_id = %(nostro_id)s::bigint and coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) <= %(closing_on)s::date

-- line_items --
-- A page of a statement's lines in order, with what became of each; of one outcome where given.
select l.number::bigint as place, o.outcome, l.number, l.amount, l.booked_on, l.valued_on, l.end_to_end_id, l.reference, l.text,
       m.rule, m.entry_seq, e.journal_id, -e.amount as entry_amount, t.payment_id,
       coalesce(x.principal, case when m.rule = 'hand' then m.principal end) as person, coalesce(x.why, m.why) as why,
       coalesce(x.explained_at, m.matched_at) as decided_at
  from payments.statement_line l
  left join payments.match m on m.statement_id = l.statement_id and m.number = l.number
  left join payments.explanation x on x.statement_id = l.statement_id and x.number = l.number
  left join ledger.entry e on e.account_id = m.nostro_id and e.seq = m.entry_seq
  left join payments.payment_step t on t.journal_id = e.journal_id
 cross join lateral (select case when x.id is not null then 'explained'
                                 when m.number is null then 'missing_in_ledger'
                                 when m.differs then 'differing'
                                 else 'matched' end) as o (outcome)
 where l.statement_id = %(statement_id)s::bigint and l.number > %(after)s::bigint
   and (%(outcome)s::text is null or o.outcome = %(outcome)s::text)
 order by l.number
 limit %(limit)s::bigint

-- entry_items --
-- A page of the entries up to a statement's last day that no line tells of; of one outcome where given.
select %(base)s::bigint + e.seq as place, o.outcome, null::integer as number, null::bigint as amount,
       coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) as booked_on, null::date as valued_on,
       coalesce(p.end_to_end_id, j.meta ->> 'end_to_end_id') as end_to_end_id, null::text as reference, null::text as text,
       null::text as rule, e.seq as entry_seq, e.journal_id, -e.amount as entry_amount, t.payment_id,
       x.principal as person, x.why, x.explained_at as decided_at
  from ledger.entry e
  join ledger.journal j on j.id = e.journal_id
  left join payments.payment_step t on t.journal_id = e.journal_id
  left join payments.payment p on p.id = t.payment_id
  left join payments.explanation x on x.nostro_id = e.account_id and x.entry_seq = e.seq
 cross join lateral (select case when x.id is not null then 'explained' else 'missing_in_statement' end) as o (outcome)
 where e.account_id = %(nostro_id)s::bigint and e.seq > %(after)s::bigint
   and coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) <= %(closing_on)s::date
   and (x.id is null or coalesce(t.booked_on, (j.effective_at at time zone 'UTC')::date) >= %(opening_on)s::date)
   and not exists (select from payments.match m where m.nostro_id = e.account_id and m.entry_seq = e.seq)
   and (%(outcome)s::text is null or o.outcome = %(outcome)s::text)
 order by e.seq
 limit %(limit)s::bigint
