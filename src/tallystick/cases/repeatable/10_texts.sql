-- cases.case_texts: what a case was opened with, as the record holds it, with its salt; of one that was
-- erased neither, and the event that erased it.
drop function if exists cases.case_texts(bigint[]);
create or replace function cases.case_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select c.id, c.salt,
           case when c.erased_by is null then
           '{"case":"' || c.id::text || '","customer":' || to_json(c.customer)::text || ',"door":"' || c.door || '","payload":'
           || coalesce(c.payload::text, to_json(c.payload_text)::text) || ',"type":' || to_json(c.type)::text || '}' end,
           c.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join cases.case c on c.id = u.id
     order by u.ord;
$$;
revoke all on function cases.case_texts(bigint[]) from public;
grant execute on function cases.case_texts(bigint[]) to tallystick_app, tallystick_auditor;
