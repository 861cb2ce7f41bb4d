-- audit.items_root: the RFC 6962 root over 32-byte digests that lie one after another. Pairs are hashed level by level, and one that is
-- left over moves up as it is, which gives the same root as the RFC's division at the largest power of two.
create or replace function audit.items_root(p_items bytea) returns bytea
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    n       integer := octet_length(p_items) / 32;
    v_level bytea[];
begin
    select array_agg(sha256('\x00'::bytea || substring(p_items from 32 * i + 1 for 32)) order by i) into v_level
      from generate_series(0, n - 1) as i;
    while n > 1 loop
        select array_agg(case when 2 * i + 2 > n then v_level[2 * i + 1]
                              else sha256('\x01'::bytea || v_level[2 * i + 1] || v_level[2 * i + 2]) end order by i)
          into v_level
          from generate_series(0, (n - 1) / 2) as i;
        n := (n + 1) / 2;
    end loop;
    return v_level[1];
end
$$;

-- audit.write: write events into the record, one an element of the arrays, which run in parallel; their ids, in order. The leaf of
-- each is made here, and nowhere else. p_detail are JSON texts as they are to stand in the leaf; p_refs are texts of bigint[], and
-- p_items the 32-byte digests of those things, one after another; p_payload are JSON texts that are kept beside the leaf.
create or replace function audit.write(
    p_principal text[], p_for text[], p_verb text[], p_kind text[], p_subject bigint[], p_task bigint[], p_step text[],
    p_decision bigint[], p_approval bigint[], p_request text[], p_trace text[], p_detail text[], p_items_kind text[], p_refs text[],
    p_items bytea[], p_payload text[]
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_ids bigint[];
begin
    with given as (
        select nextval('audit.event_id') as id, clock_timestamp() as at, u.*, u.refs::bigint[] as things,
               case when u.payload is not null then uuid_send(gen_random_uuid()) end as salt
          from unnest(p_principal, p_for, p_verb, p_kind, p_subject, p_task, p_step, p_decision, p_approval, p_request, p_trace, p_detail,
                      p_items_kind, p_refs, p_items, p_payload)
               with ordinality
               as u (principal, behalf, verb, kind, subject, task, step, decision, approval, request, trace, detail, items_kind, refs,
                     items, payload, ord)
         order by u.ord
    ), told as (
        insert into audit.event
               (id, at, principal, on_behalf_of, verb, subject_kind, subject_id, task_id, step, decision_id, approval_id, request_id,
                trace_id, items_kind, refs, items, leaf)
        select g.id, g.at, g.principal, g.behalf, g.verb, g.kind, g.subject, g.task, g.step, g.decision, g.approval, g.request, g.trace,
               g.items_kind, g.things, g.items,
               concat('{',
                      '"approval":"' || g.approval || '",',
                      '"at":"', to_char(g.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '",',
                      '"decision":"' || g.decision || '",',
                      '"detail":', coalesce(g.detail, '{}'), ',',
                      '"event":"', g.id, '",',
                      '"for":' || to_json(g.behalf) || ',',
                      '"items":{"count":' || cardinality(g.things) || ',"kind":' || to_json(g.items_kind) || ',"refs":"'
                          || encode(sha256(convert_to(array_to_string(g.things, ','), 'UTF8')), 'hex') || '","root":"'
                          || encode(audit.items_root(g.items), 'hex') || '"},',
                      '"payload":"' || encode(sha256(g.salt || convert_to(g.payload::jsonb::text, 'UTF8')), 'hex') || '",',
                      '"principal":', to_json(g.principal), ',',
                      '"request":' || to_json(g.request) || ',',
                      '"step":' || to_json(g.step) || ',',
                      '"subject":{', '"id":"' || g.subject || '",', '"kind":', to_json(g.kind), '},',
                      '"task":"' || g.task || '",',
                      '"trace":"' || g.trace || '",',
                      '"verb":', to_json(g.verb), '}')
          from given g
         order by g.ord
        returning id
    ), beside as (
        insert into audit.payload (event_id, salt, body)
        select g.id, g.salt, g.payload::jsonb
          from given g
         where g.payload is not null
    ), unsealed as (
        insert into audit.pending (event_id)
        select t.id from told t
        returning event_id
    )
    select array_agg(t.id order by t.id) into v_ids from told t;
    return v_ids;
end
$$;

-- audit.append: write one event, for functions of other rooms; its id.
drop function if exists audit.append(text, text, text, bigint, jsonb);
create or replace function audit.append(
    p_principal text, p_verb text, p_kind text, p_subject bigint, p_detail text, p_task bigint default null,
    p_items_kind text default null, p_refs bigint[] default null, p_items bytea default null,
    p_step text default null, p_request text default null
) returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select (audit.write(array[p_principal], array[null::text], array[p_verb], array[p_kind], array[p_subject], array[p_task], array[p_step],
                        array[null::bigint], array[null::bigint], array[p_request], array[null::text], array[p_detail],
                        array[p_items_kind], array[p_refs::text], array[p_items], array[null::text]))[1];
$$;
