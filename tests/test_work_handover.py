"""Tasks that are handed to a worker that waits, by the transactions that store them: once, in order, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tallystick import work
from tallystick.db import Database, Tx, listen_privately
from tests.conftest import TestDatabase
from tests.waiting import until
from tests.working import Owner, begun, blocked_or_done, call, claim, claim_one, finish, get, new, one, shifted

LEASE_S = 600
LANES = 4


class Waiter:
    """A worker that waits: it holds a lease, listens, and claims openly; `heard` are the attempts it was told of."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._channels: asyncio.Queue[str] = asyncio.Queue()
        self.channel = ""
        self.id = 0
        self.news: asyncio.Queue[work.Handed] = asyncio.Queue()
        self.heard = 0

    def rung(self) -> None:
        pass

    def told(self, text: str) -> None:
        self.news.put_nowait(work.handed(text))

    def reached(self, channel: str | None) -> None:
        if channel is not None:
            self._channels.put_nowait(channel)

    async def begin(self) -> None:
        self.channel = await asyncio.wait_for(self._channels.get(), 30)
        self.id = await call(self._db, work.register, "w", LEASE_S)

    async def ask(self, limit: int, *, types: tuple[str, ...] = ("t",)) -> list[work.Claimed]:
        async with self._db.write() as tx:
            return await work.claim_openly(
                tx, agents=["a"], types=list(types), worker="w", worker_id=self.id, limit=limit, channel=self.channel,
                heard=self.heard, serves=[("a", type) for type in types],
            )  # fmt: skip

    async def hear(self) -> work.Handed:
        handed = await asyncio.wait_for(self.news.get(), 30)
        self.heard += 1
        return handed


@asynccontextmanager
async def waiting(db: Database, limit: int = 100, *, types: tuple[str, ...] = ("t",)) -> AsyncIterator[Waiter]:
    """A worker that waits for so many tasks of agent `a`."""
    async with db.write() as tx:
        for type in types:
            await work.configure(tx, "a", type, by="me")
    waiter = Waiter(db)
    async with listen_privately(db, work.CHANNEL, waiter, prefix="own_"):
        await waiter.begin()
        assert await waiter.ask(limit, types=types) == []
        yield waiter


async def test_a_task_is_handed_to_the_worker_that_waits_and_is_finished_by_its_fence(db: Database) -> None:
    async with waiting(db) as waiter:
        async with db.write() as tx:
            (task_id,) = await work.enqueue(tx, "me", [new(payload={"amount": 1, "of": "ě"}, priority=3)])
            assert tx.announced == {work.CHANNEL}
        handed = await waiter.hear()
        assert (handed.task_id, handed.agent, handed.type, handed.attempts) == (task_id, "a", "t", 1)
        assert (handed.payload, handed.timeout_s) == ({"amount": 1, "of": "ě"}, 3600)
        task = await get(db, task_id)
        assert (task.status, task.worker, task.attempts, task.priority) == ("running", "w", 1, 3)
        assert await claim(db) == []
        async with db.write() as tx:
            assert await work.finish(tx, [work.Finish(task_id, handed.fence, "done")], "w") == [True]
        assert (await get(db, task_id)).status == "done"


async def test_what_is_rolled_back_was_never_handed_over(db: Database, database: TestDatabase) -> None:
    async with waiting(db, 1) as waiter:
        with Owner(database) as owner:
            with pytest.raises(ZeroDivisionError):
                async with db.write() as tx:
                    (gone,) = await work.enqueue(tx, "me", [new()])
                    raise ZeroDivisionError
            assert owner.all("select count(*) from work.run") == [0]
            task_id = await one(db)
            assert (await waiter.hear()).task_id == task_id != gone
            assert waiter.news.empty()
            owner.check()


NOT_HANDED: dict[str, Any] = {
    "of another type": {"type": "u"},
    "for later": {"run_at": datetime.now(UTC) + timedelta(days=1)},
    "too large for a notification": {"payload": {"text": "x" * 8000}},
}


