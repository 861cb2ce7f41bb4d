"""Group commit: requests share a transaction, and what is wrong with one of them never touches the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest

from tallystick import audit, ledger
from tallystick.actions import Denied, Held, post_journals
from tallystick.db import Database, DatabaseSettings, Tx
from tallystick.http import batching
from tallystick.http.batching import MAX_BATCH, MAX_WAITING, Batcher
from tallystick.identity import Principal, house
from tallystick.kit import Invalid, NotFound, TallystickError, Unavailable
from tests.conftest import TestDatabase
from tests.serving import fund

Outcome = ledger.Posted | Held | Denied
Journals = Batcher[ledger.NamedJournal, Outcome]


class Poisoned(Exception):
    pass


@asynccontextmanager
async def running(batcher: Batcher[ledger.NamedJournal, Outcome]) -> AsyncIterator[Journals]:
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pay(debit: str, credit: str = "BANK", amount: str = "1.00", key: str | None = None) -> ledger.NamedJournal:
    return ledger.NamedJournal("test", [(debit, f"-{amount}"), (credit, amount)], key=key)


async def _all(batcher: Journals, items: Sequence[ledger.NamedJournal], principal: str = "me") -> list[object]:
    return await asyncio.gather(*(batcher.submit(house(principal), item.key, item) for item in items), return_exceptions=True)


async def _posted(db: Database, *names: str) -> list[int]:
    async with db.read() as tx:
        found = await ledger.resolve(tx, names)
    return [found[name].posted for name in names]


async def test_what_waits_together_is_committed_together_and_each_gets_its_own_answer(db: Database) -> None:
    await fund(db)
    sizes: list[int] = []

    async def counted(
        tx: Tx, principal: Principal, items: Sequence[ledger.NamedJournal]
    ) -> Sequence[Outcome | TallystickError]:
        sizes.append(len(items))
        return await post_journals(tx, principal, items)

    items = [
        pay("ALICE", key="a"), pay("ALICE", amount="5000.00"), pay("nobody"), pay("BOB", amount="0.001"), pay("BOB", key="b"),
    ]  # fmt: skip
    async with running(Batcher(db, counted)) as batcher:
        good, poor, unknown, fine, also_good = await _all(batcher, items)
        again, other = await _all(batcher, [pay("ALICE", key="a"), pay("ALICE", key="b")])
    assert sizes[0] == 5
    assert isinstance(good, ledger.Posted)
    assert good.refusal is None
    assert isinstance(poor, ledger.Posted)
    assert poor.refusal == "insufficient_funds"
    assert isinstance(unknown, NotFound)
    assert isinstance(fine, Invalid)
    assert fine.code == "amount_too_fine"
    assert isinstance(also_good, ledger.Posted)
    assert also_good.refusal is None
    assert isinstance(again, ledger.Posted)
    assert (again.journal_id, again.replayed) == (good.journal_id, True)
    assert isinstance(other, Invalid)
    assert other.code == "key_reused"
    assert await _posted(db, "ALICE", "BOB") == [99_900, 99_900]


async def test_while_a_batch_commits_the_next_one_gathers(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_GATHER_S", 60)
    sizes: list[int] = []
    going: set[int] = set()

    async def counted(tx: Tx, principal: Principal, items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        going.add(len(sizes))
        assert len(going) == 1, "one at a time"
        for _ in range(10):
            await asyncio.sleep(0)
        going.clear()
        return items

    batcher = Batcher[int, int](db, counted)

    async def client(turns: int) -> None:
        for number in range(10):
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await batcher.submit(house("me"), None, number) == number

    task = asyncio.create_task(batcher.run())
    await asyncio.gather(*(client(turns) for turns in range(20)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sum(sizes) == 200
    assert len(sizes) < 100


@pytest.mark.parametrize(("principal", "gather_s"), [("me", 0.001), ("you", 60)])
async def test_a_batch_that_is_stuck_holds_up_none_of_those_after_it_and_nobody_else_at_all(
    db: Database, monkeypatch: pytest.MonkeyPatch, principal: str, gather_s: float
) -> None:
    monkeypatch.setattr(batching, "_GATHER_S", gather_s)
    begun, stuck = asyncio.Event(), asyncio.Event()

    async def first_waits(tx: Tx, by: Principal, items: Sequence[int]) -> Sequence[int]:
        if 0 in items:
            begun.set()
            await stuck.wait()
        return items

    batcher = Batcher[int, int](db, first_waits)
    task = asyncio.create_task(batcher.run())
    first = asyncio.create_task(batcher.submit(house("me"), None, 0))
    await begun.wait()
    for number in range(1, 20):
        assert await batcher.submit(house(principal), None, number) == number
    stuck.set()
    assert await first == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_work_that_forgets_an_answer_leaves_nobody_waiting(db: Database) -> None:
    async def forgetful(tx: Tx, principal: Principal, items: Sequence[int]) -> Sequence[int]:
        return items[:-1]

    batcher = Batcher[int, int](db, forgetful)
    waiting = [asyncio.ensure_future(batcher.submit(house("me"), None, number)) for number in range(10)]
    await asyncio.sleep(0)
    task = asyncio.create_task(batcher.run())
    *told, last = await asyncio.gather(*waiting, return_exceptions=True)
    assert told[:8] == list(range(8))
    assert isinstance(last, ValueError)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_batch_is_of_one_principal_holds_no_key_twice_and_is_bounded(db: Database) -> None:
    seen: list[tuple[str, list[str | None]]] = []

    async def noted(tx: Tx, principal: Principal, items: Sequence[str | None]) -> Sequence[int]:
        seen.append((principal.name, list(items)))
        return [len(seen)] * len(items)

    batcher = Batcher[str | None, int](db, noted, lanes=1)
    wanted = [("a", "1"), ("b", "1"), ("a", "1"), ("a", None), ("a", None), ("b", "2")] + [("a", None)] * MAX_BATCH
    waiting = [asyncio.ensure_future(batcher.submit(house(principal), key, key)) for principal, key in wanted]
    await asyncio.sleep(0)
    task = asyncio.create_task(batcher.run())
    answers = await asyncio.gather(*waiting)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(answers) == len(wanted)
    assert max(len(items) for _, items in seen) == MAX_BATCH
    for _, items in seen:
        keys = [key for key in items if key is not None]
        assert len(keys) == len(set(keys))
    assert [principal for principal, _ in seen].count("b") == 1


async def test_the_queue_is_bounded_and_who_has_no_answer_at_the_end_is_told_so(db: Database) -> None:
    begun = asyncio.Event()

    async def never(tx: Tx, principal: Principal, items: Sequence[int]) -> Sequence[int]:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    batcher = Batcher[int, int](db, never)
    waiting = [asyncio.ensure_future(batcher.submit(house("me"), None, number)) for number in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as full:
        await batcher.submit(house("me"), None, 0)
    assert full.value.code == "overloaded"
    task = asyncio.create_task(batcher.run())
    await begun.wait()
    task.cancel()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert {getattr(one, "code", None) for one in told} == {"shutting_down"}


async def test_what_is_committed_is_answered_as_such_though_the_server_stops_while_it_answers(db: Database) -> None:
    async def done(tx: Tx, principal: Principal, items: Sequence[int]) -> Sequence[int]:
        return items

    batcher = Batcher[int, int](db, done)
    waiting = [asyncio.ensure_future(batcher.submit(house("me"), None, number)) for number in range(MAX_BATCH)]
    await asyncio.sleep(0)
    task = asyncio.create_task(batcher.run())
    waiting[0].add_done_callback(lambda _: task.cancel())
    assert await asyncio.gather(*waiting) == list(range(MAX_BATCH))
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("place", [0, 7, 19])
async def test_one_item_that_breaks_the_batch_is_found_and_its_neighbours_commit(db: Database, place: int) -> None:
    await fund(db)

    async def poisoned(
        tx: Tx, principal: Principal, items: Sequence[ledger.NamedJournal]
    ) -> Sequence[Outcome | TallystickError]:
        answers = await post_journals(tx, principal, items)
        if any(item.key == "poison" for item in items):
            raise Poisoned
        return answers

    items = [pay("ALICE", key="poison" if number == place else f"k{number}") for number in range(20)]
    async with running(Batcher(db, poisoned)) as batcher:
        answers = await _all(batcher, items)
    assert [number for number, answer in enumerate(answers) if not isinstance(answer, ledger.Posted)] == [place]
    assert isinstance(answers[place], Poisoned)
    assert await _posted(db, "ALICE") == [100_000 - 1900]


async def test_rows_that_somebody_else_holds_stop_only_those_who_need_them(database: TestDatabase) -> None:
    opened = Database(database.app_url, DatabaseSettings(lock_timeout_ms=100))
    await opened.open()
    try:
        await fund(opened, "ALICE", "BOB", "CAROL")
        items = [pay("CAROL" if number == 5 else ("ALICE", "BOB")[number % 2], key=f"k{number}") for number in range(16)]
        async with running(Batcher(opened, post_journals)) as batcher:
            with psycopg.connect(database.owner_url) as holder:
                holder.execute("select 1 from ledger.balance b join ledger.account a on a.id = b.account_id"
                               " where a.name = 'CAROL' for update of b")  # fmt: skip
                answers = await _all(batcher, items)
            refused = answers[5]
            assert isinstance(refused, Unavailable)
            assert refused.code == "contention"
            assert all(isinstance(answer, ledger.Posted) for number, answer in enumerate(answers) if number != 5)
            # Under the same key, it is carried out when the rows are free, and the others are not carried out again.
            again = await _all(batcher, items)
        assert all(isinstance(answer, ledger.Posted) and answer.refusal is None for answer in again)
        assert await _posted(opened, "ALICE", "BOB", "CAROL") == [100_000 - 800, 100_000 - 700, 100_000 - 100]
    finally:
        await opened.close()


async def test_a_deadlock_is_run_again_and_nobody_notices(db: Database) -> None:
    await fund(db)
    failures = [psycopg.errors.DeadlockDetected]

    async def unlucky(
        tx: Tx, principal: Principal, items: Sequence[ledger.NamedJournal]
    ) -> Sequence[Outcome | TallystickError]:
        answers = await post_journals(tx, principal, items)
        if failures:
            raise failures.pop()()
        return answers

    async with running(Batcher(db, unlucky)) as batcher:
        answers = await _all(batcher, [pay("ALICE", key=f"k{number}") for number in range(4)])
    assert all(isinstance(answer, ledger.Posted) and not answer.replayed for answer in answers)
    assert await _posted(db, "ALICE") == [100_000 - 400]


async def test_a_lost_server_refuses_the_whole_batch_at_once(database: TestDatabase, db: Database) -> None:
    await fund(db)
    tried: list[int] = []

    async def cut_off(
        tx: Tx, principal: Principal, items: Sequence[ledger.NamedJournal]
    ) -> Sequence[Outcome | TallystickError]:
        tried.append(len(items))
        with psycopg.connect(database.owner_url, autocommit=True) as other:
            other.execute("select pg_terminate_backend(pid) from pg_stat_activity"
                          " where datname = current_database() and pid <> pg_backend_pid()")  # fmt: skip
        return await post_journals(tx, principal, items)

    async with running(Batcher(db, cut_off)) as batcher:
        answers = await _all(batcher, [pay("ALICE") for _ in range(8)])
    assert {type(answer) for answer in answers} == {Unavailable}
    assert {getattr(answer, "code", None) for answer in answers} == {"database_unavailable"}
    assert tried == [8]


async def test_a_search_that_takes_too_long_ends(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_SEARCH_S", -1.0)

    async def broken(tx: Tx, principal: Principal, items: Sequence[int]) -> Sequence[int]:
        raise Poisoned

    batcher = Batcher[int, int](db, broken)
    task = asyncio.create_task(batcher.run())
    answers = await asyncio.gather(*(batcher.submit(house("me"), None, number) for number in range(8)), return_exceptions=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Poisoned}


async def test_a_shared_transaction_is_one_event_of_the_record(db: Database) -> None:
    await fund(db)
    async with running(Batcher(db, post_journals)) as batcher:
        answers = await _all(batcher, [pay("ALICE", key=f"k{number}") for number in range(3)])
        await _all(batcher, [pay("ALICE", key=f"k{number}") for number in range(3)])
    first = min(answer.journal_id or 0 for answer in answers if isinstance(answer, ledger.Posted))
    async with db.read() as tx:
        event = await audit.latest(tx, subject_kind="journal", subject_id=first)
    assert event is not None
    assert (event.verb, event.principal, event.detail["done"], event.detail["refused"]) == ("journals.post", "me", 3, 0)
