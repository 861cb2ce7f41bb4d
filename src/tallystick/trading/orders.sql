-- lock --
-- Lock a portfolio, and what it pays and is paid by; its id.
select trading.lock(%(name)s::text) as id

-- insert_portfolio --
-- Store a portfolio; no row means that the name is taken, or the cash account serves another one.
insert into trading.portfolio (name, account_id, settlement_id, shorts, opened_by)
values (%(name)s::text, %(account_id)s::bigint, %(settlement_id)s::bigint, %(shorts)s::boolean, %(principal)s::text)
    on conflict do nothing
returning id

-- portfolios --
-- A page of portfolios above an id, in order; of one name, of some ids, and over some cash accounts, where given.
select p.id, p.name, p.account_id, a.name as account, a.kind as account_kind, p.settlement_id, t.name as settlement, d.customer_id,
       c.name as customer, a.asset, s.scale::integer as scale, p.shorts, p.opened_by, p.opened_at
  from trading.portfolio p
  join ledger.account a on a.id = p.account_id
  join ledger.account t on t.id = p.settlement_id
  join ledger.asset s on s.code = a.asset
  left join customers.disposition d on d.account_id = p.account_id and d.role = 'owner'
  left join customers.customer c on c.id = d.customer_id
 where p.id > %(after)s::bigint
   and (%(name)s::text is null or p.name = %(name)s::text)
   and (%(ids)s::bigint[] is null or p.id = any (%(ids)s::bigint[]))
   and (%(among)s::bigint[] is null or p.account_id = any (%(among)s::bigint[]))
 order by p.id
 limit %(limit)s::bigint

-- holdings --
-- What a portfolio holds and has ordered of each instrument, with the latest price, in order.
select x.symbol, coalesce(p.quantity, 0) as quantity, x.buying, x.selling, q.close as price, q.day as price_day
  from (select u.symbol, sum(u.buying)::bigint as buying, sum(u.selling)::bigint as selling
          from (select h.symbol, 0 as buying, 0 as selling
                  from trading.position h
                 where h.portfolio_id = %(portfolio_id)s::bigint and h.quantity <> 0
                 union all
                select o.symbol, case o.side when 'buy' then o.quantity - o.filled else 0 end,
                       case o.side when 'sell' then o.quantity - o.filled else 0 end
                  from trading.trade_order o
                 where o.portfolio_id = %(portfolio_id)s::bigint and o.status in ('placed', 'partly_filled')) as u
         group by u.symbol) as x
  left join trading.position p on p.portfolio_id = %(portfolio_id)s::bigint and p.symbol = x.symbol
  left join lateral (select r.close, r.day from trading.price r where r.symbol = x.symbol order by r.day desc limit 1) as q on true
 order by x.symbol

-- open_orders --
-- How many orders of a portfolio are open.
select count(*) as orders
  from trading.trade_order
 where portfolio_id = %(portfolio_id)s::bigint and status in ('placed', 'partly_filled')

-- next_order --
-- An id for an order that is about to be placed.
select nextval('trading.trade_order_id_seq') as id

-- place_order --
-- Store an order; see repeatable/20_orders.sql.
select trading.place_order(%(id)s::bigint, %(portfolio_id)s::bigint, %(symbol)s::text, %(side)s::text, %(quantity)s::bigint,
                           %(limit_price)s::numeric, %(hold_id)s::bigint, %(principal)s::text) as placed

-- fill_order --
-- Store a fill; see repeatable/20_orders.sql.
select trading.fill_order(%(order_id)s::bigint, %(quantity)s::bigint, %(price)s::numeric, %(amount)s::bigint, %(journal_id)s::bigint,
                          %(principal)s::text) as id

-- cancel_order --
-- Have an order be carried out no more; see repeatable/20_orders.sql.
select trading.cancel_order(%(order_id)s::bigint) as cancelled

-- orders --
-- A page of orders below an id, newest first; of one portfolio, instrument, side or status, of some ids, and of portfolios over some
-- cash accounts, where given.
select o.id, o.portfolio_id, p.name as portfolio, a.name as account, a.asset, s.scale::integer as scale, o.symbol, o.side, o.quantity,
       o.limit_price, o.hold_id, o.principal, o.placed_at, o.status, o.filled, o.worth, o.amount, o.changed_at
  from trading.trade_order o
  join trading.portfolio p on p.id = o.portfolio_id
  join ledger.account a on a.id = p.account_id
  join ledger.asset s on s.code = a.asset
 where o.id < %(before)s::bigint
   and (%(ids)s::bigint[] is null or o.id = any (%(ids)s::bigint[]))
   and (%(portfolio_id)s::bigint is null or o.portfolio_id = %(portfolio_id)s::bigint)
   and (%(symbol)s::text is null or o.symbol = %(symbol)s::text)
   and (%(side)s::text is null or o.side = %(side)s::text)
   and (%(status)s::text is null or o.status = %(status)s::text)
   and (%(among)s::bigint[] is null or p.account_id = any (%(among)s::bigint[]))
 order by o.id desc
 limit %(limit)s::bigint

-- fills --
-- Fills of an order above a number, in order; the one of an id, where given.
select f.id, f.order_id, f.n, f.quantity, f.price, f.amount, a.asset, s.scale::integer as scale, f.journal_id, f.principal, f.at
  from trading.fill f
  join trading.trade_order o on o.id = f.order_id
  join trading.portfolio p on p.id = o.portfolio_id
  join ledger.account a on a.id = p.account_id
  join ledger.asset s on s.code = a.asset
 where (%(order_id)s::bigint is null or f.order_id = %(order_id)s::bigint)
   and (%(id)s::bigint is null or f.id = %(id)s::bigint)
   and f.n > %(after)s::integer
 order by f.order_id, f.n
 limit %(limit)s::bigint
