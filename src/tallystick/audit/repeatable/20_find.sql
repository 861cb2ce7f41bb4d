-- audit.first_id: an id that all events at or after a time have reached. Ids and times rise together, but for what transactions that
-- run side by side, or a clock that was set back, put out of order: an hour is allowed for that.
create or replace function audit.first_id(p_at timestamptz) returns bigint
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before constant timestamptz := p_at - interval '1 hour';
    v_low    bigint := 0;
    v_high   bigint;
    v_middle bigint;
    v_found  record;
begin
    select e.id + 1 into v_high from audit.event e order by e.id desc limit 1;
    v_high := coalesce(v_high, 1);
    while v_low < v_high loop
        v_middle := (v_low + v_high) / 2;
        select e.id, e.at into v_found from audit.event e where e.id >= v_middle order by e.id limit 1;
        if v_found.id is null or v_found.at >= v_before then
            v_high := v_middle;
        else
            v_low := v_found.id + 1;
        end if;
    end loop;
    return v_low;
end
$$;

-- audit.tells_of: the event that has a thing among its items; null where there is none. Ids are given in the order of the calls, but for
-- calls that run side by side, so it is among the first of those whose last thing has that id or a higher one.
create or replace function audit.tells_of(p_kind text, p_id bigint) returns bigint
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
as $$
declare
    v_event record;
begin
    for v_event in
        select e.id, e.refs
          from audit.event e
         where e.items_kind = p_kind and e.refs is not null and e.refs[cardinality(e.refs)] >= p_id
         order by e.refs[cardinality(e.refs)]
         limit 5000
    loop
        if p_id = any (v_event.refs) then
            return v_event.id;
        end if;
    end loop;
    return null;
end
$$;

-- audit.find: the ids of events between two ids, neither of them included, in order. What is null does not matter. A verb that ends in
-- a dot stands for all that begin with it. A thing is what an event is about, or one of its items.
create or replace function audit.find(
    p_principal text, p_for text, p_kind text, p_subject bigint, p_verb text, p_task bigint, p_request text, p_from timestamptz,
    p_to timestamptz, p_after bigint, p_before bigint, p_ascending boolean, p_limit bigint
) returns setof bigint
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_where text := 'e.id > $10 and e.id < $11';
    v_verbs text[];
    v_item  bigint;
    v_after bigint := p_after;
    v_until bigint := p_before;
begin
    -- Only what is asked for stands in the statement, so that the planner sees which index serves.
    if p_principal is not null then
        v_where := v_where || ' and e.principal = $1';
    end if;
    if p_for is not null then
        v_where := v_where || ' and e.on_behalf_of = $2';
    end if;
    if p_kind is not null and p_subject is null then
        v_where := v_where || ' and e.subject_kind = $3';
    elsif p_kind is not null then
        v_item := audit.tells_of(p_kind, p_subject);
        v_where := v_where || ' and ((e.subject_kind = $3 and e.subject_id = $4) or e.id = $12)';
    end if;
    if p_verb like '%.' then
        with recursive verbs as (
            (select e.verb from audit.event e order by e.verb limit 1)
            union all
            select (select e.verb from audit.event e where e.verb > v.verb order by e.verb limit 1) from verbs v where v.verb is not null
        )
        select coalesce(array_agg(v.verb), '{}') into v_verbs from verbs v where starts_with(v.verb, p_verb);
        v_where := v_where || ' and e.verb = any ($13)';
    elsif p_verb is not null then
        v_where := v_where || ' and e.verb = $5';
    end if;
    if p_task is not null then
        v_where := v_where || ' and e.task_id = $6';
    end if;
    if p_request is not null then
        -- Requests that shared a transaction stand side by side.
        v_where := v_where || ' and $7 = any (string_to_array(e.request_id, '' ''))';
    end if;
    if p_from is not null then
        v_where := v_where || ' and e.at >= $8';
        v_after := greatest(v_after, audit.first_id(p_from) - 1);
    end if;
    if p_to is not null then
        v_where := v_where || ' and e.at < $9';
        v_until := least(v_until, audit.first_id(p_to + interval '2 hours'));
    end if;
    return query execute format('select e.id from audit.event e where %s order by e.id %s limit $14', v_where,
                                case when p_ascending then 'asc' else 'desc' end)
       using p_principal, p_for, p_kind, p_subject, p_verb, p_task, p_request, p_from, p_to, v_after, v_until, v_item, v_verbs, p_limit;
end
$$;
