"""Tasks that hang together: one at a time under a key, and after others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import work
from tallystick.db import Database, Tx
from tests.conftest import TestDatabase
from tests.working import (
    Owner,
    begun,
    blocked_or_done,
    call,
    claim,
    claim_one,
    enqueue,
    fail,
    finish,
    finish_failed,
    get,
    new,
    one,
    sleeping,
    statuses,
)


async def _ids(db: Database, limit: int = 100) -> list[int]:
    return [each.task_id for each in await claim(db, limit)]


async def test_tasks_under_one_key_run_one_at_a_time_in_the_order_of_their_ids(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        ids = await enqueue(db, new(order_key="k"), new(type="u", order_key="k"), new(order_key="k"), new(order_key="l"), new())
        # Another agent's key of the same name is another key.
        (other,) = await enqueue(db, new("b", order_key="k"))
        assert (await claim_one(db, "b")).task_id == other
        first, *rest = await claim(db)
        assert [first.task_id, *(each.task_id for each in rest)] == [ids[0], ids[3], ids[4]]
        assert await statuses(db, ids[1], ids[2]) == ["waiting", "waiting"]
        assert (await get(db, ids[1])).waiting_for == "turn"
        assert await claim(db) == []
        await finish(db, first)
        (second,) = await claim(db)
        assert second.task_id == ids[1]
        await finish_failed(db, second)
        assert await _ids(db) == [ids[2]]
        owner.check()


@pytest.mark.parametrize("how", ["again", "parked", "crash"])
async def test_a_task_keeps_its_turn_until_it_ends(db: Database, database: TestDatabase, how: str) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        first, second = await enqueue(db, new(order_key="k"), new(order_key="k", priority=9))
        held = await claim_one(db)
        if how == "again":
            await fail(db, held)
        elif how == "parked":
            await call(db, work.park, first, held.fence, sleeping(in_s=50))
        else:
            owner.shift(61)
            assert [each.became for each in await call(db, work.reap)] == ["again"]
        if how != "crash":
            assert await claim(db) == []
            owner.shift(120)
            await call(db, work.wake_due)
        assert await _ids(db) == [first]
        assert await statuses(db, second) == ["waiting"]
        owner.check()


@pytest.mark.parametrize("how", ["dead", "cancelled", "expired"])
async def test_a_task_that_is_given_up_does_not_hold_up_those_behind_it(db: Database, database: TestDatabase, how: str) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        deadline_at = datetime.now(UTC) + timedelta(seconds=50)
        first, second, third = await enqueue(
            db, new(order_key="k", max_attempts=1, deadline_at=deadline_at), new(order_key="k"), new(order_key="k")
        )
        held = await claim_one(db)
        if how == "dead":
            assert await fail(db, held) == ["dead"]
        elif how == "cancelled":
            await call(db, work.cancel, first, "me")
        else:
            owner.shift(51)
            assert await call(db, work.expire) == [first]
        assert await _ids(db) == [second]
        owner.check()
        if how == "dead":
            # Put back, it is before all that have not begun.
            await call(db, work.put_back, first, "me")
            assert await statuses(db, first) == ["waiting"]
            await call(db, work.cancel, second, "me")
            assert await _ids(db) == [first]
            assert await statuses(db, third) == ["waiting"]
            owner.check()


async def test_a_task_that_is_cancelled_before_its_turn_is_passed_over(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        ids = await enqueue(db, *[new(order_key="k") for _ in range(3)])
        held = await claim_one(db)
        await call(db, work.cancel, ids[1], "me")
        assert await claim(db) == []
        await finish(db, held)
        assert await _ids(db) == [ids[2]]
        owner.check()


async def test_as_many_under_one_key_run_as_the_queue_says(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        await call(db, work.configure, "a", "t", by="me", per_key=2)
        ids = await enqueue(db, *[new(order_key="k") for _ in range(5)])
        first, second = await claim(db)
        assert [first.task_id, second.task_id] == ids[:2]
        await finish(db, second)
        assert await _ids(db) == [ids[2]]
        await call(db, work.configure, "a", "t", by="me", per_key=4)
        await finish(db, first)
        assert await _ids(db) == ids[3:]
        owner.check()


async def test_a_task_whose_turn_it_is_still_waits_for_its_time_and_for_others(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        before = await one(db, "b")
        run_at = datetime.now(UTC) + timedelta(seconds=50)
        ids = await enqueue(db, new(order_key="k", run_at=run_at, after=[before]), new(order_key="k"))
        assert (await get(db, ids[0])).waiting_for == "tasks"
        await finish(db, await claim_one(db, "b"))
        assert (await get(db, ids[0])).waiting_for == "run_at"
        assert await claim(db) == []
        owner.shift(51)
        await call(db, work.wake_due)
        assert await _ids(db) == [ids[0]]
        owner.check()


async def test_many_who_enqueue_and_work_under_few_keys_never_run_two_of_one(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        order: dict[str, list[int]] = {"k1": [], "k2": []}
        running: dict[str, int] = {"k1": 0, "k2": 0}

        async def put(number: int) -> None:
            for _ in range(10):
                await enqueue(db, new(order_key="k1", payload={"key": "k1"}), new(order_key="k2", payload={"key": "k2"}))

        async def drain() -> None:
            while owner.all(
                "select 1 from work.task t where not exists (select from work.outcome o where o.task_id = t.id) limit 1"
            ):
                for held in await claim(db, 2):
                    key = held.payload["key"]
                    running[key] += 1
                    assert running[key] == 1
                    order[key].append(held.task_id)
                    # Others go on meanwhile.
                    await get(db, held.task_id)
                    running[key] -= 1
                    assert await finish(db, held) == [True]

        await asyncio.gather(*(put(number) for number in range(3)))
        await asyncio.gather(*(drain() for _ in range(4)))
        assert {key: (len(ids), ids == sorted(ids)) for key, ids in order.items()} == {"k1": (30, True), "k2": (30, True)}
        owner.check()


async def test_a_task_runs_after_all_of_those_before_it_are_done(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        first, second = await enqueue(db, new(), new())
        last = await one(db, "b", after=[second, first, second])
        one_held, two_held = await claim(db)
        await finish(db, one_held)
        assert (await get(db, last)).waiting_for == "tasks"
        assert await claim(db, agents=("b",)) == []
        await finish(db, two_held)
        assert (await claim_one(db, "b")).task_id == last
        # Those that are done hold up nothing.
        late = await one(db, "b", after=[first, second])
        assert (await claim_one(db, "b")).task_id == late
        owner.check()


async def test_both_ends_of_a_diamond_wait_for_its_middle(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        top = await one(db)
        left, right = await enqueue(db, new(after=[top]), new(after=[top]))
        bottom = await one(db, after=[left, right])
        held = await claim_one(db)
        await finish(db, held)
        middle = await claim(db)
        assert [each.task_id for each in middle] == [left, right]
        # Both in one batch: it is freed once.
        assert await finish(db, *middle) == [True, True]
        assert await _ids(db) == [bottom]
        owner.check()


@pytest.mark.parametrize("how", ["failed", "cancelled", "expired", "reported"])
async def test_what_was_to_run_after_one_that_did_not_end_well_is_cancelled_in_cascade(
    db: Database, database: TestDatabase, how: str
) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        deadline_at = datetime.now(UTC) + timedelta(seconds=50)
        root = await one(db, deadline_at=deadline_at)
        left, right = await enqueue(
            db, new(after=[root], order_key="k", deadline_at=deadline_at.replace(year=2090)), new(after=[root])
        )
        bottom, behind = await enqueue(db, new(after=[left, right]), new(order_key="k"))
        bystander = await one(db, "b", after=[behind])
        if how == "failed":
            assert await finish_failed(db, await claim_one(db)) == [True]
        elif how == "cancelled":
            await call(db, work.cancel, root, "me")
        elif how == "expired":
            owner.shift(51)
            assert await call(db, work.expire) == [root]
        else:
            await call(db, work.complete_from_outside, root, "them", None, error="no")
        assert await statuses(db, left, right, bottom) == ["cancelled"] * 3
        told = {task_id: (await get(db, task_id)).error for task_id in (left, right, bottom)}
        assert told[left] == told[right] == f"dependency_failed: task {root} did not end well"
        assert told[bottom] == f"dependency_failed: task {left} did not end well"
        # It gave up its turn, too.
        assert await _ids(db) == [behind]
        assert await statuses(db, bystander) == ["waiting"]
        owner.check()


async def test_a_dead_task_is_waited_for_as_it_may_be_put_back(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        first = await one(db, max_attempts=1)
        await fail(db, await claim_one(db))
        second = await one(db, after=[first])
        assert await statuses(db, first, second) == ["dead", "waiting"]
        await call(db, work.put_back, first, "me")
        await finish(db, await claim_one(db))
        assert await _ids(db) == [second]
        owner.check()


async def test_a_task_after_one_that_has_ended_otherwise_is_cancelled_at_once(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        failed, done = await enqueue(db, new(), new())
        held = await claim(db)
        await finish_failed(db, held[0])
        await finish(db, held[1])
        ids = await enqueue(
            db, new(after=[failed, done]), new(after=[done]), new(order_key="k", after=[failed]), new(order_key="k")
        )
        assert await statuses(db, *ids) == ["cancelled", "queued", "cancelled", "queued"]
        owner.check()


@pytest.mark.parametrize("end", ["done", "failed"])
@pytest.mark.parametrize("place", ["run", "wait"])
async def test_one_that_ends_while_its_dependent_is_stored_is_seen_by_one_of_the_two(
    db: Database, database: TestDatabase, place: str, end: str
) -> None:
    async def ended(tx: Any) -> Any:
        if place == "wait":
            return (await work.cancel(tx, first, "me")).status if end == "failed" else await work.wake_due(tx)
        error = "no" if end == "failed" else None
        return await work.finish(tx, [work.Finish(first, held.fence, end, error=error)], "w")  # type: ignore[arg-type]

    async def dependent(tx: Any) -> Any:
        return await work.enqueue(tx, "me", [new("b", after=[first])])

    with Owner(database) as owner:
        for order in ("enqueue first", "end first"):
            first = await one(db)
            held = await claim_one(db)
            if place == "wait":
                await call(db, work.park, first, held.fence, sleeping(in_s=0))
            before, after = (dependent, ended) if order == "enqueue first" else (ended, dependent)
            async with db.write() as tx:
                answer = await before(tx)
                other = await begun(db, after)
                waits = await blocked_or_done(owner, other, tx._connection.info.backend_pid)
            # Sweeps pass by what somebody has in hand; all else waits.
            assert waits or (place == "wait" and end == "done" and order == "enqueue first")
            (second,) = answer if order == "enqueue first" else await other.task
            await other.task
            if place == "wait" and end == "done":
                await call(db, work.wake_due)
                assert await statuses(db, first, second) == ["queued", "waiting"]
                await finish(db, await claim_one(db))
            assert await statuses(db, second) == ["queued" if end == "done" else "cancelled"]
            await call(db, work.cancel, second, "me")
            owner.check()


@pytest.mark.parametrize("place", ["ready", "run"])
async def test_who_waits_for_a_task_that_moves_meanwhile_holds_no_key_that_its_end_needs(
    db: Database, database: TestDatabase, place: str
) -> None:
    async def cancelled(tx: Tx) -> Any:
        return (await work.cancel(tx, first, "me")).status

    async def done(tx: Tx) -> Any:
        return await work.finish(tx, [work.Finish(first, held.fence, "done")], "w")

    with Owner(database) as owner, psycopg.connect(database.owner_url) as keeper:
        first = await one(db, order_key="k")
        held = await claim_one(db)
        await call(db, work.park, first, held.fence, sleeping(in_s=0))
        # While somebody holds the key, another task is to be stored under it, after this one, which waits.
        keeper.execute("select work.lock_keys(array['a'], array['k'])")
        storing = await begun(db, lambda tx: work.enqueue(tx, "me", [new(order_key="k", after=[first])]))
        assert await blocked_or_done(owner, storing, keeper.info.backend_pid)
        # It waits no more, and then somebody has it in hand who wants the key as well.
        await call(db, work.wake_due)
        if place == "run":
            held = await claim_one(db)
        ending = await begun(db, cancelled if place == "ready" else done)
        assert await blocked_or_done(owner, ending, storing.pid)
        keeper.rollback()
        assert await ending.task == ("cancelled" if place == "ready" else [True])
        (second,) = await storing.task
        assert await statuses(db, second) == ["cancelled" if place == "ready" else "queued"]
        assert owner.all("select deadlocks from pg_stat_database where datname = current_database()") == [0]
        owner.check()
