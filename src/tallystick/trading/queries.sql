-- load_prices --
-- Store prices, the last of those given for one symbol and day; a price that is stored just so is left alone. In key order, so
-- that two loads cannot deadlock.
with given as (
    select distinct on (u.symbol, u.day) u.symbol, u.day, u.open, u.high, u.low, u.close, u.volume
      from unnest(%(symbols)s::text[], %(days)s::date[], %(opens)s::numeric[], %(highs)s::numeric[], %(lows)s::numeric[],
                  %(closes)s::numeric[], %(volumes)s::bigint[])
           with ordinality as u (symbol, day, open, high, low, close, volume, ord)
     order by u.symbol, u.day, u.ord desc
), stored as (
    insert into trading.price as p (symbol, day, open, high, low, close, volume)
    select g.symbol, g.day, g.open, g.high, g.low, g.close, g.volume
      from given g
     order by g.symbol, g.day
        on conflict (symbol, day) do update
       set open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close, volume = excluded.volume
     where (p.open, p.high, p.low, p.close, p.volume)
           is distinct from (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
    -- A row that was there before carries the transaction that locked it to change it.
    returning (xmax = 0) as inserted
)
select cardinality(%(symbols)s::text[]) as rows,
       count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as changed
  from stored

-- latest_prices --
-- The newest price of each symbol that has one.
select p.symbol, p.day, p.open, p.high, p.low, p.close, p.volume
  from unnest(%(symbols)s::text[]) as u (symbol)
 cross join lateral (
           select q.symbol, q.day, q.open, q.high, q.low, q.close, q.volume
             from trading.price q
            where q.symbol = u.symbol
            order by q.day desc
            limit 1
       ) p

-- average_daily_value --
-- What was traded of a symbol on the last days that have a volume; no row where there is no such day.
select x.symbol, count(*) as days, sum(x.close * x.volume) as total, min(x.day) as first_day, max(x.day) as last_day
  from (select p.symbol, p.day, p.close, p.volume
          from trading.price p
         where p.symbol = %(symbol)s::text and p.volume is not null
         order by p.day desc
         limit %(days)s::bigint) as x
 group by x.symbol
