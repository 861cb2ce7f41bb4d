-- audit.items_root: the RFC 6962 root over 32-byte digests that lie one after another.
create or replace function audit.items_root(p_items bytea) returns bytea
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    n       integer := octet_length(p_items) / 32;
    v_level bytea;
    v_stack bytea[] := '{}';
    v_hash  bytea;
    v_size  integer;
    k       integer := 0;
begin
    if n <= 64 then
        -- A few: one after another, with the roots of full subtrees on a stack, which is cheaper than a statement a level.
        for i in 1 .. n loop
            v_hash := sha256('\x00'::bytea || substring(p_items from 32 * i - 31 for 32));
            v_size := i;
            while v_size % 2 = 0 loop
                v_hash := sha256('\x01'::bytea || v_stack[k] || v_hash);
                k := k - 1;
                v_size := v_size / 2;
            end loop;
            k := k + 1;
            v_stack[k] := v_hash;
        end loop;
        v_hash := v_stack[k];
        for i in reverse k - 1 .. 1 loop
            v_hash := sha256('\x01'::bytea || v_stack[i] || v_hash);
        end loop;
        return v_hash;
    end if;
    -- Pairs are hashed level by level, and one that is left over moves up as it is, which gives the root that the RFC's division at the
    -- largest power of two gives. A level is one value, as a part of it is found at once.
    select string_agg(sha256('\x00'::bytea || substring(p_items from 32 * i + 1 for 32)), ''::bytea order by i) into v_level
      from generate_series(0, n - 1) as i;
    while n > 1 loop
        select string_agg(case when 2 * i + 2 > n then substring(v_level from 64 * i + 1 for 32)
                               else sha256('\x01'::bytea || substring(v_level from 64 * i + 1 for 64)) end, ''::bytea order by i)
          into v_level
          from generate_series(0, (n - 1) / 2) as i;
        n := (n + 1) / 2;
    end loop;
    return v_level;
end
$$;

-- audit.leaf_text: what is sealed of an event: JSON, keys sorted, without spaces, and without what is null. p_detail is a JSON text
-- that stands in it as it is.
create or replace function audit.leaf_text(
    p_id bigint, p_at timestamptz, p_principal text, p_for text, p_verb text, p_kind text, p_subject bigint, p_task bigint, p_step text,
    p_decision bigint, p_approval bigint, p_request text, p_trace text, p_detail text, p_items_kind text, p_refs bigint[], p_items bytea,
    p_salt bytea, p_payload jsonb
) returns text
language sql
stable
return '{' || coalesce('"approval":"' || p_approval::text || '",', '')
           || '"at":"' || to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '",'
           || coalesce('"decision":"' || p_decision::text || '",', '')
           || '"detail":' || coalesce(p_detail, '{}') || ',"event":"' || p_id::text || '",'
           || coalesce('"for":' || to_json(p_for)::text || ',', '')
           || case when p_items is null then '' else
                  '"items":{"count":' || cardinality(p_refs)::text || ',"kind":' || to_json(p_items_kind)::text || ',"refs":"'
                  || encode(sha256(convert_to(array_to_string(p_refs, ','), 'UTF8')), 'hex') || '","root":"'
                  || encode(audit.items_root(p_items), 'hex') || '"},' end
           || case when p_payload is null then '' else
                  '"payload":"' || encode(sha256(p_salt || convert_to(p_payload::text, 'UTF8')), 'hex') || '",' end
           || '"principal":' || to_json(p_principal)::text || ','
           || coalesce('"request":' || to_json(p_request)::text || ',', '')
           || coalesce('"step":' || to_json(p_step)::text || ',', '')
           || '"subject":{' || coalesce('"id":"' || p_subject::text || '",', '') || '"kind":' || to_json(p_kind)::text || '},'
           || coalesce('"task":"' || p_task::text || '",', '')
           || coalesce('"trace":"' || p_trace || '",', '')
           || '"tx":"' || pg_current_xact_id()::text || '","verb":' || to_json(p_verb)::text || '}';

-- Both functions below tell whoever asked, beside the answer of the statement, which events they wrote, with the hashes of their leaves:
-- a message of SQLSTATE TS100, which no setting of the client keeps back and the log of the server does not get.

