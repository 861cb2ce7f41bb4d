-- insert_customers --
-- Add the customers whose names are new, in name order so that two calls cannot deadlock; the ids of those.
insert into customers.customer (name, full_name, birth_date, sex, region)
select u.name, u.full_name, u.birth_date, u.sex, u.region
  from unnest(%(names)s::text[], %(full_names)s::text[], %(birth_dates)s::date[], %(sexes)s::text[], %(regions)s::text[])
       as u (name, full_name, birth_date, sex, region)
 order by u.name
    on conflict (name) do nothing
returning id

-- customers_by_name --
-- The customers of those names that exist.
select id, name, full_name, birth_date, sex, region, created_at
  from customers.customer
 where name = any (%(names)s::text[])

-- customers_after --
-- A page of customers in id order, after an id; among some where these are given.
select id, name, full_name, birth_date, sex, region, created_at
  from customers.customer
 where id > %(after)s::bigint
   and (%(ids)s::bigint[] is null or id = any (%(ids)s::bigint[]))
 order by id
 limit %(limit)s::bigint

-- insert_dispositions --
-- Add the dispositions that are new, in order so that two calls cannot deadlock; the accounts of those.
insert into customers.disposition (customer_id, account_id, role)
select u.customer_id, u.account_id, u.role
  from unnest(%(customer_ids)s::bigint[], %(account_ids)s::bigint[], %(roles)s::text[]) as u (customer_id, account_id, role)
 order by u.account_id, u.customer_id
    on conflict do nothing
returning account_id

-- missing_dispositions --
-- Accounts for which a disposition is not there as given: the customer has another role, or the account another owner.
select distinct u.account_id
  from unnest(%(customer_ids)s::bigint[], %(account_ids)s::bigint[], %(roles)s::text[]) as u (customer_id, account_id, role)
 where not exists (
           select from customers.disposition d
            where d.customer_id = u.customer_id
              and d.account_id = u.account_id
              and d.role = u.role)
 order by u.account_id

-- owner_names --
-- What the bank calls the owner of each of the accounts that has one.
select d.account_id, c.name
  from customers.disposition d
  join customers.customer c on c.id = d.customer_id
 where d.account_id = any (%(account_ids)s::bigint[])
   and d.role = 'owner'

-- owners --
-- Who owns some accounts.
select distinct d.customer_id
  from customers.disposition d
 where d.account_id = any (%(account_ids)s::bigint[])
   and d.role = 'owner'

-- accounts_of --
-- The accounts that a customer may use.
select account_id
  from customers.disposition
 where customer_id = %(customer_id)s::bigint
 order by account_id

-- insert_standing_orders --
-- Add the standing orders whose names are new, in name order so that two calls cannot deadlock; the ids of those.
insert into customers.standing_order (name, account_id, to_bank, to_account, amount, asset, purpose)
select u.name, u.account_id, u.to_bank, u.to_account, u.amount, u.asset, u.purpose
  from unnest(%(names)s::text[], %(account_ids)s::bigint[], %(to_banks)s::text[], %(to_accounts)s::text[],
              %(amounts)s::bigint[], %(assets)s::text[], %(purposes)s::text[])
       as u (name, account_id, to_bank, to_account, amount, asset, purpose)
 order by u.name
    on conflict (name) do nothing
returning id

-- standing_orders_by_name --
-- The standing orders of those names that exist.
select id, name, account_id, to_bank, to_account, amount, asset, purpose
  from customers.standing_order
 where name = any (%(names)s::text[])

-- standing_orders_of --
-- The standing orders of an account.
select id, name, account_id, to_bank, to_account, amount, asset, purpose
  from customers.standing_order
 where account_id = %(account_id)s::bigint
 order by id
