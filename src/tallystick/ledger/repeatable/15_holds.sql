-- ledger.expire_locked: resolve the holds on accounts (whose balances the caller has locked) that were due before p_now, only
-- those of p_hold_id where it is given; what each account gets back. The balance's held is set here.
create or replace function ledger.expire_locked(p_account_id bigint[], p_now timestamptz, p_hold_id bigint[])
returns table (account_id bigint, freed bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with due as (
        delete from ledger.open_hold o
         where o.account_id = any (p_account_id) and o.expires_at <= p_now
           and (p_hold_id is null or o.hold_id = any (p_hold_id))
        returning o.hold_id, o.account_id, o.remaining, o.changes
    ), recorded as (
        insert into ledger.hold_change (hold_id, n, kind, taken, freed, actor, changed_at)
        select d.hold_id, d.changes + 1, 'expired', 0, d.remaining, 'clock', p_now
          from due d
        returning hold_id
    ), sums as (
        select d.account_id, sum(d.remaining)::bigint as freed
          from due d
          join recorded r on r.hold_id = d.hold_id
         group by d.account_id
    )
    update ledger.balance b
       set held = b.held - s.freed
      from sums s
     where b.account_id = s.account_id
    returning b.account_id, s.freed;
end
$$;

-- ledger.capturable: of the captures in a batch (p_hold_id is null for a journal that is none), the holds as ledger.post reads
-- them under the locks of the balances: hold_at, the place of each journal's hold in the other arrays; hold_left, what remains,
-- null where it is resolved, and then hold_why; hold_place, its account's place among p_account, null where it is not there.
create or replace function ledger.capturable(p_hold_id bigint[], p_account bigint[])
returns table (hold_at integer[], hold_id bigint[], hold_left bigint[], hold_why text[], hold_place integer[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    select array_agg(h.id order by h.id),
           array_agg(o.remaining order by h.id),
           array_agg(case when o.hold_id is null and l.kind = 'expired' then 'hold_expired'
                          when o.hold_id is null then 'hold_resolved' end order by h.id),
           array_agg(array_position(p_account, h.account_id) order by h.id)
      into hold_id, hold_left, hold_why, hold_place
      from ledger.hold h
      left join ledger.open_hold o on o.hold_id = h.id
      left join lateral (select c.kind from ledger.hold_change c where c.hold_id = h.id order by c.n desc limit 1) as l on true
     where h.id = any (p_hold_id);
    select array_agg(k.place::integer order by u.ord) into hold_at
      from unnest(p_hold_id) with ordinality as u (id, ord)
      left join unnest(hold_id) with ordinality as k (id, place) on k.id = u.id;
    return next;
end
$$;

-- ledger.record_captures: put the captures of a batch on record, in order, and keep what remains of each hold. The balances are
-- the caller's to write.
create or replace function ledger.record_captures(
    p_hold_id bigint[], p_taken bigint[], p_freed bigint[], p_journal_id bigint[], p_actor text[], p_now timestamptz
) returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    with captured as (
        select u.hold_id, u.taken, u.freed, u.journal_id, u.actor,
               o.changes + row_number() over (partition by u.hold_id order by u.ord) as n
          from unnest(p_hold_id, p_taken, p_freed, p_journal_id, p_actor)
               with ordinality as u (hold_id, taken, freed, journal_id, actor, ord)
          join ledger.open_hold o on o.hold_id = u.hold_id
         where u.taken > 0
    ), recorded as (
        insert into ledger.hold_change (hold_id, n, kind, taken, freed, journal_id, actor, changed_at)
        select c.hold_id, c.n, 'captured', c.taken, c.freed, c.journal_id, c.actor, p_now
          from captured c
        returning hold_id, taken, freed
    ), sums as (
        select r.hold_id, sum(r.taken + r.freed)::bigint as gone, count(*)::integer as changes
          from recorded r
         group by r.hold_id
    ), resolved as (
        delete from ledger.open_hold o
         using sums s
         where o.hold_id = s.hold_id and o.remaining = s.gone
        returning o.hold_id
    )
    update ledger.open_hold o
       set remaining = o.remaining - s.gone, changes = o.changes + s.changes
      from sums s
     where o.hold_id = s.hold_id and o.remaining > s.gone;
$$;

-- ledger.place_holds: set money aside on accounts, each or (p_atomic) all; one answer each, in order: (hold_id, null) or
-- (null, refusal), refusal being one of unknown_account, amount_out_of_range, account_closed, account_frozen,
-- insufficient_funds, expiry_is_over, batch_refused, key_reused. An expiry is a time or a number of seconds from now.
create or replace function ledger.place_holds(
    p_key          text[],
    p_hash         bytea[],
    p_account_id   bigint[],
    p_amount       bigint[],
    p_kind         text[],
    p_ref_id       bigint[],
    p_actor        text[],
    p_on_behalf_of text[],
    p_task_id      bigint[],
    p_approval_id  bigint[],
    p_expires_at   timestamptz[],
    p_expires_in_s bigint[],
    p_meta         jsonb[],
    p_atomic       boolean
) returns table (ord integer, hold_id bigint, refusal text, replayed boolean, placed_at timestamptz, expires_at timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    c_max_amount constant bigint := 1000000000000000;
    c_max_sum    constant bigint := 1000000000000000000;
    n            constant integer := cardinality(p_account_id);
    v_id         bigint[];
    v_refusal    text[] := array_fill(null::text, array[n]);
    v_replayed   boolean[] := array_fill(false, array[n]);
    v_account    bigint[];
    v_status     text[];
    v_free       bigint[];
    v_held       bigint[];
    v_now        timestamptz;
    v_expires_at timestamptz[];
    v_at         integer[];
    v_refused    boolean;
    a            integer;
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(nextval('ledger.journal_id')) into v_id from generate_series(1, n);
    select array_agg(c.ref_id order by c.ord),
           array_agg(case when c.state = 'reused' then 'key_reused' end order by c.ord),
           array_agg(c.state = 'replay' order by c.ord)
      into v_id, v_refusal, v_replayed
      from db.claim(p_actor, p_key, p_hash, array_fill('hold'::text, array[n]), v_id) as c;

    -- Balances are locked in id order, so that two batches cannot deadlock.
    perform from ledger.balance b where b.account_id = any (p_account_id) order by b.account_id for no key update;
    v_now := clock_timestamp();
    perform from ledger.expire_locked(p_account_id, v_now, null);
    select array_agg(b.account_id), array_agg(b.status), array_agg(b.cr - b.dr - b.held - b.floor), array_agg(b.held)
      into v_account, v_status, v_free, v_held
      from ledger.balance b
     where b.account_id = any (p_account_id);
    select array_agg(k.place order by u.ord),
           array_agg(coalesce(u.expires_at, v_now + make_interval(secs => u.expires_in_s::double precision)) order by u.ord)
      into v_at, v_expires_at
      from unnest(p_account_id, p_expires_at, p_expires_in_s) with ordinality as u (account_id, expires_at, expires_in_s, ord)
      left join unnest(v_account) with ordinality as k (account_id, place) on k.account_id = u.account_id;

    for j in 1 .. n loop
        continue when v_replayed[j] or v_refusal[j] is not null;
        a := v_at[j];
        v_refusal[j] := case when a is null then 'unknown_account'
                             when p_amount[j] is null or p_amount[j] <= 0 or p_amount[j] > c_max_amount or v_held[a] > c_max_sum - p_amount[j]
                             then 'amount_out_of_range'
                             when v_status[a] <> 'open' then 'account_' || v_status[a]
                             when v_expires_at[j] <= v_now then 'expiry_is_over'
                             when v_free[a] < p_amount[j] then 'insufficient_funds' end;
        if v_refusal[j] is null then
            v_free[a] := v_free[a] - p_amount[j];
            v_held[a] := v_held[a] + p_amount[j];
        end if;
    end loop;

    if p_atomic then
        select bool_or(u.refusal is not null or r.ref_id is not null) into v_refused
          from unnest(v_id, v_refusal, v_replayed) as u (id, refusal, replayed)
          left join ledger.refusal r on u.replayed and r.ref_id = u.id;
        if v_refused then
            select array_agg(coalesce(u.refusal, case when not u.replayed then 'batch_refused' end) order by u.ord) into v_refusal
              from unnest(v_refusal, v_replayed) with ordinality as u (refusal, replayed, ord);
        end if;
    end if;

    insert into ledger.hold (id, account_id, amount, kind, ref_id, actor, on_behalf_of, task_id, approval_id, placed_at, expires_at, meta)
    select u.id, u.account_id, u.amount, u.kind, u.ref_id, u.actor, u.on_behalf_of, u.task_id, u.approval_id, v_now, u.expires_at, u.meta
      from unnest(v_id, p_account_id, p_amount, p_kind, p_ref_id, p_actor, p_on_behalf_of, p_task_id, p_approval_id, v_expires_at, p_meta,
                  v_refusal, v_replayed)
           as u (id, account_id, amount, kind, ref_id, actor, on_behalf_of, task_id, approval_id, expires_at, meta, refusal, replayed)
     where u.refusal is null and not u.replayed;
    insert into ledger.open_hold (hold_id, account_id, remaining, expires_at)
    select u.id, u.account_id, u.amount, u.expires_at
      from unnest(v_id, p_account_id, p_amount, v_expires_at, v_refusal, v_replayed)
           as u (id, account_id, amount, expires_at, refusal, replayed)
     where u.refusal is null and not u.replayed;
    update ledger.balance b
       set held = b.held + x.amount
      from (select u.account_id, sum(u.amount)::bigint as amount
              from unnest(p_account_id, p_amount, v_refusal, v_replayed) as u (account_id, amount, refusal, replayed)
             where u.refusal is null and not u.replayed
             group by u.account_id) as x
     where b.account_id = x.account_id;
    insert into ledger.refusal (ref_id, code)
    select u.id, u.refusal
      from unnest(v_id, p_key, v_refusal, v_replayed) as u (id, key, refusal, replayed)
     where u.key is not null and u.refusal is not null and u.refusal <> 'key_reused' and not u.replayed;

    return query
    select u.ord::integer, coalesce(h.id, case when u.refusal is null and not u.replayed then u.id end),
           coalesce(u.refusal, r.code), u.replayed, h.placed_at, h.expires_at
      from unnest(v_id, v_refusal, v_replayed) with ordinality as u (id, refusal, replayed, ord)
      left join ledger.hold h on h.id = u.id and u.refusal is null
      left join ledger.refusal r on u.replayed and r.ref_id = u.id
     order by u.ord;
end
$$;

-- ledger.release_holds: give back what remains of holds, each or (p_atomic) all; refusal is one of unknown_hold,
-- hold_resolved, hold_expired, batch_refused, key_reused.
create or replace function ledger.release_holds(p_key text[], p_hash bytea[], p_hold_id bigint[], p_actor text[], p_atomic boolean)
returns table (ord integer, hold_id bigint, refusal text, replayed boolean)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    n          constant integer := cardinality(p_hold_id);
    v_id       bigint[];
    v_refusal  text[];
    v_replayed boolean[];
    v_account  bigint[];
    v_now      timestamptz;
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select array_agg(nextval('ledger.journal_id')) into v_id from generate_series(1, n);
    select array_agg(c.ref_id order by c.ord),
           array_agg(case when c.state = 'reused' then 'key_reused' end order by c.ord),
           array_agg(c.state = 'replay' order by c.ord)
      into v_id, v_refusal, v_replayed
      from db.claim(p_actor, p_key, p_hash, array_fill('release'::text, array[n]), v_id) as c;
    select array_agg(distinct h.account_id) into v_account from ledger.hold h where h.id = any (p_hold_id);
    -- Balances are locked in id order, so that two batches cannot deadlock.
    perform from ledger.balance b where b.account_id = any (v_account) order by b.account_id for no key update;
    v_now := clock_timestamp();
    perform from ledger.expire_locked(v_account, v_now, null);

    select array_agg(case when u.replayed or u.refusal is not null then u.refusal
                          when h.id is null then 'unknown_hold'
                          when o.hold_id is null and l.kind = 'expired' then 'hold_expired'
                          -- A hold that the batch names twice is released once.
                          when o.hold_id is null or u.turn > 1 then 'hold_resolved' end order by u.ord)
      into v_refusal
      from (select w.hold_id, w.refusal, w.replayed, w.ord,
                   row_number() over (partition by w.hold_id, w.replayed or w.refusal is not null order by w.ord) as turn
              from unnest(p_hold_id, v_refusal, v_replayed) with ordinality as w (hold_id, refusal, replayed, ord)) as u
      left join ledger.hold h on h.id = u.hold_id
      left join ledger.open_hold o on o.hold_id = u.hold_id
      left join lateral (select c.kind from ledger.hold_change c where c.hold_id = u.hold_id order by c.n desc limit 1) as l on true;
    if p_atomic and exists (select from unnest(v_id, v_refusal, v_replayed) as u (id, refusal, replayed)
                              left join ledger.refusal r on u.replayed and r.ref_id = u.id
                             where u.refusal is not null or r.ref_id is not null) then
        select array_agg(coalesce(u.refusal, case when not u.replayed then 'batch_refused' end) order by u.ord) into v_refusal
          from unnest(v_refusal, v_replayed) with ordinality as u (refusal, replayed, ord);
    end if;

    with released as (
        delete from ledger.open_hold o
         using unnest(p_hold_id, p_actor, v_refusal, v_replayed) as u (hold_id, actor, refusal, replayed)
         where o.hold_id = u.hold_id and u.refusal is null and not u.replayed
        returning o.hold_id, o.account_id, o.remaining, o.changes, u.actor
    ), recorded as (
        insert into ledger.hold_change (hold_id, n, kind, taken, freed, actor, changed_at)
        select r.hold_id, r.changes + 1, 'released', 0, r.remaining, r.actor, v_now
          from released r
        returning hold_id
    )
    update ledger.balance b
       set held = b.held - x.freed
      from (select r.account_id, sum(r.remaining)::bigint as freed
              from released r
              join recorded c on c.hold_id = r.hold_id
             group by r.account_id) as x
     where b.account_id = x.account_id;
    insert into ledger.refusal (ref_id, code)
    select u.id, u.refusal
      from unnest(v_id, p_key, v_refusal, v_replayed) as u (id, key, refusal, replayed)
     where u.key is not null and u.refusal is not null and u.refusal <> 'key_reused' and not u.replayed;

    return query
    select u.ord::integer, case when coalesce(u.refusal, r.code) is null then u.hold_id end, coalesce(u.refusal, r.code), u.replayed
      from unnest(v_id, p_hold_id, v_refusal, v_replayed) with ordinality as u (id, hold_id, refusal, replayed, ord)
      left join ledger.refusal r on u.replayed and r.ref_id = u.id
     order by u.ord;
end
$$;

-- ledger.expire_holds: resolve up to p_limit holds that are due, anywhere, the oldest first; how many were.
create or replace function ledger.expire_holds(p_limit integer) returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_hold    bigint[];
    v_account bigint[];
    v_left    integer;
begin
    select array_agg(d.hold_id), array_agg(distinct d.account_id) into v_hold, v_account
      from (select o.hold_id, o.account_id
              from ledger.open_hold o
             where o.expires_at <= clock_timestamp()
             order by o.expires_at
             limit p_limit) as d;
    if v_hold is null then
        return 0;
    end if;
    perform pg_advisory_xact_lock_shared(7331003);
    -- Balances are locked in id order, so that two batches cannot deadlock. Others may have resolved some of them meanwhile.
    perform from ledger.balance b where b.account_id = any (v_account) order by b.account_id for no key update;
    select count(*) into v_left from ledger.open_hold o where o.hold_id = any (v_hold);
    perform from ledger.expire_locked(v_account, clock_timestamp(), v_hold);
    return v_left;
end
$$;
drop function if exists ledger.expire_locked(bigint[], timestamptz);
