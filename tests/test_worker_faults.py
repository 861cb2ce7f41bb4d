"""The worker when the world ends: kill -9, and a database that goes away."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tallystick import memory, work
from tallystick.db import Database, DatabaseSettings, EmbeddedServer, Tx, migrate
from tallystick.kit import Unavailable
from tallystick.work import Claimed, Finish
from tallystick.worker import Sweeper, Worker
from tests.conftest import ROOT, TestDatabase, bin_dir
from tests.processes import kill, postmaster
from tests.waiting import until

_CUT = """
    select pg_terminate_backend(pid)
      from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid()
"""
TASKS = 200
BATCH = 20

pytestmark = pytest.mark.faults


class Publisher:
    """Leaves one event for each task."""

    name = "publisher"
    types = ("publish",)

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        for task in claimed:
            await memory.publish(tx, self.name, agent=self.name, type="effect", payload={"task": task.task_id})
        return [Finish(task.task_id, task.fence, "done") for task in claimed]


class StuckInTheMiddle(Publisher):
    """Makes the effects of its fourth batch, says so, and never comes to its end."""

    def __init__(self) -> None:
        self._batches = 0

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        finishes = await super().run(tx, claimed)
        self._batches += 1
        if self._batches == 4:
            print("stuck", flush=True)
            await asyncio.Event().wait()
        return finishes


async def _enqueue(db: Database, count: int) -> list[int]:
    async with db.write() as tx:
        return await work.enqueue(tx, "me", [work.NewTask("publisher", "publish", {})] * count)


async def _effects(db: Database) -> list[int]:
    async with db.read() as tx:
        return sorted(event.payload["task"] for event in await memory.page(tx, limit=10_000))


async def _all_done(db: Database, ids: Sequence[int]) -> bool:
    try:
        async with db.read() as tx:
            done = await work.page(tx, status="done", limit=len(ids) + 1)
    except Unavailable:
        return False
    return sorted(task.id for task in done) == list(ids)


async def test_a_worker_killed_in_the_middle_leaves_each_task_done_exactly_once(db: Database, database: TestDatabase) -> None:
    ids = await _enqueue(db, TASKS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.test_worker_faults", database.app_url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"stuck\n"
    # Other workers are not held up by it, and do not touch what it has in hand.
    async with db.write() as tx:
        beside = await work.claim(tx, agents=["publisher"], worker="beside", limit=1)
        await work.finish(tx, await Publisher().run(tx, beside), "beside")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert await _effects(db) == [*ids[: 3 * BATCH], ids[4 * BATCH]]
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(db, [Publisher()], batch=BATCH, poll_s=0.05).run(stop))
    await until(lambda: _all_done(db, ids))
    stop.set()
    await working
    assert await _effects(db) == ids


async def test_connections_that_are_cut_again_and_again_are_survived(db: Database, database: TestDatabase) -> None:
    ids = await _enqueue(db, TASKS)
    stop = asyncio.Event()
    working = asyncio.create_task(Worker(db, [Publisher()], batch=10, poll_s=0.05).run(stop))
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        for _ in range(10):
            owner.execute(_CUT)
            await asyncio.sleep(0.05)
        more = await _enqueue_when_back(db, 5)
        await until(lambda: _all_done(db, ids + more))
    assert not working.done()
    stop.set()
    await working
    assert await _effects(db) == ids + more


async def test_a_server_that_is_killed_and_comes_back_is_survived() -> None:
    with _folder() as data, EmbeddedServer(data, bin_dir=bin_dir()) as server:
        migrate(server.url)
        db = Database(server.url_as("tallystick_app"), DatabaseSettings(pool_wait_s=1))
        await db.open()
        ids = await _enqueue(db, TASKS)
        stop = asyncio.Event()
        working = asyncio.create_task(Worker(db, [Publisher()], batch=5, poll_s=0.05).run(stop))
        await until(lambda: _some(db))
        kill(postmaster(data))
        await until(lambda: _all_done(db, ids), within_s=120)
        assert not working.done()
        stop.set()
        await working
        assert await _effects(db) == ids
        await db.close()


async def test_a_part_of_a_sweep_that_fails_does_not_keep_the_others_from_being_done(
    db: Database, database: TestDatabase
) -> None:
    async with db.write() as tx:
        soon = datetime.now(UTC) + timedelta(seconds=0.2)
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("publisher", "publish", {}, run_at=soon)])
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("revoke execute on function work.expire(bigint) from tallystick_app")
    stop = asyncio.Event()
    sweeping = asyncio.create_task(Sweeper(db, "sweeper", every_s=0.05).run(stop))

    async def queued() -> bool:
        async with db.read() as tx:
            return (await work.get(tx, task_id)).status == "queued"

    await until(queued)
    assert not sweeping.done()
    stop.set()
    await sweeping


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        # The server may run under another account, and PostgreSQL 15 walks down to its folder.
        Path(folder).chmod(0o755)
        yield Path(folder).resolve() / "data"


async def _some(db: Database) -> bool:
    return bool(await _effects(db))


async def _enqueue_when_back(db: Database, count: int) -> list[int]:
    async def attempt() -> list[int] | None:
        try:
            return await _enqueue(db, count)
        except Unavailable:
            return None

    return await until(attempt)


async def _be_a_worker(url: str) -> None:
    db = Database(url)
    await db.open()
    await Worker(db, [StuckInTheMiddle()], batch=BATCH).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_be_a_worker(sys.argv[1]))
