-- order_edge --
-- Where a piece of orders ends; no row for the last one.
select id
  from trading.trade_order
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- verify_orders --
-- Orders that do not say what their fills come to, and fills whose money did not move between the accounts of their portfolio.
select 'order_differs' as code, 'trading.trade_order' as relation, concat('id=', o.id) as place,
       concat('filled=', o.filled, ' worth=', trim_scale(o.worth), ' amount=', o.amount) as found,
       concat('filled=', f.filled, ' worth=', trim_scale(f.worth), ' amount=', f.amount) as expected
  from trading.trade_order o
  join trading.portfolio p on p.id = o.portfolio_id
  join ledger.account a on a.id = p.account_id
  join ledger.asset s on s.code = a.asset
  left join lateral (select coalesce(sum(x.quantity), 0) as filled, coalesce(sum(x.quantity * x.price), 0) as worth,
                            round(coalesce(sum(x.quantity * x.price), 0) * 10 ^ s.scale::numeric / 1000000) as amount
                       from trading.fill x
                      where x.order_id = o.id) as f on true
 where o.id between %(first)s::bigint and %(last)s::bigint
   and (o.filled <> f.filled or o.worth <> f.worth or o.amount <> f.amount)
 union all
select 'fill_differs', 'trading.fill', concat('order_id=', o.id), concat('amount=', sum(x.amount)), concat('amount=', o.amount, ', as the order says')
  from trading.trade_order o
  join trading.fill x on x.order_id = o.id
 where o.id between %(first)s::bigint and %(last)s::bigint
 group by o.id, o.amount
having sum(x.amount) <> o.amount
 union all
select 'row_missing', 'ledger.journal', concat('id=', f.journal_id), 'nothing',
       concat('the journal of trading.fill order_id=', f.order_id, ' n=', f.n)
  from trading.fill f
  left join ledger.journal j on j.id = f.journal_id
 where f.order_id between %(first)s::bigint and %(last)s::bigint
   and f.journal_id is not null and j.id is null
 union all
select 'fill_differs', 'trading.fill', concat('order_id=', f.order_id, ' n=', f.n), concat('amount=', f.amount),
       concat('amount=', e.amount, ', as its journal moved')
  from trading.fill f
  join ledger.journal j on j.id = f.journal_id
  join trading.trade_order o on o.id = f.order_id
  join trading.portfolio p on p.id = o.portfolio_id
  left join lateral (select coalesce(sum(x.amount), 0) * case o.side when 'buy' then -1 else 1 end as amount
                       from ledger.entry x
                      where x.journal_id = f.journal_id and x.account_id = p.account_id) as e on true
 where f.order_id between %(first)s::bigint and %(last)s::bigint
   and e.amount <> f.amount

-- portfolio_edge --
-- Where a piece of portfolios ends; no row for the last one.
select id
  from trading.portfolio
 where id >= %(first)s::bigint
 order by id
offset %(size)s::bigint - 1
 limit 1

-- verify_positions --
-- Positions that are not the sum of the fills of their portfolio and instrument.
select 'position_differs' as code, 'trading.position' as relation,
       concat('portfolio_id=', coalesce(h.portfolio_id, f.portfolio_id), ' symbol=', coalesce(h.symbol, f.symbol)) as place,
       case when h.symbol is null then 'nothing' else concat('quantity=', h.quantity, ' fills=', h.fills) end as found,
       concat('quantity=', coalesce(f.quantity, 0), ' fills=', coalesce(f.fills, 0)) as expected
  from (select p.portfolio_id, p.symbol, p.quantity, p.fills
          from trading.position p
         where p.portfolio_id between %(first)s::bigint and %(last)s::bigint) as h
  full join (select o.portfolio_id, o.symbol, sum(case o.side when 'buy' then x.quantity else -x.quantity end) as quantity,
                    count(*) as fills
               from trading.trade_order o
               join trading.fill x on x.order_id = o.id
              where o.portfolio_id between %(first)s::bigint and %(last)s::bigint
              group by o.portfolio_id, o.symbol) as f on f.portfolio_id = h.portfolio_id and f.symbol = h.symbol
 where (h.quantity, h.fills) is distinct from (f.quantity, f.fills)