@pytest.mark.parametrize("why", NOT_HANDED)
async def test_what_the_worker_could_not_begin_at_once_is_left_to_claims(why: str, db: Database) -> None:
    async with waiting(db) as waiter:
        left = await one(db, **NOT_HANDED[why])
        assert (await get(db, left)).status != "running"
        handed = await one(db, payload={"n": 1}) if why == "for later" else left
        if handed != left:
            # It neither runs nor is in the way of others.
            assert (await waiter.hear()).task_id == handed


async def test_what_waits_comes_before_what_is_stored_now(db: Database) -> None:
    async with waiting(db, types=("t", "u")) as waiter:
        both = await call(db, work.enqueue, "me", [new(), new("a", "u")])
        later = await one(db, priority=5)
        assert [(await get(db, task_id)).status for task_id in [*both, later]] == ["queued"] * 3
        # In the order of claims, not in that of storing.
        assert [each.task_id for each in await waiter.ask(10, types=("t", "u"))] == [later, *both]
        assert waiter.news.empty()
        assert await one(db) == (await waiter.hear()).task_id


@pytest.mark.parametrize("kind", ["agent", "type"])
async def test_nothing_paused_or_limited_is_handed_over(kind: Any, db: Database) -> None:
    name = "a" if kind == "agent" else "t"
    async with waiting(db) as waiter:
        await call(db, work.pause, kind, name, "me")
        paused = await one(db)
        assert (await get(db, paused)).status == "queued"
        await call(db, work.resume, kind, name, "me")
        await finish(db, await claim_one(db))
        await call(db, work.limit, kind, name, "me", max_running=1)
        limited = await one(db)
        assert (await get(db, limited)).status == "queued"
        await call(db, work.limit, kind, name, "me", max_running=None)
        await finish(db, await claim_one(db))
        assert await one(db) == (await waiter.hear()).task_id


async def test_no_more_is_handed_over_than_was_asked_for(db: Database) -> None:
    async with waiting(db, 2) as waiter:
        ids = [await one(db) for _ in range(3)]
        assert [(await get(db, task_id)).status for task_id in ids] == ["running", "running", "queued"]
        # What it was handed and has not heard of takes its places too.
        assert await waiter.ask(2) == []
        assert [(await waiter.hear()).task_id for _ in range(2)] == ids[:2]
        assert [each.task_id for each in await waiter.ask(1)] == ids[2:]
        assert (await get(db, await one(db))).status == "queued"


async def test_a_claim_waits_for_nobody_who_hands_over_and_leaves_the_place_free(db: Database) -> None:
    async with waiting(db, 1) as waiter:
        async with db.write() as tx:
            (handed,) = await work.enqueue(tx, "me", [new()])
            other = await one(db)
            async with asyncio.timeout(30):
                assert await waiter.ask(1) == []
        assert (await waiter.hear()).task_id == handed
        assert await waiter.ask(1) != []
        assert (await get(db, other)).status == "running"


async def test_some_hand_over_at_the_same_moment_and_nobody_waits_for_another(db: Database) -> None:
    async with waiting(db, 100) as waiter, asyncio.timeout(60):
        await one(db)
        await waiter.hear()
        await _deeper(db, [], LANES + 1)
        ids = {(await waiter.hear()).task_id for _ in range(LANES)}
        (left,) = await claim(db)
        assert left.task_id not in ids


async def _deeper(db: Database, so_far: list[int], levels: int) -> None:
    """Transactions that each store a task, all of them open at the same moment."""
    if levels:
        async with db.write() as tx:
            so_far += await work.enqueue(tx, "me", [new()])
            await _deeper(db, so_far, levels - 1)


async def test_of_two_workers_the_one_with_more_room_is_handed_the_task(db: Database) -> None:
    async with waiting(db, 4) as less, waiting(db, 8) as more:
        task_id = await one(db)
        assert (await more.hear()).task_id == task_id
        assert less.news.empty()


