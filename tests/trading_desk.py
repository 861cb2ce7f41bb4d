"""For tests of orders: a bank with portfolios over customers' accounts, a broker's account, and prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from tallystick import actions, ledger, policy, trading
from tallystick.db import Database, ReadTx, Tx
from tallystick.identity import Principal, house
from tests.permitted import strict
from tests.serving import fund

JSON = dict[str, Any]
BROKER = "BROKER"
CLERK = house("clerk")
EVA = Principal("eva", "person", frozenset({"approver"}))
PRICES = {"AAA": "10.00", "BBB": "2.50"}


async def open_desk(db: Database, *rules: JSON, shorts: bool = False, prices: Mapping[str, str] = PRICES) -> Database:
    """ALICE and BOB with 1,000.00 CZK, the portfolios P over ALICE and Q over BOB, and a policy; as the application has it."""
    await fund(db)
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec(BROKER, "CZK", "internal", None)])
        for name, account in (("P", "ALICE"), ("Q", "BOB")):
            await trading.open_portfolio(tx, trading.NewPortfolio(name, account, BROKER, shorts), by="test")
    await set_prices(db, prices)
    await set_rules(db, *rules)
    return strict(db)


async def set_prices(db: Database, prices: Mapping[str, str], day: date = date(2026, 4, 21)) -> None:
    async with db.write() as tx:
        await trading.load_prices(tx, [trading.Price(name, day, Decimal(close)) for name, close in prices.items()])


async def set_rules(db: Database, *rules: JSON) -> None:
    """A policy of these rules that allows the rest."""
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [*rules, {"id": "allowed", "allow": True}]}, by="test")


def rule(kind: str, terms: Any, outcome: str = "hold", **when: Any) -> JSON:
    asked = {"approve": [{"role": "approver", "people": 1}], "expires": "1h"} if outcome == "hold" else {}
    otherwise = {} if kind in ("hold", "deny", "allow") else {"otherwise": outcome}
    return {"id": "rule", "when": when or {"action": "order.place"}, kind: terms, **otherwise, **asked}


def buy(quantity: str, limit: str | None = None, symbol: str = "AAA", portfolio: str = "P") -> actions.PlaceOrder:
    return actions.PlaceOrder(portfolio, symbol, "buy", quantity, limit)


def sell(quantity: str, limit: str | None = None, symbol: str = "AAA", portfolio: str = "P") -> actions.PlaceOrder:
    return actions.PlaceOrder(portfolio, symbol, "sell", quantity, limit)


async def do(db: Database, payload: Any, by: Principal = CLERK) -> Any:
    """Propose it; what it came to, `Held` or `Denied`."""
    return await actions.perform(db, by, payload)


async def fill(db: Database, order: trading.Order, quantity: str, price: str = "10.00") -> trading.Fill:
    filled: trading.Fill = await do(db, actions.FillOrder(str(order.id), quantity, price))
    return filled


async def hold_shares(db: Database, quantity: str, symbol: str = "AAA", portfolio: str = "P", price: str = "0.01") -> None:
    """Have a portfolio hold so many shares, for next to nothing."""
    await fill(db, await do(db, buy(quantity, price, symbol, portfolio)), quantity, price)


async def book(db: Database, portfolio: str = "P") -> trading.Book:
    async with db.read() as tx:
        return await trading.book(tx, portfolio)


async def position(db: Database, symbol: str = "AAA", portfolio: str = "P") -> str:
    found = (await book(db, portfolio)).holding(symbol)
    return trading.quantity_text(0 if found is None else found.quantity)


async def order(db: Database, order_id: int) -> trading.Order:
    async with db.read() as tx:
        return await trading.order(tx, order_id)


async def money(db: Database, name: str = "ALICE") -> tuple[int, int]:
    """What an account has, and what of it is held."""
    async with db.read() as tx:
        found = await ledger.account(tx, name)
        return found.posted, found.held


async def newest_facts(db: Database) -> JSON:
    async with db.read() as tx:
        (newest,) = await policy.decisions(tx, limit=1)
        return dict(policy.facts_of(newest))


async def agree(db: Database, approval_id: int, by: Principal = EVA) -> Any:
    async def work(tx: Tx) -> Any:
        seen = (await actions.approval_action(tx, approval_id)).digest
        return await actions.vote(tx, approval_id, by, "approve", seen=seen, reason="because")

    return await db.retrying(work)


async def sums_of_fills(tx: ReadTx, portfolio: str) -> dict[str, int]:
    """What the fills of a portfolio come to, by instrument."""
    sums: dict[str, int] = {}
    for placed in await trading.orders(tx, portfolio=portfolio, limit=10_000):
        for one in await trading.fills(tx, placed.id, limit=10_000):
            sums[placed.symbol] = sums.get(placed.symbol, 0) + (one.quantity if placed.side == "buy" else -one.quantity)
    return {symbol: quantity for symbol, quantity in sums.items() if quantity}
