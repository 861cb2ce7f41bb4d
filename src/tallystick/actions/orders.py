"""Trading: portfolios, and the orders that are placed in them, filled in parts and cancelled.

The facts are read under the lock of the portfolio, which lasts until the action is done: what policy saw of it is still so
then, however many place orders at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from tallystick import trading
from tallystick.actions.registry import ActionType, register
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import MAX_MINOR, Invalid, format_minor

_ID = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class OpenPortfolio:
    """A portfolio to open over a cash account; see `trading.NewPortfolio`."""

    portfolio: str
    account: str
    settlement: str
    shorts: bool = False

    def new(self) -> trading.NewPortfolio:
        """The portfolio that is meant."""
        return trading.NewPortfolio(self.portfolio, self.account, self.settlement, self.shorts)


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """An order to place: `quantity` is a decimal number of shares, `limit_price` a decimal in the portfolio's currency."""

    portfolio: str
    instrument: str
    side: Literal["buy", "sell"]
    quantity: str
    limit_price: str | None = None

    def new(self) -> trading.NewOrder:
        """The order that is meant. Refuses with `Invalid` (`amount_…`, `price_malformed`)."""
        limit = None if self.limit_price is None else trading.read_price(self.limit_price)
        return trading.NewOrder(self.portfolio, self.instrument, self.side, trading.read_quantity(self.quantity), limit)


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """An order of which what is left is to be carried out no more."""

    order: str


@dataclass(frozen=True, slots=True)
class FillOrder:
    """A part of an order that the broker has carried out, at a price."""

    order: str
    quantity: str
    price: str

    def new(self) -> trading.NewFill:
        """The fill that is meant. Refuses with `Invalid` (`amount_…`, `price_malformed`) and `NotFound` (`unknown_order`)."""
        return trading.NewFill(order_id(self.order), trading.read_quantity(self.quantity), trading.read_price(self.price))


def order_id(text: str) -> int:
    """The number of an order; refuses with `NotFound` (`unknown_order`) what is none."""
    if not _ID.fullmatch(text):
        raise trading.unknown_order(text[:100])
    return int(text)


async def _opening_facts(tx: ReadTx, payload: OpenPortfolio) -> Mapping[str, Any]:
    cash, settlement = await trading.check_portfolio(tx, payload.new())
    return {
        "portfolio_name": payload.portfolio,
        "account": cash.name,
        "account_kind": cash.kind,
        "counterparty": settlement.name,
        "counterparty_kind": settlement.kind,
        "asset": cash.asset,
        "scale": cash.scale,
        "shorts": payload.shorts,
    }


async def _open(tx: Tx, by: Principal, payload: OpenPortfolio) -> trading.Portfolio:
    return await trading.open_portfolio(tx, payload.new(), by=by.name)


async def _placing_facts(tx: Tx, payload: PlaceOrder) -> Mapping[str, Any]:
    wanted = payload.new()
    seen = await trading.see(tx, wanted)
    view = seen.view
    facts = _of_portfolio(seen.book.portfolio) | {
        "instrument": wanted.symbol,
        "side": wanted.side,
        "quantity": trading.quantity_text(wanted.quantity),
        "held": trading.quantity_text(view.held),
        "position": trading.quantity_text(view.position),
        "position_after": trading.quantity_text(view.after),
        "short": view.short,
        "order_type": "market" if wanted.limit_price is None else "limit",
    }
    if view.price is not None:
        facts |= {"price": f"{view.price:f}"} | _worth(seen.book.portfolio, trading.value_of(wanted.quantity, view.price))
    if view.value is not None:
        facts["portfolio"] = trading.plain(view.value)
    if view.concentration is not None:
        facts["concentration"] = trading.plain(view.concentration)
    return facts


async def _place(tx: Tx, by: Principal, payload: PlaceOrder) -> trading.Order:
    return await trading.place(tx, payload.new(), by=by.name, on_behalf_of=by.on_behalf_of)


async def _cancelling_facts(tx: Tx, payload: CancelOrder) -> Mapping[str, Any]:
    order, book = await trading.see_order(tx, order_id(payload.order))
    return _of_portfolio(book.portfolio) | _of_order(order) | {"quantity": trading.quantity_text(order.remaining)}


async def _cancel(tx: Tx, by: Principal, payload: CancelOrder) -> trading.Order:
    return await trading.cancel(tx, order_id(payload.order), by=by.name, on_behalf_of=by.on_behalf_of)


async def _filling_facts(tx: Tx, payload: FillOrder) -> Mapping[str, Any]:
    wanted = payload.new()
    order, book = await trading.see_order(tx, wanted.order_id)
    found = book.holding(order.symbol)
    held = 0 if found is None else found.quantity
    after = held + wanted.quantity if order.side == "buy" else held - wanted.quantity
    facts = _of_portfolio(book.portfolio) | _of_order(order) | {
        "quantity": trading.quantity_text(wanted.quantity),
        "held": trading.quantity_text(held),
        "position": trading.quantity_text(held),
        "position_after": trading.quantity_text(after),
        "short": order.side == "sell" and after < 0,
        "price": f"{wanted.price:f}",
    }  # fmt: skip
    value = book.value
    if value is not None:
        facts["portfolio"] = trading.plain(value)
    return facts | _worth(book.portfolio, trading.value_of(wanted.quantity, wanted.price))


async def _fill(tx: Tx, by: Principal, payload: FillOrder) -> trading.Fill:
    return await trading.fill(tx, payload.new(), by=by.name, on_behalf_of=by.on_behalf_of)


def _of_portfolio(portfolio: trading.Portfolio) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "portfolio_name": portfolio.name,
        "account": portfolio.account,
        "account_kind": portfolio.account_kind,
        "counterparty": portfolio.settlement,
        "counterparty_kind": "internal",
        "asset": portfolio.asset,
        "scale": portfolio.scale,
    }
    return facts if portfolio.customer_id is None else facts | {"customer": str(portfolio.customer_id)}


def _of_order(order: trading.Order) -> dict[str, Any]:
    return {"order": str(order.id), "instrument": order.symbol, "side": order.side, "status": order.status}


def _worth(portfolio: trading.Portfolio, notional: Fraction) -> dict[str, Any]:
    """What something is worth: exactly, and as an amount, rounded up.

    Refuses with `Invalid` (`amount_too_large`) what no entry of the ledger could hold.
    """
    amount = trading.minor_of(notional, portfolio.unit)
    if amount > MAX_MINOR:
        raise Invalid("amount_too_large", f"it is worth over {format_minor(MAX_MINOR, portfolio.unit)} {portfolio.asset}")
    return {"notional": trading.plain(notional), "amount": amount}


def _tell_order(order: trading.Order) -> Mapping[str, Any]:
    return {"order": str(order.id), "status": order.status}


def _tell_fill(fill: trading.Fill) -> Mapping[str, Any]:
    journal = None if fill.journal_id is None else str(fill.journal_id)
    return {"order": str(fill.order_id), "fill": str(fill.id), "journal": journal}


register(ActionType("portfolio.open", OpenPortfolio, _opening_facts, _open, lambda opened: {"portfolio": opened.name}))
register(ActionType("order.place", PlaceOrder, _placing_facts, _place, _tell_order))
register(ActionType("order.cancel", CancelOrder, _cancelling_facts, _cancel, _tell_order))
register(ActionType("order.fill", FillOrder, _filling_facts, _fill, _tell_fill))
