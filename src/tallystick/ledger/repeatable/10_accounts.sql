-- ledger.open_accounts: open accounts by name; one that exists keeps what it is. Rows come back for all, in order.
drop function if exists ledger.open_accounts(text[], text[], text[], bigint[]);
create or replace function ledger.open_accounts(p_name text[], p_asset text[], p_kind text[], p_floor bigint[], p_actor text)
returns table (ord integer, id bigint, asset text, kind text, opened boolean)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_opened bigint[];
begin
    -- In name order, so that two calls cannot deadlock on the unique name.
    with made as (
        insert into ledger.account (name, asset, kind)
        select u.name, u.asset, u.kind
          from unnest(p_name, p_asset, p_kind) as u (name, asset, kind)
         order by u.name
            on conflict (name) do nothing
        returning id, name, asset
    ), balances as (
        insert into ledger.balance (account_id, asset, floor)
        select m.id, m.asset, u.floor
          from made m
          join unnest(p_name, p_floor) as u (name, floor) on u.name = m.name
        returning account_id, status, floor
    ), changes as (
        insert into ledger.account_change (account_id, n, status, floor, actor)
        select b.account_id, 1, b.status, b.floor, p_actor
          from balances b
        returning account_id
    )
    select array_agg(c.account_id order by c.account_id) into v_opened from changes c;
    if v_opened is not null then
        perform audit.append(
            p_actor, 'accounts.open', 'account', v_opened[1],
            format('{"accounts":["%s"],"count":%s}', array_to_string(v_opened[1:200], '","'), cardinality(v_opened)));
    end if;

    return query
    select u.ord::integer, a.id, a.asset, a.kind, coalesce(a.id = any (v_opened), false)
      from unnest(p_name) with ordinality as u (name, ord)
      join ledger.account a on a.name = u.name
     order by u.ord;
end
$$;

-- ledger.change_accounts: set status and floor of accounts, each as given, and put every change on record. Where p_status or
-- p_floor is null as a whole, that stays as it is. Postings decide under the lock of the balance, so it changes under that
-- lock. Rows come back for the accounts that changed.
create or replace function ledger.change_accounts(p_account_id bigint[], p_status text[], p_floor bigint[], p_actor text)
returns setof bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_verb    constant text := case when p_status is null then 'accounts.limit'
                                    when p_floor is not null or p_status[1] <> all (p_status) then 'accounts.change'
                                    when p_status[1] = 'frozen' then 'accounts.freeze'
                                    when p_status[1] = 'closed' then 'accounts.close'
                                    else 'accounts.unfreeze' end;
    v_changed bigint[];
    v_told    text;
begin
    -- Balances are locked in id order, so that two batches cannot deadlock.
    perform from ledger.balance b where b.account_id = any (p_account_id) order by b.account_id for no key update;
    with changed as (
        update ledger.balance b
           set status = case when p_status is null then b.status else u.status end,
               floor = case when p_floor is null then b.floor else u.floor end
          from unnest(p_account_id, p_status, p_floor) as u (account_id, status, floor)
         where b.account_id = u.account_id
           and ((p_status is not null and b.status <> u.status) or (p_floor is not null and b.floor is distinct from u.floor))
        returning b.account_id, b.status, b.floor
    ), noted as (
        insert into ledger.account_change (account_id, n, status, floor, actor)
        select c.account_id, (select max(a.n) + 1 from ledger.account_change a where a.account_id = c.account_id), c.status, c.floor,
               p_actor
          from changed c
        returning account_id, n, status, floor
    )
    select array_agg(o.account_id order by o.account_id),
           string_agg(format('["%s","%s","%s",%s]', o.account_id, o.n, o.status, coalesce('"' || o.floor || '"', 'null')), ','
                      order by o.account_id) filter (where o.place <= 200)
      into v_changed, v_told
      from (select w.*, row_number() over (order by w.account_id) as place from noted w) as o;
    if v_changed is not null then
        perform audit.append(p_actor, v_verb, 'account', v_changed[1],
                             format('{"changes":[%s],"count":%s}', v_told, cardinality(v_changed)));
    end if;
    return query select unnest(v_changed);
end
$$;
drop function if exists ledger.set_status(bigint, text, text);
drop function if exists ledger.lower_floors(bigint[], bigint[]);

-- ledger.close_period: close the books up to a time. Whoever posts shares the lock, so that all that were posting have
-- committed by now, and who posts from now on sees the mark. Returns null where that time is over but closed already.
create or replace function ledger.close_period(p_until timestamptz, p_actor text) returns timestamptz
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_last ledger.closed_period%rowtype;
begin
    perform pg_advisory_xact_lock(7331003);
    select * into v_last from ledger.closed_period c order by c.n desc limit 1;
    if p_until > clock_timestamp() or p_until <= v_last.closed_until then
        return null;
    end if;
    insert into ledger.closed_period (n, closed_until, actor) values (coalesce(v_last.n, 0) + 1, p_until, p_actor);
    perform audit.append(p_actor, 'periods.close', 'period', coalesce(v_last.n, 0) + 1,
                         format('{"until":"%s"}', to_char(p_until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')));
    return p_until;
end
$$;

-- ledger.lock: lock balances, in id order, so that two calls cannot deadlock, and read them under the lock. Holds whose time is
-- over are resolved on the way.
create or replace function ledger.lock(p_account_id bigint[])
returns table (account_id bigint, status text, posted bigint, held bigint, floor bigint)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    perform from ledger.balance b where b.account_id = any (p_account_id) order by b.account_id for no key update;
    perform from ledger.expire_locked(p_account_id, clock_timestamp(), null);
    return query
    select b.account_id, b.status, b.cr - b.dr, b.held, b.floor
      from ledger.balance b
     where b.account_id = any (p_account_id)
     order by b.account_id;
end
$$;
