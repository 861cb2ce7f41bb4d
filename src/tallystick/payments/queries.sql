-- take_keys --
-- Ids for payments that are about to be made, and the idempotency keys of those that have one; see db.claim.
select c.ord, c.state, c.ref_id
  from db.claim(
           %(scopes)b::text[], %(keys)b::text[], %(hashes)b::bytea[],
           (select array_agg('external_payment'::text) from generate_series(1, %(count)s::integer)),
           (select array_agg(nextval('payments.payment_id_seq')) from generate_series(1, %(count)s::integer))) as c

-- take_move_keys --
-- The idempotency keys of moves that have one; the id of a move stands for nothing but its key.
select c.ord, c.state, c.ref_id
  from db.claim(
           %(scopes)b::text[], %(keys)b::text[], %(hashes)b::bytea[],
           (select array_agg('external_payment_move'::text) from generate_series(1, %(count)s::integer)),
           (select array_agg(nextval('payments.move_id')) from generate_series(1, %(count)s::integer))) as c

-- register --
-- Store a nostro; no row means that their account is mirrored already.
insert into payments.nostro (account_id, clearing_id, suspense_id, asset, bank, their_account, registered_by)
values (%(account_id)s::bigint, %(clearing_id)s::bigint, %(suspense_id)s::bigint, %(asset)s::text, %(bank)s::text,
        %(their_account)s::text, %(principal)s::text)
    on conflict do nothing
returning account_id

-- nostros_by_name --
-- Nostros by the names of their accounts, for names that may or may not exist.
select n.account_id as id, a.name, n.clearing_id, c.name as clearing, n.suspense_id, u.name as suspense, n.asset,
       s.scale::integer as scale, n.bank, n.their_account, n.registered_by, n.registered_at
  from payments.nostro n
  join ledger.account a on a.id = n.account_id
  join ledger.account c on c.id = n.clearing_id
  join ledger.account u on u.id = n.suspense_id
  join ledger.asset s on s.code = n.asset
 where a.name = any (%(names)s::text[])

-- nostros_after --
-- A page of nostros in the order of their accounts' ids; of some ids where given.
select n.account_id as id, a.name, n.clearing_id, c.name as clearing, n.suspense_id, u.name as suspense, n.asset,
       s.scale::integer as scale, n.bank, n.their_account, n.registered_by, n.registered_at
  from payments.nostro n
  join ledger.account a on a.id = n.account_id
  join ledger.account c on c.id = n.clearing_id
  join ledger.account u on u.id = n.suspense_id
  join ledger.asset s on s.code = n.asset
 where n.account_id > %(after)s::bigint
   and (%(ids)s::bigint[] is null or n.account_id = any (%(ids)s::bigint[]))
 order by n.account_id
 limit %(limit)s::bigint

-- insert --
-- Store payments with what became of them in the call that made them, and their first step.
with made as (
    insert into payments.payment
           (id, direction, nostro_id, account_id, beneficiary, amount, asset, end_to_end_id, counterparty_name,
            counterparty_account, counterparty_bank, remittance, principal, created_at, status, reason, changed_at)
    select u.id, u.direction, u.nostro_id, u.account_id, u.beneficiary, u.amount, u.asset, u.end_to_end_id, u.counterparty_name,
           u.counterparty_account, u.counterparty_bank, u.remittance, %(principal)s::text, c.now, u.status, u.reason, c.now
      from (select clock_timestamp() as now) as c
     cross join unnest(%(ids)b::bigint[], %(directions)b::text[], %(nostro_ids)b::bigint[], %(account_ids)b::bigint[],
                  %(beneficiaries)b::text[], %(amounts)b::bigint[], %(assets)b::text[], %(end_to_end_ids)b::text[],
                  %(counterparty_names)b::text[], %(counterparty_accounts)b::text[], %(counterparty_banks)b::text[],
                  %(remittances)b::text[], %(statuses)b::text[], %(reasons)b::text[])
           as u (id, direction, nostro_id, account_id, beneficiary, amount, asset, end_to_end_id, counterparty_name,
                 counterparty_account, counterparty_bank, remittance, status, reason)
    returning id, status, reason, created_at
)
insert into payments.payment_step (payment_id, status, journal_id, account_id, reason, booked_on, principal, at)
select m.id, m.status, u.journal_id, u.account_id, m.reason, u.booked_on, %(principal)s::text, m.created_at
  from made m
  join unnest(%(ids)b::bigint[], %(journal_ids)b::bigint[], %(step_accounts)b::bigint[], %(booked_on)b::date[])
       as u (id, journal_id, account_id, booked_on)
    on u.id = m.id

