-- change_customer --
-- Change what is known of a customer; what is null stays as it is. No row where there is none, or they were erased.
update customers.customer c
   set full_name = coalesce(%(full_name)s::text, c.full_name),
       street = coalesce(%(street)s::text, c.street),
       city = coalesce(%(city)s::text, c.city),
       region = coalesce(%(region)s::text, c.region)
 where c.name = %(name)s::text and c.erased_by is null
returning c.id

-- set_credential --
-- From now on this is by what a customer proves who they are.
insert into customers.credential as k (customer_id, salt, hash, set_by, set_at)
select c.id, %(salt)s::bytea, %(hash)s::bytea, %(by)s::text, clock_timestamp()
  from customers.customer c
 where c.name = %(name)s::text and c.erased_by is null
    on conflict (customer_id) do update
   set salt = excluded.salt, hash = excluded.hash, set_by = excluded.set_by, set_at = excluded.set_at
returning k.customer_id

-- credential --
-- The salted hash of a customer's secret.
select k.salt, k.hash
  from customers.credential k
  join customers.customer c on c.id = k.customer_id
 where c.name = %(name)s::text

-- add_term --
-- What an order says from now on.
insert into customers.standing_term
       (order_id, n, nostro, to_name, to_bank, to_account, amount, purpose, first_on, every, status, by_principal, roles, version,
        mandate_id, behind, approval_id, since)
select %(order_id)s::bigint, coalesce((select max(t.n) from customers.standing_term t where t.order_id = %(order_id)s::bigint), 0) + 1,
       %(nostro)s::text, %(to_name)s::text, %(to_bank)s::text, %(to_account)s::text, %(amount)s::bigint, %(purpose)s::text,
       %(first_on)s::date, %(every)s::text, %(status)s::text, %(by)s::text, %(roles)s::text[], %(version)s::text,
       %(mandate_id)s::bigint, %(behind)s::text[], %(approval_id)s::bigint, %(since)s::date
returning n

-- authors --
-- All who had a say in what an order says, each once.
select distinct t.by_principal as by, t.behind, t.approval_id
  from customers.standing_term t
 where t.order_id = %(order_id)s::bigint

-- lock_order --
-- One change of an order at a time.
select pg_advisory_xact_lock(7331023, (%(id)s::bigint %% 2147483647)::integer) is null as locked

-- plans --
-- Standing orders that say when they are carried out, as they stand, of an account or by name, in id order.
select o.id, o.name, o.account_id, a.name as account, o.asset, s.scale::integer as scale, t.n, t.nostro, t.to_name, t.to_bank, t.to_account,
       t.amount, t.purpose, t.first_on, t.every, t.status,
       (select max(r.due_on) from customers.standing_run r where r.order_id = o.id) as last_on,
       t.since, t.by_principal as by, t.roles, t.version, t.mandate_id
  from customers.standing_order o
  join ledger.account a on a.id = o.account_id
  join ledger.asset s on s.code = o.asset
 cross join lateral (select t.* from customers.standing_term t where t.order_id = o.id order by t.n desc limit 1) as t
 where (%(account_id)s::bigint is null or o.account_id = %(account_id)s::bigint)
   and (%(name)s::text is null or o.name = %(name)s::text)
   and (%(status)s::text is null or t.status = %(status)s::text)
   and o.id > %(after)s::bigint
   and o.erased_by is null
 order by o.id
 limit %(limit)s::bigint

-- note_run --
-- Take a day on which an order is due; no row where it was taken, or the order was changed.
insert into customers.standing_run (order_id, due_on, n, outcome, payment_id, action_id, reason)
select %(order_id)s::bigint, %(due_on)s::date, %(n)s::integer, %(outcome)s::text, %(payment_id)s::bigint, %(action_id)s::bigint,
       %(reason)s::text
 where %(n)s::integer = (select max(t.n) from customers.standing_term t where t.order_id = %(order_id)s::bigint)
    on conflict do nothing
returning order_id

-- today --
-- The day that it is somewhere.
select (db.clock() at time zone %(time_zone)s::text)::date as today

-- newest_runs --
-- The days on which some orders were carried out last, newest first.
select u.order_id, r.due_on, r.n, r.outcome, r.payment_id, r.action_id, r.reason, r.at
  from unnest(%(order_ids)s::bigint[]) as u (order_id)
 cross join lateral (select r.* from customers.standing_run r where r.order_id = u.order_id order by r.due_on desc limit %(limit)s::bigint) r
 order by u.order_id, r.due_on desc

-- runs --
-- The days on which an order was carried out, newest first.
select due_on, n, outcome, payment_id, action_id, reason, at
  from customers.standing_run
 where order_id = %(order_id)s::bigint
 order by due_on desc
 limit %(limit)s::bigint
