"""Any two verbs that meet at one attempt: whoever commits first has it, the other is told, and nobody waits for ever.

Of each pair, the first is called in a transaction that stays open until the second one either waits for it or is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tallystick import work
from tallystick.db import Database, Tx
from tallystick.kit import TallystickError
from tests.conftest import TestDatabase
from tests.working import Owner, begun, blocked_or_done, claim_one, get, one, shifted, sleeping, step

LEASE_S, TIMEOUT_S, DEADLINE_S = 600, 1200, 2400
HOUR = 3600


@dataclass(frozen=True)
class Verb:
    """`call` on a running task; `shift_s` is what its clock is ahead, so that it has something to do.

    What it answers when it `won`, and when another had the attempt before it, `lost` (an error by its code). `ends` the task or
    only this attempt, or neither. `waits` for one who has the attempt in hand, or passes it by.
    """

    call: Callable[[Tx, int, int, int], Awaitable[Any]]
    won: Any
    lost: Any
    ends: str
    waits: bool = True
    shift_s: int = 0


async def _finish(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.finish(tx, [work.Finish(task, fence, "done")], "w")


async def _fail(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.fail(tx, [work.Failure(task, fence, "busy", retry_in_s=0)], "w")


async def _crash(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return [each.ended for each in await work.reap(tx)]


async def _timeout(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return [each.ended for each in await work.reap(tx)]


async def _cancel(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return (await work.cancel(tx, task, "me")).status


async def _expire(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return len(await work.expire(tx))


async def _park(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.park(tx, task, fence, sleeping())


async def _record(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.record_step(tx, task, fence, step("s"))


async def _hold(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.hold_fence(tx, task, fence)


async def _leave(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.leave(tx, worker)


async def _beat(tx: Tx, task: int, fence: int, worker: int) -> Any:
    return await work.beat(tx, worker, LEASE_S) is not None


VERBS = {
    "finish": Verb(_finish, [True], [False], "task"),
    "fail": Verb(_fail, ["again"], ["lost"], "attempt"),
    "crash": Verb(_crash, ["crash"], [], "attempt", waits=False, shift_s=LEASE_S + 1),
    "timeout": Verb(_timeout, ["timeout"], [], "attempt", waits=False, shift_s=TIMEOUT_S + 1),
    "cancel": Verb(_cancel, "cancelled", "task_already_finished", "task"),
    "expire": Verb(_expire, 1, 0, "task", waits=False, shift_s=DEADLINE_S + 1),
    "park": Verb(_park, None, "fence_lost", "attempt"),
    "leave": Verb(_leave, 1, 0, "attempt"),
    "record": Verb(_record, None, "fence_lost", "nothing"),
    "hold": Verb(_hold, None, "fence_lost", "nothing"),
}


@dataclass
class Attempt:
    task: int
    fence: int
    worker: int


async def _attempt(db: Database) -> Attempt:
    """A task that runs, held by a worker with a lease, with a timeout and a deadline that are not over."""
    async with db.write() as tx:
        await work.configure(tx, "a", "t", by="me", timeout_s=TIMEOUT_S)
        worker = await work.register(tx, "w", LEASE_S)
        row = await (await tx._connection.execute("select db.clock() + make_interval(secs => %s)", (DEADLINE_S,))).fetchone()
    assert row is not None
    task = await one(db, deadline_at=row[0])
    held = await claim_one(db, worker_id=worker)
    assert held.task_id == task
    return Attempt(task, held.fence, worker)


async def _clear(db: Database, attempt: Attempt) -> None:
    """Nothing of an attempt is left over for the next pair."""
    async with db.write() as tx:
        if (await work.get(tx, attempt.task)).finished_at is None:
            await work.cancel(tx, attempt.task, "me")
        await work.leave(tx, attempt.worker)


def _answer(given: Any) -> Any:
    return given.code if isinstance(given, TallystickError) else given


def _wanted(first: str, second: str) -> Any:
    """What the second answers when the first has committed."""
    before, after = VERBS[first], VERBS[second]
    if (first, second) == ("record", "record"):
        return "already_exists"
    if before.ends == "nothing":
        return after.won if after.waits else after.lost
    if second == "cancel":
        # A task whose attempt came to nothing is cancelled where it is then; cancelling twice is fine.
        return "task_already_finished" if first in ("finish", "expire") else "cancelled"
    return after.lost


@pytest.mark.parametrize("first", VERBS)
async def test_of_two_verbs_on_one_attempt_the_first_to_commit_has_it(db: Database, database: TestDatabase, first: str) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        for second, verb in VERBS.items():
            attempt = await _attempt(db)
            args = (attempt.task, attempt.fence, attempt.worker)
            async with db.write() as tx:
                await shifted(tx, VERBS[first].shift_s)
                assert _answer(await VERBS[first].call(tx, *args)) == VERBS[first].won, (first, second)
                other = await begun(db, lambda tx: verb.call(tx, *args), verb.shift_s)  # noqa: B023
                waits = await blocked_or_done(owner, other, tx._connection.info.backend_pid)
            given = _answer(await other.task)
            assert given == _wanted(first, second), (first, second, given)
            assert verb.waits or not waits, (first, second)
            owner.check()
            task = await get(db, attempt.task)
            recorded = owner.all("select count(*) from work.step where task_id = %s and name = 's'", attempt.task)
            assert recorded == [int(first == "record" or (first == "hold" and second == "record"))], (first, second)
            if first in ("finish", "expire", "cancel"):
                assert task.status == {"finish": "done", "expire": "failed", "cancel": "cancelled"}[first], (first, second)
            elif VERBS[first].ends == "attempt" and second != "cancel":
                # A timeout is tried again after a while.
                assert task.status == ("waiting" if first in ("park", "timeout") else "queued"), (first, second)
            # Whoever came too late has changed nothing; the next who comes finds the task where it is.
            await _clear(db, attempt)
        assert owner.all("select deadlocks from pg_stat_database where datname = current_database()") == [0]


@pytest.mark.parametrize("first", VERBS)
async def test_of_two_verbs_on_one_attempt_the_second_has_it_when_the_first_rolls_back(
    db: Database, database: TestDatabase, first: str
) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        for second, verb in VERBS.items():
            attempt = await _attempt(db)
            args = (attempt.task, attempt.fence, attempt.worker)
            with pytest.raises(ZeroDivisionError):
                async with db.write() as tx:
                    await shifted(tx, VERBS[first].shift_s)
                    await VERBS[first].call(tx, *args)
                    other = await begun(db, lambda tx: verb.call(tx, *args), verb.shift_s)  # noqa: B023
                    await blocked_or_done(owner, other, tx._connection.info.backend_pid)
                    raise ZeroDivisionError
            given = _answer(await other.task)
            if not verb.waits and given == verb.lost:
                # It passed the attempt by, and finds it when it looks again.
                given = _answer(await (await begun(db, lambda tx: verb.call(tx, *args), verb.shift_s)).task)  # noqa: B023
            assert given == verb.won, (first, second, given)
            owner.check()
            await _clear(db, attempt)
        assert owner.all("select deadlocks from pg_stat_database where datname = current_database()") == [0]


async def test_a_worker_that_is_taken_for_lost_has_no_lease_any_more(db: Database, database: TestDatabase) -> None:
    """The beat comes while its worker's lease is being taken away: it waits, and is told."""
    with Owner(database) as owner:
        owner.shiftable()
        attempt = await _attempt(db)
        async with db.write() as tx:
            await shifted(tx, LEASE_S + 1)
            assert [each.ended for each in await work.reap(tx)] == ["crash"]
            beat = await begun(db, lambda tx: work.beat(tx, attempt.worker, LEASE_S))
            assert await blocked_or_done(owner, beat, tx._connection.info.backend_pid)
        assert await beat.task is None
        assert owner.place(attempt.task) == "ready"


