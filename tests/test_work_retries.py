"""How often and when a task is tried again, when it is given up, and how people end it or put it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tallystick import audit, work
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound
from tests.conftest import TestDatabase
from tests.working import Owner, asking, call, claim, claim_one, enqueue, fail, finish, get, new, one, sleeping, statuses, step


async def test_the_backoff_doubles_with_jitter_up_to_its_bound(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        await call(db, work.configure, "a", "t", by="me", max_attempts=1000, backoff_s=2, max_backoff_s=20)
        ids = await enqueue(db, *[new() for _ in range(60)])
        spread: list[float] = []
        for attempt, most in enumerate([2, 4, 8, 16, 20, 20], 1):
            held = await claim(db)
            assert {each.attempts for each in held} == {attempt}
            assert await fail(db, *held) == ["again"] * 60
            delays = owner.all("select extract(epoch from wake_at - since)::float8 from work.wait")
            assert len(delays) == 60
            assert all(most / 2 <= delay <= most for delay in delays)
            spread.append((max(delays) - min(delays)) / most)
            owner.shift(attempt * 100)
            assert await call(db, work.wake_due) == 60
        # The jitter takes up nearly all of the half that it may.
        assert max(spread) > 0.4
        assert (await get(db, ids[0])).attempts == 6


async def test_a_failure_may_say_when_to_try_again(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        task = await one(db)
        assert await fail(db, await claim_one(db), retry_in_s=1000) == ["again"]
        waiting = await get(db, task)
        assert (waiting.waiting_for, waiting.attempts) == ("backoff", 1)
        owner.shift(999)
        assert await call(db, work.wake_due) == 0
        owner.shift(1001)
        assert await call(db, work.wake_due) == 1
        assert await fail(db, await claim_one(db), retry_in_s=0) == ["again"]
        assert await statuses(db, task) == ["queued"]
        held = await claim_one(db)
        for nonsense in (-1, float("nan"), float("inf"), 10**9):
            with pytest.raises(Invalid, match="retry_out_of_range"):
                await fail(db, held, retry_in_s=nonsense)


async def test_attempts_and_crashes_are_counted_apart(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        await call(db, work.configure, "a", "t", by="me", max_attempts=3, max_crashes=3)
        task = await one(db)
        ends: list[Any] = ["error", "crash", "timeout", "returned", "crash", "returned"]
        wanted = [(1, 0), (1, 1), (2, 1), (2, 1), (2, 2), (2, 2)]
        for ended, (attempts, crashes) in zip(ends, wanted, strict=True):
            assert await fail(db, await claim_one(db), ended=ended, retry_in_s=0) == ["again"]
            found = await get(db, task)
            assert (found.attempts, found.crashes) == (attempts, crashes), ended
        assert await fail(db, await claim_one(db), ended="crash") == ["dead"]
        dead = await get(db, task)
        assert (dead.status, dead.attempts, dead.crashes, dead.error) == ("dead", 2, 3, "busy")
        async with db.read() as tx:
            assert [each.ended for each in await work.attempts(tx, task)] == [*ends, "crash"]
        owner.check()


async def test_the_first_crash_is_tried_again_at_once_and_the_next_after_a_while(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        await call(db, work.configure, "a", "t", by="me", backoff_s=4)
        task = await one(db)
        for at, low, high in ((61, 0, 0), (200, 2, 4), (400, 4, 8)):
            await claim_one(db, lease_s=10)
            owner.shift(at)
            assert [each.became for each in await call(db, work.reap)] == ["again"]
            delays = owner.all("select extract(epoch from wake_at - since)::float8 from work.wait where task_id = %s", task)
            assert all(low <= delay <= high for delay in delays)
            assert len(delays) == (high > 0)
            owner.shift(at + 50)
            await call(db, work.wake_due)


async def test_a_task_may_have_fewer_or_more_attempts_than_its_queue_gives(db: Database) -> None:
    await call(db, work.configure, "a", "t", by="me", max_attempts=2)
    once, thrice, twice = await enqueue(db, new(max_attempts=1), new(max_attempts=3), new())
    for became in (["dead", "again", "again"], ["again", "dead"], ["dead"]):
        assert await fail(db, *await claim(db), retry_in_s=0) == became
    assert await statuses(db, once, thrice, twice) == ["dead"] * 3


async def test_a_failure_that_is_final_is_not_tried_again(db: Database) -> None:
    task = await one(db)
    held = await claim_one(db)
    async with db.write() as tx:
        final = work.Finish(task, held.fence, "failed", {"seen": 3}, "no_such_account: it was closed")
        assert await work.finish(tx, [final], "w") == [True]
    found = await get(db, task)
    assert (found.status, found.error, found.result) == ("failed", "no_such_account: it was closed", {"seen": 3})
    with pytest.raises(Conflict, match="task_is_not_dead"):
        await call(db, work.put_back, task, "me")


async def test_a_lost_fence_fails_nothing_and_a_batch_tells_each(db: Database) -> None:
    await call(db, work.configure, "a", "t", by="me", max_attempts=2)
    first, second, third = await enqueue(db, new(), new(max_attempts=1), new())
    held = await claim(db)
    await finish(db, held[2])
    assert await fail(db, held[1], held[2], held[0], held[0], retry_in_s=0) == ["dead", "lost", "again", "lost"]
    assert await statuses(db, first, second, third) == ["queued", "dead", "done"]
    async with db.read() as tx:
        assert [len(await work.attempts(tx, task)) for task in (first, second, third)] == [1, 1, 0]


async def test_what_was_given_up_can_be_put_back_with_all_its_attempts_and_its_steps(
    db: Database, database: TestDatabase
) -> None:
    with Owner(database) as owner:
        await call(db, work.configure, "a", "t", by="me", max_attempts=2)
        task = await one(db, priority=5)
        for _ in range(2):
            held = await claim_one(db)
            await call(db, work.record_step, task, held.fence, step(f"s{held.fence}"))
            await fail(db, held, retry_in_s=0)
        assert await claim(db) == []
        dead = await get(db, task)
        assert (dead.status, dead.finished_at is None) == ("dead", False)
        assert (await call(db, work.put_back, task, "me")).status == "queued"
        with pytest.raises(Conflict, match="task_is_not_dead"):
            await call(db, work.put_back, task, "me")
        with pytest.raises(NotFound, match="unknown_task"):
            await call(db, work.put_back, 999, "me")
        back = await get(db, task)
        assert (back.attempts, back.crashes, back.error, back.priority) == (0, 0, None, 5)
        held = await claim_one(db)
        assert held.attempts == 1
        async with db.read() as tx:
            assert len(await work.steps(tx, task)) == 2
            assert len(await work.attempts(tx, task)) == 2
        owner.check()


async def test_a_task_that_is_put_back_waits_for_its_time(db: Database, database: TestDatabase) -> None:
    """A time to run at that was over once may be to come again, after the clock was set back."""
    with Owner(database) as owner:
        owner.shiftable()
        now = owner.all("select db.clock()")[0]
        task = await one(db, max_attempts=1, run_at=now - timedelta(seconds=10))
        assert await fail(db, await claim_one(db)) == ["dead"]
        owner.shift(-3600)
        assert (await call(db, work.put_back, task, "me")).waiting_for == "run_at"
        owner.shift(0)
        assert await call(db, work.wake_due) == 1
        assert await statuses(db, task) == ["queued"]


@pytest.mark.parametrize("place", ["ready", "run", "backoff", "sleep", "approval", "run_at", "turn", "tasks", "dead"])
async def test_a_task_is_cancelled_wherever_it_is(db: Database, database: TestDatabase, place: str) -> None:
    with Owner(database) as owner:
        fields: dict[str, Any] = {}
        if place == "turn":
            await one(db, "a", "t", order_key="k")
            fields = {"order_key": "k"}
        if place == "tasks":
            fields = {"after": [await one(db)]}
        if place == "run_at":
            fields = {"run_at": owner.all("select now() + interval '1 hour'")[0]}
        if place == "dead":
            fields = {"max_attempts": 1}
        task = await one(db, deadline_at=owner.all("select now() + interval '1 hour'")[0], **fields)
        held = None
        if place in ("run", "backoff", "sleep", "approval", "dead"):
            held = await claim_one(db)
            if place in ("backoff", "dead"):
                await fail(db, held)
            elif place in ("sleep", "approval"):
                await call(db, work.park, task, held.fence, sleeping() if place == "sleep" else asking())
        found = await get(db, task)
        assert place in (found.waiting_for, owner.place(task), found.status)
        cancelled = await call(db, work.cancel, task, "me", reason="the customer left")
        assert (cancelled.status, cancelled.error, cancelled.worker) == ("cancelled", "the customer left", "me")
        if place == "run" and held is not None:
            assert await finish(db, held) == [False]
            assert await fail(db, held) == ["lost"]
            async with db.read() as tx:
                assert [(each.fence, each.ended) for each in await work.attempts(tx, task)] == [(held.fence, "returned")]
        async with db.read() as tx:
            event = await audit.latest(tx, subject_kind="task", subject_id=task)
        assert event is not None
        assert event.verb == "tasks.cancel"
        assert (await call(db, work.cancel, task, "you")).worker == "me"
        owner.check()


async def test_what_has_ended_otherwise_cannot_be_cancelled(db: Database) -> None:
    task = await one(db)
    await finish(db, await claim_one(db))
    with pytest.raises(Conflict, match="task_already_finished"):
        await call(db, work.cancel, task, "me")
    with pytest.raises(NotFound, match="unknown_task"):
        await call(db, work.cancel, 999, "me")
    assert await statuses(db, task) == ["done"]


async def test_a_policy_is_changed_in_part_and_stays_sound(db: Database) -> None:
    await call(db, work.configure, "a", "t", by="me", max_attempts=7, backoff_s=30)
    await call(db, work.configure, "a", "t", by="me", timeout_s=9)
    with pytest.raises(Invalid, match="policy_out_of_range"):
        await call(db, work.configure, "a", "t", by="me", max_backoff_s=5)
    await call(db, work.configure, "a", "t", by="me", backoff_s=400)
    async with db.read() as tx:
        policy = await work.policy(tx, "a", "t")
    assert policy is not None
    assert (policy.max_attempts, policy.timeout_s, policy.backoff_s, policy.max_backoff_s) == (7, 9, 400, 400)
