"""Workers that are handed tasks: they run them without a claim, take up what lasts, and leave nothing behind when they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tallystick import sdk, work
from tallystick.db import Database
from tallystick.sdk import Agent, Task
from tallystick.worker import DatabaseBackend, run_agents
from tests.conftest import TestDatabase
from tests.waiting import until
from tests.work_crew import Crew, notes, tell
from tests.work_story import Story, all_done, enqueue, stories
from tests.working import Owner, get, one

_WAITS = "select 1 from work.open_claim having sum(up_to) - sum(given) >= 1"
_ITS_SESSION = """
    select l.pid from pg_locks l join pg_database d on d.oid = l.database
     where l.locktype = 'advisory' and l.classid = 7331025 and d.datname = current_database()
"""


@asynccontextmanager
async def _running(db: Database, handler: Any, **options: Any) -> AsyncIterator[None]:
    agent = Agent("a", version="1")
    agent.task("t")(handler)
    stop = asyncio.Event()
    running = asyncio.create_task(run_agents(db, [agent], stop, grace_s=5, **options))
    try:
        yield
    finally:
        stop.set()
        await running


async def _waits(owner: Owner) -> None:
    async def seen() -> bool:
        return bool(owner.all(_WAITS))

    await until(seen)


async def _at(owner: Owner, task_id: int, place: str) -> None:
    async def there() -> bool:
        return bool(owner.all(f"select 1 from work.{place} where task_id = %s", task_id))

    await until(there)


@pytest.mark.parametrize("concurrency", [1, 2, 100])
async def test_a_worker_that_waits_is_handed_tasks_one_after_another(
    concurrency: int, db: Database, database: TestDatabase
) -> None:
    seen: list[Any] = []

    async def handler(task: Task[dict[str, int]]) -> int:
        seen.append(task.payload)
        return task.attempt

    with Owner(database) as owner:
        async with _running(db, handler, concurrency=concurrency):
            for number in range(10):
                await _waits(owner)
                task_id = await one(db, payload={"n": number})
                # Nobody saw it queued.
                assert owner.all("select 1 from work.ready") == []
                await _at(owner, task_id, "outcome")
                assert (await get(db, task_id)).result == 1
        assert seen == [{"n": number} for number in range(10)]
        owner.check()
        # Who has gone waits no more.
        assert owner.all("select 1 from work.open_claim") == []
        assert owner.place(await one(db)) == "ready"


async def test_what_lasts_is_taken_up_although_its_handler_blocks_the_loop_or_waits(
    db: Database, database: TestDatabase
) -> None:
    go_on = asyncio.Event()

    async def handler(task: Task[None]) -> None:
        await go_on.wait()

    with Owner(database) as owner:
        async with _running(db, handler):
            await _waits(owner)
            task_id = await one(db)
            assert owner.all("select lease_until is null from work.run") == [False]

            async def taken_up() -> bool:
                return owner.all("select lease_until is null from work.run") == [True]

            await until(taken_up)
            go_on.set()
            await _at(owner, task_id, "outcome")
        assert owner.all("select 1 from work.attempt") == []


async def test_a_worker_whose_own_channel_was_cut_goes_on_and_is_handed_tasks_again(
    db: Database, database: TestDatabase
) -> None:
    async def handler(task: Task[None]) -> None: ...

    with Owner(database) as owner:
        async with _running(db, handler):
            for _ in range(2):
                await _waits(owner)
                (pid,) = owner.all(_ITS_SESSION)
                owner.do("select pg_terminate_backend(%s)", pid)

                async def listens_again(pid: int = pid) -> bool:
                    return owner.all(_ITS_SESSION) not in ([], [pid])

                for task_id in [await one(db) for _ in range(3)]:
                    await _at(owner, task_id, "outcome")
                await until(listens_again)
            channels = owner.all("select channel from work.open_claim")

            async def waits_there() -> bool:
                return owner.all("select channel from work.open_claim") != channels or bool(owner.all(_WAITS))

            await until(waits_there)
            await _at(owner, await one(db), "outcome")
        owner.check()


async def test_what_is_handed_to_a_worker_that_stops_goes_back_at_once(db: Database, database: TestDatabase) -> None:
    backend = DatabaseBackend(db, name="w", lease_s=600)
    with Owner(database) as owner:
        await backend.open([sdk.Queue("a", "1", "t")])
        claiming = asyncio.create_task(backend.claim(10, 600))
        await _waits(owner)
        async with db.write() as tx:
            (task_id,) = await work.enqueue(tx, "me", [work.NewTask("a", "t", {})])
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
        await _at(owner, task_id, "ready")
        assert owner.all("select ended from work.attempt") == ["returned"]
        # It is not handed what comes later, and may claim again.
        assert owner.place(await one(db)) == "ready"
        assert len(await backend.claim(10, 600)) == 2
        await backend.close()
        assert owner.all("select count(*) from work.ready") == [2]
        owner.check()


async def test_what_was_claimed_and_what_was_handed_over_fill_the_places_once(db: Database, database: TestDatabase) -> None:
    backend = DatabaseBackend(db, name="w", lease_s=600)
    with Owner(database) as owner:
        await backend.open([sdk.Queue("a", "1", "t")])
        claiming = asyncio.create_task(backend.claim(4, 600))
        await _waits(owner)
        ids = [await one(db) for _ in range(6)]
        assert [owner.place(task_id) for task_id in ids] == ["run"] * 4 + ["ready"] * 2
        taken = list(await claiming)
        while len(taken) < 4:
            taken += await backend.claim(4 - len(taken), 600)
        assert sorted(attempt.task_id for attempt in taken) == ids[:4]
        assert [owner.place(task_id) for task_id in ids] == ["run"] * 4 + ["ready"] * 2
        await backend.settle([sdk.Done(attempt) for attempt in taken])
        more = await backend.claim(2, 600)
        assert [attempt.task_id for attempt in more] == ids[4:]
        await backend.close()
        owner.check()


@pytest.mark.faults
async def test_a_worker_killed_right_after_a_hand_over_costs_seconds_and_no_attempt(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    with Crew(tmp_path) as crew, Owner(database) as owner:
        # Its lease is not over before the test is.
        first = crew.start(database.app_url, {"tell": tell}, dies_at="claimed", lease_s=3600)
        await _waits(owner)
        (task_id,) = await enqueue(db, tmp_path, ["tell"])

        async def dead() -> bool:
            return not first.is_alive()

        await until(dead)
        crew.start(database.app_url, {"tell": tell})
        await until(lambda: all_done(database.owner_url))
        assert stories(database.owner_url) == {"tell": Story(task_id, "tell", "done", 1, 1, 0, 0, 0, 0)}
        assert owner.all("select ended from work.attempt") == ["returned"]
        assert len(notes(tmp_path, task_id, "score")) == 1
