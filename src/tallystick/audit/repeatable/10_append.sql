-- audit.append: write one event into the record, for functions of other rooms; its id.
create or replace function audit.append(
    p_principal text, p_verb text, p_subject_kind text, p_subject_id bigint, p_detail jsonb
) returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into audit.event (principal, verb, subject_kind, subject_id, detail)
    values (p_principal, p_verb, p_subject_kind, p_subject_id, p_detail)
    returning id;
$$;
revoke all on function audit.append(text, text, text, bigint, jsonb) from public;
