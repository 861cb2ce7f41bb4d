"""Handlers that block: they run in threads, with the same verbs and the same promises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tallystick.sdk import (
    NOT_DONE,
    Agent,
    AttemptOver,
    EffectRefused,
    Finished,
    ModelReply,
    Parked,
    Returned,
    SyncTask,
    Transfer,
    runner,
)
from tests.memory_backend import MemoryBackend, running, settle_down

Handler = Callable[[SyncTask[Any]], Any]
PAY = Transfer("ACC1", "ACC2", Decimal("12.50"), "CZK")


async def test_every_verb_works_without_await_and_its_functions_run_in_the_thread_of_the_handler() -> None:
    where: list[threading.Thread] = []
    backend = MemoryBackend()

    def score(n: int) -> float:
        where.append(threading.current_thread())
        return n / 4

    def handler(task: SyncTask[dict[str, Any]]) -> None:
        where.append(threading.current_thread())
        got = [
            task.step("score", score, 1),
            task.call("pay", lambda key: key),
            task.model("ask", lambda **_: ModelReply("No."), provider="p", model="m", messages=[]).output,
            task.event("settled", {"n": 1}),
            task.approval("Go on?").approved,
        ]
        task.sleep("night", 60)
        with task.finish() as effects:
            effects.propose(PAY)
            effects.complete([*got, task.id, task.agent, task.type, task.attempt, task.payload, task.created_at])

    async with running(backend, _agent(handler)):
        task_id = backend.add(payload={"a": 1})
        for output in ({"n": 1}, {"approved": True, "by": "eva", "comment": None}, None):
            await backend.at(task_id, "wait")
            backend.wake(task_id, output)
        await backend.at(task_id, "done")
    assert backend.results[task_id] == [
        *(Decimal("0.25"), "1:pay", "No.", {"n": 1}, True),
        *(1, "agent", "work", 1, {"a": 1}, None),
    ]
    assert backend.effects[task_id].effects == (PAY,)
    assert sorted(backend.recorded(task_id)) == ["approval", "ask", "event:settled", "night", "pay", "score"]
    assert where[0] is where[1]
    assert threading.main_thread() not in where


async def test_what_a_blocking_handler_returns_is_the_result() -> None:
    backend = MemoryBackend()
    task_id = await _at(backend, lambda task: {"share": 0.5}, "done")
    assert backend.results[task_id] == {"share": Decimal("0.5")}


async def test_errors_of_a_blocking_handler_and_of_its_steps_are_its_attempts() -> None:
    backend = MemoryBackend(max_attempts=2)

    def fails() -> None:
        raise KeyError("k")

    def handler(task: SyncTask[None]) -> None:
        if task.attempt == 1:
            task.step("a", fails)
        raise ValueError("no")

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id] == ["KeyError: 'k'", "ValueError: no"]


async def test_a_blocking_lookup_is_asked_in_the_thread() -> None:
    where: list[threading.Thread] = []
    backend = MemoryBackend()

    def pay(*, key: str) -> str:
        if not where:
            raise TimeoutError("no answer")
        return "paid"

    def lookup(key: str) -> Any:
        where.append(threading.current_thread())
        return NOT_DONE

    task_id = await _at(backend, lambda task: task.call("pay", pay, on_doubt=lookup), "done")
    assert backend.results[task_id] == "paid"
    assert threading.main_thread() not in where


async def test_an_exception_in_the_block_of_a_blocking_finish_commits_nothing_and_a_refusal_may_be_handled() -> None:
    backend = MemoryBackend()
    backend.refusals = [EffectRefused(["insufficient_funds"])]
    seen: list[str] = []

    def handler(task: SyncTask[None]) -> None:
        with pytest.raises(ValueError, match="no"), task.finish() as effects:
            effects.propose(PAY)
            raise ValueError("no")
        try:
            with task.finish() as effects:
                effects.propose(PAY)
        except EffectRefused as refusal:
            seen.extend(refusal.codes)
        with task.finish() as effects:
            effects.complete("nothing paid")
        try:
            task.step("after", int)
        except BaseException as error:  # noqa: BLE001
            seen.append(type(error).__name__)

    task_id = await _at(backend, handler, "done")
    await backend.until(lambda: len(seen) == 2)
    assert seen == ["insufficient_funds", Finished.__name__]
    assert backend.asked["finish"] == 2
    assert backend.effects[task_id].effects == ()


async def test_a_blocking_handler_that_swallows_its_parking_can_write_nothing() -> None:
    caught: list[type[BaseException]] = []
    ended = threading.Event()
    backend = MemoryBackend()

    def handler(task: SyncTask[None]) -> str:
        asks: list[Callable[[], Any]] = [lambda: task.approval("Go on?"), lambda: task.step("after", int)]
        for ask in asks:
            try:
                ask()
            except BaseException as error:  # noqa: BLE001 - a handler as rude as can be
                caught.append(type(error))
        ended.set()
        return "done all the same"

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await asyncio.to_thread(ended.wait)
    assert caught == [Parked, Parked]
    assert backend.places[task_id] == "wait"
    assert backend.ends == []


async def test_a_thread_that_outlives_its_attempt_can_write_nothing_and_holds_its_place_until_it_ends() -> None:
    go_on, ended = threading.Event(), threading.Event()
    caught: list[type[BaseException]] = []
    backend = MemoryBackend(max_attempts=1, timeout_s=0.01)

    def handler(task: SyncTask[dict[str, bool]]) -> None:
        if task.payload:
            return
        go_on.wait()
        try:
            task.step("late", int)
        except BaseException as error:  # noqa: BLE001
            caught.append(type(error))
        ended.set()

    async with running(backend, _agent(handler), concurrency=1):
        task_id = backend.add()
        await backend.at(task_id, "dead")
        assert backend.errors[task_id] == ["timeout: the attempt took longer than 0.01 s"]
        backend.timeout_s = 60
        second = backend.add(payload={"quick": True})
        await settle_down()
        assert backend.places[second] == "ready"
        go_on.set()
        await backend.at(second, "done")
    assert caught == [AttemptOver]
    assert backend.lines[task_id] == []


async def test_a_thread_that_waits_for_the_backend_is_let_go_when_its_attempt_is_over() -> None:
    caught: list[type[BaseException]] = []
    backend = MemoryBackend(max_attempts=1, timeout_s=0.01)
    backend.gates["record"] = asyncio.Event()

    def handler(task: SyncTask[None]) -> None:
        try:
            task.step("a", int)
        except BaseException as error:  # noqa: BLE001
            caught.append(type(error))

    async with running(backend, _agent(handler), concurrency=1):
        task_id = backend.add()
        await backend.at(task_id, "dead")
        await backend.until(lambda: bool(caught) or backend.asked["claim"] > 1)
    assert caught == [AttemptOver]


async def test_a_blocking_handler_that_does_not_end_in_its_grace_time_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_CANCELLED_S", 0.01)
    go_on = threading.Event()
    backend = MemoryBackend()

    def handler(task: SyncTask[None]) -> None:
        go_on.wait()

    try:
        async with running(backend, _agent(handler), grace_s=0.01) as stop:
            task_id = backend.add()
            await backend.at(task_id, "run")
            await settle_down()
            stop.set()
    finally:
        go_on.set()
    assert isinstance(backend.ends[0], Returned)
    assert backend.places[task_id] == "ready"


async def test_no_more_threads_run_than_are_allowed() -> None:
    threads: set[int] = set()
    backend = MemoryBackend()

    def handler(task: SyncTask[None]) -> None:
        threads.add(threading.get_ident())
        task.step("a", int)

    tasks = [backend.add() for _ in range(20)]
    async with running(backend, _agent(handler), threads=3, concurrency=20):
        await backend.until(lambda: all(backend.places[task_id] == "done" for task_id in tasks))
    assert 1 <= len(threads) <= 3


async def test_a_step_of_a_blocking_handler_holds_no_other_step() -> None:
    backend = MemoryBackend(max_attempts=1)

    def handler(task: SyncTask[None]) -> None:
        task.step("outer", lambda: task.step("inner", int))

    task_id = await _at(backend, handler, "dead")
    assert backend.errors[task_id][0].startswith("StepMisused: a step cannot hold another step")


async def test_a_coroutine_function_is_no_step_of_a_blocking_handler() -> None:
    backend = MemoryBackend(max_attempts=1)

    async def asynchronous() -> int:
        return 1

    task_id = await _at(backend, lambda task: task.step("a", asynchronous), "dead")
    assert backend.errors[task_id] == ["TypeError: a step function of a SyncTask is no coroutine function"]


@pytest.mark.parametrize("error", [StopIteration("odd"), SystemExit(3)])
async def test_whatever_a_blocking_handler_raises_ends_its_attempt_and_not_the_worker(error: BaseException) -> None:
    backend = MemoryBackend(max_attempts=1)

    def handler(task: SyncTask[dict[str, bool]]) -> None:
        if task.payload.get("step"):
            task.step("a", _raise, 1)
        if not task.payload:
            raise error

    def _raise(_: int) -> None:
        raise error

    async with running(backend, _agent(handler)):
        task_id, in_step = backend.add(), backend.add(payload={"step": True})
        await backend.at(task_id, "dead")
        await backend.at(in_step, "dead")
        await backend.at(backend.add(payload={"good": True}), "done")


async def _at(backend: MemoryBackend, handler: Handler, place: str) -> int:
    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, place)
    return task_id


def _agent(handler: Handler) -> Agent:
    agent = Agent("agent", version="1")

    @agent.task("work")
    def work(task: SyncTask[dict[str, Any]]) -> Any:
        return handler(task)

    return agent
