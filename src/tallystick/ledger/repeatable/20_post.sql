-- ledger.carry_out: post a batch of journals, each whole or not at all, and answer for each.
--
-- The arrays p_key … p_final run in parallel, one element a journal, in order; one that is null as a whole is null for all of
-- them. p_entry_journal names the journal of each entry by its place (from 1) and does not descend; p_entry_account and
-- p_entry_amount (minor units, above zero gives) are its entry. p_guard_* are conditions likewise.
--
-- Per journal the answer is either (journal_id, null, posted_at) or (null, refusal, null), refusal being one of
--   unbalanced, too_few_entries, unknown_account, amount_out_of_range   the journal is malformed;
--   account_closed, account_frozen, insufficient_funds, period_closed   the business says no;
--   guard_failed                                                        a condition of the caller does not hold;
--   unknown_hold, hold_expired, hold_resolved, hold_mismatch, hold_exceeded      of a capture;
--   unknown_journal, not_reversible, reversal_mismatch, reversal_exceeded        of a reversal;
--   batch_refused                                                       another journal of an atomic batch was refused;
--   key_reused                                                          the key stands for another request.
-- All but key_reused are remembered under the key. replayed: the answer is that of an earlier call with the key and request.
--
-- Locks, in the order of the house: the mark of closed periods (shared), claims (sorted by db.claim), then all balances in one
-- statement in id order. Nothing is decided on anything read before that, but what never changes.
create or replace function ledger.carry_out(
    p_key             text[],
    p_hash            bytea[],
    p_kind            text[],
    p_ref_id          bigint[],
    p_actor           text[],
    p_on_behalf_of    text[],
    p_task_id         bigint[],
    p_approval_id     bigint[],
    p_effective_at    timestamptz[],
    p_meta            jsonb[],
    p_reverses        bigint[],
    p_hold_id         bigint[],
    p_final           boolean[],
    p_entry_journal   integer[],
    p_entry_account   bigint[],
    p_entry_amount    bigint[],
    p_guard_journal   integer[],
    p_guard_account   bigint[],
    p_guard_available bigint[],
    p_guard_seq       bigint[],
    p_atomic          boolean
) returns table (ord integer, journal_id bigint, refusal text, replayed boolean, posted_at timestamptz, journal_digest bytea)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_written     bigint[];
    v_digests     bytea[];
    c_max_amount  constant bigint := 1000000000000000;
    c_max_sum     constant bigint := 1000000000000000000;
    n             constant integer := cardinality(p_kind);
    m             constant integer := coalesce(cardinality(p_entry_journal), 0);
    v_id          bigint[];
    v_refusal     text[] := array_fill(null::text, array[n]);
    v_replayed    boolean[];
    v_refused     boolean := false;
    v_account     bigint[];
    v_asset       text[];
    v_status      text[];
    v_floor       bigint[];
    v_dr          bigint[];
    v_cr          bigint[];
    v_held        bigint[];
    v_seq         bigint[];
    v_wanted      bigint[];
    v_shut        boolean;
    v_any_held    boolean;
    v_now         timestamptz;
    v_closed      timestamptz;
    v_at          integer[];
    v_bad         integer[];
    e_seq         bigint[] := array_fill(null::bigint, array[m]);
    e_dr          bigint[] := array_fill(null::bigint, array[m]);
    e_cr          bigint[] := array_fill(null::bigint, array[m]);
    -- Guards: the place of each one's account, and where the guards of a journal begin.
    g_at          integer[];
    g             integer := 1;
    g_count       constant integer := coalesce(cardinality(p_guard_journal), 0);
    -- Reversals: what may still be taken back, by (original, account); r_at is the place of each entry's.
    r_left        bigint[];
    r_at          integer[];
    r_why         text[];
    -- Holds that are captured: h_at is the place of each journal's.
    h_at          integer[];
    h_id          bigint[];
    h_place       integer[];
    h_left        bigint[];
    h_why         text[];
    h_taken       bigint[];
    h_freed       bigint[];
    h             integer;
    j             integer;
    e             integer := 1;
    f             integer;
    v_first       integer;
    v_last        integer;
    v_done        integer;
    a             integer;
    v_amount      bigint;
    v_net         numeric;
    v_why         text;
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(nextval('ledger.journal_id')) into v_id from generate_series(1, n);

    if p_key is not null then
        select array_agg(c.ref_id order by c.ord),
               array_agg(case when c.state = 'reused' then 'key_reused' end order by c.ord),
               array_agg(c.state = 'replay' order by c.ord)
          into v_id, v_refusal, v_replayed
          from db.claim(p_actor, p_key, p_hash, array_fill('journal'::text, array[n]), v_id) as c;
        v_refused := 'key_reused' = any (v_refusal);
        if not true = any (v_replayed) then
            v_replayed := null;
        end if;
    end if;

    -- Balances are locked in id order, so that two batches cannot deadlock; what was answered before needs none, and whoever sends it
    -- again may not have locked it beforehand. What is read here is read under the lock.
    if v_replayed is null then
        v_wanted := p_entry_account || p_guard_account;
    else
        select array_agg(u.account_id) into v_wanted
          from (select e.journal, e.account_id from unnest(p_entry_journal, p_entry_account) as e (journal, account_id)
                 union all
                select g.journal, g.account_id from unnest(p_guard_journal, p_guard_account) as g (journal, account_id)) as u
         where not v_replayed[u.journal];
    end if;
    select array_agg(b.account_id), array_agg(b.asset), array_agg(b.status), array_agg(b.floor), array_agg(b.dr), array_agg(b.cr),
           array_agg(b.held), array_agg(b.seq), bool_or(b.status <> 'open'), bool_or(b.held > 0),
           greatest(clock_timestamp(), max(b.last_at) + interval '1 microsecond')
      into v_account, v_asset, v_status, v_floor, v_dr, v_cr, v_held, v_seq, v_shut, v_any_held, v_now
      from (select x.account_id, x.asset, x.status, x.floor, x.dr, x.cr, x.held, x.seq, x.last_at
              from ledger.balance x
             where x.account_id = any (v_wanted)
             order by x.account_id
               for no key update) as b;

    -- v_at[e] is the place of entry e's account in the arrays above, null where there is no such account.
    select array_agg(k.place order by u.ord) into v_at
      from unnest(p_entry_account) with ordinality as u (account_id, ord)
      left join unnest(v_account) with ordinality as k (account_id, place) on k.account_id = u.account_id;

    if v_any_held then
        -- A hold whose time is over binds nothing, whether or not it was swept yet.
        select array_agg(u.held - coalesce(x.freed, 0) order by u.ord) into v_held
          from unnest(v_account, v_held) with ordinality as u (account_id, held, ord)
          left join ledger.expire_locked(v_account, v_now, null) as x on x.account_id = u.account_id;
    end if;
    if p_effective_at is not null then
        select c.closed_until into v_closed from ledger.closed_period c order by c.n desc limit 1;
    end if;
    if g_count > 0 then
        select array_agg(k.place order by u.ord) into g_at
          from unnest(p_guard_account) with ordinality as u (account_id, ord)
          left join unnest(v_account) with ordinality as k (account_id, place) on k.account_id = u.account_id;
    end if;
    if p_reverses is not null then
        select x.reversal_left, x.reversal_at, x.reversal_why into r_left, r_at, r_why
          from ledger.reversible(p_reverses, p_entry_journal, p_entry_account) as x;
    end if;
    if p_hold_id is not null then
        select x.hold_at, x.hold_id, x.hold_left, x.hold_why, x.hold_place into h_at, h_id, h_left, h_why, h_place
          from ledger.capturable(p_hold_id, v_account) as x;
        h_taken := array_fill(0::bigint, array[n]);
        h_freed := array_fill(0::bigint, array[n]);
    end if;

    for j in 1 .. n loop
        v_first := e;
        while e <= m and p_entry_journal[e] = j loop
            e := e + 1;
        end loop;
        v_last := e - 1;
        continue when v_refusal[j] is not null;
        continue when v_replayed[j];

        v_why := null;
        if r_why[j] is not null then
            v_why := r_why[j];
        elsif v_last <= v_first then
            v_why := 'too_few_entries';
        elsif v_last = v_first + 1 and p_entry_amount[v_first]::numeric + p_entry_amount[v_last] = 0
              and v_asset[v_at[v_first]] = v_asset[v_at[v_last]] then
            -- Most journals: what one account gives another takes.
            null;
        else
            if v_bad is null then
                select coalesce(array_agg(distinct x.journal), '{}') into v_bad
                  from (select u.journal
                          from unnest(p_entry_journal, p_entry_amount, v_at) as u (journal, amount, place)
                         group by u.journal, v_asset[u.place]
                        having sum(u.amount) <> 0) as x;
            end if;
            if j = any (v_bad) then
                v_why := 'unbalanced';
            end if;
        end if;
        if v_why is null and p_effective_at[j] < v_closed then
            v_why := 'period_closed';
        end if;
        if v_why is null then
            for f in v_first .. v_last loop
                a := v_at[f];
                v_amount := p_entry_amount[f];
                if a is null then
                    v_why := 'unknown_account';
                    exit;
                elsif v_amount is null or v_amount = 0 or v_amount > c_max_amount or v_amount < -c_max_amount then
                    v_why := 'amount_out_of_range';
                    exit;
                elsif v_shut and v_status[a] <> 'open' then
                    v_why := 'account_' || v_status[a];
                    exit;
                end if;
            end loop;
        end if;
        if v_why is null and p_hold_id[j] is not null then
            h := h_at[j];
            a := h_place[h];
            v_why := case when h is null then 'unknown_hold'
                          when h_left[h] is null then h_why[h]
                          when a is null then 'hold_mismatch' end;
            if v_why is null then
                select -sum(p_entry_amount[i]) into v_net from generate_series(v_first, v_last) as i where v_at[i] = a;
                v_why := case when v_net is null or v_net <= 0 then 'hold_mismatch' when v_net > h_left[h] then 'hold_exceeded' end;
            end if;
        end if;
        while g <= g_count and p_guard_journal[g] <= j loop
            if p_guard_journal[g] = j and v_why is null then
                a := g_at[g];
                v_why := case when a is null then 'unknown_account'
                              when v_cr[a] - v_dr[a] - v_held[a] < p_guard_available[g] or v_seq[a] <> p_guard_seq[g]
                              then 'guard_failed' end;
            end if;
            g := g + 1;
        end loop;
        if v_why is not null then
            v_refusal[j] := v_why;
            v_refused := true;
            continue;
        end if;

        v_done := v_last;
        for f in v_first .. v_last loop
            a := v_at[f];
            v_amount := p_entry_amount[f];
            if v_amount < 0 then
                v_dr[a] := v_dr[a] - v_amount;
            else
                v_cr[a] := v_cr[a] + v_amount;
            end if;
            v_seq[a] := v_seq[a] + 1;
            e_seq[f] := v_seq[a];
            e_dr[f] := v_dr[a];
            e_cr[f] := v_cr[a];
            -- All that an account ever gives or takes is bounded, so that no sum of it can overflow.
            if v_dr[a] > c_max_sum or v_cr[a] > c_max_sum then
                v_why := 'amount_out_of_range';
                v_done := f;
                exit;
            end if;
        end loop;
        if v_why is null and p_hold_id[j] is not null then
            h_taken[j] := v_net;
            h_freed[j] := case when p_final[j] then h_left[h] - v_net else 0 end;
            v_held[h_place[h]] := v_held[h_place[h]] - h_taken[j] - h_freed[j];
        end if;

        -- The floor holds after the journal as a whole. One that leaves an account no less than it had is never stopped by it.
        for f in v_first .. v_last loop
            exit when v_why is not null;
            a := v_at[f];
            if p_entry_amount[f] < 0 and v_cr[a] - v_dr[a] - v_held[a] < v_floor[a] then
                select sum(p_entry_amount[i]) into v_net from generate_series(v_first, v_last) as i where v_at[i] = a;
                if p_hold_id[j] is not null and h_place[h] = a then
                    v_net := v_net + h_taken[j] + h_freed[j];
                end if;
                if v_net < 0 then
                    v_why := 'insufficient_funds';
                    exit;
                end if;
            end if;
        end loop;
        if v_why is null and p_reverses[j] is not null then
            for f in v_first .. v_last loop
                v_amount := p_entry_amount[f];
                if r_at[f] is null or r_left[r_at[f]] is null then
                    v_why := 'reversal_mismatch';
                elsif sign(v_amount::numeric) * sign(r_left[r_at[f]]::numeric) <= 0 or abs(v_amount) > abs(r_left[r_at[f]]) then
                    v_why := 'reversal_exceeded';
                else
                    r_left[r_at[f]] := r_left[r_at[f]] - v_amount;
                    continue;
                end if;
                -- What the entries before this one took is put back.
                for i in v_first .. f - 1 loop
                    r_left[r_at[i]] := r_left[r_at[i]] + p_entry_amount[i];
                end loop;
                exit;
            end loop;
        end if;
        if v_why is null then
            if p_hold_id[j] is not null then
                h_left[h] := nullif(h_left[h] - h_taken[j] - h_freed[j], 0);
                h_why[h] := 'hold_resolved';
            end if;
        else
            v_refusal[j] := v_why;
            v_refused := true;
            if h_taken[j] > 0 then
                v_held[h_place[h]] := v_held[h_place[h]] + h_taken[j] + h_freed[j];
                h_taken[j] := 0;
            end if;
            for f in v_first .. v_done loop
                a := v_at[f];
                v_amount := p_entry_amount[f];
                if v_amount < 0 then
                    v_dr[a] := v_dr[a] + v_amount;
                else
                    v_cr[a] := v_cr[a] - v_amount;
                end if;
                v_seq[a] := v_seq[a] - 1;
                e_seq[f] := null;
            end loop;
        end if;
    end loop;
    if e <= m then
        raise exception 'entry % belongs to no journal of the batch', e using errcode = 'TS003';
    end if;

    if p_atomic and (v_refused or (v_replayed is not null and exists (
            select from ledger.refusal r join unnest(v_id, v_replayed) as u (id, replayed) on u.id = r.ref_id where u.replayed))) then
        select array_agg(coalesce(u.refusal, case when u.replayed is not true then 'batch_refused' end) order by u.ord) into v_refusal
          from unnest(v_id, v_refusal, v_replayed) with ordinality as u (id, refusal, replayed, ord);
        v_refused := true;
    else
        with written as (
        insert into ledger.journal
               (id, kind, ref_id, actor, on_behalf_of, task_id, approval_id, reverses, hold_id, effective_at, posted_at, meta, digest)
        select u.id, u.kind, u.ref_id, u.actor, u.on_behalf_of, u.task_id, u.approval_id, u.reverses, u.hold_id, u.effective, v_now, u.meta,
               -- The digest of a journal is that of its entries too, as they have none of their own: the row as db.digest_row
               -- sees it, and then (account, number, amount) of each entry, by account and number.
               sha256(record_send(row(u.id, u.kind, u.ref_id, u.actor, u.on_behalf_of, u.task_id, u.approval_id, u.reverses, u.hold_id,
                                      u.effective, v_now, u.meta, null::bytea)) || l.entries)
          from (select w.id, w.kind, w.ref_id, w.actor, w.on_behalf_of, w.task_id, w.approval_id, w.reverses, w.hold_id,
                       coalesce(w.effective_at, v_now) as effective, w.meta, w.ord
                  from unnest(v_id, p_kind, p_ref_id, p_actor, p_on_behalf_of, p_task_id, p_approval_id, p_reverses, p_hold_id,
                              p_effective_at, p_meta, v_refusal, v_replayed) with ordinality
                       as w (id, kind, ref_id, actor, on_behalf_of, task_id, approval_id, reverses, hold_id, effective_at, meta, refusal,
                             replayed, ord)
                 where w.refusal is null and w.replayed is not true) as u
          join (select s.journal, string_agg(int8send(s.account_id) || int8send(s.seq) || int8send(s.amount), ''::bytea
                                             order by s.account_id, s.seq) as entries
                  from unnest(p_entry_journal, p_entry_account, e_seq, p_entry_amount) as s (journal, account_id, seq, amount)
                 where s.seq is not null
                 group by s.journal) as l on l.journal = u.ord
        returning id, digest
        )
        select array_agg(w.id order by w.id), array_agg(w.digest order by w.id) into v_written, v_digests from written w;

        insert into ledger.entry (account_id, seq, journal_id, amount, dr_after, cr_after, posted_at)
        select u.account_id, u.seq, v_id[u.journal], u.amount, u.dr, u.cr, v_now
          from unnest(p_entry_account, e_seq, p_entry_journal, p_entry_amount, e_dr, e_cr)
               as u (account_id, seq, journal, amount, dr, cr)
         where u.seq is not null;

        update ledger.balance b
           set dr = u.dr, cr = u.cr, held = u.held, seq = u.seq, last_at = v_now
          from unnest(v_account, v_dr, v_cr, v_held, v_seq) as u (account_id, dr, cr, held, seq)
         where b.account_id = u.account_id and b.seq <> u.seq;

        if p_hold_id is not null then
            perform ledger.record_captures(p_hold_id, h_taken, h_freed, v_id, p_actor, v_now);
        end if;
    end if;

    if v_refused and p_key is not null then
        insert into ledger.refusal (ref_id, code)
        select u.id, u.refusal
          from unnest(v_id, p_key, v_refusal, v_replayed) as u (id, key, refusal, replayed)
         where u.key is not null and u.refusal is not null and u.refusal <> 'key_reused' and u.replayed is not true;
    end if;

    if v_replayed is null then
        return query
        select u.ord::integer, case when u.refusal is null then u.id end, u.refusal, false, case when u.refusal is null then v_now end,
               d.digest
          from unnest(v_id, v_refusal) with ordinality as u (id, refusal, ord)
          left join unnest(v_written, v_digests) as d (id, digest) on d.id = u.id
         order by u.ord;
    else
        return query
        select u.ord::integer,
               case when u.replayed then g.id when u.refusal is null then u.id end,
               case when u.replayed then r.code else u.refusal end,
               u.replayed,
               case when u.replayed then g.posted_at when u.refusal is null then v_now end,
               d.digest
          from unnest(v_id, v_refusal, v_replayed) with ordinality as u (id, refusal, replayed, ord)
          left join unnest(v_written, v_digests) as d (id, digest) on d.id = u.id
          left join ledger.journal g on u.replayed and g.id = u.id
          left join ledger.refusal r on u.replayed and r.ref_id = u.id
         order by u.ord;
    end if;
