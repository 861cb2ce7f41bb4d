-- Erasure of what is known of one customer. audit.erase is for the owner alone; the application may not call it. What it may call is
-- audit.erase_decided, which demands the gate's decision.

-- audit.names_subject: whether a JSON value names a customer: one of p_terms stands in it as a whole text, or as the name of a member,
-- or their number under customer_id, or that of a case of theirs under case_id. What holds none of p_hints is not looked into.
create or replace function audit.names_subject(p_value jsonb, p_hints text[], p_terms jsonb) returns boolean
language sql
stable
return case when exists (select from unnest(p_hints) as h (hint) where strpos(p_value::text, h.hint) > 0)
            then jsonb_path_exists(
                     p_value,
                     '$.** ? (@ == $names[*] || @.customer_id == $ids[*] || @.case_id == $cases[*]
                              || exists (@.keyvalue().key ? (@ == $names[*])))',
                     p_terms, true)
            else false end;

-- audit.payload_texts: what an event carries beside its leaf, as the record holds it, with its salt; of one that was erased neither, and
-- the event that erased it.
create or replace function audit.payload_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select p.event_id, p.salt, p.body::text, p.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join audit.payload p on p.event_id = u.id
     order by u.ord;
$$;

-- audit.redact: what the record holds of some rows of a kind is redacted, and their salts are destroyed. One event for each thousand of
-- them holds the digests that they had, as items of the kind erased_<kind>, and each row names its event.
create or replace function audit.redact(
    p_kind text, p_ids bigint[], p_texts text, p_change text, p_principal text, p_subject bigint, p_erasure bigint
) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids     bigint[];
    v_digests bytea;
    v_event   bigint;
