"""The worker: carries tasks out, survives bad ones, stops cleanly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tallystick import ledger, memory, work
from tallystick.agents import BuiltInAgent, built_in
from tallystick.db import Bell, Database, Tx
from tallystick.kit import Invalid, Unavailable
from tallystick.work import Claimed, Finish
from tallystick.worker import Worker
from tests.serving import fund
from tests.waiting import until

SECRET = "Jana Novakova"


class Publisher:
    """Leaves one event for each task, so that its effects can be counted; what its payload says makes it go wrong."""

    name = "publisher"
    types = ("publish",)

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        self.batches.append(len(claimed))
        for task in claimed:
            await memory.publish(tx, self.name, agent=self.name, type="effect", payload={"task": task.task_id})
            wrong = task.payload.get("wrong")
            if wrong == "bug":
                raise ZeroDivisionError(SECRET)
            if wrong == "refusal":
                raise Invalid("no_such_thing", "there is no thing")
            if wrong == "busy":
                raise Unavailable("contention", "the rows are in use; try again")
        return [Finish(task.task_id, task.fence, "done", {"n": task.payload["n"]}) for task in claimed if not _lost(task)]


def _lost(task: Claimed) -> bool:
    return task.payload.get("wrong") == "forgotten"


async def _enqueue(db: Database, count: int, wrong: str | None = None, at: int = 0) -> list[int]:
    tasks = [
        work.NewTask("publisher", "publish", {"n": n} | ({"wrong": wrong} if wrong and n == at else {})) for n in range(count)
    ]
    async with db.write() as tx:
        return await work.enqueue(tx, "me", tasks)


async def _effects(db: Database) -> list[int]:
    async with db.read() as tx:
        return sorted(event.payload["task"] for event in await memory.page(tx, limit=10_000))


async def _tasks(db: Database, ids: Sequence[int]) -> list[work.Task]:
    async with db.read() as tx:
        return [await work.get(tx, task_id) for task_id in ids]


@asynccontextmanager
async def _working(db: Database, *agents: BuiltInAgent, batch: int = 100, poll_s: float = 0.05) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    running = asyncio.create_task(Worker(db, agents, batch=batch, poll_s=poll_s).run(stop))
    yield stop
    stop.set()
    await running


async def _ended(db: Database, ids: Sequence[int]) -> list[work.Task]:
    async def all_of_them() -> list[work.Task] | None:
        tasks = await _tasks(db, ids)
        return tasks if all(task.finished_at for task in tasks) else None

    return await until(all_of_them)


async def test_tasks_are_done_with_their_effects_in_batches(db: Database) -> None:
    ids = await _enqueue(db, 25)
    agent = Publisher()
    async with _working(db, agent, batch=10):
        tasks = await _ended(db, ids)
    assert [(task.status, task.result) for task in tasks] == [("done", {"n": n}) for n in range(25)]
    assert await _effects(db) == ids
    assert agent.batches == [10, 10, 5]


async def test_tasks_that_come_later_are_found_by_the_poll_alone(db: Database) -> None:
    async with _working(db, Publisher()):
        for _ in range(3):
            await _ended(db, await _enqueue(db, 1))


async def test_the_bell_wakes_a_worker_that_would_not_poll_for_an_hour(db: Database) -> None:
    bell = Bell(db, work.CHANNEL)
    ringing = asyncio.create_task(bell.run())
    async with _working(db, Publisher(), poll_s=3600):
        for _ in range(3):
            ids = await _enqueue(db, 1)
            bell.ring()
            await _ended(db, ids)
    ringing.cancel()


async def test_stopping_wakes_a_worker_that_waits(db: Database) -> None:
    # Nobody rings here, so what the worker is to find is there before it looks.
    ids = await _enqueue(db, 1)
    async with _working(db, Publisher(), poll_s=3600):
        await _ended(db, ids)


async def test_a_stopped_worker_leaves_the_rest_queued(db: Database) -> None:
    ids = await _enqueue(db, 30)
    stop = asyncio.Event()

    class StopsInTheMiddle(Publisher):
        async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
            stop.set()
            return await super().run(tx, claimed)

    await Worker(db, [StopsInTheMiddle()], batch=10).run(stop)
    tasks = await _tasks(db, ids)
    assert [task.status for task in tasks] == ["done"] * 10 + ["queued"] * 20
    assert await _effects(db) == ids[:10]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("bug", "agent_raised: ZeroDivisionError"),
        ("refusal", "no_such_thing: there is no thing"),
        ("forgotten", "agent_raised: AssertionError"),
    ],
)
async def test_a_task_that_raises_fails_alone_and_leaves_no_effect(db: Database, wrong: str, error: str) -> None:
    ids = await _enqueue(db, 10, wrong, at=6)
    async with _working(db, Publisher()):
        tasks = await _ended(db, ids)
        # It goes on working afterwards.
        more = await _ended(db, await _enqueue(db, 2))
    assert [task.status for task in tasks] == ["done"] * 6 + ["failed"] + ["done"] * 3
    assert tasks[6].error == error
    assert [task.status for task in more] == ["done", "done"]
    assert await _effects(db) == [*ids[:6], *ids[7:], *(task.id for task in more)]


async def test_the_message_of_a_bug_is_neither_stored_nor_logged(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    ids = await _enqueue(db, 1, "bug")
    async with _working(db, Publisher()):
        (task,) = await _ended(db, ids)
    assert SECRET not in f"{task.error}{caplog.text}"
    assert "ZeroDivisionError" in caplog.text


async def test_a_task_that_never_gets_its_rows_is_dead_after_its_attempts(db: Database) -> None:
    ids = await _enqueue(db, 3, "busy", at=1)
    agent = Publisher()
    async with _working(db, agent):
        tasks = await _ended(db, ids)
    assert [task.status for task in tasks] == ["done", "dead", "done"]
    assert tasks[1].error == "contention: the rows are in use; try again"
    assert await _effects(db) == [ids[0], ids[2]]


async def test_a_task_of_a_type_the_agent_does_not_know_stays_queued(db: Database) -> None:
    async with db.write() as tx:
        (unknown,) = await work.enqueue(tx, "me", [work.NewTask("publisher", "other", {})])
    known = await _enqueue(db, 1)
    async with _working(db, Publisher()):
        await _ended(db, known)
    assert [task.status for task in await _tasks(db, [unknown])] == ["queued"]


async def test_several_workers_do_each_task_once(db: Database) -> None:
    ids = await _enqueue(db, 300)
    async with _working(db, Publisher(), batch=7), _working(db, Publisher(), batch=11), _working(db, Publisher(), batch=13):
        await _ended(db, ids)
    assert await _effects(db) == ids


async def test_the_agents_that_come_with_it_have_names_of_their_own() -> None:
    agents = built_in()
    assert sorted(agent.name for agent in agents) == ["settlement-agent", "standing-orders", "trade-review-agent"]
    assert len({(agent.name, type) for agent in agents for type in agent.types}) == len(agents)


async def test_expired_holds_are_swept_once_however_many_workers_run(db: Database) -> None:
    await fund(db)
    async with db.write() as tx:
        alice, bob = [(await ledger.account(tx, name)).id for name in ("ALICE", "BOB")]
        soon = [ledger.NewHold(account, 100, "test", expires_in_s=1) for account in (alice, bob)] * 20
        kept = ledger.NewHold(alice, 700, "test", expires_in_s=3600)
        placed = await ledger.place_holds(tx, [*soon, kept])
    assert {one.refusal for one in placed} == {None}
    async with _working(db, Publisher()), _working(db, Publisher()):

        async def swept() -> bool:
            async with db.read() as tx:
                return all([await ledger.hold_changes(tx, one.hold_id or 0) for one in placed[:-1]])

        await until(swept)
    async with db.read() as reading:
        for one in placed[:-1]:
            assert [(change.kind, change.freed) for change in await ledger.hold_changes(reading, one.hold_id or 0)] == [
                ("expired", 100)
            ]
        assert (await ledger.hold(reading, placed[-1].hold_id or 0)).status == "open"
