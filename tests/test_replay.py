"""Replay: code that ran comes by the same way, changed code is told by its first difference, and nothing is done again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

import psycopg
import pytest

from tallystick import sdk, work
from tallystick.db import Database
from tallystick.kit import NotFound
from tallystick.sdk import Agent, Difference, EffectRefused, ModelReply, Task, Transfer, replay
from tallystick.worker import recorded, run_agents
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.payment_agent import CALLED, agent, answer, enqueue, in_status, score_of, stub_model, tell, working
from tests.serving import fund

Handler = Callable[[Task[dict[str, Any]]], Awaitable[Any]]


@pytest.fixture
async def books(db: Database) -> Database:
    await fund(db)
    return db


async def _done(db: Database, type: str = "pay", status: str = "done", **payload: Any) -> sdk.Recorded:
    async with working(db):
        task_id = await enqueue(db, type, **payload)
        await in_status(db, task_id, status)
    return await _recorded(db, task_id)


async def _recorded(db: Database, task_id: int) -> sdk.Recorded:
    async with db.snapshot() as tx:
        return await recorded(tx, task_id)


async def _differs(of_task: sdk.Recorded, handler: Handler, *, timeout_s: float = 60) -> tuple[str, str | None] | None:
    """The kind of the first difference, and its step, of other code; no step's function is called."""
    changed = Agent("payment-agent", version="2")
    changed.task(of_task.attempt.type)(handler)
    CALLED.clear()
    found = await replay([changed], of_task, timeout_s=timeout_s)
    assert CALLED == []
    return None if found is None else (found.kind, found.step)


async def _same(of_task: sdk.Recorded) -> None:
    CALLED.clear()
    assert await replay([agent], of_task) is None
    assert CALLED == []


@pytest.mark.parametrize("payload", [{}, {"fails": "once"}, {"amount": "7"}])
async def test_the_code_that_ran_comes_by_the_same_way(books: Database, payload: dict[str, Any]) -> None:
    await _same(await _done(books, **payload))


async def test_so_does_the_code_of_a_task_that_waited_for_people(books: Database) -> None:
    async with working(books):
        yes, no = await enqueue(books, ask=True, fails="once"), await enqueue(books, ask=True)
        for task_id, approved in ((yes, True), (no, False)):
            await in_status(books, task_id, "waiting")
            await _same(await _recorded(books, task_id))
            await answer(books, task_id, approved=approved)
            await in_status(books, task_id, "done")
    for task_id in (yes, no):
        await _same(await _recorded(books, task_id))


async def test_so_does_the_code_of_a_task_that_failed_and_that_of_one_that_blocks(books: Database) -> None:
    await _same(await _done(books, status="failed", fails="for good"))
    await _same(await _done(books, "blocking"))
    await _same(await _done(books, "check", of=1))


async def _refuse_twice(task: Task[dict[str, Any]]) -> None:
    for amount in ("99999", "88888", "1"):
        try:
            async with task.finish() as effects:
                effects.propose(Transfer("ALICE", "BOB", Decimal(amount), "CZK"))
        except EffectRefused as refused:
            if refused.codes != ("insufficient_funds",):
                raise


async def _run(db: Database, handler: Handler, status: str = "done", **options: Any) -> tuple[sdk.Recorded, Agent]:
    """Let a handler really run; what is recorded of it."""
    other = Agent("other-agent", version="1")
    other.task("t", backoff_s=0, **options)(handler)
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "anna", [work.NewTask("other-agent", "t", {"n": 1})])
    stop = asyncio.Event()
    running = asyncio.create_task(run_agents(db, [other], stop, name="w"))
    await in_status(db, task_id, status)
    stop.set()
    await running
    return await _recorded(db, task_id), other


async def test_refused_effects_are_refused_again(books: Database) -> None:
    of_task, other = await _run(books, _refuse_twice)
    assert len(of_task.refusals) == 2
    assert await replay([other], of_task) is None


class Odd(Exception):
    """An exception of an author's own."""


async def test_a_step_that_failed_fails_again_with_the_same_exception(books: Database) -> None:
    def odd() -> None:
        raise Odd("it is odd")

    def zero() -> None:
        raise ZeroDivisionError

    async def handler(task: Task[dict[str, Any]]) -> str:
        try:
            await task.step("odd", odd, retries=2, backoff_s=0)
        except Odd as error:
            said = str(error)
        try:
            await task.call("zero", lambda key: zero())
        except ZeroDivisionError:
            return said
        return "?"

    of_task, other = await _run(books, handler)
    assert of_task.result == "it is odd"
    assert await replay([other], of_task) is None


async def test_a_step_that_failed_in_the_last_of_all_attempts_fails_again(books: Database) -> None:
    def odd() -> None:
        raise Odd("it is odd")

    async def handler(task: Task[dict[str, Any]]) -> None:
        await task.step("odd", odd)

    of_task, other = await _run(books, handler, "dead", max_attempts=2)
    assert (of_task.end, of_task.error) == ("failed", "Odd: it is odd")
    assert await replay([other], of_task) is None


