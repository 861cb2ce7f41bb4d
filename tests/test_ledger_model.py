"""The books against a model in plain Python: any batches of journals, by any cuts, come to the same."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import ledger
from tallystick.db import Database
from tests.conftest import TestDatabase

NAMES = ("bank", "alice", "bob", "carol", "fx-czk", "fx-usd", "dora")
ASSETS = dict(zip(NAMES, ("CZK", "CZK", "CZK", "CZK", "CZK", "USD", "USD"), strict=True))
FLOORS: dict[str, int | None] = {"bank": None, "alice": 0, "bob": 0, "carol": -100, "fx-czk": None, "fx-usd": None, "dora": 0}

Lines = tuple[tuple[str, int], ...]


class Model:
    """What the books promise, one journal at a time."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.entries: dict[str, list[int]] = defaultdict(list)
        self.closed: set[str] = set()

    def post(self, lines: Lines) -> str | None:
        if len(lines) < 2:
            return "too_few_entries"
        sums: dict[str, int] = defaultdict(int)
        for name, amount in lines:
            sums[ASSETS[name]] += amount
        if any(sums.values()):
            return "unbalanced"
        for name, amount in lines:
            if amount == 0 or abs(amount) > 10**15:
                return "amount_out_of_range"
            if name in self.closed:
                return "account_frozen"
        net: dict[str, int] = defaultdict(int)
        for name, amount in lines:
            net[name] += amount
        for name, change in net.items():
            floor = FLOORS[name]
            if change < 0 and floor is not None and self.balances[name] + change < floor:
                return "insufficient_funds"
        for name, amount in lines:
            self.balances[name] += amount
            self.entries[name].append(self.balances[name])
        return None


amounts = st.integers(-60, 60) | st.sampled_from([10**15, -(10**15), 10**15 + 1, -(10**15) - 1])


@st.composite
def balanced(draw: st.DrawFn) -> Lines:
    """Mostly balanced journals: a transfer, or several lines of which the last makes the sum zero."""
    czk = [name for name in NAMES if ASSETS[name] == "CZK"]
    lines = [(draw(st.sampled_from(czk)), draw(amounts)) for _ in range(draw(st.integers(1, 4)))]
    lines.append((draw(st.sampled_from(czk)), -sum(amount for _, amount in lines)))
    if draw(st.booleans()):
        dollars = draw(st.integers(1, 50))
        lines += [("fx-usd", -dollars), ("dora", dollars)]
    return tuple(lines)


journals = balanced() | st.lists(st.tuples(st.sampled_from(NAMES), amounts), max_size=4).map(tuple)


async def _open(db: Database) -> dict[str, int]:
    specs = [ledger.AccountSpec(name, ASSETS[name], "customer", FLOORS[name]) for name in NAMES]
    async with db.write() as tx:
        return {name: opened.id for name, opened in zip(NAMES, await ledger.open_accounts(tx, specs), strict=True)}


async def _compare(batches: list[list[Lines]], freeze: str | None, url: str) -> None:
    db = Database(url)
    await db.open()
    ids = await _open(db)
    model = Model()
    for number, batch in enumerate(batches):
        if number == 1 and freeze is not None:
            async with db.write() as tx:
                await ledger.set_status(tx, freeze, "frozen")
            model.closed.add(freeze)
        wanted = [model.post(lines) for lines in batch]
        async with db.write() as tx:
            answers = await ledger.post(
                tx, [ledger.Journal("t", [(ids[name], amount) for name, amount in lines], "me") for lines in batch]
            )
        assert [answer.refusal for answer in answers] == wanted
    async with db.read() as tx:
        found = await ledger.resolve(tx, NAMES)
        assert {name: account.posted for name, account in found.items()} == model.balances
        for name, account in found.items():
            entries = await ledger.entries(tx, account.id, order="asc", limit=1000)
            assert [entry.balance_after for entry in entries] == model.entries[name], name
            assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1)), name
        assert [asset.difference for asset in await ledger.trial_balance(tx)] == [0, 0]
    await db.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(journals, min_size=1, max_size=12), min_size=1, max_size=4),
    freeze=st.none() | st.sampled_from(NAMES),
)
def test_any_batches_come_to_what_the_model_says(
    database: TestDatabase, batches: list[list[Lines]], freeze: str | None
) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        # The facts cannot be removed by anyone who abides by the triggers; a test's owner steps over them between examples.
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "truncate ledger.entry, ledger.journal, ledger.refusal, db.claim, ledger.balance, ledger.account cascade"
        )
    asyncio.run(_compare(batches, freeze, database.app_url))


async def test_writers_in_every_order_never_deadlock_and_the_books_stay_balanced(database: TestDatabase) -> None:
    db = Database(database.app_url)
    await db.open()
    specs = [ledger.AccountSpec(f"a{n}", "CZK", floor=0) for n in range(6)]
    async with db.write() as tx:
        ids = [
            opened.id
            for opened in await ledger.open_accounts(tx, [ledger.AccountSpec("bank", "CZK", "internal", None), *specs])
        ]
        await ledger.post(
            tx, [ledger.Journal("t", ledger.transfer(debit=ids[0], credit=id, amount=100), "me") for id in ids[1:]]
        )

    async def write(seed: int) -> int:
        chance, posted = random.Random(seed), 0
        for _ in range(40):
            batch = [
                ledger.Journal("t", ledger.transfer(debit=debit, credit=credit, amount=chance.randint(1, 80)), "me")
                for debit, credit in (chance.sample(ids[1:], 2) for _ in range(chance.randint(1, 5)))
            ]
            async with db.write() as tx:
                posted += sum(answer.refusal is None for answer in await ledger.post(tx, batch))
        return posted

    counts = await asyncio.gather(*(write(seed) for seed in range(8)))
    async with db.read() as reader:
        (trial,) = await ledger.trial_balance(reader)
        accounts = await ledger.accounts(reader)
        assert trial.difference == 0
        assert sum(account.posted for account in accounts) == 0
        assert all(account.posted >= 0 for account in accounts if account.name != "bank")
        assert sum(account.seq for account in accounts) == 2 * (sum(counts) + 6)
    with psycopg.connect(database.owner_url) as connection:
        row = connection.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
        assert row == (0,)
    await db.close()


async def test_concurrent_calls_with_one_key_post_once_and_answer_the_same(db: Database) -> None:
    async with db.write() as tx:
        bank, alice = (
            opened.id
            for opened in await ledger.open_accounts(
                tx, [ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK")]
            )
        )
    journal = ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=5), "me", key="once")

    async def call() -> ledger.Posted:
        async with db.write() as tx:
            return (await ledger.post(tx, [journal]))[0]

    answers = await asyncio.gather(*(call() for _ in range(20)))
    assert len({answer.journal_id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    async with db.read() as reader:
        assert (await ledger.account(reader, "alice")).posted == 5


async def test_a_rolled_back_call_leaves_its_key_free(db: Database) -> None:
    async with db.write() as tx:
        bank, alice = (
            opened.id
            for opened in await ledger.open_accounts(
                tx, [ledger.AccountSpec("bank", "CZK", "internal", None), ledger.AccountSpec("alice", "CZK")]
            )
        )
    journal = ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=5), "me", key="once")
    with pytest.raises(ZeroDivisionError):
        async with db.write() as tx:
            await ledger.post(tx, [journal])
            raise ZeroDivisionError
    async with db.write() as tx:
        (answer,) = await ledger.post(tx, [journal])
    assert (answer.refusal, answer.replayed) == (None, False)
