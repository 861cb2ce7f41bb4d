-- actions.prepare: what has to be known and locked before transfers of one principal are decided: keys, balances, what is known of the
-- accounts, and, where p_known is given, what the rules ask for (policy.gather, whose parameters and answers are the last ones).
--
-- The arrays run in parallel, one element a transfer; accounts exist, p_payee are the names of those that are paid. The answer is one
-- row: for each element its state as db.claim says (fresh, replay, reused), the id that the transfer has or would have, the customer
-- who owns the account that pays, and for how many whole seconds the other one has been known to it as a payee, null where it is new.
--
-- Locks, in the order of the house: the mark of closed periods (shared), those of db.claim, the balances, the counters.
drop function if exists actions.propose_now(text, bigint, text, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]);
drop function if exists actions.prepare(text, text[], bytea[], bigint[], bigint[]);
create or replace function actions.prepare(
    p_principal text,
    p_key       text[],
    p_hash      bytea[],
    p_from      bigint[],
    p_to        bigint[],
    p_payee     text[],
    p_keys      text[],
    p_windows   bigint[],
    p_lists     text[],
    p_names     text[],
    p_ids       text[],
    p_known     text
) returns table (
    states text[], transfer_ids bigint[], customers bigint[], known_s bigint[],
    at timestamptz, digest text, body text, ids bigint[], counts bigint[], sums bigint[], places bigint[], entries text[], unlisted text[]
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Each key, account and payee is looked up in its index, whatever the statistics say.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
-- Planning anew for each batch would take longer than carrying a small one out.
set plan_cache_mode = force_generic_plan
as $$
declare
    n      constant integer := cardinality(p_from);
    v_wait bigint[];
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(nextval('actions.transfer_id_seq')) into transfer_ids from generate_series(1, n);
    select array_agg(c.state order by c.ord), array_agg(c.ref_id order by c.ord)
      into states, transfer_ids
      from db.claim(array_fill(p_principal, array[n]), p_key, p_hash, array_fill('transfer'::text, array[n]), transfer_ids) as c;
    if 'fresh' = all (states) then
        v_wait := p_from || p_to;
    else
        select array_agg(u.debit) || array_agg(u.credit) into v_wait
          from unnest(states, p_from, p_to) as u (state, debit, credit)
         where u.state = 'fresh';
    end if;
    perform from ledger.balance b where b.account_id = any (v_wait) order by b.account_id for no key update;
    at := db.clock();
    -- A clock that was set back makes nobody a stranger: what is known is known for no time at least.
    select array_agg(c.customer_id order by u.ord),
           array_agg(case when p.since is not null then greatest(0, floor(extract(epoch from at - p.since))::bigint) end order by u.ord)
      into customers, known_s
      from unnest(p_from, p_payee) with ordinality as u (debit, payee, ord)
      left join customers.disposition c on c.account_id = u.debit and c.role = 'owner'
      left join actions.payee p on p.account_id = u.debit and p.payee = u.payee;
    if p_known is not null then
        select g.at, g.digest, g.body, g.ids, g.counts, g.sums, g.places, g.entries, g.unlisted
          into at, digest, body, ids, counts, sums, places, entries, unlisted
          from policy.gather(p_keys, p_windows, p_lists, p_names, p_ids, p_known) as g;
    end if;
    return next;
end
$$;
revoke all on function actions.prepare(text, text[], bytea[], bigint[], bigint[], text[], text[], bigint[], text[], text[], text[], text)
    from public;
grant execute on function
    actions.prepare(text, text[], bytea[], bigint[], bigint[], text[], text[], bigint[], text[], text[], text[], text)
    to tallystick_app;

-- actions.conclude: carry out transfers of one principal that were prepared and decided in this transaction: the decisions, postings, the
-- transfers themselves, new payees and the audit event.
--
-- The arrays run in parallel, one element a transfer: p_outcome is allow or deny, p_fresh whether the payee is new to the account. What
-- is denied is stored as failed. The decisions are either those of p_decision, or kept here (policy.keep_used): p_digest to p_salt say what
-- they are, under the policy with that digest, and p_counters to p_sums what they use up. p_request are the requests that ask for them,
-- p_decided the digest of the decisions for the record. The answer is one row: for each element the journal, or why there is none, and
-- the decision.
drop function if exists actions.conclude(text, text, bigint, text, text, bigint[], text[], bigint[], boolean[], bigint[], bigint[], bigint[], text[], text[]);
create or replace function actions.conclude(
    p_principal   text,
    p_for         text,
    p_task        bigint,
    p_request     text,
    p_decided     text,
    p_id          bigint[],
    p_outcome     text[],
    p_fresh       boolean[],
    p_from        bigint[],
    p_to          bigint[],
    p_amount      bigint[],
    p_asset       text[],
    p_description text[],
    p_decision    bigint[],
    p_policy      text,
    p_digest      bytea[],
    p_facts       text[],
    p_verdict     text[],
    p_salt        bytea[],
    p_counters    bigint[],
    p_counts      bigint[],
    p_sums        bigint[]
) returns table (journal_ids bigint[], reasons text[], decisions bigint[], stored_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    n          constant integer := cardinality(p_id);
    v_ok       integer[];
    v_count    integer;
    v_from     bigint[];
    v_to       bigint[];
    v_amount   bigint[];
    v_ids      bigint[];
    v_journals integer[];
    v_accounts bigint[];
    v_amounts  bigint[];
    v_ids_of   bigint[];
    v_why      text[];
    v_posted   bigint[];
    v_digests  bytea;
    v_consumed bigint[];
begin
    if 'allow' = all (p_outcome) then
        v_count := n;
        v_from := p_from;
        v_to := p_to;
        v_amount := p_amount;
    else
        select array_agg(u.ord::integer order by u.ord), array_agg(u.debit order by u.ord), array_agg(u.credit order by u.ord),
               array_agg(u.amount order by u.ord), count(*)
          into v_ok, v_from, v_to, v_amount, v_count
          from unnest(p_outcome, p_from, p_to, p_amount) with ordinality as u (outcome, debit, credit, amount, ord)
         where u.outcome = 'allow';
    end if;
    if v_count > 0 then
        select array_agg(e.k), array_agg(e.account_id), array_agg(e.amount)
          into v_journals, v_accounts, v_amounts
          from (select u.k::integer as k, case side.n when 1 then u.debit else u.credit end as account_id,
                       case side.n when 1 then -u.amount else u.amount end as amount
                  from unnest(v_from, v_to, v_amount) with ordinality as u (debit, credit, amount, k)
                 cross join (values (1), (2)) as side (n)
                 order by u.k, side.n) as e;
        v_ids := case when v_count = n then p_id else array(select p_id[u.place] from unnest(v_ok) as u (place)) end;
        select array_agg(c.journal_id order by c.ord), array_agg(c.refusal order by c.ord),
               array_agg(c.journal_id order by c.ord) filter (where c.journal_digest is not null),
               string_agg(c.journal_digest, ''::bytea order by c.ord)
          into v_ids_of, v_why, v_posted, v_digests
          from ledger.carry_out(
                   null, null, array_fill('transfer'::text, array[v_count]), v_ids, array_fill(p_principal, array[v_count]),
                   case when p_for is not null then array_fill(p_for, array[v_count]) end, array_fill(p_task, array[v_count]), null, null,
                   null, null, null, null, v_journals, v_accounts, v_amounts, null, null, null, null, false) as c;
    end if;
    if v_count = n then
        journal_ids := v_ids_of;
        reasons := v_why;
    else
        select array_agg(k.journal order by u.ord), array_agg(case when k.place is null then 'denied' else k.why end order by u.ord)
          into journal_ids, reasons
          from generate_series(1, n) as u (ord)
          left join unnest(v_ok, v_ids_of, v_why) as k (place, journal, why) on k.place = u.ord;
    end if;
    -- A decision whose transfer the books refuse is not used: nothing came of it.
    if p_decision is null then
        decisions := policy.keep_used(p_principal, p_for, 'transfer', p_policy, p_task, p_digest, p_facts, p_verdict, p_outcome, p_salt,
                                      journal_ids, p_counters, p_counts, p_sums);
    else
        decisions := p_decision;
        if cardinality(v_posted) = n then
            v_consumed := decisions;
        else
            select array_agg(u.decision) into v_consumed
              from unnest(journal_ids, decisions) as u (journal, decision)
             where u.journal is not null;
        end if;
        if v_consumed is not null then
            perform policy.consume(v_consumed);
        end if;
    end if;

    stored_at := clock_timestamp();
    insert into actions.transfer
           (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, journal_id, reason, created_at,
            settled_at, decision_id)
    select u.id, p_principal, u.debit, u.credit, u.amount, u.asset, u.description, 'now', p_task,
           case when u.reason is null then 'posted' else 'failed' end, u.journal, u.reason, stored_at, stored_at, u.decision
      from unnest(p_id, p_from, p_to, p_amount, p_asset, p_description, journal_ids, reasons, decisions)
           as u (id, debit, credit, amount, asset, description, journal, reason, decision);
    if true = any (p_fresh) then
        insert into actions.payee (account_id, payee, since, by_principal)
        select distinct u.debit, g.name, stored_at, p_principal
          from unnest(p_fresh, p_from, p_to, journal_ids) as u (fresh, debit, credit, journal)
          join ledger.account g on g.id = u.credit
         where u.fresh and u.journal is not null
         order by 1, 2
            on conflict do nothing;
    end if;
    perform audit.append(
        p_principal, 'transfers.propose', 'transfer', p_id[1],
        (select '{"decided":"' || p_decided || '","decisions":["' || string_agg(u.decision::text, '","' order by u.k) || '"],"transfers":['
                || string_agg(format('["%s","%s"]', u.id, coalesce(u.reason, 'posted')), ',' order by u.k) || ']}'
           from unnest(p_id[1:200], reasons[1:200], decisions[1:200]) with ordinality as u (id, reason, decision, k)),
        p_task, case when v_posted is not null then 'journal' end, v_posted, v_digests, null, p_request,
        case when n = 1 then decisions[1] end, null, p_for,
        case when n > 200
             then (select jsonb_build_object('decisions', jsonb_agg(u.decision::text order by u.k),
                                             'transfers', jsonb_agg(jsonb_build_array(u.id::text, coalesce(u.reason, 'posted')) order by u.k))
                     from unnest(p_id, reasons, decisions) with ordinality as u (id, reason, decision, k)) end);
    return next;
end
$$;
revoke all on function actions.conclude(text, text, bigint, text, text, bigint[], text[], boolean[], bigint[], bigint[], bigint[], text[], text[], bigint[], text, bytea[], text[], text[], bytea[], bigint[], bigint[], bigint[]) from public;
grant execute on function actions.conclude(text, text, bigint, text, text, bigint[], text[], boolean[], bigint[], bigint[], bigint[], text[], text[], bigint[], text, bytea[], text[], text[], bytea[], bigint[], bigint[], bigint[])
    to tallystick_app;