-- by_ids --
-- Payments by id.
select p.id, p.direction, n.name as nostro, a.name as account, p.beneficiary, p.amount, p.asset, s.scale::integer as scale,
       p.end_to_end_id, p.counterparty_name, p.counterparty_account, p.counterparty_bank, p.remittance, p.principal,
       p.created_at, p.status, p.reason, p.changed_at
  from payments.payment p
  join ledger.account n on n.id = p.nostro_id
  left join ledger.account a on a.id = p.account_id
  join ledger.asset s on s.code = p.asset
 where p.id = any (%(ids)s::bigint[])

-- page --
-- A page of payments below an id, newest first; of one nostro, account, direction or status, and among accounts, where given.
select p.id, p.direction, n.name as nostro, a.name as account, p.beneficiary, p.amount, p.asset, s.scale::integer as scale,
       p.end_to_end_id, p.counterparty_name, p.counterparty_account, p.counterparty_bank, p.remittance, p.principal,
       p.created_at, p.status, p.reason, p.changed_at
  from payments.payment p
  join ledger.account n on n.id = p.nostro_id
  left join ledger.account a on a.id = p.account_id
  join ledger.asset s on s.code = p.asset
 where p.id < %(before)s::bigint
   and (%(nostro_id)s::bigint is null or p.nostro_id = %(nostro_id)s::bigint)
   and (%(account_id)s::bigint is null or p.account_id = %(account_id)s::bigint)
   and (%(among)s::bigint[] is null or p.account_id = any (%(among)s::bigint[]))
   and (%(direction)s::text is null or p.direction = %(direction)s::text)
   and (%(status)s::text is null or p.status = %(status)s::text)
   and (%(end_to_end_id)s::text is null or p.end_to_end_id = %(end_to_end_id)s::text)
 order by p.id desc
 limit %(limit)s::bigint

-- steps --
-- The steps of payments, oldest first.
select t.payment_id, t.status, t.journal_id, a.name as account, t.reason, t.booked_on, t.principal, t.at
  from payments.payment_step t
  left join ledger.account a on a.id = t.account_id
 where t.payment_id = any (%(ids)s::bigint[])
 order by t.payment_id, t.at

-- lock --
-- What moving payments needs, their rows locked in id order.
select id, direction, nostro_id, account_id, amount, asset, status, principal
  from payments.payment
 where id = any (%(ids)s::bigint[])
 order by id
   for no key update

-- move --
-- Bring payments from one status to another, with the step; the update decides, and the number of steps is that of the moves.
with moved as (
    update payments.payment p
       set status = u.new, reason = u.reason, changed_at = clock_timestamp(),
           account_id = case u.new when 'assigned' then u.account_id else p.account_id end
      from unnest(%(ids)b::bigint[], %(olds)b::text[], %(news)b::text[], %(reasons)b::text[], %(account_ids)b::bigint[])
           as u (id, old, new, reason, account_id)
     where p.id = u.id and p.status = u.old
    returning p.id, p.status, p.reason, p.changed_at
)
insert into payments.payment_step (payment_id, status, journal_id, account_id, reason, booked_on, principal, at)
select m.id, m.status, u.journal_id, u.account_id, m.reason, u.booked_on, %(principal)s::text, m.changed_at
  from moved m
  join unnest(%(ids)b::bigint[], %(journal_ids)b::bigint[], %(account_ids)b::bigint[], %(booked_on)b::date[])
       as u (id, journal_id, account_id, booked_on)
    on u.id = m.id