end
$$;

-- ledger.post: the same, under decisions of policy, with an event of the record that holds the digests of the journals. p_decision is one
-- decision for all journals or one for each; what is new has to have one that allows it and was never consumed (policy.consume), and
-- consumes it. No other way to post is open to anybody; functions of other rooms that write an event of their own hold the digests in that.
drop function if exists ledger.post(text[], text[], bytea[], text[], bigint[], text[], text[], bigint[], bigint[], timestamptz[], jsonb[], bigint[], bigint[], boolean[], integer[], bigint[], bigint[], integer[], bigint[], bigint[], bigint[], boolean);
drop function if exists ledger.post(text[], bytea[], text[], bigint[], text[], text[], bigint[], bigint[], timestamptz[], jsonb[], bigint[], bigint[], boolean[], integer[], bigint[], bigint[], integer[], bigint[], bigint[], bigint[], boolean);
drop function if exists ledger.post(text[], text[], bytea[], text[], bigint[], text[], text[], bigint[], bigint[], timestamptz[], jsonb[], integer[], bigint[], bigint[]);
create or replace function ledger.post(
    p_key             text[],
    p_hash            bytea[],
    p_kind            text[],
    p_ref_id          bigint[],
    p_actor           text[],
    p_on_behalf_of    text[],
    p_task_id         bigint[],
    p_approval_id     bigint[],
    p_effective_at    timestamptz[],
    p_meta            jsonb[],
    p_reverses        bigint[],
    p_hold_id         bigint[],
    p_final           boolean[],
    p_entry_journal   integer[],
    p_entry_account   bigint[],
    p_entry_amount    bigint[],
    p_guard_journal   integer[],
    p_guard_account   bigint[],
    p_guard_available bigint[],
    p_guard_seq       bigint[],
    p_atomic          boolean,
    p_decision        bigint[]
) returns table (ord integer, journal_id bigint, refusal text, replayed boolean, posted_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_ids      bigint[];
    v_refusals text[];
    v_replayed boolean[];
    v_at       timestamptz[];
    v_new      bigint[];
    v_digests  bytea;
    v_allowed  bigint[];
begin
    select array_agg(p.journal_id order by p.ord), array_agg(p.refusal order by p.ord), array_agg(p.replayed order by p.ord),
           array_agg(p.posted_at order by p.ord), array_agg(p.journal_id order by p.ord) filter (where p.journal_digest is not null),
           string_agg(p.journal_digest, ''::bytea order by p.ord)
      into v_ids, v_refusals, v_replayed, v_at, v_new, v_digests
      from ledger.carry_out(
               p_key, p_hash, p_kind, p_ref_id, p_actor, p_on_behalf_of,
               p_task_id, p_approval_id, p_effective_at, p_meta, p_reverses, p_hold_id, p_final,
               p_entry_journal, p_entry_account, p_entry_amount, p_guard_journal, p_guard_account, p_guard_available, p_guard_seq, p_atomic) as p;
    if v_new is not null then
        if cardinality(p_decision) = 1 then
            v_allowed := p_decision;
        else
            select array_agg(p_decision[u.ord]) into v_allowed
              from unnest(v_ids, v_refusals, v_replayed) with ordinality as u (id, refusal, replayed, ord)
             where u.id is not null and not u.replayed;
        end if;
        perform policy.consume(v_allowed);
        perform audit.append(
            p_actor[1], 'ledger.post', 'journal', v_new[1],
            case when cardinality(v_allowed) = 1 then '{"journals":' || cardinality(v_new) || '}'
                 else '{"decisions":["' || array_to_string(v_allowed[1:200], '","') || '"],"journals":' || cardinality(v_new) || '}' end,
            p_task_id[1], 'journal', v_new, v_digests, p_decision => case when cardinality(v_allowed) = 1 then v_allowed[1] end,
            p_approval => p_approval_id[1],
            p_payload => case when cardinality(v_allowed) > 200
                              then jsonb_build_object('decisions', (select jsonb_agg(u.id::text order by u.ord)
                                                                      from unnest(v_allowed) with ordinality as u (id, ord))) end);
    end if;
    return query
    select u.ord::integer, u.id, u.refusal, u.replayed, u.at
      from unnest(v_ids, v_refusals, v_replayed, v_at) with ordinality as u (id, refusal, replayed, at, ord)
     order by u.ord;
end
$$;

-- ledger.reversible: of the reversals in a batch (p_reverses is null for a journal that is none), what may still be taken back
-- by account, as ledger.post reads it under the locks of the balances: reversal_left by (original, account), signed as the
-- reversing entry has to be; reversal_at, the place of each entry's; reversal_why, a refusal by journal.
create or replace function ledger.reversible(p_reverses bigint[], p_entry_journal integer[], p_entry_account bigint[])
returns table (reversal_left bigint[], reversal_at integer[], reversal_why text[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_original bigint[];
    v_account  bigint[];
begin
    select array_agg(x.original), array_agg(x.account_id) into v_original, v_account
      from (select distinct p_reverses[u.journal] as original, u.account_id
              from unnest(p_entry_journal, p_entry_account) as u (journal, account_id)
             where p_reverses[u.journal] is not null) as x;
    select array_agg(-o.amount - coalesce(d.amount, 0) order by u.ord) into reversal_left
      from unnest(v_original, v_account) with ordinality as u (original, account_id, ord)
      left join lateral (select sum(e.amount)::bigint as amount
                           from ledger.entry e
                          where e.journal_id = u.original and e.account_id = u.account_id) as o on true
      left join lateral (select sum(e.amount)::bigint as amount
                           from ledger.journal r
                           join ledger.entry e on e.journal_id = r.id and e.account_id = u.account_id
                          where r.reverses = u.original) as d on true;
    select array_agg(k.place::integer order by u.ord) into reversal_at
      from unnest(p_entry_journal, p_entry_account) with ordinality as u (journal, account_id, ord)
      left join unnest(v_original, v_account) with ordinality as k (original, account_id, place)
             on k.original = p_reverses[u.journal] and k.account_id = u.account_id;
    select array_agg(case when u.original is null then null
                          when j.id is null then 'unknown_journal'
                          when j.reverses is not null then 'not_reversible' end order by u.ord) into reversal_why
      from unnest(p_reverses) with ordinality as u (original, ord)
      left join ledger.journal j on j.id = u.original;
    return next;
end
$$;