async def test_a_task_that_was_given_up_fails_again_in_the_same_way(books: Database) -> None:
    async def handler(task: Task[dict[str, Any]]) -> None:
        await task.step("first", lambda: 1)
        raise Odd(f"attempt {task.attempt}")

    of_task, other = await _run(books, handler, "dead", max_attempts=2)
    assert (of_task.end, of_task.error) == ("failed", "Odd: attempt 2")
    assert await replay([other], of_task) is None

    async def changed(task: Task[dict[str, Any]]) -> None:
        await task.step("first", lambda: 1)
        raise Odd("otherwise")

    other = Agent("other-agent", version="2")
    other.task("t")(changed)
    found = await replay([other], of_task)
    assert found is not None
    assert found.kind == "end"


async def test_a_step_that_was_begun_early_and_ended_late_may_be_asked_for_early(books: Database) -> None:
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def handler(task: Task[dict[str, Any]]) -> Any:
        slowly = asyncio.ensure_future(task.step("slow", slow, 0.2))
        await asyncio.sleep(0.05)
        return [await task.step("fast", slow, 0.0), await slowly]

    of_task, other = await _run(books, handler)
    assert [step.line.name for step in of_task.steps] == ["fast", "slow"]
    assert await replay([other], of_task) is None


async def test_steps_that_ran_side_by_side_may_have_ended_in_any_order(books: Database) -> None:
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def handler(task: Task[dict[str, Any]]) -> Any:
        names = {"a": 0.05, "b": 0.0, "c": 0.02, "d": 0.0, "e": 0.0}
        gave = await asyncio.gather(*(task.step(name, slow, seconds) for name, seconds in names.items()))
        return [*gave, await task.step("last", slow, 0.0)]

    of_task, other = await _run(books, handler)
    assert [step.line.name for step in of_task.steps] != ["a", "b", "c", "d", "e", "last"]
    assert await replay([other], of_task) is None

    async def changed(task: Task[dict[str, Any]]) -> Any:
        first = await task.step("last", slow, 0.0)
        return [first, *[await task.step(name, slow, 0.0) for name in "abcde"]]

    other = Agent("other-agent", version="2")
    other.task("t")(changed)
    found = await replay([other], of_task)
    assert found is not None
    assert (found.kind, found.step) == ("order", "last")


# Changed code, and where it first goes another way than `payment_agent.pay`.


def _changed(
    *,
    amount: str | None = None,
    before: Handler | None = None,
    prompt: str = "Score {}?",
    tells: bool = True,
    effects: Callable[[sdk.Effects, Task[Any]], None] | None = None,
    result: Any = None,
    swapped: bool = False,
) -> Handler:
    async def pay(task: Task[dict[str, Any]]) -> None:
        if before is not None:
            await before(task)

        async def opinion_of(score: int) -> ModelReply:
            messages = [{"role": "user", "content": prompt.format(score)}]
            return await task.model("opinion", stub_model, provider="example", model="stub-1", messages=messages)

        if swapped:
            opinion = await opinion_of(20)
        score = await task.step("score", score_of, amount or task.payload["amount"])
        if not swapped:
            opinion = await opinion_of(score)
        if tells:
            await task.call("tell", tell, opinion.output)
        async with task.finish() as made:
            made.propose(Transfer("ALICE", "BOB", Decimal(task.payload["amount"]), "CZK", "for the test"))
            if effects is None:
                made.event("payment.made", {"task": str(task.id)})
                made.enqueue("payment-agent", "check", {"of": task.id})
            else:
                effects(made, task)
            made.complete({"score": score, "opinion": opinion.output} if result is None else result)

    return pay


async def _new_step(task: Task[Any]) -> None:
    await task.step("new", score_of, "1")


async def _new_wait(task: Task[Any]) -> None:
    await task.sleep("nap", 3600)


async def _kind_of_another(task: Task[Any]) -> None:
    await task.sleep("score", 1)


async def _raise(task: Task[Any]) -> None:
    raise Odd("new")


async def _swallow(task: Task[Any]) -> None:
    try:
        await task.step("new", score_of, "1")
    except Exception:  # noqa: BLE001 - as authors do
        pytest.fail("a difference is no Exception")


async def _hang(task: Task[Any]) -> None:
    await asyncio.Event().wait()


def _event_only(made: sdk.Effects, task: Task[Any]) -> None:
    made.event("payment.made", {"task": str(task.id)})


def _other_event(made: sdk.Effects, task: Task[Any]) -> None:
    made.event("payment.made", {"task": "another"})
    made.enqueue("payment-agent", "check", {"of": task.id})


