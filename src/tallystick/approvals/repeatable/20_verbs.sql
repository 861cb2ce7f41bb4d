-- The verbs of the approvals. Each takes the lock on the question's row first, lets the clock have its say, and then says in one code
-- what became of it; null is yes. So that of a vote, an amendment, a withdrawal, an expiry and a consumption that come at the same moment
-- one is first, and the others find what it left.

-- approvals.tick: lock a question and let the clock have its say: `expired`, `escalated`, or null where nothing was due.
create or replace function approvals.tick(p_id bigint) returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  timestamptz;
    v_row  record;
begin
    select a.status, a.expires_at, a.escalate_at, a.escalated_at into v_row
      from approvals.approval a
     where a.id = p_id
       for no key update;
    -- The time is asked inside the lock: who waited for it may have waited past the end.
    v_now := db.clock();
    if v_row.status in ('open', 'approved') and v_row.expires_at <= v_now then
        update approvals.approval a set status = 'expired', changed_at = v_now where a.id = p_id;
        return 'expired';
    end if;
    if v_row.status = 'open' and v_row.escalated_at is null and v_row.escalate_at <= v_now then
        update approvals.approval a set escalated_at = v_now, changed_at = v_now where a.id = p_id;
        return 'escalated';
    end if;
    return null;
end
$$;

-- approvals.lock: lock a question, for who has other rows to lock and then more to say of it; whether there is one.
create or replace function approvals.lock(p_id bigint) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from approvals.approval a where a.id = p_id for no key update;
    return found;
end
$$;

