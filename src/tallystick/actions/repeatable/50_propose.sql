-- actions.prepare: what has to be known and locked before transfers of one principal are decided: keys, balances, and what the books
-- say of the accounts.
--
-- The arrays run in parallel, one element a transfer; accounts exist. The answer has one row an element, in order: state as db.claim
-- says (fresh, replay, reused) and the id that the transfer has or would have; the kinds of the two accounts; the customer who owns the
-- account that pays; since when the other one is known to it as a payee, null where it is new; and the time of the database.
--
-- Locks, in the order of the house: the mark of closed periods (shared), those of db.claim, the balances.
drop function if exists actions.propose_now(text, bigint, text, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]);
create or replace function actions.prepare(p_principal text, p_key text[], p_hash bytea[], p_from bigint[], p_to bigint[])
returns table (ord integer, state text, transfer_id bigint, from_kind text, to_kind text, customer bigint, known_since timestamptz,
               at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
    n       constant integer := cardinality(p_from);
    v_state text[];
    v_id    bigint[];
    v_wait  bigint[];
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(c.state order by c.ord), array_agg(c.ref_id order by c.ord),
           array_agg(p_from[c.ord]) filter (where c.state = 'fresh') || array_agg(p_to[c.ord]) filter (where c.state = 'fresh')
      into v_state, v_id, v_wait
      from db.claim(array_fill(p_principal, array[n]), p_key, p_hash, array_fill('transfer'::text, array[n]),
                    (select array_agg(nextval('actions.transfer_id_seq')) from generate_series(1, n))) as c;
    if v_wait is not null then
        v_wait := array(select distinct u.id from unnest(v_wait) as u (id));
        perform from ledger.balance b where b.account_id = any (v_wait) order by b.account_id for no key update;
    end if;
    return query
    select u.ord::integer, u.state, u.id, f.kind, g.kind, c.customer_id, p.since, clock_timestamp()
      from unnest(v_state, v_id, p_from, p_to) with ordinality as u (state, id, debit, credit, ord)
      left join ledger.account f on u.state = 'fresh' and f.id = u.debit
      left join ledger.account g on u.state = 'fresh' and g.id = u.credit
      left join customers.disposition c on u.state = 'fresh' and c.account_id = u.debit and c.role = 'owner'
      left join actions.payee p on p.account_id = f.id and p.payee = g.name
     order by u.ord;
end
$$;
revoke all on function actions.prepare(text, text[], bytea[], bigint[], bigint[]) from public;
grant execute on function actions.prepare(text, text[], bytea[], bigint[], bigint[]) to tallystick_app;

-- actions.conclude: carry out transfers of one principal that were prepared and decided in this transaction: postings, the transfers
-- themselves, new payees and the audit event.
--
-- The arrays run in parallel, one element a transfer: p_outcome is allow or deny, p_decision the decision it was kept under, p_fresh
-- whether the payee is new to the account. What is denied is stored as failed. The answer has one row an element, in order: the
-- journal, or why there is none. p_request are the requests that ask for them, p_decided the digest of the decisions for the record.
create or replace function actions.conclude(
    p_principal   text,
    p_for         text,
    p_task        bigint,
    p_request     text,
    p_decided     text,
    p_id          bigint[],
    p_outcome     text[],
    p_decision    bigint[],
    p_fresh       boolean[],
    p_from        bigint[],
    p_to          bigint[],
    p_amount      bigint[],
    p_asset       text[],
    p_description text[]
) returns table (ord integer, journal_id bigint, reason text, stored_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_count   integer;
    v_ok      integer[];
    v_journal bigint[];
    v_reason  text[];
    v_posted  bigint[];
    v_digests bytea;
    v_now     timestamptz;
begin
    select array_agg(u.ord::integer order by u.ord) into v_ok
      from unnest(p_outcome) with ordinality as u (outcome, ord)
     where u.outcome = 'allow';
    v_reason := array_fill('denied'::text, array[cardinality(p_id)]);
    v_journal := array_fill(null::bigint, array[cardinality(p_id)]);
    if v_ok is not null then
        v_count := cardinality(v_ok);
        with carried as (
            select p.ord, p.journal_id, p.refusal, p.journal_digest
              from (select array_agg(p_id[f.place] order by f.k) as ids, array_agg(p_from[f.place] order by f.k) as debits,
                           array_agg(p_to[f.place] order by f.k) as credits, array_agg(p_amount[f.place] order by f.k) as amounts
                      from unnest(v_ok) with ordinality as f (place, k)) as a
             cross join lateral (
                      select array_agg(e.k::integer order by e.k, e.amount) as journals,
                             array_agg(e.account_id order by e.k, e.amount) as accounts, array_agg(e.amount order by e.k, e.amount) as amounts
                        from (select u.k, v.account_id, v.amount
                                from unnest(a.debits, a.credits, a.amounts) with ordinality as u (debit, credit, amount, k)
                               cross join lateral (values (u.debit, -u.amount), (u.credit, u.amount)) as v (account_id, amount)) as e) as e
             cross join lateral ledger.carry_out(
                      null, null, array_fill('transfer'::text, array[v_count]), a.ids, array_fill(p_principal, array[v_count]),
                      case when p_for is not null then array_fill(p_for, array[v_count]) end, array_fill(p_task, array[v_count]), null, null,
                      null, null, null, null, e.journals, e.accounts, e.amounts, null, null, null, null, false) as p
        )
        select array_agg(c.journal_id order by u.ord),
               array_agg(case when k.k is null then 'denied' else c.refusal end order by u.ord),
               array_agg(c.journal_id order by c.ord) filter (where c.journal_digest is not null),
               string_agg(c.journal_digest, ''::bytea order by c.ord)
          into v_journal, v_reason, v_posted, v_digests
          from generate_series(1, cardinality(p_id)) as u (ord)
          left join unnest(v_ok) with ordinality as k (place, k) on k.place = u.ord
          left join carried c on c.ord = k.k;
        -- A decision whose transfer the books refuse is not consumed: nothing came of it.
        perform policy.consume((select array_agg(p_decision[u.ord])
                                  from unnest(v_journal) with ordinality as u (id, ord)
                                 where u.id is not null));
    end if;

    v_now := clock_timestamp();
    insert into actions.transfer
           (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, journal_id, reason, created_at,
            settled_at, decision_id)
    select u.id, p_principal, u.debit, u.credit, u.amount, u.asset, u.description, 'now', p_task,
           case when u.reason is null then 'posted' else 'failed' end, u.journal, u.reason, v_now, v_now, u.decision
      from unnest(p_id, p_from, p_to, p_amount, p_asset, p_description, v_journal, v_reason, p_decision)
           as u (id, debit, credit, amount, asset, description, journal, reason, decision);
    if true = any (p_fresh) then
        insert into actions.payee (account_id, payee, since, by_principal)
        select distinct u.debit, g.name, v_now, p_principal
          from unnest(p_fresh, p_from, p_to, v_journal) as u (fresh, debit, credit, journal)
          join ledger.account g on g.id = u.credit
         where u.fresh and u.journal is not null
         order by 1, 2
            on conflict do nothing;
    end if;
    perform audit.append(
        p_principal, 'transfers.propose', 'transfer', p_id[1],
        (select '{"decided":"' || p_decided || '","decisions":["' || string_agg(u.decision::text, '","' order by u.k) || '"],"transfers":['
                || string_agg(format('["%s","%s"]', u.id, coalesce(u.reason, 'posted')), ',' order by u.k) || ']}'
           from unnest(p_id[1:200], v_reason[1:200], p_decision[1:200]) with ordinality as u (id, reason, decision, k)),
        p_task, case when v_posted is not null then 'journal' end, v_posted, v_digests, null, p_request,
        case when cardinality(p_decision) = 1 then p_decision[1] end, null, p_for);
    return query
    select u.ord::integer, u.journal, u.reason, v_now
      from unnest(v_journal, v_reason) with ordinality as u (journal, reason, ord)
     order by u.ord;
end
$$;
revoke all on function actions.conclude(text, text, bigint, text, text, bigint[], text[], bigint[], boolean[], bigint[], bigint[], bigint[], text[], text[]) from public;
grant execute on function actions.conclude(text, text, bigint, text, text, bigint[], text[], bigint[], boolean[], bigint[], bigint[], bigint[], text[], text[])
    to tallystick_app;
