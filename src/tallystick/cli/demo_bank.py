"""The bank of the demo: generated, the same every time, and loaded once however often the demo starts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from tallystick import actions, customers, ledger, trading
from tallystick.db import Database
from tallystick.identity import house

_ACTOR = "demo:generator"
_FIRST_DAY = date(2026, 1, 5)
_DAYS = 60
_GUIDE_ACCOUNTS = ("ACC123", "ACC999", "ACC1001", "ACC2002")
_OPENING = 1_000_000
_SYMBOLS = {"AAPL": 10025, "MSFT": 41250, "NVDA": 13480, "JPM": 24110, "XOM": 11790}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the demo's database holds of the generated bank; `new_journals` were posted just now."""

    customers: int
    accounts: int
    journals: int
    new_journals: int
    symbols: int


async def load(database: Database) -> Loaded:
    """Make what is missing of the bank. One transaction: a killed first start leaves nothing half loaded."""
    names = ["CUST-1042", "CUST-10021", *(f"CUST-{number}" for number in range(2001, 2023))]
    accounts = [*_GUIDE_ACCOUNTS, *(f"ACC{number}" for number in range(3001, 3021))]
    async with database.write() as tx:
        new = [customers.NewCustomer(name=name, full_name=f"Customer {name[5:]}") for name in names]
        known = await customers.add(tx, new, by=_ACTOR)
        specs = [ledger.AccountSpec(name, "USD") for name in accounts]
        internal = [
            ledger.AccountSpec(name, "USD", "internal", None) for name in ("demo-equity", "demo-employers", "demo-shops")
        ]
        opened = await ledger.open_accounts(tx, [*specs, *internal])
        ids = dict(
            zip([*accounts, "demo-equity", "demo-employers", "demo-shops"], (account.id for account in opened), strict=True)
        )
        owners = [
            customers.Disposition(customer.id, ids[account], "owner") for customer, account in zip(known, accounts, strict=True)
        ]
        await customers.add_dispositions(tx, owners, by=_ACTOR)
        actions.passed(await actions.enter(tx, house(_ACTOR), actions.ImportBooks("demo")))
        posted = await ledger.post(tx, _journals(ids, accounts))
        refused = [answer.refusal for answer in posted if answer.refusal]
        assert not refused, refused
        await trading.load_prices(tx, _prices())
    fresh = sum(1 for answer in posted if not answer.replayed)
    return Loaded(len(names), len(accounts), len(posted), fresh, len(_SYMBOLS))


def _journals(ids: dict[str, int], accounts: list[str]) -> list[ledger.Journal]:
    """Opening deposits for all; salaries and purchases for all but the four accounts of the guides, which stay as opened."""
    chance = random.Random(1793)  # noqa: S311 - the same bank every time
    journals = [
        _journal("opening", f"open-{name}", ids["demo-equity"], ids[name], amount=_OPENING, day=_FIRST_DAY) for name in accounts
    ]
    for day in range(_DAYS):
        when = _FIRST_DAY + timedelta(days=day)
        for name in accounts[len(_GUIDE_ACCOUNTS) :]:
            if when.day == 25:
                salary = chance.randrange(200_000, 600_000, 100)
                journals.append(
                    _journal("salary", f"salary-{name}-{when}", ids["demo-employers"], ids[name], amount=salary, day=when)
                )
            if chance.random() < 0.25:
                spent = chance.randrange(150, 9_000)
                journals.append(
                    _journal("purchase", f"purchase-{name}-{when}", ids[name], ids["demo-shops"], amount=spent, day=when)
                )
    return journals


def _journal(kind: str, key: str, debit: int, credit: int, *, amount: int, day: date) -> ledger.Journal:
    return ledger.Journal(
        kind=kind,
        entries=ledger.transfer(debit=debit, credit=credit, amount=amount),
        actor=_ACTOR,
        key=key,
        effective_at=datetime(day.year, day.month, day.day, tzinfo=UTC),
    )


def _prices() -> list[trading.Price]:
    """Thirty business days a symbol: a walk back from the last close."""
    chance = random.Random(1826)  # noqa: S311 - the same prices every time
    days = [day for day in (_FIRST_DAY + timedelta(days=n) for n in range(_DAYS)) if day.weekday() < 5][-30:]
    prices = []
    for symbol, last in _SYMBOLS.items():
        cents = last
        for day in reversed(days):
            low, high = cents * 99 // 100, cents * 101 // 100
            volume = chance.randrange(20_000_000, 60_000_000)
            prices.append(
                trading.Price(
                    symbol=symbol,
                    day=day,
                    open=_decimal(cents),
                    high=_decimal(high),
                    low=_decimal(low),
                    close=_decimal(cents),
                    volume=volume,
                )
            )
            cents = cents * chance.randrange(985, 1016) // 1000
    return prices


def _decimal(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)
