"""Time is the database's, by one function; when it jumps, nothing runs twice and nothing is lost."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tallystick import work
from tallystick.db import Database
from tallystick.kit import Conflict
from tests.conftest import ROOT, TestDatabase
from tests.working import (
    Owner,
    asking,
    call,
    claim,
    claim_one,
    enqueue,
    fail,
    finish,
    get,
    new,
    one,
    sleeping,
    statuses,
    step,
)

HOUR = 3600
ROOM = ROOT / "src/tallystick/work"
_CLOCKS = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\s*\(|\b(current|local)_?time", re.I
)


def _statements(path: Path) -> str:
    return re.sub(r"--.*", "", path.read_text("utf-8"))


def test_the_work_asks_no_clock_but_the_one_that_a_test_can_shift() -> None:
    files = [*ROOM.rglob("*.sql"), ROOT / "src/tallystick/db/migrations/0005_work.sql"]
    assert len(files) > 10
    assert {str(path): found[0] for path in files if (found := _CLOCKS.search(_statements(path)))} == {}
    assert _CLOCKS.search("select now()")
    assert _CLOCKS.search("default current_timestamp")
    assert sum("db.clock()" in path.read_text("utf-8") for path in files) > 4
    sources = "".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))
    assert "datetime.now" not in sources
    assert "time.time" not in sources


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_after_a_jump_of_the_clock_every_task_is_done_once(db: Database, database: TestDatabase, jump: int) -> None:
    """Tasks in every place, of a worker that lives and of one that is lost; then an hour forward or back."""
    with Owner(database) as owner:
        owner.shiftable()
        now = datetime.now(UTC)
        lives, lost = await call(db, work.register, "lives", 60), await call(db, work.register, "lost", 60)
        ids = await enqueue(
            db, new(), new(), new(), new(), new(), new(run_at=now + timedelta(seconds=100)), new(order_key="k"),
            new(order_key="k"), new(deadline_at=now + timedelta(seconds=7200)),
        )  # fmt: skip
        ids.append(await one(db, after=[ids[0]]))
        # Nothing of that is kept longer than a jump, whatever it waits for.
        first, second = await claim(db, 2, worker_id=lives)
        (gone,) = await claim(db, 1, worker_id=lost)
        (failed,) = await claim(db, 1)
        (parked,) = await claim(db, 1)
        await fail(db, failed, retry_in_s=100)
        await call(db, work.park, parked.task_id, parked.fence, sleeping(in_s=100))
        await call(db, work.record_step, first.task_id, first.fence, step("s"))

        owner.shift(jump)
        finished: list[int] = []
        if jump > 0:
            # All leases are over at once, and what they held is tried again; whoever held it is told.
            assert await call(db, work.beat, lives, 60) is None
            with pytest.raises(Conflict, match="lease_lost"):
                await claim(db, worker_id=lives)
            reaped = await call(db, work.reap)
            assert {each.task_id for each in reaped} == {first.task_id, second.task_id, gone.task_id}
            assert {each.became for each in reaped} == {"again"}
            assert await finish(db, first, second, gone) == [False, False, False]
            lives = await call(db, work.register, "lives", 60)
        else:
            # Who lives goes on; what the lost one held is found when its lease is over by the clock as it is now.
            assert await call(db, work.beat, lives, 60) is not None
            assert await call(db, work.reap) == []
            assert await finish(db, first, second) == [True, True]
            finished += [first.task_id, second.task_id]
            # New work is done meanwhile, and what is queued.
            fresh = await claim_one(db, worker_id=lives)
            assert await finish(db, fresh) == [True]
            finished.append(fresh.task_id)
        at = jump
        while len(finished) < len(ids):
            at += 50
            assert at < jump + 2 * HOUR + 400
            owner.shift(at)
            await call(db, work.beat, lives, 60)
            await call(db, work.reap)
            assert await call(db, work.expire) == []
            await call(db, work.wake_due)
            held = await claim(db, worker_id=lives)
            assert await finish(db, *held) == [True] * len(held)
            finished += [each.task_id for each in held]
            owner.check()
        assert sorted(finished) == sorted(ids)
        assert set(await statuses(db, *ids)) == {"done"}
        # A task that an order key held back was last of the two, and the one after another came after it.
        assert finished.index(ids[6]) < finished.index(ids[7])
        assert finished.index(ids[0]) < finished.index(ids[9])
        assert owner.all("select count(*) from work.outcome") == [len(ids)]


async def test_a_clock_that_runs_back_for_a_moment_delays_waits_and_ends_none_twice(
    db: Database, database: TestDatabase
) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        task = await one(db)
        held = await claim_one(db)
        await call(db, work.park, task, held.fence, sleeping(in_s=10))
        for at, woken, status in ((-HOUR, 0, "waiting"), (11, 1, "queued"), (-HOUR, 0, "queued"), (HOUR, 0, "queued")):
            owner.shift(at)
            assert await call(db, work.wake_due) == woken
            assert await statuses(db, task) == [status]
        held = await claim_one(db)
        await call(db, work.park, task, held.fence, asking(in_s=10))
        owner.shift(0)
        await call(db, work.answer, task, "ask", "me", approved=True)
        owner.shift(2 * HOUR)
        assert await call(db, work.wake_due) == 0
        assert await finish(db, await claim_one(db)) == [True]
        found = await get(db, task)
        assert found.finished_at is not None
        assert [each.state for each in (await _steps(db, task))] == ["intent", "done", "intent", "done"]


async def _steps(db: Database, task_id: int) -> list[work.Step]:
    async with db.read() as tx:
        return await work.steps(tx, task_id)


async def test_a_timeout_and_a_deadline_are_over_after_a_jump_and_are_told_once(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        await call(db, work.configure, "a", "t", by="me", timeout_s=600)
        slow, due = await one(db), await one(db, deadline_at=datetime.now(UTC) + timedelta(seconds=600))
        await claim(db, lease_s=3600)
        owner.shift(HOUR - 10)
        assert await call(db, work.expire) == [due]
        assert [(each.task_id, each.ended) for each in await call(db, work.reap)] == [(slow, "timeout")]
        owner.shift(-HOUR)
        assert await call(db, work.expire) == []
        assert await call(db, work.reap) == []
        # The backoff began at the later time: it ends when the clock is there again.
        assert await statuses(db, slow, due) == ["waiting", "failed"]
        owner.shift(HOUR)
        assert await call(db, work.wake_due) == 1
