"""Claims that are not waited for on disk: a crash may forget them, and takes nothing else with it; and who is woken when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from tallystick import work
from tallystick.db import Bell, Database, EmbeddedServer, listen
from tallystick.work import Claimed, Finish, NewTask
from tests.conftest import TestDatabase
from tests.processes import postmaster

FORGETFUL = ("wal_writer_delay = '10s'", "bgwriter_delay = '10s'", "autovacuum = off", "checkpoint_timeout = '1h'")


async def _enqueue(db: Database, count: int) -> list[int]:
    async with db.write() as tx:
        return await work.enqueue(tx, "me", [NewTask("a", "t", {"n": n}) for n in range(count)])


async def _claim(db: Database, limit: int, *, lightly: bool = True) -> list[Claimed]:
    async with db.write() as tx:
        return await work.claim(tx, agents=["a"], worker="w", limit=limit, lightly=lightly)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    db = Database(url)
    await db.open()
    try:
        yield db
    finally:
        await db.close()


async def _crash(server: EmbeddedServer) -> None:
    pid = postmaster(server.layout.data)
    with psycopg.connect(server.url) as connection:
        others = connection.execute("select pid from pg_stat_activity where pid <> pg_backend_pid()").fetchall()
    for (each,) in [(pid,), *others]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    async with asyncio.timeout(60):
        while True:
            try:
                with psycopg.connect(server.url) as connection:
                    connection.execute("select 1")
                if postmaster(server.layout.data) != pid:
                    return
            except (psycopg.OperationalError, OSError, ValueError):
                pass
            await asyncio.sleep(0.05)


@pytest.mark.faults
async def test_what_a_crash_forgets_of_claims_is_queued_again_and_no_fence_is_given_twice(own_server: EmbeddedServer) -> None:
    url = own_server.url_as("tallystick_app")
    with psycopg.connect(own_server.url, autocommit=True) as owner:
        for setting in FORGETFUL:
            owner.execute(f"alter system set {setting}".encode())
        owner.execute("select pg_reload_conf()")
    given: set[int] = set()
    forgotten = 0
    for _ in range(3):
        async with _opened(url) as db:
            ids = await _enqueue(db, 40)
            # The log is written up to here by a commit that is waited for.
            claimed = await _claim(db, 40)
            assert {task.task_id for task in claimed} == set(ids)
            assert not given & {task.fence for task in claimed}
            await _crash(own_server)
        async with _opened(url) as db:
            with psycopg.connect(own_server.url) as owner:
                queued = [row[0] for row in owner.execute("select task_id from work.ready order by 1").fetchall()]
            forgotten += len(queued)
            given |= {task.fence for task in claimed}
            again = await _claim(db, 40)
            assert [task.task_id for task in again] == queued
            assert not given & {task.fence for task in again}
            assert all(task.fence > max(given) for task in again)
            given |= {task.fence for task in again}
            void = [task for task in claimed if task.task_id in set(queued)]
            async with db.write() as tx:
                assert await work.finish(tx, [Finish(t.task_id, t.fence, "done") for t in void], "w") == [False] * len(void)
            held = [*again, *(task for task in claimed if task.task_id not in set(queued))]
            async with db.write() as tx:
                assert await work.finish(tx, [Finish(t.task_id, t.fence, "done") for t in held], "w") == [True] * 40
    assert forgotten, "no crash came early enough to forget a claim, so this test has shown nothing"


@pytest.mark.faults
async def test_what_an_attempt_of_a_light_claim_has_written_outlives_a_crash(own_server: EmbeddedServer) -> None:
    url = own_server.url_as("tallystick_app")
    async with _opened(url) as db:
        ids = await _enqueue(db, 30)
        done = []
        for task in await _claim(db, 30):
            async with db.write() as tx:
                assert await work.finish(tx, [Finish(task.task_id, task.fence, "done")], "w") == [True]
            done.append(task.task_id)
        await _crash(own_server)
    with psycopg.connect(own_server.url) as owner:
        assert [row[0] for row in owner.execute("select task_id from work.outcome order by 1").fetchall()] == ids == done


@pytest.mark.parametrize(("lightly", "waited_for"), [(True, "off"), (False, "on")])
async def test_only_a_light_claim_is_not_waited_for_and_only_its_own_transaction(
    db: Database, lightly: bool, waited_for: str
) -> None:
    await _enqueue(db, 1)
    async with db.write() as tx:
        await work.claim(tx, agents=["a"], worker="w", limit=1, lightly=lightly)
        cursor = await tx._connection.execute("show synchronous_commit")
        assert await cursor.fetchone() == (waited_for,)
    async with db.write() as tx:
        cursor = await tx._connection.execute("show synchronous_commit")
        assert await cursor.fetchone() == ("on",)


async def test_the_first_claim_after_a_start_puts_the_fences_on_and_is_waited_for(db: Database, database: TestDatabase) -> None:
    await _enqueue(db, 4)
    (before,) = await _claim(db, 1)
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("truncate work.since_start")
    async with db.write() as tx:
        (first,) = await work.claim(tx, agents=["a"], worker="w", limit=1, lightly=True)
        (second,) = await work.claim(tx, agents=["a"], worker="w", limit=1, lightly=True)
        cursor = await tx._connection.execute("show synchronous_commit")
        assert await cursor.fetchone() == ("on",)
    assert before.fence < 1 << 40 < first.fence < second.fence < 2 << 40
    (last,) = await _claim(db, 1)
    assert second.fence < last.fence < 2 << 40


async def test_claims_that_meet_at_the_first_moment_put_the_fences_on_once(db: Database, database: TestDatabase) -> None:
    await _enqueue(db, 8)
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("truncate work.since_start")
    claims = await asyncio.gather(*(_claim(db, 1) for _ in range(8)))
    fences = [task.fence for (task,) in claims]
    assert len(set(fences)) == 8
    assert {fence >> 40 for fence in fences} == {1}


async def test_one_that_enqueues_alone_wakes_the_listeners_with_its_commit(db: Database) -> None:
    async with listen(db, work.CHANNEL) as woken:
        await _heard(woken)
        async with db.write() as tx:
            await work.enqueue(tx, "me", [NewTask("a", "t", {})])
            assert tx.announced == {work.CHANNEL}
        await _heard(woken)


async def test_of_those_who_enqueue_at_once_one_announces_and_the_others_ring_the_bell(db: Database) -> None:
    await _enqueue(db, 1)
    bell = Bell(db, work.CHANNEL)
    ringing = asyncio.create_task(bell.run())
    async with listen(db, work.CHANNEL) as woken:
        await _heard(woken)
        async with db.write() as first:
            await work.enqueue(first, "me", [NewTask("a", "t", {})])
            async with db.write() as second:
                await work.enqueue(second, "me", [NewTask("a", "t", {})])
                assert second.announced == set()
            assert not woken.is_set()
            bell.ring(second)
            await _heard(woken)
        await _heard(woken)
        bell.ring(first)
        assert not bell._rung.is_set()
    ringing.cancel()


async def test_the_end_of_a_task_wakes_those_who_wait_for_what_comes_after_it(db: Database) -> None:
    async with db.write() as tx:
        (first,) = await work.enqueue(tx, "me", [NewTask("a", "t", {})])
    async with db.write() as tx:
        (after,) = await work.enqueue(tx, "me", [NewTask("a", "t", {}, after=[first])])
    (task,) = await _claim(db, 5)
    async with listen(db, work.CHANNEL) as woken:
        await _heard(woken)
        async with db.write() as tx:
            await work.finish(tx, [Finish(task.task_id, task.fence, "done")], "w")
        await _heard(woken)
    assert [each.task_id for each in await _claim(db, 5)] == [after]


async def test_a_bell_whose_connection_was_lost_rings_again_by_itself(db: Database, database: TestDatabase) -> None:
    bell = Bell(db, work.CHANNEL)
    ringing = asyncio.create_task(bell.run())
    async with listen(db, work.CHANNEL) as woken:
        await _heard(woken)
        bell.ring()
        await _heard(woken)
        with psycopg.connect(database.owner_url, autocommit=True) as owner:
            ended = owner.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and application_name like 'tallystick bell%'"
            ).fetchall()
            assert ended == [(True,)]
        bell.ring()
        await _heard(woken)
    ringing.cancel()


async def _heard(woken: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await woken.wait()
    woken.clear()
