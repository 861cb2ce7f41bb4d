-- What the record holds of what was shown, of votes and of comments: the text of a row, with its salt. A row that was erased has
-- neither any more, and names the event that erased it.
create or replace function approvals.shown_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select s.id, s.salt,
           case when s.erased_by is null then
           '{"approval":"' || s.approval_id::text || '","by":' || to_json(s.said_by)::text || ',"digest":"' || encode(s.digest, 'hex')
           || '","shown":' || s.shown::text || ',"version":' || s.version::text || '}' end,
           s.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join approvals.shown s on s.id = u.id
     order by u.ord;
$$;

create or replace function approvals.vote_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select v.id, v.salt,
           case when v.erased_by is null then
           '{"approval":"' || v.approval_id::text || '","person":' || to_json(v.person)::text || ',"places":' || to_json(v.places)::text
           || coalesce(',"reason":' || to_json(v.reason)::text, '') || ',"version":' || v.version::text || ',"vote":"' || v.vote
           || '"}' end,
           v.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join approvals.vote v on v.id = u.id
     order by u.ord;
$$;

create or replace function approvals.comment_texts(p_ids bigint[]) returns table (id bigint, salt bytea, text text, erased_by bigint)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select c.id, c.salt,
           case when c.erased_by is null then
           '{"approval":"' || c.approval_id::text || '","by":' || to_json(c.said_by)::text || ',"text":' || to_json(c.text)::text || '}' end,
           c.erased_by
      from unnest(p_ids) with ordinality as u (id, ord)
      join approvals.comment c on c.id = u.id
     order by u.ord;
$$;
revoke all on function approvals.shown_texts(bigint[]), approvals.vote_texts(bigint[]), approvals.comment_texts(bigint[]) from public;
grant execute on function approvals.shown_texts(bigint[]), approvals.vote_texts(bigint[]), approvals.comment_texts(bigint[])
    to tallystick_app, tallystick_auditor;
