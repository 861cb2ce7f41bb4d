"""Positions and what orders set aside, against a model: whatever is placed, filled and cancelled, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tallystick import actions, ledger, trading
from tallystick.cli.verify import REFERENCES
from tallystick.db import Database, DatabaseSettings
from tallystick.kit import TallystickError
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase
from tests.trading_desk import PRICES, do, money, open_desk, sums_of_fills

_MILLION = 10**6
_CASH = 100_000
_QUANTITIES = st.one_of(st.sampled_from([1, 500_000, _MILLION, 5 * _MILLION, 40 * _MILLION]), st.integers(1, 60 * _MILLION))
_PRICES = st.decimals("0.0001", "20", places=4)
_RARELY = st.sampled_from([False, False, False, True])
_SYMBOLS = st.sampled_from(sorted(PRICES))


@dataclass
class _Order:
    """An order of the model; quantities in millionths, money in minor units."""

    symbol: str
    side: str
    left: int
    limit: Decimal | None
    held: int
    worth: Fraction = Fraction(0)
    amount: int = 0
    open: bool = True


class Desk(RuleBasedStateMachine):
    """One portfolio without short sales, and a model of it in a few lines."""

    runner: ClassVar[asyncio.Runner]
    database: ClassVar[TestDatabase]
    shorts: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[int, _Order] = {}
        self.positions: dict[str, int] = {}
        self.cash = _CASH

    def _run(self, work: Any) -> Any:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """Everything begins anew, in a database of its own name space: portfolios are facts, so each run has its own."""
        self.db = self._run(_opened(self.database))
        self.name = self._run(_new_portfolio(self.db, self.shorts))

    def _try(self, payload: Any) -> Any:
        try:
            return self._run(do(self.db, payload))
        except TallystickError as refusal:
            return refusal.code

    def _free(self, symbol: str) -> int:
        reserved = sum(one.left for one in self.orders.values() if one.open and (one.symbol, one.side) == (symbol, "sell"))
        return self.positions.get(symbol, 0) - reserved

    def _drawn(self, data: st.DataObject, late: bool) -> int:
        """An order that is open, where there is one; with `late` any of them."""
        open_ones = [number for number, one in self.orders.items() if one.open]
        return data.draw(st.sampled_from(sorted(self.orders if late or not open_ones else open_ones, reverse=True)))

    @property
    def _held(self) -> int:
        return sum(one.held for one in self.orders.values())

    @rule(symbol=_SYMBOLS, quantity=_QUANTITIES, limit=st.none() | _PRICES)
    def buy(self, symbol: str, quantity: int, limit: Decimal | None) -> None:
        payload = actions.PlaceOrder(
            self.name, symbol, "buy", trading.quantity_text(quantity), None if limit is None else str(limit)
        )
        answer = self._try(payload)
        each = Fraction(limit) if limit is not None else Fraction(PRICES[symbol]) * Fraction(105, 100)
        reserve = ceil(Fraction(quantity, _MILLION) * each * 100)
        if self.cash - self._held < reserve:
            assert answer == "posting_refused"
        else:
            self.orders[answer.id] = _Order(symbol, "buy", quantity, limit, reserve)

    @rule(symbol=_SYMBOLS, quantity=_QUANTITIES, limit=st.none() | _PRICES)
    def sell(self, symbol: str, quantity: int, limit: Decimal | None) -> None:
        payload = actions.PlaceOrder(
            self.name, symbol, "sell", trading.quantity_text(quantity), None if limit is None else str(limit)
        )
        answer = self._try(payload)
        if quantity > self._free(symbol) and not self.shorts:
            assert answer == "insufficient_position"
        else:
            self.orders[answer.id] = _Order(symbol, "sell", quantity, limit, 0)

    @rule(
        data=st.data(),
        at=st.sampled_from(["limit", "latest", "better", "anything"]),
        anything=_PRICES,
        share=st.sampled_from([None, 1, 2, 3]),
        part=st.integers(1, 50 * _MILLION),
        late=_RARELY,
    )
    def fill(self, *, data: st.DataObject, at: str, anything: Decimal, share: int | None, part: int, late: bool) -> None:
        if not self.orders:
            return
        number = self._drawn(data, late)
        one = self.orders[number]
        base = one.limit if one.limit is not None and at != "latest" else Decimal(PRICES[one.symbol])
        price = anything
        if at != "anything":
            price = base if at != "better" else max(Decimal("0.0001"), base + (-anything if one.side == "buy" else anything))
        quantity = part if share is None or one.left < share else one.left // share
        answer = self._try(actions.FillOrder(str(number), trading.quantity_text(quantity), str(price)))
        worse = one.limit is not None and (price > one.limit if one.side == "buy" else price < one.limit)
        worth = one.worth + Fraction(quantity, _MILLION) * Fraction(price)
        moved = floor(worth * 100 + Fraction(1, 2)) - one.amount
        if not one.open:
            assert answer == "impossible_transition"
        elif quantity > one.left:
            assert answer == "order_exceeded"
        elif worse:
            assert answer == "fill_beyond_limit"
        elif one.side == "buy" and moved > one.held:
            assert one.limit is None
            assert answer in ("reserve_exceeded", "posting_refused")
        else:
            assert (answer.quantity, answer.amount) == (quantity, moved)
            one.worth, one.amount, one.left = worth, one.amount + moved, one.left - quantity
            sign = 1 if one.side == "buy" else -1
            self.positions[one.symbol] = self.positions.get(one.symbol, 0) + sign * quantity
            self.cash -= sign * moved
            one.open = one.left > 0
            one.held = one.held - moved if one.side == "buy" and one.open else 0

    @rule(data=st.data(), late=_RARELY)
    def cancel(self, data: st.DataObject, late: bool) -> None:
        if not self.orders:
            return
        number = self._drawn(data, late)
        one = self.orders[number]
        answer = self._try(actions.CancelOrder(str(number)))
        if one.left == 0:
            assert answer == "impossible_transition"
        else:
            assert answer.status == "cancelled"
            one.open, one.held = False, 0

    @invariant()
    def books_are_as_the_model_says(self) -> None:
        if not hasattr(self, "db"):
            return
        book, account, sums = self._run(_state(self.db, self.name))
        assert account == (self.cash, self._held)
        held = {one.symbol: one.quantity for one in book.holdings if one.quantity}
        assert held == sums == {symbol: quantity for symbol, quantity in self.positions.items() if quantity}
        assert all(one.available == self._free(one.symbol) for one in book.holdings)
        assert self.shorts or all(one.available >= 0 for one in book.holdings)
        assert book.open_orders == sum(one.open for one in self.orders.values())

    def teardown(self) -> None:
        if hasattr(self, "db"):
            assert self._run(_findings(self.db)) == []
            self._run(self.db.close())


class ShortDesk(Desk):
    """The same, where short sales are allowed."""

    shorts = True


async def _opened(database: TestDatabase) -> Database:
    db = PermittedDatabase(database.app_url, DatabaseSettings())
    await db.open()
    return db


async def _new_portfolio(db: Database, shorts: bool) -> str:
    async with db.write() as tx:
        before = await trading.portfolios(tx, limit=10_000)
        name = f"M{len(before)}"
        (account,) = await ledger.open_accounts(tx, [ledger.AccountSpec(f"CASH-{name}", "CZK")])
        (bank,) = await ledger.open_accounts(tx, [ledger.AccountSpec("BANK", "CZK", "internal", None)])
        opening = ledger.Journal("opening", ledger.transfer(debit=bank.id, credit=account.id, amount=_CASH), "test")
        assert [one.refusal for one in await ledger.post(tx, [opening])] == [None]
        await trading.open_portfolio(tx, trading.NewPortfolio(name, f"CASH-{name}", "BROKER", shorts), by="test")
    return name


async def _state(db: Database, name: str) -> tuple[trading.Book, tuple[int, int], dict[str, int]]:
    async with db.read() as tx:
        book = await trading.book(tx, name)
        sums = await sums_of_fills(tx, name)
    return book, await money(db, book.portfolio.account), sums


async def _findings(db: Database) -> Any:
    async with db.snapshot() as tx:
        return (await ledger.verify(tx, references=REFERENCES)).findings


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize("machine", [Desk, ShortDesk])
def test_positions_and_money_are_what_the_model_says(
    database: TestDatabase, runner: asyncio.Runner, machine: type[Desk]
) -> None:
    async def desk() -> None:
        db = await _opened(database)
        await open_desk(db)
        await db.close()

    runner.run(desk())
    machine.runner, machine.database = runner, database
    checked = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=checked)
