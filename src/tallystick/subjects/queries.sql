-- erase --
-- Erase what is known of a customer; what became of it.
select e.code, e.detail, e.event_id
  from audit.erase(%(customer)s::text, %(principal)s::text, %(reason)s::text, %(limit)s::bigint) as e

-- erase_decided --
-- Erase what is known of a subject, as a decision allows; what became of it.
select e.code, e.detail, e.event_id
  from audit.erase_decided(%(decision_id)s::bigint, %(subject)s::text, %(principal)s::text, %(reason)s::text, %(limit)s::bigint) as e

-- pseudonym --
-- By what a customer is meant where their name must not stand: their number, or a case of theirs.
select coalesce((select c.id::text from customers.customer c where c.name = %(customer)s::text),
                (select 'case ' || min(k.id) from cases.case k where k.customer = %(customer)s::text)) as subject

-- holds_against --
-- How many legal holds stand against erasing a subject; no row where there is no such subject.
select (select count(*) from audit.legal_hold h where h.customer = s.name and h.lifted_at is null) as holds
  from (select c.name
          from customers.customer c
         where c.id = %(number)s::bigint
         union all
        select k.customer
          from cases.case k
         where k.id = %(case_id)s::bigint) as s

-- lock_customer --
-- Have whoever erases this customer wait, or wait for them.
select true as locked
  from pg_advisory_xact_lock(7331040, hashtext(%(customer)s::text))

-- subject --
-- Whether anything is kept under this name: the customer's number where there is one.
select (select c.id from customers.customer c where c.name = %(customer)s::text) as id,
       exists (select from cases.case c where c.customer = %(customer)s::text) as has_cases

-- place_hold --
-- Keep a legal hold.
insert into audit.legal_hold (customer, reason, placed_by)
values (%(customer)s::text, %(reason)s::text, %(principal)s::text)
returning id, customer, reason, placed_by, placed_at, lifted_by, lifted_at

-- lift_hold --
-- Lift a legal hold that stands; no row means that there is none.
update audit.legal_hold h
   set lifted_by = %(principal)s::text, lifted_at = clock_timestamp()
 where h.id = %(id)s::bigint and h.lifted_at is null
returning h.id, h.customer, h.reason, h.placed_by, h.placed_at, h.lifted_by, h.lifted_at

-- hold --
-- A legal hold.
select h.id, h.customer, h.reason, h.placed_by, h.placed_at, h.lifted_by, h.lifted_at
  from audit.legal_hold h
 where h.id = %(id)s::bigint

-- holds --
-- Legal holds above an id, of one customer where given; those that were lifted too where wanted.
select h.id, h.customer, h.reason, h.placed_by, h.placed_at, h.lifted_by, h.lifted_at
  from audit.legal_hold h
 where h.id > %(after)s::bigint
   and (%(customer)s::text is null or h.customer = %(customer)s::text)
   and (%(lifted)s::boolean or h.lifted_at is null)
 order by h.id
 limit %(limit)s::bigint

-- retention --
-- How long each kind is kept.
select r.kind, r.keep_months, r.set_by, r.set_at
  from audit.retention r
 order by r.kind

-- set_retention --
-- Change how long a kind is kept; how long it was before.
update audit.retention r
   set keep_months = %(keep_months)s::integer, set_by = %(principal)s::text, set_at = clock_timestamp()
  from audit.retention b
 where r.kind = %(kind)s::text and b.kind = r.kind
returning b.keep_months as before
