"""Who may run, and how many at a time: limits, pauses, leases of workers."""

from __future__ import annotations

import asyncio
import random

import pytest

from tallystick import work
from tallystick.db import Database, DatabaseSettings
from tallystick.kit import Conflict, Invalid, NotFound
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
    get,
    new,
    one,
    sleeping,
    statuses,
)


async def test_no_more_run_than_the_limits_of_an_agent_and_a_type_allow(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        await call(db, work.limit, "agent", "a", "me", max_running=3)
        await call(db, work.limit, "type", "u", "me", max_running=2)
        await enqueue(db, *[new(agent, type) for _ in range(4) for agent in "ab" for type in "tu"])
        first = await claim(db, 100, ("a",))
        assert len(first) == 3
        both = await claim(db, 100, ("a", "b"))
        running = first + both
        assert sum(each.agent == "a" for each in running) == 3
        assert sum(each.type == "u" for each in running) == 2
        assert sum((each.agent, each.type) == ("b", "t") for each in running) == 4
        assert await claim(db, 100, ("a", "b")) == []
        queued = [task.id for task in await _queued(db)]
        async with db.write() as tx:
            assert await work.claim_these(tx, queued, worker="w") == []
        # The place of one that ends is taken by another, of whatever agent may have it.
        ended = next(each for each in running if each.type == "u")
        await finish(db, ended)
        again = await claim(db, 100, ("a", "b"))
        assert [each.type for each in again if each.agent == "b"] in ([], ["u"])
        assert 1 <= len(again) <= 2
        owner.check()


async def _queued(db: Database) -> list[work.Task]:
    async with db.read() as tx:
        return await work.page(tx, status="queued", limit=1000)


@pytest.mark.parametrize("how", ["finish", "fail", "crash", "timeout", "cancel", "park", "leave", "rollback", "expire"])
async def test_no_place_under_a_limit_leaks_however_an_attempt_ends(db: Database, database: TestDatabase, how: str) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        await call(db, work.limit, "agent", "a", "me", max_running=2)
        await call(db, work.configure, "a", "t", by="me", timeout_s=100)
        ids = await enqueue(db, *[new() for _ in range(4)])
        worker = await call(db, work.register, "w", 3600 if how == "timeout" else 60)
        if how == "rollback":
            with pytest.raises(ZeroDivisionError):
                async with db.write() as tx:
                    assert len(await work.claim(tx, agents=["a"], worker="w", limit=9)) == 2
                    raise ZeroDivisionError
        else:
            held = await claim(db, worker_id=worker)
            assert len(held) == 2
            if how == "finish":
                await finish(db, *held)
            elif how == "fail":
                await fail(db, *held)
            elif how in ("crash", "timeout"):
                owner.shift(101 if how == "timeout" else 61)
                assert {each.ended for each in await call(db, work.reap)} == {how}
            elif how == "cancel":
                for each in held:
                    await call(db, work.cancel, each.task_id, "me")
            elif how == "park":
                for each in held:
                    await call(db, work.park, each.task_id, each.fence, sleeping())
            elif how == "leave":
                assert await call(db, work.leave, worker) == 2
            else:
                owner.do("insert into work.due select task_id, db.clock() from work.run")
                owner.do("update work.run set extras = true")
                assert len(await call(db, work.expire)) == 2
        assert len(await claim(db)) == 2
        assert await claim(db) == []
        assert len(ids) == 4


_RUNNING = """
select count(*), count(*) filter (where q.type = 'u')
  from work.run r
  join work.queue q on q.id = r.queue
"""
_LOSE = "update work.run set lease_until = db.clock() where fence = any (%s)"


async def test_limits_hold_under_many_who_claim_at_once_with_crashes_among_them(database: TestDatabase) -> None:
    db = Database(database.app_url, DatabaseSettings(pool_max_size=9))
    await db.open()
    with Owner(database) as owner:
        try:
            await call(db, work.limit, "agent", "a", "me", max_running=5)
            await call(db, work.limit, "type", "u", "me", max_running=2)
            await call(db, work.configure, "a", "t", by="me", max_attempts=1000, max_crashes=1000)
            await call(db, work.configure, "a", "u", by="me", max_attempts=1000, max_crashes=1000)
            await enqueue(db, *[new("a", type) for _ in range(60) for type in "tu"])
            counts: list[tuple[int, int]] = []

            async def worker(seed: int) -> None:
                chance = random.Random(seed)
                while (await _left(db)) > 0:
                    held = await claim(db, chance.randint(1, 4))
                    # In threads: who waits here for a row keeps nobody from committing who has it.
                    counts.extend(await asyncio.to_thread(owner.all, _RUNNING))
                    lost = held[1:] if chance.randrange(4) == 0 else []
                    if lost:
                        await asyncio.to_thread(owner.do, _LOSE, [each.fence for each in lost])
                        await call(db, work.reap)
                    await finish(db, *[each for each in held if each not in lost])
                    await call(db, work.wake_due)
                    await asyncio.to_thread(owner.do, "update work.wait set wake_at = db.clock() where kind = 'backoff'")

            await asyncio.gather(*(worker(seed) for seed in range(8)))
            assert max(total for total, _ in counts) <= 5
            assert max(of_u for _, of_u in counts) <= 2
            assert owner.all("select count(*) from work.outcome where state = 'done'") == [120]
            owner.check()
        finally:
            await db.close()


async def _left(db: Database) -> int:
    async with db.read() as tx:
        return sum(each.queued + each.waiting + each.running for each in await work.depths(tx))


async def test_one_who_claims_under_a_limit_waits_for_another_and_one_of_another_agent_does_not(
    db: Database, database: TestDatabase
) -> None:
    with Owner(database) as owner:
        await call(db, work.limit, "agent", "a", "me", max_running=1)
        await enqueue(db, new("a"), new("a"), new("b", "u"))
        async with db.write() as tx:
            assert len(await work.claim(tx, agents=["a"], worker="w", limit=1)) == 1
            same = await begun(db, lambda tx: work.claim(tx, agents=["a"], worker="w", limit=1))
            assert await blocked_or_done(owner, same, tx._connection.info.backend_pid)
            other = await begun(db, lambda tx: work.claim(tx, agents=["b"], worker="w", limit=1))
            assert not await blocked_or_done(owner, other, tx._connection.info.backend_pid)
        assert await same.task == []
        assert len(await other.task) == 1


async def test_a_limit_can_be_changed_and_ended(db: Database) -> None:
    await enqueue(db, *[new() for _ in range(6)])
    await call(db, work.limit, "type", "t", "me", max_running=1)
    held = await claim(db)
    await call(db, work.limit, "type", "t", "me", max_running=3)
    assert len(await claim(db)) == 2
    await call(db, work.limit, "type", "t", "me", max_running=1)
    # Those that run go on; none begins until there are fewer than the limit.
    assert await claim(db) == []
    await finish(db, *held)
    assert await claim(db) == []
    await call(db, work.limit, "type", "t", "me", max_running=None)
    assert len(await claim(db)) == 3
    async with db.read() as tx:
        assert await work.brakes(tx) == []


async def test_what_is_paused_begins_nothing_and_what_runs_goes_on(db: Database) -> None:
    await enqueue(db, new("a", "t"), new("a", "u"), new("b", "u"))
    (held,) = await claim(db, 1)
    await call(db, work.pause, "type", "u", "me")
    await call(db, work.pause, "agent", "a", "me")
    await call(db, work.pause, "agent", "a", "you")
    await call(db, work.limit, "agent", "a", "me", max_running=7)
    assert await claim(db, 100, ("a", "b")) == []
    queued = [task.id for task in await _queued(db)]
    assert await call(db, work.claim_these, queued, worker="w") == []
    assert await finish(db, held) == [True]
    async with db.read() as tx:
        brakes = {(brake.kind, brake.name): (brake.paused_by, brake.max_running) for brake in await work.brakes(tx)}
        depths = {(depth.agent, depth.type): depth.paused for depth in await work.depths(tx)}
    assert brakes == {("agent", "a"): ("me", 7), ("type", "u"): ("me", None)}
    assert depths == {("a", "t"): True, ("a", "u"): True, ("b", "u"): True}
    await call(db, work.resume, "type", "u", "me")
    assert [each.agent for each in await claim(db, 100, ("a", "b"))] == ["b"]
    await call(db, work.resume, "agent", "a", "me")
    assert [each.agent for each in await claim(db, 100, ("a", "b"))] == ["a"]
    with pytest.raises(NotFound, match="not_paused"):
        await call(db, work.resume, "agent", "a", "me")
    async with db.read() as tx:
        assert [(brake.name, brake.max_running) for brake in await work.brakes(tx)] == [("a", 7)]


async def test_nonsense_about_limits_leases_and_policies_is_refused(db: Database) -> None:
    nonsense = [
        (work.limit, ("agent", "a", "me"), {"max_running": 0}, "limit_out_of_range"),
        (work.limit, ("agent", "a", "me"), {"max_running": 1_000_001}, "limit_out_of_range"),
        (work.limit, ("queue", "a", "me"), {"max_running": 1}, "unknown_kind"),
        (work.pause, ("agent", "", "me"), {}, "name_malformed"),
        (work.register, ("w", 0), {}, "lease_out_of_range"),
        (work.register, ("w", 3601), {}, "lease_out_of_range"),
        (work.register, ("", 1), {}, "name_malformed"),
        (work.beat, (1, 0), {}, "lease_out_of_range"),
        (work.extend, (1, 1, 0), {}, "lease_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "max_attempts": 0}, "policy_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "max_crashes": 1001}, "policy_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "timeout_s": 86_401}, "policy_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "backoff_s": float("nan")}, "policy_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "backoff_s": 5, "max_backoff_s": 1}, "policy_out_of_range"),
        (work.configure, ("a", "t"), {"by": "me", "per_key": 0}, "policy_out_of_range"),
    ]
    for verb, args, fields, code in nonsense:
        with pytest.raises(Invalid, match=code):
            await call(db, verb, *args, **fields)  # type: ignore[arg-type]
    async with db.read() as tx:
        assert await work.brakes(tx) == []


