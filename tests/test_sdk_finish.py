"""Finishing with effects: collected while the agent works, carried out with the end of the task, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from tallystick.sdk import (
    Agent,
    EffectRefused,
    Enqueue,
    Failed,
    Finished,
    FinishMisused,
    Parked,
    Publish,
    Task,
    Transfer,
)
from tests.memory_backend import MemoryBackend, running, settle_down

Handler = Callable[[Task[None]], Any]
PAY = Transfer("ACC1", "ACC2", Decimal("12.50"), "CZK", "rent")
LATER = datetime(2026, 11, 22, 7, tzinfo=UTC)


class Verdict(BaseModel):
    risk: Decimal


async def test_effects_and_result_go_out_together_in_the_order_in_which_they_were_collected() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)
            effects.event("screened", {"risk": 0.5})
            effects.enqueue("other", "review", {"n": 1}, priority=3, run_at=LATER, key="k", order_key="o", after=[4, 5])
            effects.propose(Transfer("ACC1", "ACC3", "7", "CZK"))  # type: ignore[arg-type]
            effects.complete({"ok": True})

    task_id = await _at(backend, handler, "done")
    assert backend.effects[task_id].effects == (
        PAY,
        Publish("screened", {"risk": Decimal("0.5")}),
        Enqueue("other", "review", {"n": 1}, 3, LATER, None, "k", "o", (4, 5)),
        Transfer("ACC1", "ACC3", Decimal(7), "CZK"),
    )
    assert backend.results[task_id] == {"ok": True}
    assert backend.ends == []


async def test_an_exception_inside_the_block_commits_nothing() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)
            raise ValueError("no")

    task_id = await _at(backend, handler, "dead")
    assert backend.asked["finish"] == 0
    assert backend.errors[task_id] == ["ValueError: no"]


async def test_after_an_exception_inside_the_block_another_finish_is_possible() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        try:
            async with task.finish() as effects:
                effects.propose(PAY)
                raise ValueError("no")
        except ValueError:
            async with task.finish() as effects:
                effects.complete("nothing paid")

    task_id = await _at(backend, handler, "done")
    assert backend.effects[task_id].effects == ()
    assert backend.results[task_id] == "nothing paid"


async def test_refused_effects_leave_the_attempt_as_it_was_and_another_finish_is_possible() -> None:
    codes: list[tuple[str, ...]] = []
    backend = MemoryBackend()
    backend.refusals = [EffectRefused(["insufficient_funds"], "ACC1 lacks 2.50")]

    async def handler(task: Task[None]) -> None:
        try:
            async with task.finish() as effects:
                effects.propose(PAY)
        except EffectRefused as refusal:
            codes.append((*refusal.codes, str(refusal)))
            await task.step("note", int)
            async with task.finish() as effects:
                effects.complete("refused")

    task_id = await _at(backend, handler, "done")
    assert codes == [("insufficient_funds", "insufficient_funds: ACC1 lacks 2.50")]
    assert backend.effects[task_id].effects == ()
    assert backend.recorded(task_id) == ["note"]
    assert backend.results[task_id] == "refused"


async def test_a_refusal_that_nobody_handles_is_an_attempt_that_failed() -> None:
    backend = MemoryBackend(max_attempts=1)
    backend.refusals = [EffectRefused(["unknown_account"])]

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id] == ["EffectRefused: unknown_account"]


async def test_a_proposal_that_people_have_to_allow_parks_the_task() -> None:
    backend = MemoryBackend()
    backend.refusals = [Parked("a proposal is held")]

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)

    await _at(backend, handler, "wait")
    assert backend.ends == []


async def test_nothing_is_written_after_finish() -> None:
    caught: list[type[BaseException]] = []
    called: list[int] = []
    ended = asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.complete("done")
        asks: list[Callable[[], Any]] = [
            lambda: task.step("after", lambda: called.append(1)),
            lambda: task.sleep("night", 1),
        ]
        for ask in asks:
            try:
                await ask()
            except BaseException as error:  # noqa: BLE001
                caught.append(type(error))
        try:
            async with task.finish() as effects:
                effects.complete("again")
        except BaseException as error:  # noqa: BLE001
            caught.append(type(error))
        ended.set()

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await ended.wait()
    assert caught == [Finished] * 3
    assert called == []
    assert backend.asked["record"] + backend.asked["park"] == 0
    assert backend.results[task_id] == "done"


async def test_effects_that_were_left_collect_no_more() -> None:
    raised: list[str] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            pass
        collects: list[Callable[[], None]] = [lambda: effects.propose(PAY), lambda: effects.complete(1)]
        for collect in collects:
            with pytest.raises(FinishMisused) as refusal:
                collect()
            raised.append(str(refusal.value))

    task_id = await _at(backend, handler, "done")
    await backend.until(lambda: len(raised) == 2)
    assert raised == ["these effects are closed: finish() was left"] * 2
    assert backend.effects[task_id].effects == ()


async def test_a_task_has_one_result() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.complete(1)
            effects.complete(2)

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id] == ["FinishMisused: a task has one result; complete() was called before"]


async def test_a_result_that_is_returned_after_finish_is_dropped_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        async with task.finish() as effects:
            effects.complete("committed")
        return "returned"

    task_id = await _at(backend, handler, "done")
    assert backend.results[task_id] == "committed"
    assert backend.ends == []
    assert "task 1 was finished by finish(), so what its handler returned is dropped" in caplog.text


async def test_an_error_after_finish_changes_nothing_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish():
            pass
        raise ValueError("secret")

    await _at(backend, handler, "done")
    assert backend.ends == []
    assert "the handler of task 1 raised ValueError after finish()" in caplog.text
    assert "secret" not in caplog.text


async def test_without_a_result_the_result_is_null() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish():
            pass

    assert backend.results[await _at(backend, handler, "done")] is None

    async def silent(task: Task[None]) -> None: ...

    assert backend.results[await _at(backend, silent, "done")] is None


async def test_the_result_of_complete_has_to_be_what_the_handler_declares() -> None:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> Verdict | None:
        async with task.finish() as effects:
            effects.complete({"risk": "high"} if task.attempt == 1 else Verdict(risk=Decimal("0.50")))
        return None

    backend = MemoryBackend()
    async with running(backend, agent):
        task_id = backend.add()
        await backend.at(task_id, "done")
    assert backend.errors[task_id] == ["NotJson: the result is not what is declared: risk (decimal_parsing)"]
    assert backend.results[task_id] == {"risk": Decimal("0.50")}


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (12.5, "TypeError: an amount is a Decimal, an int or a text such as '12.50', not a float"),
        (Decimal("NaN"), "ValueError: an amount is a finite number above zero"),
        (Decimal(0), "ValueError: an amount is a finite number above zero"),
        (Decimal(-1), "ValueError: an amount is a finite number above zero"),
        ("ten", "ValueError: the amount is not a number"),
    ],
)
async def test_an_amount_that_is_not_exact_and_above_zero_is_refused(amount: Any, error: str) -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(Transfer("ACC1", "ACC2", amount, "CZK"))

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id] == [error]


async def test_a_task_has_a_bounded_number_of_effects() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            for _ in range(1001):
                effects.propose(PAY)

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id] == ["FinishMisused: a task may have 1000 effects"]


async def test_a_commit_whose_answer_is_lost_is_asked_for_again_and_happens_once() -> None:
    backend = MemoryBackend()
    backend.forgetful = {"finish"}
    after: list[str] = []

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)
        after.append("heard of no doubt")

    task_id = await _at(backend, handler, "done")
    await backend.until(lambda: bool(after))
    assert backend.asked["finish"] == 2
    assert backend.effects[task_id].effects == (PAY,)


async def test_a_finish_waits_for_the_steps_under_way() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend()

    async def slow() -> int:
        began.set()
        await go_on.wait()
        return 1

    async def handler(task: Task[None]) -> None:
        step = asyncio.create_task(task.step("slow", slow))
        await began.wait()
        async with task.finish() as effects:
            effects.complete("done")
        await step

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await began.wait()
        await settle_down()
        assert backend.asked["finish"] == 0
        go_on.set()
        await backend.at(task_id, "done")
    assert backend.recorded(task_id) == ["slow"]


async def test_a_finish_that_lost_its_fence_commits_nothing_and_says_nothing_else() -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with task.finish() as effects:
            effects.propose(PAY)
            began.set()
            await go_on.wait()

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await began.wait()
        backend.take_away(task_id, told=False)
        go_on.set()
        await backend.until(lambda: backend.asked["finish"] == 1)
    assert backend.effects == {}
    assert [end for end in backend.ends if isinstance(end, Failed)] == []


async def _at(backend: MemoryBackend, handler: Handler, place: str) -> int:
    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, place)
    return task_id


def _agent(handler: Handler) -> Agent:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> Any:
        return await handler(task)

    return agent