-- approvals.ask: store a question and what is shown of it; the ids of both.
drop function if exists approvals.ask(text, bigint, bytea, jsonb, text, text[], text[], integer[], integer, text[], integer, text);
create or replace function approvals.ask(
    p_action text, p_action_id bigint, p_digest bytea, p_shown jsonb, p_maker text, p_excluded text[], p_roles text[], p_counts integer[],
    p_expires_s integer, p_wider text[], p_escalate_s integer, p_by text, p_accounts bigint[], p_customers bigint[]
) returns table (approval_id bigint, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := db.clock();
    v_id   bigint;
    v_row  bigint;
begin
    insert into approvals.approval
           (action, action_id, digest, maker, excluded, roles, counts, wider, asked_at, expires_at, escalate_at, changed_at, accounts,
            customers)
    values (p_action, p_action_id, p_digest, p_maker, p_excluded, p_roles, p_counts, p_wider, v_now,
            v_now + make_interval(secs => p_expires_s), v_now + make_interval(secs => p_escalate_s), v_now, p_accounts, p_customers)
    returning id into v_id;
    insert into approvals.shown (approval_id, version, digest, shown, said_by, at)
    values (v_id, 1, p_digest, p_shown, p_by, v_now)
    returning id into v_row;
    return query select v_id, v_row;
end
$$;

-- approvals.is_gone: whether a person was disabled; what they have said does not count any more.
create or replace function approvals.is_gone(p_person text) returns boolean
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select exists (select from identity.principal p where p.name = p_person and p.disabled_at is not null);
$$;

-- approvals.is_reached: whether people enough approved a version, each in one place only. By Hall's theorem that is so where, for every
-- set of roles, as many people could fill a place of one of them as there are such places.
create or replace function approvals.is_reached(p_id bigint, p_version integer, p_roles text[], p_counts integer[]) returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_roles  text[];
    v_places bigint;
begin
    for v_set in 1 .. (1 << cardinality(p_roles)) - 1 loop
        select array_agg(r.role), sum(r.places) into v_roles, v_places
          from unnest(p_roles, p_counts) with ordinality as r (role, places, n)
         where v_set & (1 << (r.n::integer - 1)) <> 0;
        if (select count(*) from approvals.vote v
             where v.approval_id = p_id and v.version = p_version and v.vote = 'approve' and v.places && v_roles
               and not approvals.is_gone(v.person)) < v_places then
            return false;
        end if;
    end loop;
    return true;
end
$$;

-- approvals.stands_behind: whether a person is one of some principals, has acted as one at the command line, or is by now the owner of one.
create or replace function approvals.stands_behind(p_person text, p_names text[]) returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select p_person = any (p_names)
        or 'cli:' || p_person = any (p_names)
        or exists (select
                     from identity.principal a
                     join identity.principal o on o.id = a.owner_id
                    where a.name = any (p_names) and o.name = p_person);
$$;

-- approvals.vote: one person's word on a version: `approve`, `reject`, which ends it, or `break_glass`, which approves it once two said so.
create or replace function approvals.vote(
    p_id bigint, p_person text, p_kind text, p_roles text[], p_vote text, p_digest bytea, p_reason text
) returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_clock  constant text := approvals.tick(p_id);
    v_now    constant timestamptz := db.clock();
    v_row    record;
    v_code   text;
    v_places text[];
    v_vote   bigint;
    v_status text := 'open';
begin
    select a.status, a.version, a.digest, a.maker, a.excluded, a.roles, a.counts, a.wider, a.escalated_at into v_row
      from approvals.approval a
     where a.id = p_id;
    if p_vote = 'break_glass' then
        v_places := array(select r.role from unnest(p_roles) as r (role) where r.role in ('admin', 'approver') order by 1);
    elsif v_row.escalated_at is not null and v_row.wider && p_roles then
        v_places := v_row.roles;
    else
        v_places := array(select r.role from unnest(v_row.roles) with ordinality as r (role, n) where r.role = any (p_roles) order by r.n);
    end if;
    v_code := case
        when v_row is null then 'unknown_approval'
        when p_kind = 'agent' then 'agents_never_vote'
        when p_kind <> 'person' then 'only_people_vote'
        when v_row.status <> 'open' then 'approval_closed'
        when v_row.digest <> p_digest then 'approval_changed'
        when approvals.stands_behind(p_person, v_row.maker || v_row.excluded) then 'maker_is_not_checker'
        when v_places = '{}' then 'role_missing'
        when exists (select from approvals.vote v
                      where v.approval_id = p_id and v.version = v_row.version and v.person = p_person
                        and (v.vote = 'break_glass') = (p_vote = 'break_glass')) then 'voted_already'
    end;
    if v_code is not null then
        return query select v_code, v_clock, null::bigint;
        return;
    end if;
    insert into approvals.vote (approval_id, version, person, vote, places, reason, at)
    values (p_id, v_row.version, p_person, p_vote, v_places, p_reason, v_now)
    returning id into v_vote;
    if p_vote = 'reject' then
        v_status := 'rejected';
    elsif p_vote = 'approve' and approvals.is_reached(p_id, v_row.version, v_row.roles, v_row.counts) then
        v_status := 'approved';
    elsif p_vote = 'break_glass'
          and (select count(*) from approvals.vote v
                where v.approval_id = p_id and v.version = v_row.version and v.vote = 'break_glass'
                  and not approvals.is_gone(v.person)) >= 2 then
        v_status := 'approved';
        insert into approvals.review (approval_id, opened_at) values (p_id, v_now);
    end if;
    if v_status <> 'open' then
        update approvals.approval a
           set status = v_status, changed_at = v_now, broken_at = case when p_vote = 'break_glass' then v_now end
         where a.id = p_id;
    end if;
    return query select null::text, v_clock, v_vote;
end
$$;

-- approvals.amend: what is asked, and what is shown of it, are others from now on; all votes are void, and the editors may not vote.
drop function if exists approvals.amend(bigint, bytea, jsonb, text, text[]);
create or replace function approvals.amend(
    p_id bigint, p_digest bytea, p_shown jsonb, p_by text, p_editors text[], p_accounts bigint[], p_customers bigint[]
)
    returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_clock constant text := approvals.tick(p_id);
    v_now   constant timestamptz := db.clock();
    v_row   record;
    v_code  text;
    v_shown bigint;
begin
    select a.status, a.version, a.excluded into v_row from approvals.approval a where a.id = p_id;
    v_code := case
        when v_row is null then 'unknown_approval'
        when v_row.status <> 'open' then 'approval_closed'
        when v_row.version >= 100 then 'amended_too_often'
    end;
    if v_code is not null then
        return query select v_code, v_clock, null::bigint;
        return;
    end if;
    insert into approvals.shown (approval_id, version, digest, shown, said_by, at)
    values (p_id, v_row.version + 1, p_digest, p_shown, p_by, v_now)
    returning id into v_shown;
    update approvals.approval a
       set version = v_row.version + 1, digest = p_digest, changed_at = v_now, accounts = p_accounts, customers = p_customers,
           excluded = array(select distinct e.name from unnest(v_row.excluded || p_editors) as e (name) order by 1)
     where a.id = p_id;
    return query select null::text, v_clock, v_shown;
end
$$;

-- approvals.withdraw: nobody is asked any more, and what was approved is not carried out. Who may is the caller's matter.
create or replace function approvals.withdraw(p_id bigint) returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_clock constant text := approvals.tick(p_id);
    v_code  text;
begin
    update approvals.approval a
       set status = 'withdrawn', changed_at = db.clock()
     where a.id = p_id and a.status in ('open', 'approved');
    if not found then
        v_code := case when exists (select from approvals.approval a where a.id = p_id) then 'approval_closed' else 'unknown_approval' end;
    end if;
    return query select v_code, v_clock, null::bigint;
end
$$;

-- approvals.consume: the action is carried out now, once, and it is what was approved.
create or replace function approvals.consume(p_id bigint, p_digest bytea) returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_clock constant text := approvals.tick(p_id);
    v_row   record;
    v_code  text;
begin
    select a.status, a.digest into v_row from approvals.approval a where a.id = p_id;
    v_code := case
        when v_row is null then 'unknown_approval'
        when v_row.status = 'open' then 'approval_needed'
        when v_row.status <> 'approved' then 'approval_closed'
        when v_row.digest <> p_digest then 'approval_changed'
    end;
    if v_code is null then
        update approvals.approval a set status = 'consumed', changed_at = db.clock() where a.id = p_id;
    end if;
    return query select v_code, v_clock, null::bigint;
end
$$;

-- approvals.say: a comment, at any time.
create or replace function approvals.say(p_id bigint, p_by text, p_text text) returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_comment bigint;
    v_code    text;
begin
    perform from approvals.approval a where a.id = p_id for no key update;
    v_code := case
        when not found then 'unknown_approval'
        when (select count(*) from approvals.comment c where c.approval_id = p_id) >= 1000 then 'too_many_comments'
    end;
    if v_code is null then
        insert into approvals.comment (approval_id, said_by, text, at)
        values (p_id, p_by, p_text, db.clock())
        returning id into v_comment;
    end if;
    return query select v_code, null::text, v_comment;
end
$$;

-- approvals.close_review: a person who had no part in it says whether it was right that the glass was broken.
create or replace function approvals.close_review(p_id bigint, p_person text, p_kind text, p_roles text[], p_verdict text)
    returns table (code text, clock text, row_id bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_row  record;
    v_code text;
begin
    select a.maker, a.excluded into v_row from approvals.approval a where a.id = p_id for no key update;
    v_code := case
        when v_row is null or not exists (select from approvals.review r where r.approval_id = p_id) then 'unknown_review'
        when p_kind = 'agent' then 'agents_never_vote'
        when p_kind <> 'person' then 'only_people_vote'
        when not p_roles && array['admin', 'approver', 'auditor'] then 'role_missing'
        when approvals.stands_behind(p_person, v_row.maker || v_row.excluded)
             or exists (select from approvals.vote v where v.approval_id = p_id and v.person = p_person and v.vote = 'break_glass')
             then 'reviewer_took_part'
        when exists (select from approvals.review r where r.approval_id = p_id and r.closed_at is not null) then 'review_closed'
    end;
    if v_code is null then
        update approvals.review r
           set closed_at = db.clock(), closed_by = p_person, verdict = p_verdict
         where r.approval_id = p_id;
    end if;
    return query select v_code, null::text, null::bigint;
end
$$;

-- approvals.move_on: what the clock did to questions whose time has come, p_limit of them at most. Those that somebody has in hand are
-- left to them.
create or replace function approvals.move_on(p_limit integer) returns table (approval_id bigint, clock text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now  constant timestamptz := db.clock();
    v_due  record;
    v_did  text;
begin
    for v_due in
        select a.id
          from approvals.approval a
         where a.status in ('open', 'approved') and a.expires_at <= v_now
         order by a.expires_at
         limit p_limit
           for no key update skip locked
    loop
        return query select v_due.id, approvals.tick(v_due.id);
    end loop;
    for v_due in
        select a.id
          from approvals.approval a
         where a.status = 'open' and a.escalated_at is null and a.escalate_at <= v_now
         order by a.escalate_at
         limit p_limit
           for no key update skip locked
    loop
        v_did := approvals.tick(v_due.id);
        return query select v_due.id, v_did where v_did is not null;
    end loop;
end
$$;