def _one_more(made: sdk.Effects, task: Task[Any]) -> None:
    made.event("payment.made", {"task": str(task.id)})
    made.enqueue("payment-agent", "check", {"of": task.id})
    made.propose(Transfer("BOB", "ALICE", Decimal(1), "CZK"))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({}, None),
        ({"amount": "3.50"}, ("input", "score")),
        ({"before": _new_step}, ("step", "new")),
        ({"before": _swallow}, ("step", "new")),
        ({"before": _new_wait}, ("step", "nap")),
        ({"before": _kind_of_another}, ("step", "score")),
        ({"before": _raise}, ("end", None)),
        ({"before": _hang}, ("timeout", None)),
        ({"prompt": "Well, {}?"}, ("input", "opinion")),
        ({"swapped": True}, ("order", "opinion")),
        ({"tells": False}, ("missing", "tell")),
        ({"effects": _event_only}, ("effects", None)),
        ({"effects": _other_event}, ("effects", None)),
        ({"effects": _one_more}, ("effects", None)),
        ({"result": {"score": 21}}, ("result", None)),
        ({"result": {"score": Decimal("20.00"), "opinion": "pay"}}, None),
    ],
)
async def test_the_first_difference_of_changed_code_is_told(
    books: Database, change: dict[str, Any], difference: tuple[str, str | None] | None
) -> None:
    of_task = await _done(books)
    assert await _differs(of_task, _changed(**change), timeout_s=0.5 if difference == ("timeout", None) else 60) == difference


async def test_a_step_after_the_last_one_and_an_end_without_its_effects_are_differences(books: Database) -> None:
    of_task = await _done(books, "check", of=1)

    async def one_more(task: Task[dict[str, Any]]) -> dict[str, Any]:
        await task.step("new", score_of, "1")
        return {"checked": 1}

    async def fewer(task: Task[dict[str, Any]]) -> dict[str, Any]:
        return {"checked": 2}

    assert await _differs(of_task, one_more) == ("step", "new")
    assert await _differs(of_task, fewer) == ("result", None)
    paid = await _done(books)
    assert await _differs(paid, fewer) == ("missing", "score")
    assert await replay([Agent("payment-agent", version="1")], paid) == Difference(
        "no_handler", "the agent has no handler of 'pay' for 'payment-agent'"
    )
    without = dataclasses.replace(paid, steps=[step for step in paid.steps if step.line.name != "tell"])
    found = await replay([agent], without)
    assert found is not None
    assert (found.kind, found.step) == ("step", "tell")


async def test_of_a_task_that_has_not_ended_the_record_is_followed_as_far_as_it_goes(books: Database) -> None:
    task_id = await enqueue(books)
    await _same(await _recorded(books, task_id))
    with pytest.raises(NotFound):
        await _recorded(books, task_id + 1)


async def test_nothing_is_written_by_a_replay(books: Database, database: TestDatabase) -> None:
    of_task = await _done(books, fails="once")

    def size() -> Any:
        with psycopg.connect(database.owner_url) as owner:
            return owner.execute(
                """
                select (select count(*) from audit.event), (select count(*) from work.step), (select count(*) from work.wait),
                       (select count(*) from ledger.journal)
                """
            ).fetchone()

    before = size()
    await _same(of_task)
    await _differs(of_task, _changed(before=_new_step))
    assert size() == before


async def test_replay_at_the_command_line_says_same_or_the_first_difference(
    books: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_task = await _done(books)
    task_id = str(of_task.attempt.task_id)

    async def said(handler: Handler | None, *options: str) -> tuple[int, str]:
        module = ModuleType("changed_agent")
        module.agent = agent  # type: ignore[attr-defined]
        if handler is not None:
            module.agent = Agent("payment-agent", version="2")  # type: ignore[attr-defined]
            module.agent.task("pay")(handler)
        monkeypatch.setitem(sys.modules, "changed_agent", module)
        result = await asyncio.to_thread(command, database, "replay", task_id, "changed_agent:agent", *options)
        return result.exit_code, str(result.stdout)

    assert await said(None) == (0, "same: 3 steps, done\n")
    assert json.loads((await said(None, "--json"))[1]) == {"task": task_id, "same": True, "steps": 3}
    status, printed = await said(_changed(amount="3.50"))
    assert status == 1
    assert printed.startswith("different (input): step 'score'")
    status, printed = await said(_changed(amount="3.50"), "--json")
    assert (status, json.loads(printed)["difference"], json.loads(printed)["step"]) == (1, "input", "score")

    async def connects(task: Task[Any]) -> None:
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", 9))

    async def begins_a_process(task: Task[Any]) -> None:
        subprocess.run(["true"], check=False)

    for outside in (connects, begins_a_process):
        status, printed = await said(_changed(before=outside))
        assert (status, printed.split(":")[0]) == (1, "different (outside)"), printed
    # What was refused for the time of the replay works again after it.
    assert subprocess.run(["true"], check=False).returncode == 0
    result = await asyncio.to_thread(command, database, "replay", "999", "tests.payment_agent:agent")
    assert result.exit_code == 1
    assert "unknown_task" in result.stderr
