"""Tasks under several workers at once, over real connections."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from tallystick import audit, memory, work
from tallystick.db import Database, Tx
from tallystick.kit import Conflict

TASKS = 600


async def _result(db: Database, task_id: int) -> Any:
    async with db.read() as tx:
        return (await work.get(tx, task_id)).result


async def _enqueue(db: Database, count: int, agent: str = "a") -> list[int]:
    async with db.write() as tx:
        return await work.enqueue(tx, "me", [work.NewTask(agent, "t", {"n": n}) for n in range(count)])


async def test_workers_that_claim_at_once_never_share_a_task(db: Database) -> None:
    ids = await _enqueue(db, TASKS)

    async def drain(worker: str) -> list[work.Claimed]:
        mine: list[work.Claimed] = []
        while True:
            async with db.write() as tx:
                claimed = await work.claim(tx, agents=["a"], worker=worker, limit=7)
            if not claimed:
                return mine
            mine += claimed
            async with db.write() as tx:
                assert all(await work.finish(tx, [work.Finish(c.task_id, c.fence, "done") for c in claimed], worker))

    shares = await asyncio.gather(*(drain(f"w{number}") for number in range(4)))
    claimed = [task for share in shares for task in share]
    assert sorted(task.task_id for task in claimed) == ids
    assert len({task.fence for task in claimed}) == TASKS
    async with db.read() as read:
        assert len(await work.page(read, status="done", limit=TASKS + 1)) == TASKS


async def test_tasks_in_the_hand_of_an_open_transaction_are_skipped_and_not_waited_for(db: Database) -> None:
    ids = await _enqueue(db, 5)
    async with db.write() as first:
        held = await work.claim(first, agents=["a"], worker="w1", limit=2)
        async with db.write() as second:
            rest = await work.claim(second, agents=["a"], worker="w2", limit=9)
            assert await work.claim_these(second, ids, worker="w2") == []
    assert [task.task_id for task in held + rest] == ids


async def test_of_two_attempts_to_finish_at_once_one_holds_the_fence(db: Database) -> None:
    ids = await _enqueue(db, 50)
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=["a"], worker="w", limit=50)

    async def finish(order: int) -> list[bool]:
        async with db.write() as tx:
            finishes = [work.Finish(task.task_id, task.fence, "done", order) for task in claimed]
            return (await work.finish(tx, finishes[::order], "w"))[::order]

    forwards, backwards = await asyncio.gather(finish(1), finish(-1))
    assert [a + b for a, b in zip(forwards, backwards, strict=True)] == [1] * len(ids)


async def test_of_many_different_reports_at_once_exactly_one_wins(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)

    async def report(answer: int) -> int | str:
        try:
            async with db.write() as tx:
                return (await work.complete_from_outside(tx, task_id, "them", {"answer": answer})).result["answer"]  # type: ignore[no-any-return]
        except Conflict as refusal:
            return refusal.code

    answers = await asyncio.gather(*(report(number) for number in range(8)))
    won = [answer for answer in answers if isinstance(answer, int)]
    assert len(won) == 1
    assert Counter(answers)["task_already_finished"] == 7
    assert await _result(db, task_id) == {"answer": won[0]}


async def test_the_same_report_many_times_at_once_is_recorded_once(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)

    async def report() -> work.Task:
        async with db.write() as tx:
            return await work.complete_from_outside(tx, task_id, "them", {"answer": 42})

    async with db.read() as read:
        before = await audit.latest(read, subject_kind="task", subject_id=task_id)
    tasks = await asyncio.gather(*(report() for _ in range(8)))
    async with db.read() as read:
        after = await audit.latest(read, subject_kind="task", subject_id=task_id)
    assert {(task.status, task.result["answer"]) for task in tasks} == {("done", 42)}
    assert before is not None
    assert after is not None
    assert after.id == before.id + 1


async def test_a_report_waits_for_a_worker_that_has_the_task_in_hand_and_then_compares(db: Database) -> None:
    (task_id,) = await _enqueue(db, 1)

    async def report(tx: Tx) -> None:
        await work.complete_from_outside(tx, task_id, "them", {"by": "them"})

    async with db.write() as tx:
        (claimed,) = await work.claim(tx, agents=["a"], worker="w", limit=1)
        reporting = asyncio.create_task(db.retrying(report))
        # Other work goes on meanwhile; whether the report is waiting already does not matter to what comes out.
        async with db.write() as other:
            await memory.publish(other, "me", agent="x", type="t", payload={})
        await work.finish(tx, [work.Finish(task_id, claimed.fence, "done", {"by": "w"})], "w")
    with pytest.raises(Conflict, match="task_already_finished"):
        await reporting
    assert await _result(db, task_id) == {"by": "w"}


async def test_taking_back_at_once_from_two_sides_queues_each_task_once(db: Database) -> None:
    ids = await _enqueue(db, 40)
    async with db.write() as tx:
        claimed = await work.claim(tx, agents=["a"], worker="w", limit=40)

    async def give_back() -> list[work.Became]:
        async with db.write() as tx:
            failures = [work.Failure(each.task_id, each.fence, "busy", retry_in_s=0) for each in claimed]
            return await work.fail(tx, failures, "w")

    counts = await asyncio.gather(give_back(), give_back(), give_back())
    assert sorted(itertools.chain(*counts)) == ["again"] * 40 + ["lost"] * 80
    async with db.read() as read:
        assert [task.id for task in await work.pending(read, limit=99)] == ids
