"""The books as they were: at a time, at a version, and that a report of a time misses nothing that was posted by then."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import ledger
from tallystick.db import Database, DatabaseSettings, ReadTx
from tallystick.kit import Invalid, NotFound, Unavailable
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase
from tests.waiting import until

DAY = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
ACCOUNTS = (("bank", "CZK"), ("alice", "CZK"), ("bob", "CZK"), ("fx", "JPY"), ("yuki", "JPY"))


@dataclass(frozen=True)
class Fact:
    """An entry as the test knows it."""

    account_id: int
    seq: int
    amount: int
    posted_at: datetime
    effective_at: datetime


async def _open(db: Database) -> list[int]:
    specs = [ledger.AccountSpec(name, asset, "internal", None) for name, asset in ACCOUNTS]
    async with db.write() as tx:
        return [opened.id for opened in await ledger.open_accounts(tx, specs)]


async def _post(db: Database, *journals: ledger.Journal) -> list[ledger.Posted]:
    async with db.write() as tx:
        posted = await ledger.post(tx, list(journals))
    assert [one.refusal for one in posted] == [None] * len(journals)
    return posted


def _transfer(debit: int, credit: int, amount: int = 100, *, at: datetime | None = None, kind: str = "t") -> ledger.Journal:
    return ledger.Journal(kind, ledger.transfer(debit=debit, credit=credit, amount=amount), "test", effective_at=at)


async def _facts(db: Database, accounts: Sequence[int]) -> list[Fact]:
    found = []
    async with db.read() as tx:
        for account in accounts:
            for entry in await ledger.entries(tx, account, order="asc", limit=10_000):
                found.append(Fact(account, entry.seq, entry.amount, entry.posted_at, entry.effective_at))
    return found


def _sums(facts: list[Fact]) -> tuple[int, int]:
    return sum(-fact.amount for fact in facts if fact.amount < 0), sum(fact.amount for fact in facts if fact.amount > 0)


# Journals of a batch share their posted time; effective times lie before, at and after each other and the present.
moves = st.lists(
    st.lists(
        st.tuples(st.sampled_from([(0, 1), (1, 2), (2, 0), (3, 4), (4, 3), (1, 1)]), st.integers(1, 50), st.integers(-3, 3)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@given(batches=moves)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_balance_at_any_time_is_the_fold_of_its_entries_and_the_trial_balance_is_zero(
    database: TestDatabase, batches: list[list[tuple[tuple[int, int], int, int]]]
) -> None:
    asyncio.run(_holds_at_any_time(database, batches))


async def _holds_at_any_time(database: TestDatabase, batches: list[list[tuple[tuple[int, int], int, int]]]) -> None:
    db = PermittedDatabase(database.app_url, DatabaseSettings())
    await db.open()
    try:
        accounts = await _open(db)
        for batch in batches:
            await _post(
                db,
                *(
                    _transfer(accounts[debit], accounts[credit], amount, at=DAY + timedelta(days=shift))
                    for (debit, credit), amount, shift in batch
                ),
            )
        facts = await _facts(db, accounts)
        async with db.snapshot() as tx:
            await _balances_are_folds(tx, accounts, facts)
            await _trial_balances_are_zero(tx, facts)
    finally:
        await db.close()


async def _balances_are_folds(tx: ReadTx, accounts: list[int], facts: list[Fact]) -> None:
    for by in ("posted", "effective"):
        times = sorted({getattr(fact, f"{by}_at") + shift for fact in facts for shift in (-INSTANT, timedelta(0), INSTANT)})
        for account in accounts:
            own = [fact for fact in facts if fact.account_id == account]
            for time in random.Random(1).sample(times, min(len(times), 8)):
                known = [fact for fact in own if getattr(fact, f"{by}_at") <= time]
                at = await ledger.balance_at(tx, account, at=time, by=by)
                assert (at.entries, at.dr, at.cr) == (len(known), *_sums(known)), (by, time)
                earlier = [fact for fact in own if getattr(fact, f"{by}_at") < time]
                before = await ledger.balance_before(tx, account, before=time, by=by)
                assert (before.entries, before.amount) == (len(earlier), sum(fact.amount for fact in earlier))
    for account in accounts:
        own = [fact for fact in facts if fact.account_id == account]
        for version in range(len(own) + 1):
            found = await ledger.balance_at_version(tx, account, version)
            assert (found.entries, found.amount) == (version, sum(fact.amount for fact in own[:version]))


async def _trial_balances_are_zero(tx: ReadTx, facts: list[Fact]) -> None:
    for by in ("posted", "effective"):
        times = sorted({getattr(fact, f"{by}_at") + shift for fact in facts for shift in (-INSTANT, timedelta(0))})
        for time in [*random.Random(2).sample(times, min(len(times), 8)), None]:
            lines = await ledger.trial_balance_at(tx, at=time, by=by)
            assert lines
            known = [fact for fact in facts if time is None or getattr(fact, f"{by}_at") <= time]
            assert sum(line.dr for line in lines) == _sums(known)[0]
            assert sum(line.accounts for line in lines) == len({fact.account_id for fact in known})
            for line in lines:
                assert line.difference == 0
                assert line.debit_balances == line.credit_balances


async def test_a_posted_time_is_found_among_many_entries_in_a_few_look_ups(db: Database, database: TestDatabase) -> None:
    bank, alice, *_ = await _open(db)
    for _ in range(3):
        await _post(db, *[_transfer(bank, alice, 1) for _ in range(2000)])
    facts = await _facts(db, [alice])
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("analyze ledger.entry")
        owner.execute("select pg_stat_reset()")
        for place in (0, 1999, 2000, 3999, 4000, 5999):
            time = facts[place].posted_at
            row = owner.execute("select ledger.seq_before(%s, %s)", (alice, time)).fetchone()
            assert row == (sum(fact.posted_at < time for fact in facts),)
        owner.execute("select pg_stat_force_next_flush()")
        used = owner.execute(
            "select idx_scan, seq_scan, idx_tup_fetch from pg_stat_user_tables where relid = 'ledger.entry'::regclass"
        ).fetchone()
    assert used is not None
    look_ups, scans, rows = used
    assert scans == 0
    assert 6 <= look_ups <= 6 * 14
    assert rows <= 6 * 14


async def test_a_version_that_is_to_come_is_refused(db: Database) -> None:
    bank, alice, *_ = await _open(db)
    await _post(db, _transfer(bank, alice))
    async with db.read() as tx:
        assert (await ledger.balance_at_version(tx, alice, 0)).amount == 0
        assert (await ledger.balance_at_version(tx, alice, 1)).amount == 100
        with pytest.raises(NotFound, match="unknown_version"):
            await ledger.balance_at_version(tx, alice, 2)


async def test_a_period_that_ends_before_it_begins_is_refused(db: Database) -> None:
    _, alice, *_ = await _open(db)
    async with db.read() as tx:
        with pytest.raises(Invalid, match="period_malformed"):
            await ledger.span(tx, alice, start=DAY, end=DAY - INSTANT)


async def test_a_report_waits_for_a_writer_that_has_posted_and_sees_what_it_posted(db: Database) -> None:
    bank, alice, *_ = await _open(db)
    async with db.write() as writer:
        (posted,) = await ledger.post(writer, [_transfer(bank, alice)])
        assert posted.posted_at is not None
        reporting = asyncio.create_task(_balance_by_report(db, alice, posted.posted_at))
        # A look without waiting sees nothing yet, and the report is not made as long as that is so.
        await until(lambda: _is_asked_for_writers(db))
        async with db.snapshot() as tx:
            assert (await ledger.balance_at(tx, alice, at=posted.posted_at)).amount == 0
        assert not reporting.done()
    assert await asyncio.wait_for(reporting, 10) == 100


async def test_writers_do_not_wait_for_a_report_that_waits(db: Database) -> None:
    bank, alice, bob, *_ = await _open(db)
    async with db.write() as writer:
        (posted,) = await ledger.post(writer, [_transfer(bank, alice)])
        assert posted.posted_at is not None
        reporting = asyncio.create_task(_balance_by_report(db, alice, posted.posted_at))
        await until(lambda: _is_asked_for_writers(db))
        # The bank's account is locked by the writer; other accounts are free to move.
        await asyncio.wait_for(_post(db, _transfer(bob, bob)), 5)
        assert not reporting.done()
    assert await asyncio.wait_for(reporting, 10) == 100


async def test_a_report_does_not_wait_for_writers_that_begin_after_it(db: Database) -> None:
    bank, alice, bob, *_ = await _open(db)
    async with db.write() as first:
        (posted,) = await ledger.post(first, [_transfer(bank, alice)])
        assert posted.posted_at is not None
        reporting = asyncio.create_task(_balance_by_report(db, alice, posted.posted_at))
        await until(lambda: _is_asked_for_writers(db))
        second = db.write()
        tx = await second.__aenter__()
        await ledger.post(tx, [_transfer(bob, bob)])
    try:
        assert await asyncio.wait_for(reporting, 5) == 100
    finally:
        await second.__aexit__(None, None, None)


async def test_a_report_of_a_time_before_a_writer_began_does_not_wait_for_it(db: Database) -> None:
    bank, alice, *_ = await _open(db)
    (posted,) = await _post(db, _transfer(bank, alice))
    assert posted.posted_at is not None
    async with db.write() as writer:
        await ledger.post(writer, [_transfer(bank, alice)])
        assert await asyncio.wait_for(_balance_by_report(db, alice, posted.posted_at), 5) == 100


async def test_a_report_gives_up_on_a_writer_that_never_ends(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.ledger.history._WAIT_S", 0.05)
    bank, alice, *_ = await _open(db)
    async with db.write() as writer:
        await ledger.post(writer, [_transfer(bank, alice)])
        with pytest.raises(Unavailable, match="writers_running"):
            await _balance_by_report(db, alice, datetime.now(UTC) + timedelta(days=1))


async def test_reports_under_load_see_a_past_that_never_changes(db: Database) -> None:
    bank, alice, bob, *_ = await _open(db)
    stop = asyncio.Event()

    async def write(debit: int, credit: int) -> None:
        while not stop.is_set():
            await _post(db, _transfer(debit, credit, 1))

    async def report() -> list[tuple[datetime, int, int]]:
        seen = []
        for _ in range(15):
            async with db.read() as tx:
                now = await ledger.made_at(tx)
            async with ledger.report(db, as_of=now) as tx:
                (line, *_) = await ledger.trial_balance_at(tx, at=now)
                assert line.difference == 0
                seen.append((now, (await ledger.balance_at(tx, alice, at=now)).entries, line.dr))
        return seen

    writers = [asyncio.create_task(write(*pair)) for pair in ((bank, alice), (bob, alice), (bank, bob), (alice, bob))]
    reports = await asyncio.gather(report(), report())
    stop.set()
    await asyncio.gather(*writers)
    async with db.snapshot() as tx:
        for now, entries, dr in [one for seen in reports for one in seen]:
            assert (await ledger.balance_at(tx, alice, at=now)).entries == entries
            assert (await ledger.trial_balance_at(tx, at=now))[0].dr == dr


async def _balance_by_report(db: Database, account: int, at: datetime) -> int:
    async with ledger.report(db, as_of=at) as tx:
        return (await ledger.balance_at(tx, account, at=at)).amount


async def _is_asked_for_writers(db: Database) -> bool:
    """Whether a report has begun to ask who is writing."""
    query = "select count(*) from pg_stat_activity where datname = current_database() and query like '-- Transactions that %'"
    async with await psycopg.AsyncConnection.connect(db.url, autocommit=True) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    return row is not None and row[0] > 0


async def test_a_journal_is_found_with_its_entries(db: Database) -> None:
    bank, alice, *_ = await _open(db)
    (posted,) = await _post(db, ledger.Journal("fee", ledger.transfer(debit=alice, credit=bank, amount=5), "me", ref_id=7))
    assert posted.journal_id is not None
    async with db.read() as tx:
        journal = await ledger.journal(tx, posted.journal_id)
        legs = await ledger.legs(tx, [posted.journal_id])
        with pytest.raises(NotFound, match="unknown_journal"):
            await ledger.journal(tx, 10**6)
    assert (journal.kind, journal.ref_id, journal.actor, journal.posted_at) == ("fee", 7, "me", posted.posted_at)
    assert [(leg.account, leg.amount, leg.balance_after) for leg in legs] == [("alice", -5, -5), ("bank", 5, 5)]


async def test_pages_of_journals_are_complete_and_say_each_journal_once(db: Database) -> None:
    bank, alice, bob, *_ = await _open(db)
    posted = []
    for number in range(12):
        to = (alice, bob)[number % 2]
        entries = [(bank, -3), (to, 1), (to, 2)] if number % 3 == 0 else ledger.transfer(debit=bank, credit=to, amount=1)
        posted += await _post(db, ledger.Journal(f"kind{number % 2}", entries, "test"))
    ids = [one.journal_id for one in posted]
    times = [one.posted_at for one in posted]
    assert await _pages(db, account_id=alice) == ids[::2][::-1]
    assert await _pages(db, account_id=bank) == ids[::-1]
    assert await _pages(db) == ids[::-1]
    assert await _pages(db, kind="kind1") == ids[1::2][::-1]
    assert await _pages(db, kind="kind1", account_id=alice) == []
    assert await _pages(db, start=times[3], end=times[7]) == ids[3:7][::-1]
    assert await _pages(db, start=times[3], end=times[7], account_id=bob) == [ids[5], ids[3]]


async def _pages(db: Database, **filters: object) -> list[int]:
    found: list[int] = []
    place: int | None = None
    async with db.read() as tx:
        while page := await ledger.journals(tx, place=place, limit=2, **filters):  # type: ignore[arg-type]
            found += [journal.id for journal in page]
            place = page[-1].place
    return found


def test_the_lock_of_writers_is_the_one_that_posting_takes() -> None:
    root = Path(ledger.__file__).parent
    assert f"pg_advisory_xact_lock_shared({ledger.history.WRITERS})" in (root / "repeatable/20_post.sql").read_text()
