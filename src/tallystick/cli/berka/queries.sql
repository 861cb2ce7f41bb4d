-- any_imported --
-- Whether rows were ever imported; where not, none has to be looked up.
select exists (select from db.claim where scope = %(scope)s::text) as known

-- account_states --
-- Accounts by name, where they stand, and who posted to them last and for which time.
select a.name, b.cr - b.dr as posted, b.seq, j.actor as last_actor, j.effective_at as last_effective_at
  from ledger.account a
  join ledger.balance b on b.account_id = a.id
  left join ledger.entry e on e.account_id = a.id and e.seq = b.seq
  left join ledger.journal j on j.id = e.journal_id
 where a.name = any (%(names)s::text[])

-- imported_rows --
-- Rows that are in the books: the customer's account, what it was given or taken in all, and what of that was rounding.
-- Each is looked up by itself: the tables were just filled, and the planner may not know yet how large they are.
select u.trans_id, whole.account, whole.total, whole.rounding, found.effective_at, found.meta
  from unnest(%(trans_ids)s::bigint[], %(keys)s::text[]) as u (trans_id, key)
 cross join lateral (
           select j.id, j.effective_at, j.meta::text as meta
             from db.claim c
             join ledger.journal j on j.id = c.ref_id
            where c.scope = %(scope)s::text
              and c.key = u.key
              and c.kind = 'journal'
            limit 1) as found
 cross join lateral (
           select max(a.name) filter (where a.kind = 'customer') as account,
                  coalesce(sum(e.amount) filter (where a.kind = 'customer'), 0)::bigint as total,
                  -coalesce(sum(e.amount) filter (where a.name = %(rounding_account)s::text), 0)::bigint as rounding
             from ledger.entry e
             join ledger.account a on a.id = e.account_id
            where e.journal_id = found.id) as whole

-- differing --
-- Rows after whose journal the account's balance in the books is not the source's; null where there is no such journal.
select u.trans_id, u.balance as wanted, found.balance
  from unnest(%(trans_ids)s::bigint[], %(keys)s::text[], %(account_ids)s::bigint[], %(balances)s::bigint[])
       as u (trans_id, key, account_id, balance)
  left join lateral (
           select e.cr_after - e.dr_after as balance
             from db.claim c
             join ledger.entry e on e.journal_id = c.ref_id
            where c.scope = %(scope)s::text
              and c.key = u.key
              and c.kind = 'journal'
              and e.account_id = u.account_id
            order by e.seq desc
            limit 1) as found on true
 where found.balance is distinct from u.balance

-- known_customers --
-- Which of these customers exist.
select name
  from customers.customer
 where name = any (%(names)s::text[])
