-- ledger.open_accounts: open accounts by name; one that exists keeps what it is. Rows come back for all, in order.
create or replace function ledger.open_accounts(p_name text[], p_asset text[], p_kind text[], p_floor bigint[])
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
        returning id, name
    ), balances as (
        insert into ledger.balance (account_id, floor)
        select m.id, u.floor
          from made m
          join unnest(p_name, p_floor) as u (name, floor) on u.name = m.name
        returning account_id
    )
    select array_agg(b.account_id) into v_opened from balances b;

    return query
    select u.ord::integer, a.id, a.asset, a.kind, coalesce(a.id = any (v_opened), false)
      from unnest(p_name) with ordinality as u (name, ord)
      join ledger.account a on a.name = u.name
     order by u.ord;
end
$$;

-- ledger.set_status: compare and set; no row means that the account is not there or was in another state.
create or replace function ledger.set_status(p_account_id bigint, p_from text, p_to text) returns setof bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Postings decide on the status under the lock of the balance, so it changes under that lock.
    perform from ledger.balance b where b.account_id = p_account_id for no key update;
    return query
    update ledger.account a set status = p_to where a.id = p_account_id and a.status = p_from returning a.id;
end
$$;

-- ledger.lower_floors: let accounts go further down; a floor that is lower already stays. Returns how many changed.
create or replace function ledger.lower_floors(p_account_id bigint[], p_floor bigint[]) returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_changed integer;
begin
    -- Balances are locked in id order, so that two batches cannot deadlock.
    perform from ledger.balance b where b.account_id = any (p_account_id) order by b.account_id for no key update;
    update ledger.balance b
       set floor = u.floor
      from unnest(p_account_id, p_floor) as u (account_id, floor)
     where b.account_id = u.account_id and u.floor < b.floor;
    get diagnostics v_changed = row_count;
    return v_changed;
end
$$;
