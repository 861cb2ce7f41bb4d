"""The books under several writers at once, on real connections."""

from __future__ import annotations

import asyncio
import random

import psycopg
import pytest

from tallystick import ledger
from tallystick.db import Database
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase


async def test_writers_in_every_order_never_deadlock_and_the_books_stay_balanced(database: TestDatabase) -> None:
    db = PermittedDatabase(database.app_url)
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
