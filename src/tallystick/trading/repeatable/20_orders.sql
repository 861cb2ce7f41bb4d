-- Orders: the only ways in which they, their fills and positions come to be. Each locks the row of the portfolio, which decides all
-- races about what it holds and has ordered.

-- trading.lock: lock a portfolio and what it pays and is paid by, so that all of it stays what it is until the transaction ends; its id,
-- null where there is none. Locks, in the order of the house: the mark of closed periods (shared), the portfolio, the balances by id.
create or replace function trading.lock(p_name text) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_portfolio trading.portfolio%rowtype;
begin
    perform pg_advisory_xact_lock_shared(7331003);
    select p.* into v_portfolio from trading.portfolio p where p.name = p_name for no key update;
    perform from ledger.balance b
      where b.account_id in (v_portfolio.account_id, v_portfolio.settlement_id)
      order by b.account_id
        for no key update;
    return v_portfolio.id;
end
$$;

-- trading.place_order: store an order of a portfolio; false where it sells more than is free to be sold, and the portfolio may not.
create or replace function trading.place_order(
    p_id bigint, p_portfolio_id bigint, p_symbol text, p_side text, p_quantity bigint, p_limit_price numeric, p_hold_id bigint,
    p_principal text
) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_shorts boolean;
begin
    select p.shorts into strict v_shorts from trading.portfolio p where p.id = p_portfolio_id for no key update;
    if p_side = 'sell' and not v_shorts and p_quantity > trading.free_units(p_portfolio_id, p_symbol) then
        return false;
    end if;
    insert into trading.trade_order (id, portfolio_id, symbol, side, quantity, limit_price, hold_id, principal)
    values (p_id, p_portfolio_id, p_symbol, p_side, p_quantity, p_limit_price, p_hold_id, p_principal);
    return true;
end
$$;

-- trading.free_units: what a portfolio holds of an instrument, less what its open orders are to sell.
create or replace function trading.free_units(p_portfolio_id bigint, p_symbol text) returns numeric
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
    select coalesce((select p.quantity from trading.position p where p.portfolio_id = p_portfolio_id and p.symbol = p_symbol), 0)
           - coalesce((select sum(o.quantity - o.filled)
                         from trading.trade_order o
                        where o.portfolio_id = p_portfolio_id and o.symbol = p_symbol and o.side = 'sell'
                          and o.status in ('placed', 'partly_filled')), 0);
$$;

-- trading.fill_order: note that a part of an order was carried out, and what it moved; the fill's id, null where the order is not open
-- for as much. The position follows. Refused (TS003) is an amount that is not what its fills are worth by now less what they moved before,
-- and one that its journal did not move on the cash account.
create or replace function trading.fill_order(
    p_order_id bigint, p_quantity bigint, p_price numeric, p_amount bigint, p_journal_id bigint, p_principal text
) returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_order trading.trade_order%rowtype;
    v_id    bigint;
    v_cash  bigint;
    v_scale integer;
begin
    perform from trading.portfolio p
       join trading.trade_order o on o.portfolio_id = p.id
      where o.id = p_order_id
        for no key update of p;
    update trading.trade_order o
       set filled = o.filled + p_quantity,
           status = case when o.filled + p_quantity = o.quantity then 'filled' else 'partly_filled' end,
           worth = o.worth + p_quantity * p_price,
           amount = o.amount + p_amount,
           changed_at = clock_timestamp()
     where o.id = p_order_id
       and o.status in ('placed', 'partly_filled')
       and p_quantity between 1 and o.quantity - o.filled
    returning o.* into v_order;
    if v_order.id is null then
        return null;
    end if;
    select a.id, s.scale into v_cash, v_scale
      from trading.portfolio p
      join ledger.account a on a.id = p.account_id
      join ledger.asset s on s.code = a.asset
     where p.id = v_order.portfolio_id;
    if v_order.amount <> round(v_order.worth * 10 ^ v_scale::numeric / 1000000) then
        raise exception 'a fill moves what the order is worth by it' using errcode = 'TS003';
    end if;
    if p_amount > 0 and not exists (
            select from ledger.journal j
              join ledger.entry e on e.journal_id = j.id and e.account_id = v_cash
             where j.id = p_journal_id and j.kind = 'order_fill'
               and e.amount = case v_order.side when 'buy' then -p_amount else p_amount end) then
        raise exception 'a fill has the journal that moved its money' using errcode = 'TS003';
    end if;
    insert into trading.fill (order_id, n, quantity, price, amount, journal_id, principal)
    select v_order.id, 1 + coalesce(max(f.n), 0), p_quantity, p_price, p_amount, p_journal_id, p_principal
      from trading.fill f
     where f.order_id = v_order.id
    returning id into v_id;
    insert into trading.position as p (portfolio_id, symbol, quantity, fills)
    values (v_order.portfolio_id, v_order.symbol, case v_order.side when 'buy' then p_quantity else -p_quantity end, 1)
        on conflict (portfolio_id, symbol) do update
       set quantity = p.quantity + excluded.quantity, fills = p.fills + 1;
    return v_id;
end
$$;

-- trading.cancel_order: have what is left of an open order be carried out no more; false where it is not open.
create or replace function trading.cancel_order(p_order_id bigint) returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from trading.portfolio p
       join trading.trade_order o on o.portfolio_id = p.id
      where o.id = p_order_id
        for no key update of p;
    update trading.trade_order o
       set status = 'cancelled', changed_at = clock_timestamp()
     where o.id = p_order_id
       and o.status in ('placed', 'partly_filled');
    return found;
end
$$;
