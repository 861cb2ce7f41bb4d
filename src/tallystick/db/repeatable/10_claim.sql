-- db.claim: take idempotency keys, many in one call.
--
-- The arrays run in parallel: element i claims (p_scope[i], p_key[i]) for the request with hash p_hash[i], which would become
-- (p_kind[i], p_ref_id[i]). The answer has one row per element, in order:
--   fresh    the key was free and is now this element's: carry the request out;
--   replay   the key belongs to the same request, made earlier: answer with what became of it, ref_id;
--   reused   the key belongs to another request: refuse.
-- An element without a key (null) claims nothing and is always fresh.
-- A concurrent transaction that holds a key is waited for. Keys are taken in sorted order, so that two batches cannot deadlock.
create or replace function db.claim(
    p_scope text[], p_key text[], p_hash bytea[], p_kind text[], p_ref_id bigint[]
) returns table (ord integer, state text, ref_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
-- Keys are few and the table is large; whatever the statistics say, each key is looked up in the index.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_taken bigint;
begin
    insert into db.claim (scope, key, hash, kind, ref_id)
    select u.scope, u.key, u.hash, u.kind, u.ref_id
      from unnest(p_scope, p_key, p_hash, p_kind, p_ref_id) with ordinality as u (scope, key, hash, kind, ref_id, ord)
     where u.key is not null
     order by u.scope, u.key, u.ord
        on conflict (scope, key) do nothing;
    get diagnostics v_taken = row_count;
    if v_taken = cardinality(array_remove(p_key, null)) then
        return query
        select u.ord::integer, 'fresh', u.ref_id
          from unnest(p_ref_id) with ordinality as u (ref_id, ord)
         order by u.ord;
        return;
    end if;

    -- A new statement, so that it sees what the transactions we waited for have committed.
    return query
    select u.ord::integer,
           case when u.key is null then 'fresh'
                when c.ref_id = u.ref_id and c.kind = u.kind then 'fresh'
                when c.hash = u.hash and c.kind = u.kind then 'replay'
                else 'reused' end,
           coalesce(c.ref_id, u.ref_id)
      from unnest(p_scope, p_key, p_hash, p_kind, p_ref_id) with ordinality as u (scope, key, hash, kind, ref_id, ord)
      left join db.claim c on c.scope = u.scope and c.key = u.key
     order by u.ord;
end
$$;