async def test_a_limit_counts_what_is_handed_over_at_the_moment_it_is_set(db: Database, database: TestDatabase) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            async with db.write() as tx:
                await work.enqueue(tx, "me", [new()])
                limit = await begun(db, lambda tx: work.limit(tx, "agent", "a", "me", max_running=1))
                assert await blocked_or_done(owner, limit, tx._connection.info.backend_pid)
                # It is set at this moment, so nobody hands over any more.
                second = await one(db)
            assert await limit.task is None
        await waiter.hear()
        assert (await get(db, second)).status == "queued"
        assert await claim(db) == []


async def test_a_pause_waits_for_nobody(db: Database) -> None:
    async with waiting(db) as waiter, asyncio.timeout(60):
        async with db.write() as tx:
            await work.enqueue(tx, "me", [new()])
            await call(db, work.pause, "agent", "a", "me")
        await waiter.hear()
        assert (await get(db, await one(db))).status == "queued"


@pytest.mark.parametrize("verb", [work.leave, work.close_claim])
async def test_a_worker_that_goes_is_handed_what_was_under_way_and_nothing_more(
    verb: Any, db: Database, database: TestDatabase
) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            async with db.write() as tx:
                (task_id,) = await work.enqueue(tx, "me", [new()])
                going = await begun(db, lambda tx: verb(tx, waiter.id))
                assert await blocked_or_done(owner, going, tx._connection.info.backend_pid)
            await going.task
            assert (await waiter.hear()).task_id == task_id
            assert owner.place(task_id) == ("ready" if verb is work.leave else "run")
            if verb is work.leave:
                assert owner.all("select ended from work.attempt where task_id = %s", task_id) == ["returned"]
            assert owner.place(await one(db)) == "ready"
            owner.check()


async def test_a_task_whose_worker_goes_before_it_is_handed_over_stays_queued(db: Database, database: TestDatabase) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            async with db.write() as tx:
                await work.leave(tx, waiter.id)
                async with asyncio.timeout(30):
                    task_id = await one(db)
            assert owner.place(task_id) == "ready"
            assert waiter.news.empty()


async def test_what_no_worker_takes_up_goes_back_uncounted_and_it_is_handed_no_more(
    db: Database, database: TestDatabase
) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            owner.shiftable()
            task_id = await one(db)
            owner.shift(2)
            assert await call(db, work.reap) == []
            owner.shift(4)
            assert await call(db, work.reap) == [work.Reaped(task_id, "returned", "again")]
            task = await get(db, task_id)
            assert (task.status, task.attempts, task.crashes) == ("queued", 0, 0)
            handed = await waiter.hear()
            async with db.write() as tx:
                assert await work.finish(tx, [work.Finish(task_id, handed.fence, "done")], "w") == [False]
            await finish(db, await claim_one(db))
            assert owner.place(await one(db)) == "ready"
            # Whoever claims again hears again.
            assert len(await waiter.ask(10)) == 1
            assert owner.place(await one(db)) == "run"


async def test_what_was_taken_up_is_held_by_the_lease_of_its_worker(db: Database, database: TestDatabase) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            owner.shiftable()
            task_id = await one(db)
            handed = await waiter.hear()
            fence = work.Fence(task_id, handed.fence)
            assert await call(db, work.beat, waiter.id, LEASE_S) == [work.Held(task_id, handed.fence, False)]
            assert await call(db, work.beat, waiter.id, LEASE_S, [fence]) == [work.Held(task_id, handed.fence, True)]
            owner.shift(LEASE_S - 1)
            assert await call(db, work.reap) == []
            owner.shift(LEASE_S + 1)
            assert await call(db, work.reap) == [work.Reaped(task_id, "crash", "again")]
            # It is over, and not taken up any more.
            assert await call(db, work.beat, waiter.id, LEASE_S, [fence]) is None


