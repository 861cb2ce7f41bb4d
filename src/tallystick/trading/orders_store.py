"""One function a query of the portfolios, the orders and the fills."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tallystick.db import Queries, ReadTx, Tx
from tallystick.trading.order_model import Fill, Holding, NewOrder, Order, Portfolio

_NEWEST = 2**63 - 1
_queries = Queries(__package__, "orders.sql")
_LOCK = _queries.bind("lock", int)
_INSERT_PORTFOLIO = _queries.bind("insert_portfolio", int)
_PORTFOLIOS = _queries.bind("portfolios", Portfolio)
_HOLDINGS = _queries.bind("holdings", Holding)
_OPEN_ORDERS = _queries.bind("open_orders", int)
_NEXT_ORDER = _queries.bind("next_order", int)
_PLACE_ORDER = _queries.bind("place_order", bool)
_FILL_ORDER = _queries.bind("fill_order", int)
_CANCEL_ORDER = _queries.bind("cancel_order", bool)
_ORDERS = _queries.bind("orders", Order)
_FILLS = _queries.bind("fills", Fill)


async def lock(tx: Tx, name: str) -> int | None:
    return await tx.one(_LOCK, {"name": name})


async def insert_portfolio(
    tx: Tx, *, name: str, account_id: int, settlement_id: int, shorts: bool, principal: str
) -> int | None:
    return await tx.one(
        _INSERT_PORTFOLIO,
        {
            "name": name,
            "account_id": account_id,
            "settlement_id": settlement_id,
            "shorts": shorts,
            "principal": principal,
        },
    )


async def portfolios(
    tx: ReadTx,
    *,
    name: str | None = None,
    ids: Sequence[int] | None = None,
    among: Sequence[int] | None = None,
    after: int = 0,
    limit: int = 1,
) -> list[Portfolio]:
    return await tx.all(
        _PORTFOLIOS,
        {
            "name": name,
            "ids": None if ids is None else list(ids),
            "among": None if among is None else list(among),
            "after": after,
            "limit": limit,
        },
    )


async def holdings(tx: ReadTx, portfolio_id: int) -> list[Holding]:
    return await tx.all(_HOLDINGS, {"portfolio_id": portfolio_id})


async def open_orders(tx: ReadTx, portfolio_id: int) -> int:
    return await tx.single(_OPEN_ORDERS, {"portfolio_id": portfolio_id})


async def next_order(tx: Tx) -> int:
    return await tx.single(_NEXT_ORDER)


async def place_order(
    tx: Tx, order_id: int, portfolio_id: int, wanted: NewOrder, *, hold_id: int | None, principal: str
) -> bool:
    return await tx.single(
        _PLACE_ORDER,
        {
            "id": order_id,
            "portfolio_id": portfolio_id,
            "symbol": wanted.symbol,
            "side": wanted.side,
            "quantity": wanted.quantity,
            "limit_price": wanted.limit_price,
            "hold_id": hold_id,
            "principal": principal,
        },
    )


async def fill_order(
    tx: Tx, order_id: int, *, quantity: int, price: Decimal, amount: int, journal_id: int | None, principal: str
) -> int | None:
    return await tx.one(
        _FILL_ORDER,
        {
            "order_id": order_id,
            "quantity": quantity,
            "price": price,
            "amount": amount,
            "journal_id": journal_id,
            "principal": principal,
        },
    )


async def cancel_order(tx: Tx, order_id: int) -> bool:
    return await tx.single(_CANCEL_ORDER, {"order_id": order_id})


async def orders(
    tx: ReadTx,
    *,
    ids: Sequence[int] | None = None,
    portfolio_id: int | None = None,
    symbol: str | None = None,
    side: str | None = None,
    status: str | None = None,
    among: Sequence[int] | None = None,
    before: int = _NEWEST,
    limit: int = 1,
) -> list[Order]:
    return await tx.all(
        _ORDERS,
        {
            "ids": None if ids is None else list(ids),
            "portfolio_id": portfolio_id,
            "symbol": symbol,
            "side": side,
            "status": status,
            "among": None if among is None else list(among),
            "before": before,
            "limit": limit,
        },
    )


async def fills(
    tx: ReadTx, *, order_id: int | None = None, id: int | None = None, after: int = 0, limit: int = 1
) -> list[Fill]:
    return await tx.all(_FILLS, {"order_id": order_id, "id": id, "after": after, "limit": limit})
