-- ledger.post: post a batch of journals; each is posted whole or refused whole, and a refusal leaves its neighbours alone.
--
-- Journal arrays run in parallel (element j is journal j). p_key[j] may be null: then nothing is claimed for the journal.
-- Entry arrays run in parallel too; p_entry_journal[e] is the number of the journal (from 1) that entry e belongs to, and must
-- not decrease. An amount above zero gives to the account, one below zero takes from it.
--
-- One row a journal comes back, in order. refusal is null where it was posted, else the code:
--   unbalanced, too_few_entries, amount_out_of_range, unknown_account   the journal makes no sense;
--   account_closed, account_frozen, insufficient_funds                  the business says no; remembered under the key;
--   key_reused                                                          the key stands for another request.
-- replayed says that the answer is that of an earlier call with the same key and request.
--
-- Locks, in the order of the house: claims (sorted by db.claim), then all balances in one statement in id order. Nothing is
-- decided on anything read before that.
create or replace function ledger.post(
    p_scope         text[],
    p_key           text[],
    p_hash          bytea[],
    p_kind          text[],
    p_ref_id        bigint[],
    p_actor         text[],
    p_on_behalf_of  text[],
    p_task_id       bigint[],
    p_approval_id   bigint[],
    p_effective_at  timestamptz[],
    p_meta          jsonb[],
    p_entry_journal integer[],
    p_entry_account bigint[],
    p_entry_amount  bigint[]
) returns table (ord integer, journal_id bigint, refusal text, replayed boolean, posted_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_max_amount  constant bigint := 1000000000000000;
    c_max_sum     constant bigint := 9000000000000000000;
    n             constant integer := cardinality(p_kind);
    m             constant integer := cardinality(p_entry_journal);
    v_id          bigint[];
    v_refusal     text[] := array_fill(null::text, array[n]);
    v_replayed    boolean[] := array_fill(false, array[n]);
    v_wanted      bigint[];
    v_account     bigint[];
    v_asset       text[];
    v_status      text[];
    v_floor       bigint[];
    v_dr          bigint[];
    v_cr          bigint[];
    v_held        bigint[];
    v_seq         bigint[];
    v_now         timestamptz;
    v_at          integer[];
    v_unbalanced  integer[];
    e_seq         bigint[] := array_fill(null::bigint, array[m]);
    e_dr          bigint[] := array_fill(null::bigint, array[m]);
    e_cr          bigint[] := array_fill(null::bigint, array[m]);
    j             integer;
    e             integer := 1;
    f             integer;
    v_first       integer;
    v_last        integer;
    a             integer;
    v_amount      bigint;
    v_net         numeric;
    v_why         text;
begin
    select array_agg(nextval('ledger.journal_id')) into v_id from generate_series(1, n);

    if exists (select from unnest(p_key) as k (key) where k.key is not null) then
        select array_agg(c.ref_id order by c.ord),
               array_agg(case when c.state = 'reused' then 'key_reused' end order by c.ord),
               array_agg(c.state = 'replay' order by c.ord)
          into v_id, v_refusal, v_replayed
          from db.claim(p_scope, p_key, p_hash, array_fill('journal'::text, array[n]), v_id) as c;
    end if;

    -- Balances are locked in id order, so that two batches cannot deadlock.
    select array_agg(distinct account_id) into v_wanted from unnest(p_entry_account) as u (account_id);
    perform from ledger.balance b where b.account_id = any (v_wanted) order by b.account_id for no key update;

    select array_agg(b.account_id order by b.account_id), array_agg(c.asset order by b.account_id),
           array_agg(c.status order by b.account_id), array_agg(b.floor order by b.account_id),
           array_agg(b.dr order by b.account_id), array_agg(b.cr order by b.account_id),
           array_agg(b.held order by b.account_id), array_agg(b.seq order by b.account_id),
           greatest(clock_timestamp(), max(b.last_at) + interval '1 microsecond')
      into v_account, v_asset, v_status, v_floor, v_dr, v_cr, v_held, v_seq, v_now
      from ledger.balance b
      join ledger.account c on c.id = b.account_id
     where b.account_id = any (v_wanted);

    -- v_at[e] is the place of entry e's account in the arrays above, null where there is no such account.
    select array_agg(k.place order by u.ord) into v_at
      from unnest(p_entry_account) with ordinality as u (account_id, ord)
      left join unnest(v_account) with ordinality as k (account_id, place) on k.account_id = u.account_id;

    select array_agg(distinct x.journal) into v_unbalanced
      from (select u.journal
              from unnest(p_entry_journal, p_entry_amount, v_at) as u (journal, amount, place)
             group by u.journal, v_asset[u.place]
            having sum(u.amount) <> 0) as x;

    for j in 1 .. n loop
        v_first := e;
        while e <= m and p_entry_journal[e] = j loop
            e := e + 1;
        end loop;
        v_last := e - 1;
        continue when v_replayed[j] or v_refusal[j] is not null;

        v_why := case when v_last <= v_first then 'too_few_entries'
                      when v_unbalanced is not null and j = any (v_unbalanced) then 'unbalanced' end;
        if v_why is null then
            for f in v_first .. v_last loop
                a := v_at[f];
                v_amount := p_entry_amount[f];
                v_why := case when a is null then 'unknown_account'
                              when v_amount is null or v_amount = 0 or abs(v_amount) > c_max_amount
                                   or v_dr[a] > c_max_sum or v_cr[a] > c_max_sum then 'amount_out_of_range'
                              when v_status[a] = 'closed' then 'account_closed'
                              when v_status[a] = 'frozen' then 'account_frozen' end;
                exit when v_why is not null;
            end loop;
        end if;
        if v_why is not null then
            v_refusal[j] := v_why;
            continue;
        end if;

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
        end loop;

        -- The floor holds after the journal as a whole. One that gives to an account on balance is never stopped by its floor.
        for f in v_first .. v_last loop
            a := v_at[f];
            if p_entry_amount[f] < 0 and v_cr[a] - v_dr[a] - v_held[a] < v_floor[a] then
                select sum(p_entry_amount[g]) into v_net from generate_series(v_first, v_last) as g where v_at[g] = a;
                if v_net < 0 then
                    v_refusal[j] := 'insufficient_funds';
                    exit;
                end if;
            end if;
        end loop;
        if v_refusal[j] is not null then
            for f in v_first .. v_last loop
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

    insert into ledger.journal
           (id, kind, ref_id, actor, on_behalf_of, task_id, approval_id, effective_at, posted_at, meta)
    select u.id, u.kind, u.ref_id, u.actor, u.on_behalf_of, u.task_id, u.approval_id, coalesce(u.effective_at, v_now), v_now, u.meta
      from unnest(v_id, p_kind, p_ref_id, p_actor, p_on_behalf_of, p_task_id, p_approval_id, p_effective_at, p_meta,
                  v_refusal, v_replayed)
           as u (id, kind, ref_id, actor, on_behalf_of, task_id, approval_id, effective_at, meta, refusal, replayed)
     where u.refusal is null and not u.replayed;

    insert into ledger.entry (account_id, seq, journal_id, amount, dr_after, cr_after, posted_at)
    select u.account_id, u.seq, v_id[u.journal], u.amount, u.dr, u.cr, v_now
      from unnest(p_entry_account, e_seq, p_entry_journal, p_entry_amount, e_dr, e_cr)
           as u (account_id, seq, journal, amount, dr, cr)
     where u.seq is not null;

    update ledger.balance b
       set dr = u.dr, cr = u.cr, seq = u.seq, last_at = v_now
      from unnest(v_account, v_dr, v_cr, v_seq) as u (account_id, dr, cr, seq)
     where b.account_id = u.account_id and b.seq <> u.seq;

    insert into ledger.refusal (journal_id, code)
    select u.id, u.refusal
      from unnest(v_id, p_key, v_refusal, v_replayed) as u (id, key, refusal, replayed)
     where u.key is not null and u.refusal is not null and u.refusal <> 'key_reused' and not u.replayed;

    return query
    select u.ord::integer,
           case when u.refusal is null then u.id end,
           u.refusal,
           u.replayed,
           case when u.refusal is null then v_now end
      from unnest(v_id, v_refusal, v_replayed) with ordinality as u (id, refusal, replayed, ord)
     where not u.replayed
     union all
    select u.ord::integer, g.id, r.code, true, g.posted_at
      from unnest(v_id, v_replayed) with ordinality as u (id, replayed, ord)
      left join ledger.journal g on g.id = u.id
      left join ledger.refusal r on r.journal_id = u.id
     where u.replayed
     order by 1;
end
$$;
