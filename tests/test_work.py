"""Tasks: stored, claimed, finished once, given back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import psycopg
import pytest

from tallystick import audit, work
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound
from tests.conftest import TestDatabase


async def _enqueue(db: Database, count: int, agent: str = "a", type: str = "t") -> list[int]:
    async with db.write() as tx:
        return await work.enqueue(tx, "me", [work.NewTask(agent, type, {"n": n}) for n in range(count)])


async def _claim(db: Database, limit: int = 100, agents: Sequence[str] = ("a",)) -> list[work.Claimed]:
    async with db.write() as tx:
        return await work.claim(tx, agents=agents, worker="w", limit=limit)


async def _finish(db: Database, *finishes: work.Finish) -> list[bool]:
    async with db.write() as tx:
        return await work.finish(tx, finishes, "w")


async def _task(db: Database, task_id: int) -> work.Task:
    async with db.read() as tx:
        return await work.get(tx, task_id)


def _expire(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("update work.run set lease_until = clock_timestamp() - interval '1 second'")


async def test_tasks_of_one_call_have_ids_in_their_order(db: Database) -> None:
    ids = await _enqueue(db, 2000)
    tasks = [await _task(db, ids[place]) for place in (0, 999, 1999)]
    assert ids == sorted(set(ids))
    assert [task.payload["n"] for task in tasks] == [0, 999, 1999]


async def test_a_task_goes_from_queued_to_running_to_done(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    queued = await _task(db, task_id)
    (claimed,) = await _claim(db)
    running = await _task(db, task_id)
    assert await _finish(db, work.Finish(task_id, claimed.fence, "done", {"sum": Decimal("1.10")})) == [True]
    done = await _task(db, task_id)
    assert (queued.status, queued.started_at, queued.finished_at) == ("queued", None, None)
    assert (running.status, running.finished_at) == ("running", None)
    assert (done.status, done.error, str(done.result["sum"])) == ("done", None, "1.10")
    assert done.started_at == running.started_at
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at


async def test_tasks_are_claimed_oldest_first_over_all_agents(db: Database) -> None:
    first, second, third = await _enqueue(db, 1, "b"), await _enqueue(db, 1, "a"), await _enqueue(db, 1, "b")
    await _enqueue(db, 1, "c")
    claimed = await _claim(db, limit=2, agents=["a", "b"])
    rest = await _claim(db, limit=9, agents=["a", "b"])
    assert [task.task_id for task in claimed] == first + second
    assert [(task.task_id, task.agent, task.attempts) for task in rest] == [(third[0], "b", 1)]


async def test_only_tasks_of_the_types_asked_for_are_claimed(db: Database) -> None:
    await _enqueue(db, 2, type="x")
    wanted = await _enqueue(db, 2, type="y")
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=["a"], types=["y", "z"], worker="w", limit=9)
    assert [task.task_id for task in claimed] == wanted


async def test_a_second_claim_of_a_running_task_finds_nothing(db: Database) -> None:
    ids = await _enqueue(db, 1)
    assert len(await _claim(db)) == 1
    assert await _claim(db) == []
    async with db.write() as tx:
        assert await work.claim_these(tx, ids, worker="w") == []


async def test_a_claim_that_rolls_back_leaves_the_task_queued_with_no_attempt_counted(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    with pytest.raises(ZeroDivisionError):
        async with db.write() as tx:
            await work.claim(tx, agents=["a"], worker="w", limit=1)
            raise ZeroDivisionError
    (claimed,) = await _claim(db)
    assert (claimed.task_id, claimed.attempts) == (task_id, 1)


async def test_only_the_fence_of_the_latest_attempt_finishes_a_task(db: Database, database: TestDatabase) -> None:
    (task_id,) = await _enqueue(db, 1)
    (old,) = await _claim(db)
    _expire(database)
    async with db.write() as tx:
        assert await work.reap(tx) == [work.Reaped(task_id, "crash", "again")]
    (new,) = await _claim(db)
    assert new.fence > old.fence
    assert new.attempts == 1
    assert await _finish(db, work.Finish(task_id, old.fence, "done", "old")) == [False]
    stale_then_held = [work.Finish(task_id, old.fence, "done", "old"), work.Finish(task_id, new.fence, "done", "new")]
    assert await _finish(db, *stale_then_held) == [False, True]
    assert (await _task(db, task_id)).result == "new"


async def test_an_attempt_finished_twice_in_one_batch_ends_by_the_first(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    (claimed,) = await _claim(db)
    twice = [work.Finish(task_id, claimed.fence, "done", 1), work.Finish(task_id, claimed.fence, "failed", error="no")]
    assert await _finish(db, *twice) == [True, False]
    assert (await _task(db, task_id)).result == 1
    assert await _finish(db, *twice) == [False, False]


@pytest.mark.parametrize("finish", [work.Finish(1, 1, "done", error="why"), work.Finish(1, 1, "failed")])
async def test_a_failure_needs_an_error_and_a_success_has_none(db: Database, finish: work.Finish) -> None:
    with pytest.raises(Invalid, match="outcome_malformed"):
        await _finish(db, finish)


async def test_a_run_within_its_lease_is_not_taken_back(db: Database) -> None:
    await _enqueue(db, 1)
    await _claim(db)
    async with db.write() as tx:
        assert await work.reap(tx) == []


async def test_a_task_is_dead_after_its_last_crash(db: Database, database: TestDatabase) -> None:
    (task_id,) = await _enqueue(db, 1)
    for crash in range(1, 6):
        await _wake_all(db, database)
        assert [claimed.attempts for claimed in await _claim(db)] == [1]
        _expire(database)
        async with db.write() as tx:
            assert await work.reap(tx) == [work.Reaped(task_id, "crash", "again" if crash < 5 else "dead")]
    task = await _task(db, task_id)
    async with db.read() as tx:
        recorded = await audit.latest(tx, subject_kind="task", subject_id=task_id)
    assert (task.status, task.result, task.crashes) == ("dead", None, 5)
    assert task.error is not None
    assert task.error.startswith("lease_lost")
    assert recorded is not None
    assert recorded.detail == {"tasks": [[task_id, "crash", "dead"]]}
    await _wake_all(db, database)
    assert await _claim(db) == []


async def test_an_attempt_that_failed_is_counted_and_queued_again(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    (held,) = await _claim(db)
    failure = work.Failure(task_id, held.fence, "busy", retry_in_s=0)
    async with db.write() as tx:
        assert await work.fail(tx, [failure], "w") == ["again"]
        assert await work.fail(tx, [failure], "w") == ["lost"]
    (again,) = await _claim(db)
    assert again.attempts == 2


async def _wake_all(db: Database, database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("update work.wait set wake_at = clock_timestamp()")
    async with db.write() as tx:
        await work.wake_due(tx)


async def test_enqueueing_and_finishing_leave_one_event_a_call_and_claiming_none(db: Database) -> None:
    ids = await _enqueue(db, 3)
    async with db.read() as tx:
        enqueued = await audit.latest(tx, subject_kind="task", subject_id=ids[0])
    claimed = await _claim(db)
    async with db.read() as tx:
        assert await audit.latest(tx, subject_kind="task", subject_id=ids[0]) == enqueued
    await _finish(db, *(work.Finish(task.task_id, task.fence, "done") for task in claimed))
    async with db.read() as tx:
        finished = await audit.latest(tx, subject_kind="task", subject_id=ids[0])
    assert enqueued is not None
    assert finished is not None
    assert (enqueued.verb, enqueued.detail, enqueued.items_kind, enqueued.refs) == ("tasks.enqueue", {"tasks": 3}, "task", ids)
    assert finished.id == enqueued.id + 1
    assert (finished.verb, finished.detail) == ("tasks.finish", {"tasks": [[str(task_id), "done"] for task_id in ids]})
    assert (finished.items_kind, finished.refs) == ("outcome", ids)


async def test_a_report_from_outside_ends_a_queued_task_and_may_be_repeated(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    async with db.write() as tx:
        first = await work.complete_from_outside(tx, task_id, "them", {"answer": 42})
    async with db.write() as tx:
        again = await work.complete_from_outside(tx, task_id, "them", {"answer": Decimal("42.0")})
    assert (first.status, first.result) == ("done", {"answer": 42})
    assert again == first


@pytest.mark.parametrize(
    ("result", "error"), [({"answer": 43}, None), (None, None), ({"answer": True}, None), ({"answer": 1}, "no")]
)
async def test_another_report_for_a_finished_task_is_refused(db: Database, result: object, error: str | None) -> None:
    (task_id,) = await _enqueue(db, 1)
    async with db.write() as tx:
        await work.complete_from_outside(tx, task_id, "them", {"answer": 1})
    async with db.write() as tx:
        with pytest.raises(Conflict, match="task_already_finished"):
            await work.complete_from_outside(tx, task_id, "them", result, error=error)
    assert (await _task(db, task_id)).result == {"answer": 1}


async def test_a_report_of_failure_keeps_its_error(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    async with db.write() as tx:
        task = await work.complete_from_outside(tx, task_id, "them", None, error="no such file")
    assert (task.status, task.error, task.result) == ("failed", "no such file", None)


async def test_a_report_on_a_task_that_runs_elsewhere_is_refused(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)
    await _claim(db)
    async with db.write() as tx:
        with pytest.raises(Conflict, match="task_is_running"):
            await work.complete_from_outside(tx, task_id, "them", {})
    assert (await _task(db, task_id)).status == "running"


async def test_an_unknown_task_is_not_found(db: Database) -> None:
    async with db.write() as tx:
        with pytest.raises(NotFound, match="unknown_task"):
            await work.complete_from_outside(tx, 999, "them", {})
        with pytest.raises(NotFound, match="unknown_task"):
            await work.get(tx, 999)


async def test_pages_show_each_status_newest_first(db: Database) -> None:
    ids = await _enqueue(db, 5)
    held = await _claim(db, limit=3)
    done, failed = work.Finish(ids[0], held[0].fence, "done"), work.Finish(ids[1], held[1].fence, "failed", error="no")
    await _finish(db, done, failed)
    statuses = ("done", "failed", "running", "queued", "dead", None)
    async with db.read() as tx:
        found = {status: [task.id for task in await work.page(tx, status=status)] for status in statuses}
        shown = {task.id: task.status for task in await work.page(tx)}
        with pytest.raises(Invalid, match="unknown_status"):
            await work.page(tx, status="pending")
    assert found == {
        "done": ids[:1],
        "failed": ids[1:2],
        "running": ids[2:3],
        "queued": ids[:2:-1],
        "dead": [],
        None: ids[::-1],
    }
    assert shown == {ids[0]: "done", ids[1]: "failed", ids[2]: "running", ids[3]: "queued", ids[4]: "queued"}


async def test_pages_by_agent_and_type_cover_everything_once(db: Database) -> None:
    wanted: list[int] = []
    for _ in range(4):
        wanted += await _enqueue(db, 2)
        await _enqueue(db, 1, agent="b")
        await _enqueue(db, 1, type="u")
    for status in (None, "queued"):
        seen: list[int] = []
        async with db.read() as tx:
            while page := await work.page(tx, agent="a", type="t", status=status, before=seen[-1] if seen else None, limit=3):
                seen += [task.id for task in page]
        assert seen == wanted[::-1]


async def test_pending_tasks_come_oldest_first(db: Database) -> None:
    ids = await _enqueue(db, 4)
    await _claim(db, limit=1)
    async with db.read() as tx:
        pending = await work.pending(tx, limit=2)
        rest = await work.pending(tx, after=pending[-1].id, limit=9)
    assert [task.id for task in pending] == ids[1:3]
    assert [(task.id, task.status) for task in rest] == [(ids[3], "queued")]


@pytest.mark.parametrize("new", [work.NewTask("", "t", {}), work.NewTask("a", "t t", {}), work.NewTask("a\x00", "t", {})])
async def test_a_name_that_is_none_is_refused(db: Database, new: work.NewTask) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_malformed"):
            await work.enqueue(tx, "me", [work.NewTask("a", "t", {}), new])


@pytest.mark.parametrize("limit", [0, -1, 10**6])
async def test_a_claim_is_bounded(db: Database, limit: int) -> None:
    with pytest.raises(Invalid, match="limit_out_of_range"):
        await _claim(db, limit)
