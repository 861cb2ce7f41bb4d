"""Waits park the task: nothing of the handler runs on, and it begins again with what it waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tallystick.sdk import TIMED_OUT, Agent, Approval, Parked, Task
from tests.memory_backend import MemoryBackend, running, settle_down

Handler = Callable[[Task[None]], Any]
MORNING = datetime(2026, 11, 22, 7, tzinfo=UTC)


async def test_a_task_that_sleeps_is_parked_and_goes_on_from_its_steps() -> None:
    called: list[str] = []
    attempts: list[int] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        attempts.append(task.attempt)
        await task.step("before", lambda: called.append("before"))
        await task.sleep("night", 3600)
        await task.sleep("until morning", until=MORNING)
        await task.step("after", lambda: called.append("after"))
        return "slept"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "wait")
        wait = backend.waits[task_id]
        assert (wait.kind, wait.step, wait.in_s, wait.wake_at) == ("sleep", "night", 3600, None)
        backend.wake(task_id)
        await backend.at(task_id, "wait")
        wait = backend.waits[task_id]
        assert (wait.step, wait.in_s, wait.wake_at) == ("until morning", None, MORNING)
        backend.wake(task_id)
        await backend.at(task_id, "done")
    assert called == ["before", "after"]
    # Going on after a wait is no new attempt.
    assert attempts == [1, 1, 1]
    assert backend.results[task_id] == "slept"


async def test_an_event_is_given_to_the_task_that_waits_for_it() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        return await task.event("payment.settled", {"payment_id": 7}, timeout_s=60)

    event = {"id": "12", "type": "payment.settled", "payload": {"payment_id": 7}}
    task_id = await _woken(backend, handler, event)
    assert backend.results[task_id] == event
    wait = backend.lines[task_id][0]
    assert (wait.name, wait.kind) == ("event:payment.settled", "event")


async def test_an_event_that_did_not_come_in_time_is_none() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        return {"got": await task.event("payment.settled", timeout_s=60)}

    task_id = await _woken(backend, handler, dict(TIMED_OUT))
    assert backend.results[task_id] == {"got": None}


@pytest.mark.parametrize(
    ("said", "approval"),
    [
        ({"approved": True, "by": "eva", "comment": "fine"}, Approval(approved=True, by="eva", comment="fine")),
        ({"approved": False, "by": "eva", "comment": None}, Approval(approved=False, by="eva")),
        (dict(TIMED_OUT), Approval(approved=False, timed_out=True)),
    ],
)
async def test_an_approval_is_what_people_said(said: Any, approval: Approval) -> None:
    got: list[Approval] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        got.append(await task.approval({"pay": "12.50", "to": "ACC2"}, name="release", timeout_s=60))

    task_id = await _woken(backend, handler, said)
    assert got == [approval]
    assert backend.lines[task_id][0].name == "release"


async def test_an_answer_to_one_question_is_no_answer_to_another() -> None:
    asked = iter(("Pay 10?", "Pay 10000?"))
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        await task.approval(next(asked))

    task_id = await _woken(backend, handler, {"approved": True, "by": "eva", "comment": None}, ends="dead")
    assert backend.errors[task_id][0].startswith("StepChanged: the input of step 'approval'")


async def test_catching_every_exception_does_not_stop_a_task_from_parking() -> None:
    went_on: list[str] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        try:
            await task.approval("Go on?")
        except Exception:  # noqa: BLE001 - what a careless handler does
            went_on.append("caught")

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "wait")
    assert went_on == []
    assert backend.ends == []


async def test_a_handler_that_swallows_its_parking_can_write_nothing_and_not_finish() -> None:
    caught: list[type[BaseException]] = []
    called: list[str] = []
    ended = asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> str:
        async def finish() -> None:
            async with task.finish() as effects:
                effects.event("late", {})

        asks: list[Callable[[], Any]] = [
            lambda: task.approval("Go on?"),
            lambda: task.step("after", lambda: called.append("after")),
            lambda: task.call("pay", lambda key: key),
            lambda: task.sleep("more", 1),
            finish,
        ]
        for ask in asks:
            try:
                await ask()
            except BaseException as error:  # noqa: BLE001 - a handler as rude as can be
                caught.append(type(error))
        ended.set()
        return "done all the same"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await ended.wait()
    assert caught == [Parked] * 5
    assert called == []
    assert backend.lines[task_id] == []
    assert backend.places[task_id] == "wait"
    assert backend.ends == []
    assert task_id not in backend.results


async def test_a_task_parks_when_its_parallel_steps_are_recorded() -> None:
    slow_began, go_on = asyncio.Event(), asyncio.Event()
    called: list[str] = []
    backend = MemoryBackend()

    async def slow() -> str:
        called.append("slow")
        slow_began.set()
        await go_on.wait()
        return "slow"

    async def handler(task: Task[None]) -> Any:
        async def ask() -> Approval:
            await slow_began.wait()
            return await task.approval("Go on?")

        async def chain() -> None:
            await task.step("slow", slow)
            await task.step("next", lambda: called.append("next"))

        return [(await asyncio.gather(chain(), ask()))[1].approved]

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await slow_began.wait()
        await settle_down()
        assert backend.asked["park"] == 0
        go_on.set()
        await backend.at(task_id, "wait")
        # The step under way was recorded; the one behind it did not begin while the task was parking.
        assert called == ["slow"]
        assert backend.recorded(task_id) == ["slow"]
        backend.wake(task_id, {"approved": True, "by": "eva", "comment": None})
        await backend.at(task_id, "done")
    assert called == ["slow", "next"]
    assert backend.results[task_id] == [True]


async def test_of_two_waits_at_once_the_first_parks_the_task_and_the_second_comes_after_it() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        both = await asyncio.gather(task.approval("A?", name="a"), task.approval("B?", name="b"))
        return [each.by for each in both]

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        for step in ("a", "b"):
            await backend.at(task_id, "wait")
            assert backend.waits[task_id].step == step
            backend.wake(task_id, {"approved": True, "by": step, "comment": None})
        await backend.at(task_id, "done")
    assert backend.results[task_id] == ["a", "b"]


async def test_parking_in_a_task_group_parks() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(task.approval("Go on?"))

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "wait")
    assert backend.ends == []


async def test_a_task_is_parked_once_though_the_answer_to_that_is_lost() -> None:
    backend = MemoryBackend()
    backend.forgetful = {"park"}

    async def handler(task: Task[None]) -> None:
        await task.sleep("night", 1)

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.until(lambda: backend.asked["park"] == 2)
        backend.wake(task_id)
        await backend.at(task_id, "done")


@pytest.mark.parametrize("asked", [{}, {"seconds": 1, "until": MORNING}, {"seconds": -1}, {"seconds": float("nan")}])
async def test_a_sleep_without_one_clear_end_is_refused(asked: dict[str, Any]) -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        await task.sleep("night", **asked)

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert backend.errors[task_id] == ["StepMisused: sleep 'night' takes a number of seconds or a time"]


async def test_a_time_without_a_zone_is_refused() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        await task.sleep("night", until=datetime(2026, 11, 22, 7))

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert backend.errors[task_id] == ["StepMisused: the time of sleep 'night' has no time zone"]


async def test_a_wait_within_a_step_is_refused() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def handler(task: Task[None]) -> None:
        async def asks() -> None:
            await task.approval("Go on?")

        await task.step("outer", asks)

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert backend.errors[task_id][0].startswith("StepMisused: a step cannot hold another step, a wait or finish()")


async def _woken(backend: MemoryBackend, handler: Handler, output: Any, *, ends: str = "done") -> int:
    """A task that parks once and is woken with an output."""
    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "wait")
        backend.wake(task_id, output)
        await backend.at(task_id, ends)
    return task_id


def _agent(handler: Handler) -> Agent:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> Any:
        return await handler(task)

    return agent