async def test_a_worker_that_beats_at_this_moment_is_not_taken_for_lost(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        attempt = await _attempt(db)
        async with db.write() as tx:
            held = await work.beat(tx, attempt.worker, HOUR)
            assert held == [work.Held(attempt.task, attempt.fence, True)]
            reap = await begun(db, work.reap, LEASE_S + 1)
            assert not await blocked_or_done(owner, reap, tx._connection.info.backend_pid)
        assert await reap.task == []
        # After the beat its lease is longer.
        assert await (await begun(db, work.reap, LEASE_S + 1)).task == []
        assert owner.place(attempt.task) == "run"


@pytest.mark.parametrize("second", ["finish", "fail", "park", "cancel", "record", "hold"])
async def test_an_attempt_that_is_prolonged_at_this_moment_is_not_lost_by_it(
    db: Database, database: TestDatabase, second: str
) -> None:
    """The row of an attempt moves when it is prolonged; whoever waited for it finds it all the same."""
    with Owner(database) as owner:
        owner.shiftable()
        task = await one(db)
        held = await claim_one(db, lease_s=60)
        async with db.write() as tx:
            await work.extend(tx, task, held.fence, 600)
            other = await begun(db, lambda tx: VERBS[second].call(tx, task, held.fence, 0))
            waits = await blocked_or_done(owner, other, tx._connection.info.backend_pid)
        assert waits == (second != "record")
        assert _answer(await other.task) == VERBS[second].won
        owner.check()


async def test_an_attempt_that_is_prolonged_at_this_moment_is_not_taken_back(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        task = await one(db)
        held = await claim_one(db, lease_s=60)
        async with db.write() as tx:
            await work.extend(tx, task, held.fence, 600)
            assert await (await begun(db, work.reap, 61)).task == []
        assert await (await begun(db, work.reap, 61)).task == []
        assert [each.ended for each in await (await begun(db, work.reap, 601)).task] == ["crash"]
