"""How tasks are stored: priority, times, keys, ranges of ids, and what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tallystick import audit, work
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid
from tests.conftest import TestDatabase
from tests.working import Owner, begun, blocked_or_done, call, claim, claim_one, enqueue, fail, finish, get, new, one, statuses

SPAN = 1_000_000
AT = datetime(2040, 5, 1, 12, tzinfo=UTC)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("limited", [False, True])
async def test_the_highest_priority_is_claimed_first_then_the_oldest_over_all_queues(db: Database, limited: bool) -> None:
    if limited:
        # A limit that leaves room changes nothing of the order.
        await call(db, work.limit, "agent", "a", "me", max_running=100)
    ids = await enqueue(
        db, new("a", "t"), new("b", "t", priority=1), new("a", "u", priority=1), new("b", "u", priority=-1), new("a", "t"),
        new("b", "t", priority=1000), new("a", "t", priority=1),
    )  # fmt: skip
    wanted = [ids[place] for place in (5, 1, 2, 6, 0, 4, 3)]
    claimed = await claim(db, 3, ("a", "b"))
    while more := await claim(db, 1, ("a", "b")):
        claimed += more
    assert [task.task_id for task in claimed] == wanted


async def test_a_task_runs_at_its_time_or_later(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        past, soon = await enqueue(db, new(run_at=_in(-5)), new(run_at=_in(100)))
        waiting = await get(db, soon)
        assert (waiting.status, waiting.waiting_for) == ("waiting", "run_at")
        assert (await claim_one(db)).task_id == past
        assert await call(db, work.wake_due) == 0
        owner.shift(99)
        assert await call(db, work.wake_due) == 0
        owner.shift(101)
        assert await call(db, work.wake_due) == 1
        assert (await claim_one(db)).task_id == soon


@pytest.mark.parametrize("place", ["ready", "wait", "run", "dead", "parked", "turn", "tasks"])
async def test_what_is_not_finished_by_its_deadline_fails_wherever_it_is(
    db: Database, database: TestDatabase, place: str
) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        fields: dict[str, Any] = {"deadline_at": _in(600), "max_attempts": 1}
        if place == "wait":
            fields["run_at"] = _in(3600)
        if place == "turn":
            await one(db, order_key="k")
            fields["order_key"] = "k"
        if place == "tasks":
            fields["after"] = [await one(db)]
        task_id = await one(db, **fields)
        if place in ("run", "dead", "parked"):
            held = await claim_one(db)
            if place == "dead":
                assert await fail(db, held) == ["dead"]
            if place == "parked":
                await call(db, work.park, task_id, held.fence, work.Wait("sleep", "s", b"h" * 32, in_s=3600))
        assert await call(db, work.expire) == []
        owner.shift(601)
        assert await call(db, work.expire) == [task_id]
        task = await get(db, task_id)
        assert (task.status, (task.error or "").split(":")[0]) == ("failed", "deadline_passed")
        if place == "run":
            assert await finish(db, held) == [False]
            async with db.read() as tx:
                assert [each.ended for each in await work.attempts(tx, task_id)] == ["returned"]
        assert await call(db, work.expire) == []
        owner.check()


async def test_what_is_finished_in_time_is_not_touched_by_its_deadline(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        task_id = await one(db, deadline_at=_in(600))
        assert await finish(db, await claim_one(db)) == [True]
        owner.shift(1000)
        assert await call(db, work.expire) == []
        assert await statuses(db, task_id) == ["done"]


async def test_the_same_task_under_the_same_key_is_the_first_one_for_ever(db: Database) -> None:
    fields: dict[str, Any] = {
        "payload": {"n": 1}, "priority": 3, "run_at": _in(-10), "deadline_at": AT, "order_key": "o", "max_attempts": 2,
        "key": "k",
    }  # fmt: skip
    first = await one(db, **fields)
    elsewhere = AT.astimezone(timezone(timedelta(hours=2)))
    assert await one(db, **{**fields, "deadline_at": elsewhere}) == first
    assert await finish(db, await claim_one(db)) == [True]
    assert await one(db, **fields) == first
    assert await statuses(db, first) == ["done"]
    # A key is one principal's: for another it is free.
    assert await enqueue(db, new(**fields), principal="you") != [first]


async def test_another_task_under_a_used_key_is_refused(db: Database) -> None:
    await one(db, key="k")
    others: list[dict[str, Any]] = [
        {"payload": {"n": 2}}, {"priority": 1}, {"run_at": AT}, {"deadline_at": AT}, {"order_key": "o"}, {"max_attempts": 3},
        {"agent": "b"}, {"type": "u"}, {"after": [1]},
    ]  # fmt: skip
    for other in others:
        with pytest.raises(Invalid, match="key_reused"):
            await one(db, **{"key": "k", **other})


async def test_a_key_twice_in_one_batch_is_one_task(db: Database) -> None:
    ids = await enqueue(db, new(key="k"), new(), new(key="k"), new(key="j"), new(key="k"))
    assert ids[0] == ids[2] == ids[4]
    assert len(set(ids)) == 3
    again = await enqueue(db, new(), new(key="j"), new(key="k"))
    assert again[1:] == [ids[3], ids[0]]
    async with db.read() as tx:
        assert len(await work.page(tx)) == 4
        event = await audit.latest(tx, subject_kind="task", subject_id=again[0])
    assert event is not None
    assert (event.detail, event.refs) == ({"tasks": 1}, [again[0]])
    with pytest.raises(Invalid, match="key_reused"):
        await enqueue(db, new(key="x"), new(key="x", priority=1))
    # Nothing of a refused batch is left, its keys neither.
    assert await one(db, key="x", priority=1) not in ids


async def test_of_many_who_enqueue_under_one_key_at_once_all_have_the_same_task(db: Database) -> None:
    async def some(number: int) -> list[int]:
        keys = ["k1", "k2", "k3"]
        return await enqueue(db, *(new(key=key) for key in (keys if number % 2 else reversed(keys))))

    batches = await asyncio.gather(*(some(number) for number in range(8)))
    found = {tuple(ids if number % 2 else ids[::-1]) for number, ids in enumerate(batches)}
    assert len(found) == 1
    async with db.read() as tx:
        assert sorted(task.id for task in await work.page(tx)) == sorted(found.pop())


async def test_one_who_rolls_back_leaves_the_key_to_the_other(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        with pytest.raises(ZeroDivisionError):
            async with db.write() as tx:
                (lost,) = await work.enqueue(tx, "me", [new(key="k")])
                other = await begun(db, lambda tx: work.enqueue(tx, "me", [new(key="k")]))
                assert await blocked_or_done(owner, other, tx._connection.info.backend_pid)
                raise ZeroDivisionError
        (kept,) = await other.task
        assert kept != lost
        assert await statuses(db, kept) == ["queued"]


async def test_a_batch_over_the_edge_of_a_range_is_stored_whole(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.do("select setval('work.task_id', %s)", SPAN - 4)
        ids = await enqueue(db, *[new(payload={"n": number}) for number in range(8)])
        assert ids == list(range(SPAN - 3, SPAN + 5))
        assert owner.all("select tableoid::regclass::text, count(*) from work.task group by 1 order by 1") == [
            ("work.task_000000", 3),
            ("work.task_000001", 5),
        ]
        held = await claim(db)
        assert await fail(db, *held[:4], retry_in_s=0) == ["again"] * 4
        assert await finish(db, *await claim(db), *held[4:]) == [True] * 8
        assert owner.all("select count(*) from work.outcome_000001") == [5]
        assert owner.all("select count(*) from work.attempt_000000") == [3]
        # Each range has every index and its guard against changes, as the first one has.
        parts = {
            number: owner.all(
                "select regexp_replace(indexdef, '_00000[0-9]|_idx[0-9]*', '', 'g') from pg_indexes "
                "where tablename ~ %s order by 1", f"_00000{number}$",
            )
            for number in (0, 1)
        }  # fmt: skip
        assert len(parts[0]) == len(set(parts[0])) >= 8
        assert [text.replace("_000001", "") for text in parts[1]] == [text.replace("_000000", "") for text in parts[0]]
        guards = owner.all(
            "select count(*) from pg_trigger where tgrelid::regclass::text ~ 'work.*_000001$' and not tgisinternal"
        )
        assert guards == [4]


async def test_two_who_come_to_the_edge_at_once_both_pass_it(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.do("select setval('work.task_id', %s)", SPAN - 4)
        async with db.write() as tx:
            first = await work.enqueue(tx, "me", [new() for _ in range(6)])
            other = await begun(db, lambda tx: work.enqueue(tx, "me", [new() for _ in range(6)]))
            assert await blocked_or_done(owner, other, tx._connection.info.backend_pid)
        assert sorted(first + await other.task) == list(range(SPAN - 3, SPAN + 9))
        assert owner.all("select count(*) from work.ready") == [12]


async def test_a_transaction_that_worked_before_a_range_was_made_uses_it(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        await one(db)
        async with db.write() as tx:
            await work.enqueue(tx, "me", [new(run_at=AT)])
            owner.do("select setval('work.task_id', %s)", SPAN - 100_000)
            # Another one makes the next range ahead of time, and commits.
            await one(db)
            owner.do("select setval('work.task_id', %s)", SPAN + 5)
            (late,) = await work.enqueue(tx, "me", [new(run_at=AT)])
        assert late == SPAN + 6
        assert await statuses(db, late) == ["waiting"]


async def test_nobody_waits_for_the_one_who_makes_a_range_ahead_of_time(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        await one(db)
        owner.do("select setval('work.task_id', %s)", SPAN - 100_000)
        async with db.write() as tx:
            await work.enqueue(tx, "me", [new()])
            other = await begun(db, lambda tx: work.enqueue(tx, "me", [new()]))
            assert not await blocked_or_done(owner, other, tx._connection.info.backend_pid)
            assert len(await claim(db)) == 2
        assert owner.all("select max(to_id) from work.history")[0] >= 2 * SPAN


async def test_a_task_that_makes_no_sense_is_refused(db: Database) -> None:
    nonsense: list[tuple[dict[str, Any], str]] = [
        ({"priority": 1001}, "priority_out_of_range"),
        ({"priority": -1001}, "priority_out_of_range"),
        ({"max_attempts": 0}, "attempts_out_of_range"),
        ({"max_attempts": 1001}, "attempts_out_of_range"),
        ({"key": ""}, "text_malformed"),
        ({"key": "k" * 201}, "text_too_long"),
        ({"order_key": ""}, "text_malformed"),
        ({"order_key": "a\x00"}, "text_malformed"),
        ({"run_at": datetime(2040, 1, 1)}, "time_malformed"),
        ({"deadline_at": datetime(9500, 1, 1, tzinfo=UTC)}, "time_malformed"),
        ({"after": [77]}, "unknown_task"),
        ({"after": range(1001)}, "batch_too_large"),
        ({"payload": {"text": "\x00"}}, "text_malformed"),
    ]
    for fields, code in nonsense:
        with pytest.raises(Invalid, match=code):
            await enqueue(db, new(), new(**fields))
    async with db.read() as tx:
        assert await work.page(tx) == []


async def test_a_batch_has_its_bound(db: Database) -> None:
    with pytest.raises(Invalid, match="batch_too_large"):
        await enqueue(db, *[new()] * 8193)
    assert await enqueue(db) == []


async def test_every_verb_of_people_and_of_the_queue_is_on_the_record(db: Database, database: TestDatabase) -> None:
    """Claims, beats and wake-ups are no events; whatever else changes a task or who may run is one."""
    with Owner(database) as owner:
        owner.shiftable()

        def told(verb: str) -> Any:
            (found,) = owner.all("select leaf::jsonb -> 'detail' from audit.event where verb = %s", verb)
            owner.do("set session_replication_role = replica")
            owner.do("truncate audit.event cascade")
            return found

        first, second, third, fourth = await enqueue(
            db, new(order_key="o"), new(max_attempts=1), new(deadline_at=_in(100)), new(run_at=_in(3600))
        )
        assert told("tasks.enqueue") == {"tasks": 4}
        worker = await call(db, work.register, "w", 10)
        held = {each.task_id: each for each in await claim(db, worker_id=worker)}
        await call(db, work.beat, worker, 10)
        assert owner.all("select verb from audit.event") == []
        await fail(db, held[second])
        assert told("tasks.fail") == {"tasks": [[second, "error", "dead"]]}
        await call(db, work.put_back, second, "me")
        assert told("tasks.put_back") == {}
        await call(db, work.park, first, held[first].fence, work.Wait("approval", "ask", b"h" * 32, question={"ok": 1}))
        await call(db, work.answer, first, "ask", "me", approved=True)
        assert told("tasks.answer") == {"step": "ask", "approved": True}
        owner.shift(11)
        await call(db, work.reap)
        assert told("tasks.reap") == {"tasks": [[third, "crash", "again"]]}
        owner.shift(101)
        await call(db, work.expire)
        assert told("tasks.expire") == {"tasks": [third]}
        await call(db, work.cancel, fourth, "me", reason="no longer wanted")
        assert told("tasks.cancel")["was"] == "wait"
        await call(db, work.complete_from_outside, second, "them", {})
        assert told("tasks.report") == {"state": "done"}
        await finish(db, await claim_one(db))
        assert told("tasks.finish") == {"tasks": [[str(first), "done"]]}
        await call(db, work.pause, "agent", "a", "me")
        assert told("tasks.pause") == {"kind": "agent", "name": "a"}
        await call(db, work.resume, "agent", "a", "me")
        assert told("tasks.resume") == {"kind": "agent", "name": "a"}
        await call(db, work.limit, "type", "t", "me", max_running=3)
        assert told("tasks.limit") == {"kind": "type", "name": "t", "max_running": 3}
        # What changes nothing leaves nothing.
        assert await finish(db, held[first]) == [False]
        assert await fail(db, held[first]) == ["lost"]
        assert await call(db, work.reap) == []
        assert await call(db, work.expire) == []
        await call(db, work.cancel, fourth, "me")
        with pytest.raises(Conflict):
            await call(db, work.put_back, first, "me")
        assert owner.all("select verb from audit.event") == []