async def test_of_taking_up_and_taking_back_the_first_has_it(db: Database, database: TestDatabase) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            owner.shiftable()
            for first_is_beat in (True, False):
                task_id = await one(db)
                handed = await waiter.hear()
                fence = work.Fence(task_id, handed.fence)
                async with db.write() as tx:
                    if first_is_beat:
                        await work.beat(tx, waiter.id, LEASE_S, [fence])
                        assert await (await begun(db, work.reap, 4)).task == []
                    else:
                        await shifted(tx, 4)
                        assert len(await work.reap(tx)) == 1
                        beat = await begun(db, lambda tx, fence=fence: work.beat(tx, waiter.id, LEASE_S, [fence]))  # type: ignore[misc]
                        assert await blocked_or_done(owner, beat, tx._connection.info.backend_pid)
                if first_is_beat:
                    assert owner.place(task_id) == "run"
                    assert await call(db, work.finish, [work.Finish(task_id, handed.fence, "done")], "w") == [True]
                else:
                    assert await beat.task == []
                    assert owner.place(task_id) == "ready"


async def test_a_worker_whose_session_is_gone_is_handed_nothing(db: Database, database: TestDatabase) -> None:
    async with waiting(db) as waiter:
        with Owner(database) as owner:
            (pid,) = owner.all(
                "select pid from pg_locks where locktype = 'advisory' and classid = 7331025"
                " and database = (select oid from pg_database where datname = current_database())"
            )
            owner.do("select pg_terminate_backend(%s)", pid)

            async def gone() -> bool:
                return not owner.all("select 1 from pg_stat_activity where pid = %s", pid)

            await until(gone)
            assert owner.place(await one(db)) == "ready"
            # It listens again, under another name, and is handed tasks once it has claimed.
            waiter.channel, waiter.heard = await asyncio.wait_for(waiter._channels.get(), 30), 0
            assert len(await waiter.ask(10)) == 1
            task_id = await one(db)
            assert (await waiter.hear()).task_id == task_id


async def test_after_a_crash_of_the_server_nothing_is_handed_over_before_the_fences_were_passed(
    db: Database, database: TestDatabase
) -> None:
    async with waiting(db):
        with Owner(database) as owner:
            owner.do("truncate work.since_start")
            assert owner.place(await one(db)) == "ready"


async def test_what_many_enqueue_while_workers_come_and_go_is_begun_once(db: Database, database: TestDatabase) -> None:
    """Each fence is given to one worker, and each task is in one place, whatever meets whatever."""
    begun_: list[tuple[int, int]] = []
    ids: list[int] = []

    async def add(count: int) -> None:
        for number in range(count):
            if number % 7 == 3:
                async with db.write() as tx:
                    await work.enqueue(tx, "me", [new()])
                    with pytest.raises(ZeroDivisionError):
                        async with tx.part():
                            raise ZeroDivisionError
            ids.append(await one(db))

    async def take(waiter: Waiter, stop: asyncio.Event) -> None:
        while not stop.is_set():
            held: list[Any] = await waiter.ask(3)
            while not waiter.news.empty():
                held.append(await waiter.hear())
            begun_.extend((each.task_id, each.fence) for each in held)
            await call(db, _finish, held)

    async with waiting(db, 3) as one_, waiting(db, 3) as two:
        stop = asyncio.Event()
        taking = [asyncio.create_task(take(each, stop)) for each in (one_, two)]
        await asyncio.gather(*(add(20) for _ in range(6)))
        with Owner(database) as owner:

            async def all_done() -> bool:
                return not owner.all("select 1 from work.ready union all select 1 from work.run")

            await until(all_done)
            stop.set()
            await asyncio.gather(*taking)
            owner.check()
            assert owner.all("select count(*) from work.outcome where state = 'done'") == owner.all(
                "select count(*) from work.task"
            )
            assert owner.all("select count(*) from work.attempt") == [0]
    assert len({task for task, _ in begun_}) == len({fence for _, fence in begun_}) == len(begun_)
    assert set(ids) <= {task for task, _ in begun_}


async def _finish(tx: Tx, held: list[Any]) -> None:
    finishes = [work.Finish(each.task_id, each.fence, "done") for each in held]
    assert all(await work.finish(tx, finishes, "w"))
