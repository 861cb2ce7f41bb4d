-- memory.event_texts: the text of an event, as the record holds it, with its salt; of one that was erased neither, and the event of the
-- record that erased it.
drop function if exists memory.event_texts(bigint[]);
create or replace function memory.event_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select e.id, e.salt,
           case when e.erased_by is null then
           '{"agent":' || to_json(e.agent)::text || ',"event":"' || e.id::text || '","payload":' || e.payload::text || ',"type":'
           || to_json(e.type)::text || '}' end,
           e.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join memory.event e on e.id = u.id
     order by u.ord;
$$;
revoke all on function memory.event_texts(bigint[]) from public;
grant execute on function memory.event_texts(bigint[]) to tallystick_app, tallystick_auditor;
