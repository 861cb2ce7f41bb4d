-- Daily prices of instruments.
create schema trading;

create table trading.price (
    symbol  text    not null,
    day     date    not null,
    open    numeric,
    high    numeric,
    low     numeric,
    close   numeric not null,
    volume  bigint,
    primary key (symbol, day),
    constraint symbol_is_bounded check (length(symbol) between 1 and 12),
    constraint close_is_positive check (close > 0),
    constraint prices_are_bounded check (greatest(open, high, low, close) < 1000000000
                                         and greatest(scale(open), scale(high), scale(low), scale(close)) <= 8),
    constraint volume_is_not_negative check (volume >= 0)
);
