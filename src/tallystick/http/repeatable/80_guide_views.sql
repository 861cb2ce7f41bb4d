-- The tables of the guides, as read-only views: what a guide's agent reads by SQL it reads here; what it wrote, it writes by HTTP.
--
-- A view over one table could be written through by whoever is granted it. So each stands on more than one: a cross join with a
-- single value costs nothing and closes that door for ever.
drop view if exists public.customers, public.accounts, public.transactions, public.agent_tasks, public.agent_events,
    public.banking_events, public.banking_requests, public.agent_audit_log;

create view public.customers as
select c.id, c.name as customer_id, c.full_name, c.birth_date, c.sex, c.region, c.created_at
  from customers.customer c
 cross join (values (true)) as read_only (so);

create view public.accounts as
select a.id, a.name as account_id, c.name as customer_id, a.asset as currency, b.status,
       round((b.cr - b.dr)::numeric * (10::numeric ^ (-s.scale)), s.scale) as balance, a.opened_at as created_at
  from ledger.account a
  join ledger.balance b on b.account_id = a.id
  join ledger.asset s on s.code = a.asset
  left join customers.disposition d on d.account_id = a.id and d.role = 'owner'
  left join customers.customer c on c.id = d.customer_id;

create view public.transactions as
select t.id, f.name as from_account, o.name as to_account,
       round(t.amount::numeric * (10::numeric ^ (-s.scale)), s.scale) as amount, t.asset as currency, t.status, t.reason,
       t.description, t.created_at, t.settled_at
  from actions.transfer t
  join ledger.account f on f.id = t.from_account
  join ledger.account o on o.id = t.to_account
  join ledger.asset s on s.code = t.asset;

create view public.agent_tasks as
select t.id, q.agent as agent_name, q.type as task_type, t.payload,
       case when o.task_id is not null then o.state when r.task_id is not null then 'running'
            when w.task_id is not null then 'waiting' when d.task_id is not null then 'dead' else 'queued' end as status,
       o.result, coalesce(o.error, d.error) as error, t.created_at
  from work.task t
  join work.queue q on q.id = t.queue
  left join work.outcome o on o.task_id = t.id
  left join work.run r on r.task_id = t.id
  left join work.wait w on w.task_id = t.id
  left join work.dead d on d.task_id = t.id;

create view public.agent_events as
select e.id, e.agent as agent_name, e.type as event_type, e.payload, e.created_at
  from memory.event e
 cross join (values (true)) as read_only (so);

create view public.banking_events as
select c.id, c.customer as customer_id, c.type as event_type, c.payload_text as payload, c.status, c.created_at
  from cases.case c
 cross join (values (true)) as read_only (so)
 where c.door = 'event';

create view public.banking_requests as
select c.id, c.customer as client_id, c.type as request_type, c.payload, c.status, c.created_at
  from cases.case c
 cross join (values (true)) as read_only (so)
 where c.door = 'request';

create view public.agent_audit_log as
select e.id, e.subject_id as request_id, e.verb as action, coalesce(p.body, e.leaf::jsonb -> 'detail') as result, e.at as created_at
  from audit.event e
  left join audit.payload p on p.event_id = e.id
 cross join (values (true)) as read_only (so)
 where e.subject_kind = 'case' and e.verb = 'processed';

grant select on public.customers, public.accounts, public.transactions, public.agent_tasks, public.agent_events,
    public.banking_events, public.banking_requests, public.agent_audit_log to tallystick_app, tallystick_auditor;
