-- work.salt: the salt of a row, of a seed that a call draws and nobody keeps: drawing one for each row takes nine times as long.
create or replace function work.salt(p_seed bytea, p_id bigint) returns bytea
language sql
immutable
return substring(sha256(p_seed || int8send(p_id)) from 1 for 16);

-- What the record holds of tasks, outcomes and steps: the text of a row, as it is digested with the row's salt when it is written, and
-- as whoever verifies reads it again. A row that was erased has no salt and no text any more, and names the event that erased it.
-- Its body is parsed when it is made, so it needs no settings of its own and becomes a part of the statement that calls it.
create or replace function work.outcome_text(p_task bigint, p_fence bigint, p_state text, p_result jsonb, p_error text) returns text
language sql
stable
return '{' || coalesce('"error":' || to_json(p_error)::text || ',', '') || '"fence":"' || p_fence::text || '",'
           || coalesce('"result":' || p_result::text || ',', '') || '"state":"' || p_state || '","task":"' || p_task::text || '"}';

drop function if exists work.task_texts(bigint[]);
create or replace function work.task_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
    select t.id, t.salt,
           case when t.erased_by is null
                then '{"agent":' || to_json(q.agent)::text || ',"payload":' || t.payload::text || ',"task":"' || t.id::text
                     || '","type":' || to_json(q.type)::text || '}' end,
           t.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join work.task t on t.id = u.id
      join work.queue q on q.id = t.queue
     order by u.ord;
$$;

drop function if exists work.outcome_texts(bigint[]);
create or replace function work.outcome_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
    select o.task_id, o.salt,
           case when o.erased_by is null then work.outcome_text(o.task_id, o.fence, o.state, o.result, o.error) end, o.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join work.outcome o on o.task_id = u.id
     order by u.ord;
$$;

drop function if exists work.step_texts(bigint[]);
create or replace function work.step_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select s.id, s.salt,
           case when s.erased_by is null then
           '{' || coalesce('"detail":' || s.detail::text || ',', '') || coalesce('"error":' || to_json(s.error)::text || ',', '')
           || '"fence":"' || s.fence::text || '","input":"' || encode(s.input_hash, 'hex') || '","kind":"' || s.kind || '","name":'
           || to_json(s.name)::text || ',' || coalesce('"output":' || s.output::text || ',', '') || '"state":"' || s.state
           || '","task":"' || s.task_id::text || '","try":' || s.try::text || '}' end,
           s.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join work.step s on s.id = u.id
     order by u.ord;
$$;

-- work.digests: the salted digests of what one of these functions says of rows, one after another.
create or replace function work.task_digests(p_ids bigint[]) returns bytea
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(sha256(t.salt || convert_to(t.text, 'UTF8')), '' order by t.ord)
              from work.task_texts(p_ids) with ordinality as t (id, salt, text, erased_by, ord));
end
$$;
create or replace function work.step_digests(p_ids bigint[]) returns bytea
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(sha256(t.salt || convert_to(t.text, 'UTF8')), '' order by t.ord)
              from work.step_texts(p_ids) with ordinality as t (id, salt, text, erased_by, ord));
end
$$;
create or replace function work.outcome_digests(p_ids bigint[]) returns bytea
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return (select string_agg(sha256(t.salt || convert_to(t.text, 'UTF8')), '' order by t.ord)
              from work.outcome_texts(p_ids) with ordinality as t (id, salt, text, erased_by, ord));
end
$$;
