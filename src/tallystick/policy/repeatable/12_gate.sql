-- policy.in_force: the digest of the policy that is in force at a time; null where there is none.
create or replace function policy.in_force(p_at timestamptz) returns bigint
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select d.id
      from policy.document d
     where d.effective_from <= p_at
     order by d.effective_from desc, d.id desc
     limit 1;
$$;

-- policy.gather: all that the rules need to know of the database, in one call: the counters, locked, and what is on lists.
--
-- The keys are different from each other and in order, by which they are locked, so that two batches cannot deadlock: those that
-- are new are made first, and no transaction waits for one of them that holds any other lock on counters. The answer has the time,
-- which is taken once all are locked, the policy in force (its body where the digest is not p_known), the counters in the order of
-- the keys, and what was found on lists: the place of the lookup and the entry. A list that does not exist is among `unlisted`.
create or replace function policy.gather(
    p_keys text[], p_windows bigint[], p_lists text[], p_names text[], p_ids text[], p_known text
) returns table (
    at timestamptz, digest text, body text, ids bigint[], counts bigint[], sums bigint[], places bigint[], entries text[],
    unlisted text[]
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Whatever the statistics say, each key and each name is looked up in its index, and nothing is compiled for it.
set jit = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
as $$
declare
    v_widths bigint[];
    v_ns     bigint[];
    v_us     bigint;
    v_stale  bigint[];
begin
    if cardinality(p_keys) > 0 then
        insert into policy.counter (key, width_us, n)
        select u.key, w.width_us, case when w.width_us = 0 then 0 else t.us / w.width_us end
          from unnest(p_keys, p_windows) as u (key, window_s)
         cross join lateral (select (u.window_s * 1000000 + 47) / 48 as width_us) w
         cross join (select (extract(epoch from db.clock()) * 1000000)::bigint as us) t
         where not exists (select from policy.counter c where c.key = u.key)
         order by u.key collate "C"
            on conflict (key) do nothing;

        -- A new statement, so that it sees what the transactions we waited for have committed.
        with locked as materialized (
            select c.id, c.width_us, c.n, c.count + c.past_count as count, c.sum + c.past_sum as sum, c.key
              from unnest(p_keys) as u (key)
              join policy.counter c on c.key = u.key
             order by c.key
               for no key update of c
        )
        select array_agg(l.id order by l.key), array_agg(l.width_us order by l.key), array_agg(l.n order by l.key),
               array_agg(l.count order by l.key), array_agg(l.sum order by l.key)
          into ids, v_widths, v_ns, counts, sums
          from locked l;
        at := db.clock();
        v_us := (extract(epoch from at) * 1000000)::bigint;
        select array_agg(u.id)
          into v_stale
          from unnest(ids, v_widths, v_ns) as u (id, width_us, n)
         where u.width_us > 0
           and u.n < v_us / u.width_us;
        if v_stale is not null then
            perform policy.roll(v_stale, v_us);
            select array_agg(c.count + c.past_count order by u.ord), array_agg(c.sum + c.past_sum order by u.ord)
              into counts, sums
              from unnest(ids) with ordinality as u (id, ord)
              join policy.counter c on c.id = u.id;
        end if;
    else
        at := db.clock();
        ids := '{}';
        counts := '{}';
        sums := '{}';
    end if;

    if cardinality(p_lists) > 0 then
        select array_agg(u.ord) filter (where e.entry_id is not null), array_agg(e.entry_id) filter (where e.entry_id is not null),
               array_agg(distinct u.list) filter (where l.name is null)
          into places, entries, unlisted
          from unnest(p_lists, p_names, p_ids) with ordinality as u (list, name_form, id_form, ord)
          left join policy.list l on l.name = u.list
          left join lateral (
              -- The offset keeps each look-up by itself: a list that was just imported has no statistics, and is not to be read whole.
              select le.entry_id
                from policy.list_entry le
               where le.normalized = case l.kind when 'names' then u.name_form else u.id_form end
                 and le.version = l.version
              offset 0
          ) e on true;
    end if;
    places := coalesce(places, '{}');
    entries := coalesce(entries, '{}');
    unlisted := coalesce(unlisted, '{}');

    -- As policy.in_force says, whose call would be a statement more.
    select d.digest, case when d.digest is distinct from p_known then d.body end
      into digest, body
      from policy.document d
     where d.effective_from <= at
     order by d.effective_from desc, d.id desc
     limit 1;
    return next;
end
$$;

-- policy.roll: counters, which are locked, go on to the bucket of a time: what was being filled becomes past, what is older than the
-- window goes.
create or replace function policy.roll(p_ids bigint[], p_us bigint) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into policy.bucket (counter_id, n, count, sum)
    select c.id, c.n, c.count, c.sum
      from policy.counter c
     where c.id = any (p_ids)
       and c.n >= p_us / c.width_us - 48
       and c.count + c.sum > 0;
    delete from policy.bucket b
     using policy.counter c
     where c.id = any (p_ids)
       and b.counter_id = c.id
       and b.n < p_us / c.width_us - 48;
    update policy.counter c
       set n = p_us / c.width_us,
           count = 0,
           sum = 0,
           past_count = coalesce(p.count, 0),
           past_sum = coalesce(p.sum, 0)
      from unnest(p_ids) as u (id)
      left join lateral (
          select sum(b.count)::bigint as count, sum(b.sum)::bigint as sum from policy.bucket b where b.counter_id = u.id
      ) p on true
     where c.id = u.id;
end
$$;

-- policy.reserve: what was allowed is added to counters, which policy.gather has locked in this transaction.
create or replace function policy.reserve(p_ids bigint[], p_counts bigint[], p_sums bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
    if 0 > any (p_counts) or 0 > any (p_sums) then
        raise exception 'a counter only rises' using errcode = 'TS003';
    end if;
    update policy.counter c
       set count = c.count + u.count, sum = c.sum + u.sum
      from unnest(p_ids, p_counts, p_sums) as u (id, count, sum)
     where c.id = u.id;
end
$$;

-- policy.keep: decisions are written as they were made, and what they reserve is added to the counters; their ids, in order.
create or replace function policy.keep(
    p_principals text[], p_on_behalf_of text[], p_actions text[], p_digests bytea[], p_policies text[], p_facts text[],
    p_verdicts text[], p_outcomes text[], p_task_ids bigint[], p_approval_ids bigint[], p_salts bytea[], p_counters bigint[],
    p_counts bigint[], p_sums bigint[]
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids bigint[];
begin
    if cardinality(p_counters) > 0 then
        perform policy.reserve(p_counters, p_counts, p_sums);
    end if;
    with kept as (
        insert into policy.decision (at, principal, on_behalf_of, action, digest, policy, facts, verdict, outcome, task_id, approval_id,
                                     salt)
        select t.at, u.principal, u.on_behalf_of, u.action, u.digest, u.policy, u.facts, u.verdict, u.outcome, u.task_id, u.approval_id,
               u.salt
          from unnest(p_principals, p_on_behalf_of, p_actions, p_digests, p_policies, p_facts, p_verdicts, p_outcomes, p_task_ids,
                      p_approval_ids, p_salts)
               with ordinality as u (principal, on_behalf_of, action, digest, policy, facts, verdict, outcome, task_id, approval_id, salt,
                                    ord)
         cross join (select db.clock() as at offset 0) t
         order by u.ord
        returning id
    )
    select array_agg(k.id order by k.id) into v_ids from kept k;
    return coalesce(v_ids, '{}');
end
$$;

-- policy.keep_used: the same for decisions about one principal's actions of one type under one policy, by the function that carries them
-- out: where p_effect says what came of a decision, it is used by this transaction as it is written. It is open to functions of the
-- owner only.
create or replace function policy.keep_used(
    p_principal text, p_on_behalf_of text, p_action text, p_policy text, p_task_id bigint, p_digests bytea[], p_facts text[],
    p_verdicts text[], p_outcomes text[], p_salts bytea[], p_effect bigint[], p_counters bigint[], p_counts bigint[], p_sums bigint[]
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_at  constant timestamptz := db.clock();
    v_ids bigint[];
begin
    if cardinality(p_counters) > 0 then
        if 0 > any (p_counts) or 0 > any (p_sums) then
            raise exception 'a counter only rises' using errcode = 'TS003';
        end if;
        update policy.counter c
           set count = c.count + u.count, sum = c.sum + u.sum
          from unnest(p_counters, p_counts, p_sums) as u (id, count, sum)
         where c.id = u.id;
    end if;
    with kept as (
        insert into policy.decision (at, principal, on_behalf_of, action, digest, policy, facts, verdict, outcome, task_id, salt, used_by)
        select v_at, p_principal, p_on_behalf_of, p_action, u.digest, p_policy, u.facts, u.verdict, u.outcome, p_task_id, u.salt,
               case when u.effect is not null then pg_current_xact_id() end
          from unnest(p_digests, p_facts, p_verdicts, p_outcomes, p_salts, p_effect)
               with ordinality as u (digest, facts, verdict, outcome, salt, effect, ord)
         order by u.ord
        returning id
    )
    select array_agg(k.id order by k.id) into v_ids from kept k;
    return v_ids;
end
$$;

-- policy.decision_texts: what the record holds the digest of, in `decided`: three lines, of what the decision is and what came of it, the
-- facts and the verdict, with the salt; of a decision that was erased neither, and the event that erased it.
create or replace function policy.decision_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select d.id, d.salt,
           case when d.erased_by is null then
           '{"action":' || to_json(d.action)::text || coalesce(',"approval":"' || d.approval_id::text || '"', '') || ',"digest":"'
           || encode(d.digest, 'hex') || '"' || coalesce(',"for":' || to_json(d.on_behalf_of)::text, '') || ',"outcome":"' || d.outcome
           || '","policy":"' || d.policy || '","principal":' || to_json(d.principal)::text
           || coalesce(',"task":"' || d.task_id::text || '"', '') || E'}\n' || d.facts || E'\n' || d.verdict end,
           d.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join policy.decision d on d.id = u.id
     order by u.ord;
$$;

-- policy.recorded: the same, with the transaction that used each decision. Of one that was erased the digest that it had, which the event
-- of its erasure holds.
create or replace function policy.recorded(p_ids bigint[])
returns table (id bigint, salt bytea, text text, erased_by bigint, digest bytea, used text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select t.id, t.salt, t.text, t.erased_by,
           case when t.erased_by is not null
                then (select substring(e.items from 32 * array_position(e.refs, t.id) - 31 for 32) from audit.event e where e.id = t.erased_by) end,
           coalesce(d.used_by, c.xid)::text
      from policy.decision_texts(p_ids) with ordinality as t (id, salt, text, erased_by, ord)
      join policy.decision d on d.id = t.id
      left join policy.consumption c on c.decision_id = t.id
     order by t.ord;
$$;

-- policy.consume: the effects of decisions are being carried out. Each is there, allows, and was never consumed: TS008 where one is
-- not there or does not allow, TS009 where one was consumed, or was used as it was kept (policy.keep_used), by this transaction too.
create or replace function policy.consume(p_ids bigint[]) returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_allowed bigint;
    v_taken   bigint;
begin
    insert into policy.consumption (decision_id)
    select d.id
      from unnest(p_ids) as u (id)
      join policy.decision d on d.id = u.id
     where d.outcome = 'allow' and d.used_by is null
        on conflict (decision_id) do nothing;
    get diagnostics v_taken = row_count;
    if v_taken = cardinality(p_ids) then
        return;
    end if;
    -- Not all of them are new: either one is not as it has to be, or the effect takes several statements of this transaction.
    select count(*)
      into v_allowed
      from unnest(p_ids) as u (id)
      join policy.decision d on d.id = u.id
     where d.outcome = 'allow';
    if v_allowed <> cardinality(p_ids) then
        raise exception 'an effect needs a decision that allows it' using errcode = 'TS008';
    end if;
    select count(*)
      into v_taken
      from unnest(p_ids) as u (id)
      join policy.consumption c on c.decision_id = u.id
     where c.xid = pg_current_xact_id();
    if (select count(distinct u.id) from unnest(p_ids) as u (id)) <> cardinality(p_ids) then
        v_taken := 0;
    end if;
    if v_taken <> cardinality(p_ids) then
        raise exception 'a decision allows one effect' using errcode = 'TS009';
    end if;
end
$$;

drop function if exists policy.consume_kept(bigint[]);

-- policy.apply: a document is in force from a time on, which is not in the past.
create or replace function policy.apply(p_digest text, p_name text, p_body text, p_effective_from timestamptz, p_by text)
returns setof policy.document
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
    with moment as (select db.clock() as at offset 0)
    insert into policy.document (digest, name, body, effective_from, applied_by, applied_at)
    select p_digest, p_name, p_body, greatest(p_effective_from, m.at), p_by, m.at
      from moment m
    returning *;
$$;

-- policy.first_decision: the id of the first decision since a time; null where there is none.
create or replace function policy.first_decision(p_since timestamptz) returns bigint
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select min(d.id) from policy.decision d where d.at >= p_since;
$$;

-- policy.publish: a list is from now on what was imported as a version, and nothing of it stays that was there before.
create or replace function policy.publish(p_name text, p_kind text, p_version bigint, p_source text, p_by text)
returns setof policy.list
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before bigint;
begin
    perform pg_advisory_xact_lock(7331031, hashtext(p_name));
    select l.version into v_before from policy.list l where l.name = p_name;
    return query
    insert into policy.list as l (name, kind, version, entries, source, imported_by, imported_at)
    select p_name, p_kind, p_version, (select count(*) from policy.list_entry e where e.version = p_version), p_source, p_by, db.clock()
        on conflict (name) do update
       set kind = excluded.kind, version = excluded.version, entries = excluded.entries, source = excluded.source,
           imported_by = excluded.imported_by, imported_at = excluded.imported_at
    returning *;
    delete from policy.list_entry e where e.version = v_before and v_before <> p_version;
end
$$;
