-- actions.propose_now: carry out transfers of one principal: keys, postings, the transfers themselves and the audit event, in
-- one call, so that a batch costs one round trip.
--
-- p_task is the task under which they are proposed, or null; p_request the requests that ask for them. The arrays run in parallel, one element a transfer; accounts exist and hold p_asset, amounts are in minor units. The answer
-- has one row an element, in order: state as db.claim says (fresh, replay, reused), and for a fresh one what became of it:
-- its journal, or the refusal of the business.
--
-- Locks, in the order of the house: those of db.claim, and after them those of ledger.post.
drop function if exists actions.propose_now(text, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]);
drop function if exists actions.propose_now(text, bigint, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]);
create or replace function actions.propose_now(
    p_principal   text,
    p_task        bigint,
    p_request     text,
    p_key         text[],
    p_hash        bytea[],
    p_from        bigint[],
    p_to          bigint[],
    p_amount      bigint[],
    p_asset       text[],
    p_description text[]
) returns table (ord integer, state text, transfer_id bigint, journal_id bigint, reason text, stored_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    n         constant integer := cardinality(p_from);
    v_state   text[];
    v_id      bigint[];
    v_fresh   integer[];
    v_count   integer;
    v_journal bigint[];
    v_reason  text[];
    v_posted  bigint[];
    v_digests bytea;
    v_now     timestamptz;
begin
    select array_agg(c.state order by c.ord), array_agg(c.ref_id order by c.ord), array_agg(c.ord order by c.ord) filter (where c.state = 'fresh')
      into v_state, v_id, v_fresh
      from db.claim(array_fill(p_principal, array[n]), p_key, p_hash, array_fill('transfer'::text, array[n]),
                    (select array_agg(nextval('actions.transfer_id_seq')) from generate_series(1, n))) as c;

    if v_fresh is not null then
        v_count := cardinality(v_fresh);
        select array_agg(p.journal_id order by p.ord), array_agg(p.refusal order by p.ord),
               array_agg(p.journal_id order by p.ord) filter (where p.journal_digest is not null),
               string_agg(p.journal_digest, ''::bytea order by p.ord)
          into v_journal, v_reason, v_posted, v_digests
          from (select array_agg(v_id[f.place] order by f.k) as ids, array_agg(p_from[f.place] order by f.k) as debits,
                       array_agg(p_to[f.place] order by f.k) as credits, array_agg(p_amount[f.place] order by f.k) as amounts
                  from unnest(v_fresh) with ordinality as f (place, k)) as a
         cross join lateral (
                  select array_agg(e.k::integer order by e.k, e.amount) as journals, array_agg(e.account_id order by e.k, e.amount) as accounts,
                         array_agg(e.amount order by e.k, e.amount) as amounts
                    from (select u.k, v.account_id, v.amount
                            from unnest(a.debits, a.credits, a.amounts) with ordinality as u (debit, credit, amount, k)
                           cross join lateral (values (u.debit, -u.amount), (u.credit, u.amount)) as v (account_id, amount)) as e) as e
         cross join lateral ledger.carry_out(
                  null, null, array_fill('transfer'::text, array[v_count]), a.ids, array_fill(p_principal, array[v_count]),
                  null, array_fill(p_task, array[v_count]), null, null, null, null, null, null, e.journals, e.accounts, e.amounts, null, null, null, null, false) as p;

        v_now := clock_timestamp();
        insert into actions.transfer
               (id, principal, from_account, to_account, amount, asset, description, settle, task_id, status, journal_id, reason, created_at,
                settled_at)
        select v_id[f.place], p_principal, p_from[f.place], p_to[f.place], p_amount[f.place], p_asset[f.place], p_description[f.place],
               'now', p_task, case when f.reason is null then 'posted' else 'failed' end, f.journal_id, f.reason, v_now, v_now
          from unnest(v_fresh, v_journal, v_reason) as f (place, journal_id, reason);
        perform audit.append(
            p_principal, 'transfers.propose', 'transfer', v_id[v_fresh[1]],
            (select '{"transfers":[' || string_agg(format('["%s","%s"]', v_id[f.place], coalesce(f.reason, 'posted')), ',' order by f.k)
                    || ']}'
               from unnest(v_fresh[1:200], v_reason[1:200]) with ordinality as f (place, reason, k)),
            p_task, case when v_posted is not null then 'journal' end, v_posted, v_digests, null, p_request);
    end if;

    return query
    select u.ord::integer, u.state, u.id, f.journal_id, f.reason, v_now
      from unnest(v_state, v_id) with ordinality as u (state, id, ord)
      left join unnest(v_fresh, v_journal, v_reason) as f (place, journal_id, reason) on f.place = u.ord
     order by u.ord;
end
$$;
revoke all on function actions.propose_now(text, bigint, text, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]) from public;
grant execute on function actions.propose_now(text, bigint, text, text[], bytea[], bigint[], bigint[], bigint[], text[], text[]) to tallystick_app;
