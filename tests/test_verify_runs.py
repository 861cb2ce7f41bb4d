"""Runs of the verifier: over random books, beside others who post, by the command, and over a real bank."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import Result

from tallystick import ledger
from tallystick.cli.berka import import_berka
from tallystick.cli.verify import REFERENCES
from tallystick.db import Database
from tests.command_line import command
from tests.conftest import ROOT, TestDatabase
from tests.kept_books import LATER, Books, cut_off, is_named, keep_books, kept, move, post, where
from tests.permitted import PermittedDatabase


@pytest.fixture
async def books(db: Database, database: TestDatabase) -> AsyncIterator[Books]:
    """See `kept`."""
    async with kept(db, database) as books:
        yield books


_NAMES = ("bank", "alice", "bob", "euro")
_ops = st.one_of(
    st.tuples(
        st.just("post"),
        st.lists(
            st.tuples(
                st.sampled_from(_NAMES),
                st.sampled_from(_NAMES),
                st.integers(1, 100),
                st.sampled_from([None, "k1", "k2", "k3", "k4"]),
            ),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from(["independent", "atomic"]),
    ),
    st.tuples(st.just("hold"), st.sampled_from(_NAMES), st.integers(1, 80), st.sampled_from([None, "h1", "h2"])),
    st.tuples(st.just("capture"), st.integers(0, 5), st.integers(1, 80), st.booleans()),
    st.tuples(st.just("release"), st.integers(0, 5), st.sampled_from([None, "r1", "r2"])),
    st.tuples(st.just("reverse"), st.integers(0, 9), st.sampled_from([None, 1, 30]), st.sampled_from([None, "v1"])),
    st.tuples(st.just("floor"), st.sampled_from(_NAMES), st.integers(-200, 50)),
    st.tuples(st.just("status"), st.sampled_from(_NAMES), st.sampled_from(["open", "frozen"])),
    st.tuples(st.just("close"), st.integers(0, 3)),
)


async def _carry_out(db: Database, number: int, op: tuple[Any, ...]) -> None:
    async with db.read() as tx:
        accounts = await ledger.resolve(tx, _NAMES)
        known = await ledger.holds(tx, limit=6)
        journals = await ledger.journals(tx, limit=10)
    async with db.write() as tx:
        match op:
            case ("post", moves, mode):
                batch = [
                    ledger.Journal(
                        "t",
                        ledger.transfer(debit=accounts[debit].id, credit=accounts[credit].id, amount=amount),
                        "me",
                        key=key and f"{number} {key}",
                        effective_at=LATER if amount % 3 == 0 else None,
                    )
                    for debit, credit, amount, key in moves
                ]
                await ledger.post(tx, batch, mode=mode)
            case ("hold", name, amount, key):
                await ledger.place_holds(tx, [ledger.NewHold(accounts[name].id, amount, "me", key=key and f"{number} {key}")])
            case ("capture", place, amount, final) if place < len(known):
                await ledger.post(
                    tx, [ledger.capture(known[place], credit=accounts["bank"].id, amount=amount, actor="me", final=final)]
                )
            case ("release", place, key) if place < len(known):
                await ledger.release_holds(tx, [ledger.Release(known[place].id, "me", key and f"{number} {key}")])
            case ("reverse", place, amount, key) if place < len(journals):
                legs = await ledger.legs(tx, [journals[place].id])
                if amount is None or len({leg.account for leg in legs}) == 2:
                    reversal = ledger.Reversal(journals[place].id, "me", amount=amount, key=key and f"{number} {key}")
                    await ledger.reverse(tx, [reversal])
            case ("floor", name, floor):
                await ledger.set_floor(tx, name, floor)
            case ("status", name, status):
                await ledger.set_status(tx, name, status)
            case ("close", days):
                closed = await ledger.closed_until(tx)
                until = LATER + timedelta(days=days)
                if closed is None or until > closed:
                    await ledger.close_period(tx, until, actor="me")


async def _random_books(url: str, number: int, ops: list[tuple[Any, ...]]) -> None:
    db = PermittedDatabase(url)
    await db.open()
    try:
        async with db.write() as tx:
            await ledger.open_accounts(
                tx,
                [
                    ledger.AccountSpec("bank", "CZK", "internal", None),
                    ledger.AccountSpec("alice", "CZK"),
                    ledger.AccountSpec("bob", "CZK", floor=-100),
                    ledger.AccountSpec("euro", "EUR", "internal", None),
                ],
            )
        for op in ops:
            await _carry_out(db, number, op)
        async with db.snapshot() as tx:
            assert (await ledger.verify(tx, references=REFERENCES, piece=4)).findings == []
    finally:
        await db.close()


_examples = iter(range(10**9))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=st.lists(_ops, min_size=5, max_size=30))
def test_random_books_by_random_verbs_are_clean(database: TestDatabase, ops: list[tuple[Any, ...]]) -> None:
    # The books of one example are those of the ones before, and more.
    asyncio.run(_random_books(database.app_url, next(_examples), ops))


async def test_the_verifier_sees_one_state_while_others_post(db: Database, database: TestDatabase) -> None:
    ids = await keep_books(db)

    async def post_on() -> None:
        for batch in range(15):
            await post(db, *(move(ids["mint"], ids["alice"], 1, key=f"{batch} {n}") for n in range(20)))

    async with db.snapshot() as tx:
        before = await ledger.verify(tx, references=REFERENCES)
        posting = asyncio.create_task(post_on())
        while not posting.done():
            assert await ledger.verify(tx, references=REFERENCES, piece=50) == before
        await posting
        assert await ledger.verify(tx, references=REFERENCES, piece=50) == before
    async with db.snapshot() as tx:
        after = await ledger.verify(tx, references=REFERENCES)
    assert (before.findings, after.findings) == ([], [])
    assert (before.journals + 300, before.entries + 600) == (after.journals, after.entries)


async def _command(database: TestDatabase, *options: str) -> Result:
    return await asyncio.to_thread(command, database, "verify", *options)


@pytest.mark.faults
async def test_the_command_names_the_places_and_its_status_tells(books: Books, database: TestDatabase) -> None:
    clean = await _command(database, "--ledger")
    counts = await books.verified()
    last = f"verified journals={counts.journals} entries={counts.entries} accounts=10 holds=5 findings="
    assert clean.exit_code == 0, clean.stderr
    assert clean.stdout.splitlines()[-1].startswith(f"{last}0 seconds=")
    as_json = await _command(database, "--ledger", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["findings"]) == (0, [])
    async with books.connection.transaction():
        await books.connection.execute("set local session_replication_role = replica")
        await books.connection.execute("update ledger.entry set amount = amount - 1 where account_id = 1 and seq = 2")
    broken = await _command(database, "--ledger")
    assert broken.exit_code == 1
    assert "ledger.entry" in broken.stdout
    assert "account_id=1 seq=2" in broken.stdout
    assert broken.stdout.splitlines()[-1].startswith(last)
    assert "findings=0" not in broken.stdout
    as_json = await _command(database, "--ledger", "--json")
    found = json.loads(as_json.stdout)
    assert as_json.exit_code == 1
    assert found["total"] == len(found["findings"]) > 0
    assert {"code", "relation", "place", "found", "expected"} == set(found["findings"][0])
    # Without an option it goes through the record as well.
    both = await _command(database)
    assert both.exit_code == 1
    assert "ledger.entry" in both.stdout
    assert both.stdout.splitlines()[-1].startswith("verified events=")


@pytest.mark.faults
async def test_the_real_bank_is_clean_and_what_is_changed_in_it_is_named(db: Database, database: TestDatabase) -> None:
    folder = Path(os.environ.get("TALLYSTICK_TEST_DATA") or ROOT.parent / "shared" / "data") / "berka"
    if not (folder / "account.asc.gz").exists():
        pytest.skip(f"the real data is not at {folder}: set TALLYSTICK_TEST_DATA")
    await import_berka(db, folder)
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        books = Books(connection, {})
        clean = await books.verified()
        assert (clean.findings, clean.journals, clean.accounts) == ([], 62_481, 4507)
        entries, journals = await books.keys("entry"), await books.keys("journal")
        entry, journal = entries[len(entries) // 2], journals[len(journals) // 2]
        for table, key, change in (
            ("entry", entry, "update ledger.entry set amount = amount + 1"),
            ("entry", entry, "delete from ledger.entry"),
            ("journal", journal, "update ledger.journal set effective_at = effective_at + interval '1 day'"),
            ("journal", journal, 'update ledger.journal set meta = meta || \'{"bank": "ZZ"}\''),
            ("journal", journal, "delete from ledger.journal"),
        ):
            assert is_named(await books.found(f"{change} where {where(table, key)}"), table, key), change
        newest = journals[-1][0]
        assert is_named(await books.found(*cut_off(newest)), "journal", (newest,))
