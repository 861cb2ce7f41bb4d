"""What the parts of a task gave, and how it waits for time, for events and for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tallystick import memory, work
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound
from tests.conftest import TestDatabase
from tests.working import (
    HASH,
    Owner,
    asking,
    begun,
    blocked_or_done,
    call,
    claim,
    claim_one,
    enqueue,
    expecting,
    fail,
    finish,
    get,
    new,
    one,
    sleeping,
    statuses,
    step,
)


async def _held(db: Database, **fields: Any) -> work.Claimed:
    task = await one(db, **fields)
    held = await claim_one(db)
    assert held.task_id == task
    return held


async def _steps(db: Database, task_id: int) -> list[work.Step]:
    async with db.read() as tx:
        return await work.steps(tx, task_id)


async def _output(db: Database, task_id: int, name: str) -> Any:
    (found,) = [each for each in await _steps(db, task_id) if each.name == name and each.state == "done"]
    return found.output


async def _park(db: Database, wait: work.Wait) -> int:
    held = await _held(db)
    await call(db, work.park, held.task_id, held.fence, wait)
    return held.task_id


async def test_steps_are_kept_in_their_order_with_all_they_say(db: Database) -> None:
    held = await _held(db)
    for new_step in (
        step("score", state="failed", error="busy", attempt=1, took_ms=20),
        step("score", output={"risk": 3}, attempt=2, took_ms=1500, detail={"gen_ai.request.model": "m"}),
        step("pay", kind="call", state="intent", detail={"key": "1:pay"}),
        step("pay", kind="call", output=None),
    ):
        await call(db, work.record_step, held.task_id, held.fence, new_step)
    steps = await _steps(db, held.task_id)
    assert [(each.name, each.kind, each.state, each.attempt, each.output, each.error) for each in steps] == [
        ("score", "step", "failed", 1, None, "busy"),
        ("score", "step", "done", 2, {"risk": 3}, None),
        ("pay", "call", "intent", 1, None, None),
        ("pay", "call", "done", 1, None, None),
    ]
    assert {each.fence for each in steps} == {held.fence}
    assert (steps[1].ended_at - steps[1].started_at) == timedelta(seconds=1.5)
    assert (steps[1].detail, steps[1].input_hash) == ({"gen_ai.request.model": "m"}, HASH)


async def test_a_step_is_done_once_and_meant_once(db: Database, database: TestDatabase) -> None:
    held = await _held(db)
    for state in ("done", "intent"):
        await call(db, work.record_step, held.task_id, held.fence, step("s", state=state))
        with pytest.raises(Conflict, match="already_exists"):
            await call(db, work.record_step, held.task_id, held.fence, step("s", state=state, attempt=2))
    # A later attempt does not do it again either.
    await fail(db, held, retry_in_s=0)
    again = await claim_one(db)
    with pytest.raises(Conflict, match="already_exists"):
        await call(db, work.record_step, again.task_id, again.fence, step("s"))
    with Owner(database) as owner:
        async with db.write() as tx:
            await work.record_step(tx, again.task_id, again.fence, step("t"))
            twin = await begun(db, lambda tx: work.record_step(tx, again.task_id, again.fence, step("t", attempt=2)))
            assert await blocked_or_done(owner, twin, tx._connection.info.backend_pid)
        assert (await twin.task).code == "already_exists"


async def test_parallel_steps_of_one_attempt_do_not_wait_for_each_other(db: Database, database: TestDatabase) -> None:
    held = await _held(db)
    with Owner(database) as owner:
        async with db.write() as tx:
            await work.record_step(tx, held.task_id, held.fence, step("s1"))
            other = await begun(db, lambda tx: work.record_step(tx, held.task_id, held.fence, step("s2")))
            assert not await blocked_or_done(owner, other, tx._connection.info.backend_pid)


async def test_an_attempt_that_is_over_writes_nothing_whatever_it_calls(db: Database, database: TestDatabase) -> None:
    """Its task runs again elsewhere: the old fence can do nothing to it."""
    old = await _held(db)
    await fail(db, old, retry_in_s=0)
    await claim_one(db)

    def facts() -> Any:
        tables = ("run", "step", "attempt", "outcome", "wait", "ready", "task")
        return [owner.all(f"select * from work.{table} order by 1") for table in tables]

    with Owner(database) as owner:
        before = facts()
        for verb, args in (
            (work.record_step, (step("s"),)),
            (work.record_step, (step("s", state="intent"),)),
            (work.park, (sleeping(),)),
            (work.hold_fence, ()),
            (work.extend, (60,)),
        ):
            with pytest.raises(Conflict, match="fence_lost"):
                await call(db, verb, old.task_id, old.fence, *args)
        assert await finish(db, old) == [False]
        assert await fail(db, old) == ["lost"]
        assert facts() == before


async def test_a_step_that_makes_no_sense_is_refused(db: Database) -> None:
    held = await _held(db)
    nonsense: list[tuple[work.NewStep, str]] = [
        (step(""), "step_malformed"),
        (step("n" * 201), "text_too_long"),
        (step("s", state="failed"), "step_malformed"),
        (step("s", error="why"), "step_malformed"),
        (step("s", attempt=-1), "step_malformed"),
        (step("s", attempt=40_000), "step_malformed"),
        (step("s", took_ms=-1), "step_malformed"),
        (work.NewStep("s", "step", "done", b"short"), "step_malformed"),
        (step("s", output="x" * 300_000), "output_too_large"),
        (step("s", output="\x00"), "text_malformed"),
        (step("s", state="failed", error="e" * 2001), "text_too_long"),
    ]
    for wrong, code in nonsense:
        with pytest.raises(Invalid, match=code):
            await call(db, work.record_step, held.task_id, held.fence, wrong)
    waits: list[tuple[work.Wait, str]] = [
        (work.Wait("sleep", "s", HASH), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=-1), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=10**12), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=float("nan")), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, wake_at=datetime(2040, 1, 1)), "time_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=1, event_type="e"), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=1, match={"a": 1}), "wait_malformed"),
        (work.Wait("event", "s", HASH), "wait_malformed"),
        (work.Wait("event", "s", HASH, event_type="no name"), "name_malformed"),
        (work.Wait("approval", "s", HASH), "wait_malformed"),
        (work.Wait("sleep", "s", HASH, in_s=1, question="?"), "wait_malformed"),
        (work.Wait("approval", "s", b"", question="?"), "step_malformed"),
        (work.Wait("approval", "s", HASH, question="?" * 300_000), "output_too_large"),
        (work.Wait("approval", "", HASH, question="?"), "step_malformed"),
    ]
    for wait, code in waits:
        with pytest.raises(Invalid, match=code):
            await call(db, work.park, held.task_id, held.fence, wait)
    assert await _steps(db, held.task_id) == []
    assert await statuses(db, held.task_id) == ["running"]


async def test_a_task_has_so_many_steps_and_no_more(db: Database, database: TestDatabase) -> None:
    held = await _held(db)
    with Owner(database) as owner:
        owner.do(
            "insert into work.step (task_id, name, state, fence, try, kind, input_hash, error, started_at, ended_at) "
            "select %s, 's' || n, 'failed', %s, 1, 'step', %s, 'no', now(), now() from generate_series(1, 9999) n",
            held.task_id, held.fence, HASH,
        )  # fmt: skip
    await call(db, work.record_step, held.task_id, held.fence, step("last"))
    with pytest.raises(Conflict, match="too_many_steps"):
        await call(db, work.record_step, held.task_id, held.fence, step("one more"))
    assert len(await _steps(db, held.task_id)) == 10_000


async def test_a_parked_task_frees_its_worker_and_goes_on_as_the_same_attempt(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        held = await _held(db, priority=3)
        await call(db, work.park, held.task_id, held.fence, sleeping("nap", in_s=100))
        parked = await get(db, held.task_id)
        assert (parked.status, parked.waiting_for, parked.attempts, parked.worker) == ("waiting", "sleep", 0, None)
        assert owner.all("select count(*) from work.run") == [0]
        assert await call(db, work.wake_due) == 0
        owner.shift(101)
        assert await call(db, work.wake_due) == 1
        again = await claim_one(db)
        assert (again.task_id, again.attempts) == (held.task_id, 1)
        assert again.fence > held.fence
        intent, done = await _steps(db, held.task_id)
        assert (intent.name, intent.kind, intent.state) == (done.name, done.kind, "intent") == ("nap", "sleep", "intent")
        assert (done.state, done.output, done.input_hash) == ("done", None, HASH)
        assert (await get(db, held.task_id)).priority == 3


async def test_a_wait_ends_at_a_time_or_after_a_while(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        at = datetime.now(UTC) + timedelta(seconds=500)
        first, second = await _park(db, work.Wait("sleep", "s", HASH, wake_at=at)), await _park(db, sleeping(in_s=300))
        async with db.read() as tx:
            told = [await work.waiting(tx, task) for task in (first, second)]
        assert told[0] is not None
        assert (told[0].kind, told[0].wake_at, told[0].step) == ("sleep", at, "s")
        owner.shift(301)
        await call(db, work.wake_due)
        assert await statuses(db, first, second) == ["waiting", "queued"]
        owner.shift(501)
        await call(db, work.wake_due)
        assert await statuses(db, first) == ["queued"]


async def test_those_whose_time_came_first_are_woken_first(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        tasks = [await _park(db, sleeping(in_s=in_s)) for in_s in (30, 10, 20)]
        owner.shift(60)
        assert [await call(db, work.wake_due, limit=2) for _ in range(3)] == [2, 1, 0]
        assert await statuses(db, *tasks) == ["queued"] * 3
        assert [each.task_id for each in await claim(db)] == tasks


async def test_an_event_wakes_those_who_wait_for_it_and_gives_itself(db: Database) -> None:
    cases: list[tuple[str, dict[str, Any] | None]] = [
        ("paid", None),
        ("paid", {}),
        ("paid", {"payment": 7}),
        ("paid", {"payment": 7, "state": "booked"}),
        ("paid", {"payment": 7, "by": {"name": "x"}}),
        ("paid", {"by": {"name": "x"}, "tags": ["b"]}),
        ("paid", {"none": None, "yes": True}),
        ("paid", {"payment": 8}),
        ("paid", {"payment": "7"}),
        ("paid", {"payment": 7, "state": "lost"}),
        ("paid", {"by": {"name": "y"}}),
        ("paid", {"missing": None}),
        ("refused", None),
    ]
    tasks = [await _park(db, expecting(type, match)) for type, match in cases]
    payload = {
        "payment": 7.0, "state": "booked", "by": {"name": "x", "id": 3}, "tags": ["a", "b"], "none": None, "yes": True,
    }  # fmt: skip
    async with db.write() as tx:
        event = await memory.publish(tx, "me", agent="bank", type="paid", payload=payload)
    assert await statuses(db, *tasks) == ["queued"] * 7 + ["waiting"] * 6
    told = await _output(db, tasks[2], "ev")
    assert (told["id"], told["type"], told["payload"]["state"]) == (str(event.id), "paid", "booked")
    async with db.write() as tx:
        await memory.publish(tx, "me", agent="bank", type="paid", payload=payload)
    assert await statuses(db, *tasks) == ["queued"] * 7 + ["waiting"] * 6


async def test_a_wait_for_an_event_or_an_answer_may_run_out_of_time(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        event, answer, patient = (
            await _park(db, expecting(in_s=60)),
            await _park(db, asking(in_s=60)),
            await _park(db, asking()),
        )
        owner.shift(61)
        assert await call(db, work.wake_due) == 2
        assert await _output(db, event, "ev") == {"timed_out": True}
        assert await _output(db, answer, "ask") == {"timed_out": True}
        assert await statuses(db, patient) == ["waiting"]
        with pytest.raises(Conflict, match="nothing_asked"):
            await call(db, work.answer, answer, "ask", "me", approved=True)
        assert await call(db, work.wake_for_event, "paid", {}, {"id": 1}) == 0


async def test_a_person_answers_once(db: Database) -> None:
    task = await _park(db, asking("limit", question={"amount": 5}))
    other = await _park(db, sleeping())
    async with db.read() as tx:
        (question,) = await work.questions(tx)
    assert (question.task_id, question.agent, question.step, question.question) == (task, "a", "limit", {"amount": 5})
    for wrong, name in ((task, "ask"), (other, "nap")):
        with pytest.raises(Conflict, match="nothing_asked"):
            await call(db, work.answer, wrong, name, "me", approved=True)
    with pytest.raises(NotFound, match="unknown_task"):
        await call(db, work.answer, 999, "limit", "me", approved=True)
    assert (await call(db, work.answer, task, "limit", "eva", approved=False, comment="too much")).status == "queued"
    assert await _output(db, task, "limit") == {"approved": False, "by": "eva", "comment": "too much"}
    with pytest.raises(Conflict, match="nothing_asked"):
        await call(db, work.answer, task, "limit", "eva", approved=True)
    async with db.read() as tx:
        assert await work.questions(tx) == []


@pytest.mark.parametrize("first", ["answer", "event", "due", "cancel"])
async def test_of_two_who_would_end_a_wait_one_does(db: Database, database: TestDatabase, first: str) -> None:
    async def answered(tx: Any) -> Any:
        return (await work.answer(tx, task, "ask", "me", approved=True)).status

    async def happened(tx: Any) -> Any:
        return await work.wake_for_event(tx, "paid", {}, {"id": 1})

    async def due(tx: Any) -> Any:
        return await work.wake_due(tx)

    async def cancelled(tx: Any) -> Any:
        return (await work.cancel(tx, task, "me")).status

    verbs: dict[str, Any] = {"answer": answered, "event": happened, "due": due, "cancel": cancelled}
    with Owner(database) as owner:
        for second, verb in verbs.items():
            if {first, second} == {"answer", "event"}:
                continue
            task = await _park(db, expecting(in_s=0) if "event" in (first, second) else asking(in_s=0))
            async with db.write() as tx:
                assert await verbs[first](tx) in (1, "queued", "cancelled")
                other = await begun(db, verb)
                waits = await blocked_or_done(owner, other, tx._connection.info.backend_pid)
                assert waits == (second != "due")
            answer = await other.task
            told = [each for each in await _steps(db, task) if each.state == "done"]
            assert len(told) == (first != "cancel")
            if second == "cancel":
                # Woken or cancelled, a task that has not ended can be cancelled.
                assert answer == "cancelled"
            else:
                assert getattr(answer, "code", answer) in (0, "nothing_asked")
            owner.check()
            await call(db, work.cancel, task, "me")


@pytest.mark.parametrize("first", ["wait", "event"])
async def test_an_event_that_comes_as_one_begins_to_wait_for_it_is_not_missed(
    db: Database, database: TestDatabase, first: str
) -> None:
    async def wait(tx: Any) -> Any:
        await memory.wait_for(tx, held.task_id, held.fence, expecting("paid", {"n": 1}))

    async def publish(tx: Any) -> Any:
        await memory.publish(tx, "me", agent="bank", type="paid", payload={"n": 1})

    with Owner(database) as owner:
        held = await _held(db)
        before, after = (wait, publish) if first == "wait" else (publish, wait)
        async with db.write() as tx:
            await before(tx)
            other = await begun(db, after)
            assert await blocked_or_done(owner, other, tx._connection.info.backend_pid)
        assert await other.task is None
        assert await statuses(db, held.task_id) == ["queued"]
        assert (await _output(db, held.task_id, "ev"))["payload"] == {"n": 1}
        owner.check()


async def test_a_step_that_is_done_is_not_waited_for(db: Database) -> None:
    """Else its wake-up could never be recorded, and would hold up those of all others."""
    held = await _held(db)
    await call(db, work.record_step, held.task_id, held.fence, step("nap", kind="sleep"))
    with pytest.raises(Conflict, match="already_exists"):
        await call(db, work.park, held.task_id, held.fence, sleeping("nap", in_s=0))
    assert await statuses(db, held.task_id) == ["running"]
    # One that is meant already is.
    await call(db, work.record_step, held.task_id, held.fence, step("pay#ask", kind="approval", state="intent"))
    await call(db, work.park, held.task_id, held.fence, asking("pay#ask"))
    await call(db, work.answer, held.task_id, "pay#ask", "me", approved=True)
    assert (await _output(db, held.task_id, "pay#ask"))["approved"] is True


async def test_only_a_parked_task_can_be_woken(db: Database) -> None:
    parked = await _park(db, expecting())
    turn = await enqueue(db, new(order_key="k"), new(order_key="k"), new(run_at=datetime(2050, 1, 1, tzinfo=UTC)))
    assert await call(db, work.wake, parked, {"id": 1})
    for task in (parked, *turn[1:]):
        assert not await call(db, work.wake, task, {"id": 2})
    assert await statuses(db, *turn[1:]) == ["waiting", "waiting"]
    assert await _output(db, parked, "ev") == {"id": 1}
