-- Those who may act: who is disabled may not, nor may an agent whose owner is.
create or replace view identity.acting as
select p.id, p.name, p.kind, p.roles, o.name as owner, p.risk_tier, p.accounts, p.customers
  from identity.principal p
  left join identity.principal o on o.id = p.owner_id
 where p.disabled_at is null
   and o.disabled_at is null;

-- Mandates that are in force: neither over nor revoked, of a person who may act.
create or replace view identity.mandate_in_force as
select m.id, h.name as person, h.accounts as person_accounts, h.customers as person_customers, m.agent_id, m.operations, m.accounts,
       m.max_amount, m.total, m.payees, m.until, m.beyond
  from identity.mandate m
  join identity.principal h on h.id = m.person_id
 where m.until > clock_timestamp()
   and h.disabled_at is null
   and not exists (select from identity.mandate_end e where e.mandate_id = m.id);
