"""Steps: done once, recorded, and read again when the task goes on."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tallystick.sdk import Agent, FenceLost, StepChanged, StepMisused, Task, TaskFailed
from tests.memory_backend import MemoryBackend, running


@dataclass(frozen=True, slots=True)
class Score:
    value: float
    limit: Decimal


async def test_a_step_that_is_recorded_is_read_again_and_not_done_again() -> None:
    called: list[str] = []
    got: list[Any] = []
    agent = Agent("agent", version="1")

    def score(customer: str, *, weight: Decimal) -> Score:
        called.append(customer)
        return Score(0.1, Decimal("12.50") * weight)

    async def fetch(n: int) -> Any:
        called.append("fetch")
        return {"n": n, "share": 0.25, "pair": (1, 2)}

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        got.append((await task.step("score", score, "c1", weight=Decimal(2)), await task.step("fetch", fetch, 5)))
        if task.attempt == 1:
            raise ValueError("later")

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert called == ["c1", "fetch"]
    assert got == [(Score(0.1, Decimal("25.00")), {"n": 5, "share": Decimal("0.25"), "pair": [1, 2]})] * 2
    # Values of the first run are those of the second, in type as well.
    assert repr(got[0]) == repr(got[1])
    assert backend.recorded(task_id) == ["score", "fetch"]


async def test_another_input_of_a_recorded_step_is_an_error_and_not_silence() -> None:
    errors: list[str] = []
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        try:
            await task.step("score", lambda n: n, task.attempt)
        except StepChanged as error:
            errors.append(str(error))
        raise RuntimeError("again")

    backend = MemoryBackend(max_attempts=2)
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "dead")
    assert errors == ["the input of step 'score' is another one than the one that was recorded"]


async def test_another_kind_of_a_recorded_step_is_an_error() -> None:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        if task.attempt == 1:
            await task.step("pay", lambda: 1)
            raise RuntimeError("again")
        await task.call("pay", lambda key: key)

    backend = MemoryBackend(max_attempts=2)
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "dead")
    assert backend.errors[task_id][1] == "StepChanged: step 'pay' was recorded as a step, and is a call now"


async def test_equal_numbers_are_the_same_input_however_they_are_written() -> None:
    called: list[Any] = []
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        given = [(1.5, {"b": 2, "a": 1}), (Decimal("1.50"), {"a": Decimal("1.0"), "b": 2})][task.attempt - 1]
        await task.step("once", lambda *args: called.append(args), *given)
        if task.attempt == 1:
            raise RuntimeError("again")

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert len(called) == 1


@pytest.mark.parametrize("name", ["", "a#2", "a\nb", "a" * 181])
async def test_a_name_that_cannot_stand_in_the_record_is_refused(name: str) -> None:
    assert (await _error_of(lambda task: task.step(name, int))).startswith("StepMisused: a step's name has 1 to 180 characters")


async def test_a_name_that_is_there_twice_is_refused() -> None:
    async def handler(task: Task[None]) -> None:
        await task.step("a", int)
        await task.step("a", int)

    assert await _error_of(handler) == "StepMisused: step 'a' is there twice; give each its own name, such as 'a:2'"


async def test_an_argument_that_is_no_data_is_refused_and_the_error_says_what_to_do() -> None:
    def handler(task: Task[None]) -> Any:
        return task.step("a", print, object())

    error = await _error_of(handler)
    assert error.startswith("StepMisused: an argument of step 'a' holds a value of type object, which has no JSON form")
    assert "functools.partial" in error


async def test_what_is_no_data_goes_into_the_function_by_partial() -> None:
    class Client:
        def ask(self, question: str) -> int:
            return len(question)

    got: list[int] = []
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        got.append(await task.step("a", functools.partial(Client.ask, Client()), "why"))

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert got == [3]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x" * 300_000, "NotJson: what step 'a' gave has 300002 bytes as JSON; it may have 262144"),
        (object(), "NotJson: what step 'a' gave holds a value of type object, which has no JSON form"),
        (float("nan"), "NotJson: what step 'a' gave holds a number that is not finite"),
    ],
)
async def test_an_output_that_cannot_be_kept_is_refused(output: Any, message: str) -> None:
    assert await _error_of(lambda task: task.step("a", lambda: output)) == message


async def test_an_output_that_is_not_what_its_function_declares_is_refused() -> None:
    def lies() -> Score:
        return "high"  # type: ignore[return-value]

    error = await _error_of(lambda task: task.step("a", lies))
    assert error.startswith("StepMisused: what step 'a' gave is not what its annotation says: value (")


async def test_a_failed_try_is_recorded_and_made_again_within_the_attempt() -> None:
    tries: list[int] = []
    agent = Agent("agent", version="1")

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError(f"refused {len(tries)}")
        return "ok"

    @agent.task("work")
    async def work(task: Task[None]) -> str:
        assert task.attempt == 1
        return await task.step("a", flaky, retries=2, backoff_s=0)

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    lines = backend.lines[task_id]
    assert [(line.state, line.try_no, line.error) for line in lines] == [
        ("failed", 1, "ConnectionError: refused 1"),
        ("failed", 2, "ConnectionError: refused 2"),
        ("done", 3, None),
    ]
    assert backend.results[task_id] == "ok"


async def test_after_its_retries_a_step_raises_its_own_error_and_a_later_attempt_makes_it_anew() -> None:
    raised: list[str] = []
    agent = Agent("agent", version="1")

    def fails() -> None:
        raise KeyError("k")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        try:
            await task.step("a", fails, retries=1, backoff_s=0)
        except KeyError as error:
            raised.append(str(error))
            raise

    backend = MemoryBackend(max_attempts=2)
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "dead")
    assert raised == ["'k'", "'k'"]
    assert [line.try_no for line in backend.lines[task_id]] == [1, 2, 1, 2]
    assert backend.errors[task_id] == ["KeyError: 'k'"] * 2


async def test_a_task_that_a_step_declares_failed_is_not_tried_again() -> None:
    called: list[int] = []
    agent = Agent("agent", version="1")

    def refuses() -> None:
        called.append(1)
        raise TaskFailed("unknown_customer: nobody of that name")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await task.step("a", refuses, retries=5, backoff_s=0)

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "failed")
    assert called == [1]
    assert backend.errors[task_id] == ["unknown_customer: nobody of that name"]


async def test_an_error_is_kept_as_kind_and_message_within_bounds_and_without_what_cannot_be_stored() -> None:
    def fails() -> None:
        raise ValueError("a\x00b\ud800" + "x" * 5000)

    error = await _error_of(lambda task: task.step("a", fails))
    assert error.startswith("ValueError: a?b?xxx")
    assert len(error) == 2000


async def test_parallel_steps_are_under_way_together_and_each_is_recorded() -> None:
    both = asyncio.Barrier(2)
    agent = Agent("agent", version="1")

    async def meets(n: int) -> int:
        await both.wait()
        return n

    @agent.task("work")
    async def work(task: Task[None]) -> list[int]:
        return list(await asyncio.gather(task.step("a", meets, 1), task.step("b", meets, 2)))

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert backend.results[task_id] == [1, 2]
    assert sorted(backend.recorded(task_id)) == ["a", "b"]
    assert backend.asked["steps"] == 1


async def test_when_one_of_parallel_steps_fails_the_others_are_recorded_before_the_attempt_ends() -> None:
    go_on = asyncio.Event()
    agent = Agent("agent", version="1")

    def fails() -> None:
        raise ValueError("no")

    async def slow() -> str:
        await go_on.wait()
        return "slow"

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await asyncio.gather(task.step("slow", slow), task.step("fails", fails))

    backend = MemoryBackend(max_attempts=1)
    task_id = backend.add()
    async with running(backend, agent):
        await backend.until(lambda: backend.recorded(task_id, "failed") == ["fails"])
        assert backend.places[task_id] == "run"
        go_on.set()
        await backend.at(task_id, "dead")
    assert backend.recorded(task_id) == ["slow"]


async def test_a_step_within_a_step_is_refused() -> None:
    async def handler(task: Task[None]) -> None:
        async def outer() -> None:
            await task.step("inner", int)

        await task.step("outer", outer)

    error = await _error_of(handler)
    assert error == "StepMisused: a step cannot hold another step, a wait or finish(); do them one after the other"


async def test_a_step_is_recorded_once_even_if_the_answer_to_that_is_lost() -> None:
    called: list[int] = []
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await task.step("a", lambda: called.append(1))

    backend = MemoryBackend()
    backend.forgetful = {"steps", "record"}
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert called == [1]
    assert backend.recorded(task_id) == ["a"]
    assert backend.asked["record"] == 2


async def test_a_step_waits_for_a_backend_that_is_away() -> None:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await task.step("a", int)

    backend = MemoryBackend()
    backend.away = {"record"}
    task_id = backend.add()
    async with running(backend, agent):
        await backend.until(lambda: backend.asked["record"] == 3 or backend.places[task_id] == "done")
        assert backend.places[task_id] == "run"
        backend.away.clear()
        await backend.at(task_id, "done")


async def test_an_attempt_that_lost_its_fence_writes_no_step_whatever_its_code_catches() -> None:
    caught: list[type[BaseException]] = []
    began, ended = asyncio.Event(), asyncio.Event()
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for name in ("a", "b"):
                try:
                    await task.step(name, int)
                except BaseException as error:  # noqa: BLE001 - a handler as rude as can be
                    caught.append(type(error))
            try:
                async with task.finish() as effects:
                    effects.complete("late")
            except BaseException as error:  # noqa: BLE001
                caught.append(type(error))
            ended.set()
            raise

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await began.wait()
        backend.take_away(task_id)
        await ended.wait()
    assert caught == [FenceLost, FenceLost, FenceLost]
    assert backend.lines[task_id] == []
    assert backend.asked["record"] + backend.asked["finish"] == 0
    assert backend.places[task_id] == "taken"


async def test_an_attempt_that_was_not_told_of_its_lost_fence_learns_it_from_its_next_step_and_writes_nothing() -> None:
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    caught: list[type[BaseException]] = []
    agent = Agent("agent", version="1")

    async def slow() -> None:
        began.set()
        await go_on.wait()

    @agent.task("work")
    async def work(task: Task[None]) -> str:
        for name in ("a", "b"):
            try:
                await task.step(name, slow)
            except BaseException as error:  # noqa: BLE001
                caught.append(type(error))
        ended.set()
        return "late"

    backend = MemoryBackend()
    task_id = backend.add()
    async with running(backend, agent):
        await began.wait()
        backend.take_away(task_id, told=False)
        go_on.set()
        await ended.wait()
    assert caught == [FenceLost, FenceLost]
    assert backend.lines[task_id] == []
    assert backend.asked["record"] == 1
    assert backend.ends == []


def test_misuse_is_an_ordinary_exception_and_the_end_of_an_attempt_is_not() -> None:
    assert issubclass(StepMisused, Exception)
    assert not issubclass(FenceLost, Exception)


async def _error_of(handler: Any) -> str:
    """What is kept of an attempt of a handler that fails."""
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await handler(task)

    backend = MemoryBackend(max_attempts=1)
    task_id = backend.add()
    async with running(backend, agent):
        await backend.at(task_id, "dead")
    return backend.errors[task_id][0]