-- audit.write: write events into the record, one an element of the arrays, which run in parallel; their ids, in order. p_detail are
-- JSON texts as they are to stand in the leaf; p_refs are texts of bigint[], and p_items the 32-byte digests of those things, one after
-- another; p_payload are JSON texts that are kept beside the leaf.
create or replace function audit.write(
    p_principal text[], p_for text[], p_verb text[], p_kind text[], p_subject bigint[], p_task bigint[], p_step text[],
    p_decision bigint[], p_approval bigint[], p_request text[], p_trace text[], p_detail text[], p_items_kind text[], p_refs text[],
    p_items bytea[], p_payload text[]
) returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ids     bigint[];
    v_id      bigint;
    v_at      timestamptz;
    v_salt    bytea;
    v_payload jsonb;
    v_leaf    text;
    v_told    text[];
begin
    for i in 1 .. cardinality(p_principal) loop
        v_id := nextval('audit.event_id');
        v_at := clock_timestamp();
        v_payload := p_payload[i]::jsonb;
        v_salt := case when v_payload is not null then uuid_send(gen_random_uuid()) end;
        v_leaf := audit.leaf_text(v_id, v_at, p_principal[i], p_for[i], p_verb[i], p_kind[i], p_subject[i], p_task[i], p_step[i],
                                  p_decision[i], p_approval[i], p_request[i], p_trace[i], p_detail[i], p_items_kind[i],
                                  p_refs[i]::bigint[], p_items[i], v_salt, v_payload);
        insert into audit.event
               (id, at, principal, on_behalf_of, verb, subject_kind, subject_id, task_id, step, decision_id, approval_id, request_id,
                trace_id, items_kind, refs, items, leaf)
        values (v_id, v_at, p_principal[i], p_for[i], p_verb[i], p_kind[i], p_subject[i], p_task[i], p_step[i], p_decision[i],
                p_approval[i], p_request[i], p_trace[i], p_items_kind[i], p_refs[i]::bigint[], p_items[i], v_leaf);
        insert into audit.pending (event_id) values (v_id);
        if v_payload is not null then
            insert into audit.payload (event_id, salt, body) values (v_id, v_salt, v_payload);
        end if;
        v_ids := v_ids || v_id;
        if i <= 50 then
            v_told := v_told || (v_id || ' ' || encode(sha256('\x00'::bytea || convert_to(v_leaf, 'UTF8')), 'hex'));
        end if;
    end loop;
    raise info '%', array_to_string(v_told, ',') using errcode = 'TS100';
    return v_ids;
end
$$;

-- audit.append: write one event, for functions of other rooms; its id. p_payload is kept beside the leaf.
drop function if exists audit.append(text, text, text, bigint, jsonb);
drop function if exists audit.append(text, text, text, bigint, text, bigint, text, bigint[], bytea, text, text);
drop function if exists audit.append(text, text, text, bigint, text, bigint, text, bigint[], bytea, text, text, bigint, bigint, text);
create or replace function audit.append(
    p_principal text, p_verb text, p_kind text, p_subject bigint, p_detail text, p_task bigint default null,
    p_items_kind text default null, p_refs bigint[] default null, p_items bytea default null,
    p_step text default null, p_request text default null, p_decision bigint default null, p_approval bigint default null,
    p_for text default null, p_payload jsonb default null
) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id constant bigint := nextval('audit.event_id');
    v_at constant timestamptz := clock_timestamp();
    v_salt constant bytea := case when p_payload is not null then uuid_send(gen_random_uuid()) end;
    v_leaf constant text := audit.leaf_text(v_id, v_at, p_principal, p_for, p_verb, p_kind, p_subject, p_task, p_step, p_decision, p_approval,
                                            p_request, null, p_detail, p_items_kind, p_refs, p_items, v_salt, p_payload);
begin
    insert into audit.event
           (id, at, principal, on_behalf_of, verb, subject_kind, subject_id, task_id, step, decision_id, approval_id, request_id,
            items_kind, refs, items, leaf)
    values (v_id, v_at, p_principal, p_for, p_verb, p_kind, p_subject, p_task, p_step, p_decision, p_approval, p_request, p_items_kind,
            p_refs, p_items, v_leaf);
    insert into audit.pending (event_id) values (v_id);
    if p_payload is not null then
        insert into audit.payload (event_id, salt, body) values (v_id, v_salt, p_payload);
    end if;
    raise info '% %', v_id, encode(sha256('\x00'::bytea || convert_to(v_leaf, 'UTF8')), 'hex') using errcode = 'TS100';
    return v_id;
end
$$;