async def test_a_worker_holds_its_attempts_as_long_as_it_beats(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        worker, other = await call(db, work.register, "w1", 60), await call(db, work.register, "w2", 600)
        mine, theirs = await one(db), await one(db, "b")
        held = await claim_one(db, worker_id=worker)
        await claim_one(db, "b", worker_id=other)
        for at in (50, 100, 150):
            owner.shift(at)
            assert await call(db, work.beat, worker, 60) == [work.Held(mine, held.fence, True)]
            assert await call(db, work.reap) == []
        owner.shift(211)
        # Over is over, even where nobody has noticed: it neither beats nor claims.
        assert await call(db, work.beat, worker, 60) is None
        with pytest.raises(Conflict, match="lease_lost"):
            await claim(db, worker_id=worker)
        assert await call(db, work.reap) == [work.Reaped(mine, "crash", "again")]
        assert await statuses(db, mine, theirs) == ["queued", "running"]
        assert await finish(db, held) == [False]
        assert await call(db, work.beat, worker, 60) is None
        with pytest.raises(Conflict, match="lease_lost"):
            await claim(db, worker_id=999)
        assert owner.all("select name from work.worker") == ["w2"]


async def test_a_worker_that_leaves_gives_back_what_it_holds_uncounted(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        worker = await call(db, work.register, "w", 60)
        ids = await enqueue(db, new(), new(order_key="k"), new())
        held = await claim(db, worker_id=worker)
        await finish(db, held[2])
        assert await call(db, work.leave, worker) == 2
        assert await call(db, work.leave, worker) == 0
        assert await statuses(db, *ids) == ["queued", "queued", "done"]
        task = await get(db, ids[0])
        assert (task.attempts, task.crashes) == (0, 0)
        async with db.read() as tx:
            assert [each.ended for each in await work.attempts(tx, ids[0])] == ["returned"]
        with pytest.raises(Conflict, match="lease_lost"):
            await claim(db, worker_id=worker)
        assert [each.attempts for each in await claim(db)] == [1, 1]
        owner.check()


async def test_a_worker_cannot_begin_anything_while_it_leaves(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        worker = await call(db, work.register, "w", 60)
        task = await one(db)
        async with db.write() as tx:
            await work.claim(tx, agents=["a"], worker="w", limit=1, worker_id=worker)
            leaving = await begun(db, lambda tx: work.leave(tx, worker))
            assert await blocked_or_done(owner, leaving, tx._connection.info.backend_pid)
        # What it had just begun goes back too.
        assert await leaving.task == 1
        assert await statuses(db, task) == ["queued"]
        worker = await call(db, work.register, "w", 60)
        async with db.write() as tx:
            await work.leave(tx, worker)
            late = await begun(db, lambda tx: work.claim(tx, agents=["a"], worker="w", limit=1, worker_id=worker))
            assert await blocked_or_done(owner, late, tx._connection.info.backend_pid)
        assert (await late.task).code == "lease_lost"


async def test_an_attempt_with_a_lease_of_its_own_lasts_as_it_is_prolonged(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        await call(db, work.configure, "a", "t", by="me", timeout_s=300)
        task = await one(db)
        held = await claim_one(db, lease_s=60)
        owner.shift(50)
        await call(db, work.extend, task, held.fence, 60)
        owner.shift(100)
        assert await call(db, work.reap) == []
        with pytest.raises(Conflict, match="fence_lost"):
            await call(db, work.extend, task, held.fence + 1, 60)
        await call(db, work.extend, task, held.fence, 600)
        # No lease lasts longer than the attempt may take.
        owner.shift(301)
        assert await call(db, work.reap) == [work.Reaped(task, "timeout", "again")]
        with pytest.raises(Conflict, match="fence_lost"):
            await call(db, work.extend, task, held.fence, 60)


async def test_only_an_attempt_with_a_lease_of_its_own_is_prolonged(db: Database) -> None:
    worker = await call(db, work.register, "w", 60)
    task = await one(db)
    held = await claim_one(db, worker_id=worker)
    with pytest.raises(Conflict, match="fence_lost"):
        await call(db, work.extend, task, held.fence, 60)


async def test_reaping_keeps_to_its_bound(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        ids = await enqueue(db, *[new() for _ in range(5)])
        await claim(db, lease_s=10)
        owner.shift(11)
        assert [each.task_id for each in await call(db, work.reap, limit=3)] == ids[:3]
        assert [each.task_id for each in await call(db, work.reap, limit=3)] == ids[3:]


async def test_what_somebody_has_in_hand_is_left_by_the_reaper(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        first, second = await enqueue(db, new(), new())
        held = await claim(db, lease_s=10)
        owner.shift(11)
        async with db.write() as tx:
            # It is late, but nobody took the attempt from it: its effects and its end are one transaction.
            await work.hold_fence(tx, first, held[0].fence)
            assert [each.task_id for each in await call(db, work.reap)] == [second]
            assert await work.finish(tx, [work.Finish(first, held[0].fence, "done")], "w") == [True]
        assert await statuses(db, first, second) == ["done", "queued"]