begin
    for v_from in 1 .. coalesce(cardinality(p_ids), 0) by 1000 loop
        v_ids := p_ids[v_from : v_from + 999];
        execute format('select string_agg(sha256(t.salt || convert_to(t.text, ''UTF8'')), '''' order by t.ord)
                          from %s($1) with ordinality as t (id, salt, text, erased_by, ord)', p_texts) into v_digests using v_ids;
        v_event := audit.append(p_principal, 'subject_rows.erase', 'customer', p_subject, format('{"erasure":"%s"}', p_erasure), null,
                                'erased_' || p_kind, v_ids, v_digests);
        execute p_change using v_ids, v_event;
    end loop;
end
$$;

-- audit.erase: redact what is known of a customer in every room; one row that tells what became of it:
--   erased             done: detail has the number of rows of each table, event_id is the event of the record;
--   unknown_customer   there is no customer of this name, and nothing names one;
--   already_erased     this customer was erased before;
--   too_many_rows      more than p_limit rows would be redacted;
--   legal_hold, subject_in_use, retention_period
--                      it may not be done (now): detail says why, event_id is the event of the refusal.
-- Where it is not done, nothing is changed. p_decision is what allows it; without one an event of its own says that nobody was asked.
drop function if exists audit.erase(text, text, text, bigint);
create or replace function audit.erase(
    p_customer text, p_principal text, p_reason text, p_limit bigint, p_decision bigint default null
)
    returns table (code text, detail jsonb, event_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now       constant timestamptz := db.clock();
    v_customer  customers.customer%rowtype;
    v_subject   bigint;
    v_accounts  bigint[];
    v_hints     text[];
    v_terms     jsonb;
    v_orders    bigint[];
    v_cases     bigint[];
    v_schedules bigint[];
    v_tasks     bigint[];
    v_outcomes  bigint[];
    v_attempts  bigint;
    v_steps     bigint[];
    v_events    bigint[];
    v_payloads  bigint[];
    v_transfers bigint[];
    v_payments  bigint[];
    v_approvals bigint[];
    v_shown     bigint[];
    v_votes     bigint[];
    v_comments  bigint[];
    v_decisions bigint[];
    v_actions   bigint[];
    v_payees    bigint;
    v_lines     tid[];
    v_counts    jsonb;
    v_code      text;
    v_detail    jsonb;
    v_event     bigint;
    v_name      text;
    v_table     text;
begin
    -- Two erasures of one customer, and a legal hold that is placed at the same moment, come one after the other.
    perform pg_advisory_xact_lock(7331040, hashtext(p_customer));
    -- Nobody changes a retention period meanwhile.
    lock table audit.retention in share mode;
    select c.* into v_customer from customers.customer c where c.name = p_customer for update;
    v_subject := v_customer.id;
    if v_customer.erased_by is not null then
        return query select 'already_erased', jsonb_build_object('erased_by', v_customer.erased_by::text), null::bigint;
        return;
    end if;

    -- What is there of them: by the customer, by the accounts that they own, and by what names any of these.
    select coalesce(array_agg(d.account_id), '{}') into v_accounts
      from customers.disposition d
     where d.customer_id = v_subject and d.role = 'owner';
    select coalesce(array_agg(c.id order by c.id), '{}') into v_cases
      from (select c.id from cases.case c where c.customer = p_customer and c.erased_by is null order by c.id limit p_limit + 1
               for update) c;
    select jsonb_build_object('names', jsonb_agg(u.name),
                              'ids', jsonb_build_array(v_subject, v_subject::text),
                              'cases', (select coalesce(jsonb_agg(k.id) || jsonb_agg(k.id::text), '[]') from unnest(v_cases) as k (id))),
           array_agg(substr(to_json(u.name)::text, 2, length(to_json(u.name)::text) - 2))
               || case when v_subject is null then '{}' else array['customer_id'] end
               || case when v_cases = '{}' then '{}' else array['case_id'] end
      into v_terms, v_hints
      from (select p_customer as name
             union all
            select a.name from ledger.account a where a.id = any (v_accounts)) u;
    select coalesce(array_agg(distinct v.schedule_id), '{}') into v_schedules
      from schedules.version v
     where v.erased_by is null and audit.names_subject(v.payload, v_hints, v_terms);
    select coalesce(array_agg(f.task_id order by f.task_id), '{}') into v_tasks
      from (select t.id as task_id from work.task t where t.erased_by is null and audit.names_subject(t.payload, v_hints, v_terms)
             union
            select o.task_id from work.outcome o where o.erased_by is null and audit.names_subject(o.result, v_hints, v_terms)
             union
            select s.task_id
              from work.step s
             where s.erased_by is null
               and (audit.names_subject(s.output, v_hints, v_terms) or audit.names_subject(s.detail, v_hints, v_terms))
             limit p_limit + 1) f;
    -- Facts are texts, and say which customer or case they are about by its number.
    select coalesce(array_agg(d.id order by d.id), '{}') into v_decisions
      from (select d.id
              from policy.decision d
             where d.erased_by is null
               and case when exists (select from unnest(v_hints || array['"customer":', '"case":']) as h (hint)
                                      where strpos(d.facts, h.hint) > 0)
                        then audit.names_subject(d.facts::jsonb, v_hints, v_terms)
                             or d.facts::jsonb ->> 'customer' = v_subject::text
                             or d.facts::jsonb ->> 'case' = any (v_cases::text[])
                        else false end
             limit p_limit + 1) d;
    -- What people were asked about, and the questions: the one leads to the other.
    select coalesce(array_agg(a.id order by a.id), '{}') into v_approvals
      from (select s.approval_id as id
              from approvals.shown s
             where s.erased_by is null and audit.names_subject(s.shown, v_hints, v_terms)
             union
            select a.approval_id
              from actions.action a
             where a.erased_by is null and a.approval_id is not null
               and (a.decision_id = any (v_decisions) or a.executed_by = any (v_decisions)
                    or audit.names_subject(a.payload, v_hints, v_terms))
             limit p_limit + 1) a;
    select coalesce(array_agg(a.id order by a.id), '{}') into v_actions
      from (select a.id
              from actions.action a
             where a.erased_by is null
               and (a.approval_id = any (v_approvals) or a.decision_id = any (v_decisions) or a.executed_by = any (v_decisions)
                    or audit.names_subject(a.payload, v_hints, v_terms))
             limit p_limit + 1) a;
    select coalesce(array_agg(d.id order by d.id), '{}') into v_decisions
      from (select d.id from unnest(v_decisions) as d (id)
             union
            select d.id
              from actions.action a
             cross join unnest(array[a.decision_id, a.executed_by]) as u (id)
              join policy.decision d on d.id = u.id and d.erased_by is null
             where a.id = any (v_actions)) d;
    select coalesce(array_agg(e.id order by e.id), '{}') into v_events
      from (select e.id
              from memory.event e
             where e.erased_by is null and audit.names_subject(e.payload, v_hints, v_terms)
             limit p_limit + 1) e;
    select coalesce(array_agg(p.event_id order by p.event_id), '{}') into v_payloads
      from (select p.event_id
              from audit.payload p
              join audit.event e on e.id = p.event_id
             where p.erased_by is null
               and (e.task_id = any (v_tasks)
                    or (e.subject_kind = 'task' and e.subject_id = any (v_tasks))
                    or (e.subject_kind = 'case' and e.subject_id = any (v_cases))
                    or (e.subject_kind = 'customer' and e.subject_id = v_subject)
                    -- Long lists of ids name nobody, though an account may be called like one of them.
                    or (e.verb not in ('transfers.propose', 'actions.decide') and audit.names_subject(p.body, v_hints, v_terms)))
             limit p_limit + 1) p;
    select coalesce(array_agg(t.id order by t.id), '{}') into v_transfers
      from (select t.id
              from actions.transfer t
             where (t.from_account = any (v_accounts) or t.to_account = any (v_accounts)) and t.erased_by is null
               and t.description is not null
             limit p_limit + 1) t;
    select coalesce(array_agg(p.id order by p.id), '{}') into v_payments
      from (select p.id from payments.payment p where p.account_id = any (v_accounts) and p.erased_by is null limit p_limit + 1) p;
    select coalesce(array_agg(o.id order by o.id), '{}') into v_orders
      from customers.standing_order o
     where o.account_id = any (v_accounts) and o.erased_by is null;
    if v_subject is null and v_cases = '{}' and v_tasks = '{}' and v_events = '{}' and v_payloads = '{}' and v_schedules = '{}'
       and v_approvals = '{}' and v_decisions = '{}' and v_actions = '{}' then
        return query select 'unknown_customer', '{}'::jsonb, null::bigint;
        return;
    end if;

    select coalesce(array_agg(o.task_id order by o.task_id), '{}') into v_outcomes
      from work.outcome o
     where o.task_id = any (v_tasks) and o.erased_by is null;
    select coalesce(array_agg(s.id order by s.id), '{}') into v_steps
      from (select s.id from work.step s where s.task_id = any (v_tasks) and s.erased_by is null limit p_limit + 1) s;
    select coalesce(array_agg(s.id order by s.id), '{}') into v_shown
      from approvals.shown s
     where s.approval_id = any (v_approvals) and s.erased_by is null;
    select coalesce(array_agg(v.id order by v.id), '{}') into v_votes
      from approvals.vote v
     where v.approval_id = any (v_approvals) and v.erased_by is null;
    select coalesce(array_agg(c.id order by c.id), '{}') into v_comments
      from approvals.comment c
     where c.approval_id = any (v_approvals) and c.erased_by is null;
    select count(*) into v_payees from actions.payee p where p.account_id = any (v_accounts);
    select count(*) into v_attempts from work.attempt a where a.task_id = any (v_tasks);
    -- Lines of other banks' statements: those that tell of an entry of one of the payments, or bear its reference.
    select coalesce(array_agg(l.ctid), '{}') into v_lines
      from payments.statement_line l
     where l.erased_by is null
       and (l.statement_id, l.number) in (
               select m.statement_id, m.number
                 from payments.payment_step s
                 join ledger.entry e on e.journal_id = s.journal_id
                 join payments.match m on m.nostro_id = e.account_id and m.entry_seq = e.seq
                where s.payment_id = any (v_payments)
                union
               select l.statement_id, l.number
                 from payments.payment p
                 join payments.statement s on s.nostro_id = p.nostro_id
                 join payments.statement_line l on l.statement_id = s.id and l.end_to_end_id = p.end_to_end_id
                where p.id = any (v_payments));
    v_counts := jsonb_build_object(
        'customers.customer', (v_subject is not null)::integer, 'customers.standing_order', cardinality(v_orders),
        'cases.case', cardinality(v_cases), 'work.task', cardinality(v_tasks), 'work.outcome', cardinality(v_outcomes),
        'work.attempt', v_attempts, 'work.step', cardinality(v_steps), 'memory.event', cardinality(v_events),
        'audit.payload', cardinality(v_payloads), 'schedules.schedule', cardinality(v_schedules),
        'actions.transfer', cardinality(v_transfers), 'payments.payment', cardinality(v_payments),
        'payments.statement_line', cardinality(v_lines), 'approvals.approval', cardinality(v_approvals),
        'approvals.shown', cardinality(v_shown), 'approvals.vote', cardinality(v_votes),
        'approvals.comment', cardinality(v_comments), 'policy.decision', cardinality(v_decisions),
        'actions.action', cardinality(v_actions), 'actions.payee', v_payees,
        'customers.credential', (select count(*) from customers.credential k where k.customer_id = v_subject),
        'customers.standing_term', (select count(*) from customers.standing_term t where t.order_id = any (v_orders)));

    select f.code, f.detail into v_code, v_detail from (
        select 1 as rank, 'too_many_rows' as code, jsonb_build_object('limit', p_limit) as detail
         where (select sum(c.value::bigint) from jsonb_each_text(v_counts) c) > p_limit
        union all
        select 2, 'legal_hold',
               jsonb_build_object('holds', jsonb_agg(h.id::text order by h.id), 'reasons', jsonb_agg(h.reason order by h.id))
          from audit.legal_hold h
         where h.customer = p_customer and h.lifted_at is null
        having count(*) > 0
        union all
        select 3, 'subject_in_use', jsonb_build_object('kind', u.kind, 'count', count(*), 'first', min(u.id)::text)
          from (select 'account' as kind, b.account_id as id from ledger.balance b
                 where b.account_id = any (v_accounts) and b.status <> 'closed'
                 union all
                select 'case', c.id from cases.case c
                 where c.id = any (v_cases) and c.status in ('received', 'queued', 'processing')
                 union all
                select 'task', t.id from unnest(v_tasks) as t (id) where t.id <> all (v_outcomes)
                   and not exists (select from work.outcome o where o.task_id = t.id)
                 union all
                select 'approval', a.id from approvals.approval a
                 where a.id = any (v_approvals) and a.status in ('open', 'approved')
                 union all
                select 'action', a.id from actions.action a where a.id = any (v_actions) and a.status = 'held'
                 union all
                select 'transfer', t.id from actions.transfer t where t.id = any (v_transfers) and t.status in ('queued', 'held')
                 union all
                select 'payment', p.id from payments.payment p
                 where p.id = any (v_payments) and p.status in ('created', 'sent', 'unmatched')
                 union all
                select 'schedule', s.id from schedules.schedule s
                  join schedules.version v on v.schedule_id = s.id and v.n = s.version
                 where s.id = any (v_schedules) and s.removed_at is null and audit.names_subject(v.payload, v_hints, v_terms)) u
         group by u.kind
        union all
        select 4, 'retention_period',
               jsonb_build_object('kind', k.kind, 'until', to_char(k.until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
          from (select r.kind, k.since + make_interval(months => r.keep_months) as until
                  from audit.retention r
                  join (select 'customer' as kind,
                               greatest(v_customer.created_at, max(nullif(b.last_at, '-infinity')),
                                        (select max(c.changed_at)
                                           from ledger.account_change c
                                          where c.account_id = any (v_accounts))) as since
                          from ledger.balance b
                         where b.account_id = any (v_accounts)
                         union all
                        select 'transfer', max(coalesce(t.settled_at, t.created_at)) from actions.transfer t where t.id = any (v_transfers)
                         union all
                        select 'payment', max(p.changed_at) from payments.payment p where p.id = any (v_payments)
                         union all
                        select 'approval', max(a.changed_at) from approvals.approval a where a.id = any (v_approvals)
                         union all
                        select 'action', max(coalesce(a.ended_at, a.proposed_at)) from actions.action a where a.id = any (v_actions)
                         union all
                        select 'decision', max(d.at) from policy.decision d where d.id = any (v_decisions)
                         union all
                        select 'case', max(c.changed_at) from cases.case c where c.id = any (v_cases)
                         union all
                        select 'task', max(o.finished_at) from work.outcome o where o.task_id = any (v_tasks)
                         union all
                        select 'schedule', max(v.set_at) from schedules.version v where v.schedule_id = any (v_schedules)
                         union all
                        select 'event', max(e.created_at) from memory.event e where e.id = any (v_events)
                         union all
                        select 'payload', max(e.at) from audit.event e where e.id = any (v_payloads)) k on k.kind = r.kind
                 where k.since is not null
                 order by until desc, r.kind
                 limit 1) k
         where k.until > v_now) f
     order by f.rank, f.detail ->> 'kind'
     limit 1;
    if v_code is not null then
        v_event := audit.append(p_principal, 'subjects.erase_refused', 'customer', v_subject,
                                (v_detail || jsonb_build_object('code', v_code, 'reason', p_reason))::text, p_decision => p_decision);
        return query select v_code, v_detail, v_event;
        return;
    end if;

    perform set_config('tallystick.erasing', pg_current_xact_id()::text, true);
    v_event := audit.append(p_principal, 'subjects.erase', 'customer', v_subject,
                            jsonb_build_object('reason', p_reason, 'rows', v_counts)::text, p_decision => p_decision);
    if p_decision is null then
        perform audit.append(p_principal, 'subjects.erase_ungated', 'customer', v_subject,
                             jsonb_build_object('reason', p_reason, 'erasure', v_event::text)::text);
    end if;
    v_name := 'erased-' || v_event;

    -- What the record holds digests of.
    perform audit.redact('case', v_cases, 'cases.case_texts',
        format($q$update cases.case c
                     set customer = %L, payload = case when c.payload is not null then '{}'::jsonb end,
                         payload_text = case when c.payload_text is not null then '' end,
                         result = case when c.result is not null then '{}'::jsonb end, salt = null, erased_by = $2
                   where c.id = any ($1)$q$, v_name), p_principal, v_subject, v_event);
    perform audit.redact('task', v_tasks, 'work.task_texts',
        $q$update work.task t set payload = '{}', order_key = null, salt = null, erased_by = $2 where t.id = any ($1)$q$,
        p_principal, v_subject, v_event);
    perform audit.redact('outcome', v_outcomes, 'work.outcome_texts',
        $q$update work.outcome o
              set result = null, error = case when o.error is not null then 'erased' end, salt = null, erased_by = $2
            where o.task_id = any ($1)$q$, p_principal, v_subject, v_event);
    perform audit.redact('step', v_steps, 'work.step_texts',
        format($q$update work.step s
                     set output = null, detail = null, error = case when s.error is not null then 'erased' end,
                         input_hash = %L, salt = null, erased_by = $2
                   where s.id = any ($1)$q$, decode(repeat('00', 32), 'hex')), p_principal, v_subject, v_event);
    perform audit.redact('event', v_events, 'memory.event_texts',
        $q$update memory.event e set payload = '{}', salt = null, erased_by = $2 where e.id = any ($1)$q$,
        p_principal, v_subject, v_event);
    perform audit.redact('payload', v_payloads, 'audit.payload_texts',
        $q$update audit.payload p set body = null, salt = null, erased_by = $2 where p.event_id = any ($1)$q$,
        p_principal, v_subject, v_event);

    perform audit.redact('approval_shown', v_shown, 'approvals.shown_texts',
        format($q$update approvals.shown s
                     set shown = '{}', digest = %L, salt = null, erased_by = $2
                   where s.id = any ($1)$q$, decode(repeat('00', 32), 'hex')), p_principal, v_subject, v_event);
    perform audit.redact('approval_vote', v_votes, 'approvals.vote_texts',
        $q$update approvals.vote v
              set reason = case when v.reason is not null then 'erased' end, salt = null, erased_by = $2
            where v.id = any ($1)$q$, p_principal, v_subject, v_event);
    perform audit.redact('approval_comment', v_comments, 'approvals.comment_texts',
        $q$update approvals.comment c set text = 'erased', salt = null, erased_by = $2 where c.id = any ($1)$q$,
        p_principal, v_subject, v_event);

    perform audit.redact('decision', v_decisions, 'policy.decision_texts',
        format($q$update policy.decision d
                     set facts = '{}', verdict = '{"reasons":[]}', digest = %L, salt = null, erased_by = $2
                   where d.id = any ($1)$q$, decode(repeat('00', 32), 'hex')), p_principal, v_subject, v_event);

    -- All else.
    update actions.action a
       set payload = '{}', digest = decode(repeat('00', 32), 'hex'), maker = '{}',
           result = case when a.result is not null then '{}'::jsonb end, erased_by = v_event
     where a.id = any (v_actions);
    delete from actions.payee p where p.account_id = any (v_accounts);
    -- By what others call the customer whom they pay.
    update actions.payee p
       set label = null
      from ledger.account a
     where a.id = any (v_accounts) and p.payee = a.name;
    delete from customers.credential k where k.customer_id = v_subject;
    update customers.standing_term t
       set to_name = 'erased', to_bank = 'erased', to_account = 'erased', purpose = null, erased_by = v_event
     where t.order_id = any (v_orders);
    update approvals.approval a
       set digest = decode(repeat('00', 32), 'hex'), erased_by = v_event
     where a.id = any (v_approvals);
    update work.attempt a set error = 'erased', erased_by = v_event where a.task_id = any (v_tasks);
    update customers.customer c
       set name = v_name, full_name = null, birth_date = null, sex = null, region = null, street = null, city = null,
           erased_by = v_event
     where c.id = v_subject;
    update customers.standing_order o
       set name = v_name || '-' || o.id, to_bank = 'erased', to_account = 'erased', purpose = null, erased_by = v_event
     where o.id = any (v_orders);
    update schedules.version v
       set payload = '{}', erased_by = v_event
     where v.schedule_id = any (v_schedules) and v.erased_by is null and audit.names_subject(v.payload, v_hints, v_terms);
    update actions.transfer t set description = null, erased_by = v_event where t.id = any (v_transfers);
    update payments.explanation x
       set why = 'erased', erased_by = v_event
      from payments.statement_line l
     where l.ctid = any (v_lines) and x.statement_id = l.statement_id and x.number = l.number;
    update payments.explanation x
       set why = 'erased', erased_by = v_event
      from payments.payment_step s
      join ledger.entry e on e.journal_id = s.journal_id
     where s.payment_id = any (v_payments) and x.nostro_id = e.account_id and x.entry_seq = e.seq;
    update payments.match m
       set why = case when m.why is not null then 'erased' end, erased_by = v_event
      from payments.statement_line l
     where l.ctid = any (v_lines) and m.statement_id = l.statement_id and m.number = l.number;
    update payments.statement_line l
       set end_to_end_id = null, reference = null, text = null, erased_by = v_event
     where l.ctid = any (v_lines);
    update payments.payment_step s
       set reason = case when s.reason is not null then 'erased' end, erased_by = v_event
     where s.payment_id = any (v_payments);
    update payments.payment p
       set beneficiary = case when p.beneficiary is not null then 'erased' end,
           end_to_end_id = case when p.end_to_end_id is not null then 'erased' end,
           counterparty_name = null, counterparty_account = null, counterparty_bank = null, remittance = null,
           reason = case when p.reason is not null then 'erased' end, erased_by = v_event
     where p.id = any (v_payments);
    update audit.legal_hold h set customer = v_name, erased_by = v_event where h.customer = p_customer;
    -- The hash of a request has no salt, so that it could be found again by trying. Its key is refused from now on.
    update db.claim c
       set hash = decode(repeat('00', 32), 'hex')
     where (c.kind in ('case', 'case_process') and c.ref_id = any (v_cases))
        or (c.kind in ('task', 'task batch', 'task_finish', 'task_report', 'task_cancel', 'task_retry', 'task_answer')
            and c.ref_id = any (v_tasks))
        or (c.kind = 'event' and c.ref_id = any (v_events))
        or (c.kind = 'transfer' and c.ref_id = any (v_transfers))
        or (c.kind = 'external_payment' and c.ref_id = any (v_payments))
        or (c.kind = 'schedule' and c.ref_id = any (v_schedules))
        or (c.kind in ('approval vote', 'approval comment', 'approval glass', 'approval review') and c.ref_id = any (v_approvals))
        or (c.kind in ('action', 'executed action') and c.ref_id = any (v_actions))
        or (c.kind = 'decision' and c.ref_id = any (v_decisions))
        or (c.kind = 'customer' and c.ref_id = v_subject);
    perform set_config('tallystick.erasing', '', true);

    -- What the planner remembers of a table are values from its rows.
    for v_table in
        select format('%I.%I', n.nspname, c.relname)
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where exists (select from pg_stats s where s.schemaname = n.nspname and s.tablename = c.relname)
           and (format('%I.%I', n.nspname, c.relname) = any (array[
                   'customers.customer', 'customers.standing_order', 'cases."case"', 'memory.event', 'work.task', 'work.outcome',
                   'work.attempt', 'work.step', 'audit.payload', 'audit.legal_hold', 'actions.transfer', 'payments.payment',
                   'payments.payment_step', 'payments.statement_line', 'payments.match', 'payments.explanation', 'schedules.version',
                   'approvals.approval', 'approvals.shown', 'approvals.vote', 'approvals.comment', 'db.claim', 'policy.decision',
                   'actions.action', 'actions.payee', 'customers.credential', 'customers.standing_term'])
                or (n.nspname = 'work' and c.relispartition
                    and exists (select from unnest(v_tasks) as t (id)
                                 where c.relname like '%\_' || lpad((t.id / 1000000)::text, 6, '0'))))
         order by 1
    loop
        execute 'analyze ' || v_table;
    end loop;
    return query select 'erased', v_counts, v_event;
end
$$;

-- audit.erase_decided: the same by the gate. The decision allows to erase exactly this subject, for this reason and of so many rows, and
-- is used in this transaction alone (policy.consume). The subject is the number of the customer, or "case" and the number of a case of one
-- who is known by cases alone: what is kept of the decision then names nobody whom the erasure makes unknown.
create or replace function audit.erase_decided(p_decision bigint, p_subject text, p_principal text, p_reason text, p_limit bigint)
    returns table (code text, detail jsonb, event_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_customer text;
begin
    if not exists (select from policy.decision d
                    where d.id = p_decision and d.action = 'subject.erase' and d.outcome = 'allow' and d.principal = p_principal
                      and d.facts::jsonb @> jsonb_build_object('subject', p_subject, 'reason', p_reason, 'most_rows', p_limit)) then
        raise exception 'an erasure needs a decision that allows it' using errcode = 'TS008';
    end if;
    perform policy.consume(array[p_decision]);
    v_customer := case when p_subject ~ '^[0-9]{1,18}$'
                       then (select c.name from customers.customer c where c.id = p_subject::bigint)
                       when p_subject ~ '^case [0-9]{1,18}$'
                       then (select c.customer from cases.case c where c.id = substr(p_subject, 6)::bigint) end;
    if v_customer is null then
        return query select 'unknown_customer', '{}'::jsonb, null::bigint;
        return;
    end if;
    return query select e.code, e.detail, e.event_id from audit.erase(v_customer, p_principal, p_reason, p_limit, p_decision) as e;
end
$$;
