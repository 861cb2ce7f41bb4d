-- approvals.add_webhook: who is told from now on; null where there are p_most already.
create or replace function approvals.add_webhook(
    p_url text, p_events text[], p_inner bytea, p_outer bytea, p_by text, p_most integer
) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id bigint;
begin
    perform pg_advisory_xact_lock(7331050);
    if (select count(*) from approvals.webhook w where w.removed_at is null) >= p_most then
        return null;
    end if;
    insert into approvals.webhook (url, events, inner_key, outer_key, created_by, created_at)
    values (p_url, p_events, p_inner, p_outer, p_by, db.clock())
    returning id into v_id;
    return v_id;
end
$$;

-- approvals.remove_webhook: nobody is told there any more, and what signed is gone; whether it was there.
create or replace function approvals.remove_webhook(p_id bigint, p_by text) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update approvals.webhook w
       set removed_at = db.clock(), removed_by = p_by, inner_key = decode(repeat('00', 64), 'hex'),
           outer_key = decode(repeat('00', 64), 'hex')
     where w.id = p_id and w.removed_at is null;
    return found;
end
$$;

-- approvals.sign: where a notice goes, the time, and the signature over `time.body`; no row where nobody is told any more.
create or replace function approvals.sign(p_id bigint, p_body bytea) returns table (url text, at bigint, signature text)
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
    select w.url, t.at,
           encode(sha256(w.outer_key || sha256(w.inner_key || convert_to(t.at::text || '.', 'UTF8') || p_body)), 'hex')
      from approvals.webhook w
      cross join (select extract(epoch from db.clock())::bigint) as t (at)
     where w.id = p_id and w.removed_at is null;
$$;
