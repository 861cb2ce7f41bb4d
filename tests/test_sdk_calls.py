"""Calls to the outside world: their intent is durable first, and what is in doubt is resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tallystick.sdk import NOT_DONE, Agent, NotDone, Task
from tests.memory_backend import MemoryBackend, running

Handler = Callable[[Task[None]], Any]


async def test_the_intent_is_durable_before_the_call_goes_out_and_carries_its_key() -> None:
    backend = MemoryBackend()
    before: list[Any] = []

    def pay(amount: int, *, key: str) -> dict[str, str]:
        before.extend(backend.lines[1])
        return {"paid_under": key}

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, 5)

    await _done(backend, handler)
    assert [(line.name, line.state, line.detail) for line in before] == [("pay", "intent", {"key": "1:pay"})]
    assert backend.results[1] == {"paid_under": "1:pay"}
    assert [(line.state, line.detail) for line in backend.lines[1]][1:] == [("done", {"key": "1:pay"})]


async def test_a_key_of_the_authors_own_is_used() -> None:
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", lambda key: key, key="invoice-7")

    await _done(backend, handler)
    assert backend.results[1] == "invoice-7"


async def test_a_call_whose_result_is_recorded_does_not_go_out_again() -> None:
    sent: list[str] = []
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        got = await task.call("pay", _noting(sent, "paid"))
        if task.attempt == 1:
            raise RuntimeError("after the call")
        return got

    await _done(backend, handler)
    assert sent == ["1:pay"]
    assert backend.results[1] == "paid"


async def test_a_call_in_doubt_goes_out_again_under_the_same_key() -> None:
    backend, sent = await _in_doubt("retry")
    assert sent == ["1:pay", "1:pay"]
    assert backend.recorded(1, "intent") == ["pay"]
    assert backend.results[1] == "paid 2"


async def test_a_call_in_doubt_is_looked_up_and_not_sent_if_it_was_done() -> None:
    asked: list[str] = []
    backend, sent = await _in_doubt(_noting(asked, "paid, says the bank"))
    assert (sent, asked) == (["1:pay"], ["1:pay"])
    assert backend.results[1] == "paid, says the bank"
    assert backend.lines[1][-1].detail == {"key": "1:pay", "looked_up": True}


async def test_a_call_in_doubt_is_looked_up_and_sent_again_if_it_was_not_done() -> None:
    async def lookup(key: str) -> Any:
        return NOT_DONE

    backend, sent = await _in_doubt(lookup)
    assert sent == ["1:pay", "1:pay"]
    assert backend.results[1] == "paid 2"


async def test_of_a_call_in_doubt_a_person_is_asked_and_may_let_it_go_out_again() -> None:
    backend, sent = await _in_doubt("ask", said={"approved": True, "by": "eva", "comment": None})
    assert sent == ["1:pay", "1:pay"]
    assert backend.recorded(1, "intent") == ["pay", "pay#2"]
    assert backend.results[1] == "paid 2"


async def test_of_a_call_in_doubt_a_person_may_say_that_it_is_not_to_go_out_again() -> None:
    backend, sent = await _in_doubt("ask", said={"approved": False, "by": "eva", "comment": None}, ends="dead")
    assert sent == ["1:pay"]
    assert backend.errors[1][-1] == "InDoubt: call 'pay' with key '1:pay' may have had its effect, and is not to be sent again"


async def test_each_doubt_has_a_question_of_its_own() -> None:
    """Whoever allowed one more call did not allow a third."""
    sent: list[str] = []
    backend = MemoryBackend(max_attempts=9)

    def pay(*, key: str) -> str:
        sent.append(key)
        if len(sent) < 3:
            raise TimeoutError("no answer")
        return "paid"

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, on_doubt="ask")

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        asked = []
        for number in (1, 2):
            await backend.at(task_id, "wait")
            asked.append(backend.waits[task_id].step)
            assert len(sent) == number
            backend.wake(task_id, {"approved": True, "by": "eva", "comment": None})
        await backend.at(task_id, "done")
    assert asked == ["pay#ask", "pay#2#ask"]
    assert len(sent) == 3


async def test_a_call_that_raised_an_error_is_in_doubt_as_its_effect_may_have_come_before_the_error() -> None:
    looked_up: list[str] = []
    backend = MemoryBackend()

    def pay(*, key: str) -> str:
        raise TimeoutError("no answer")

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, on_doubt=_noting(looked_up, "paid"))

    await _done(backend, handler)
    assert looked_up == ["1:pay"]
    assert [(line.state, line.error) for line in backend.lines[1]] == [
        ("intent", None),
        ("failed", "TimeoutError: no answer"),
        ("done", None),
    ]


@pytest.mark.parametrize("on_doubt", ["retry", "ask", lambda key: f"nobody looks up {key}"])
async def test_a_call_that_says_it_was_not_done_is_in_no_doubt(on_doubt: Any) -> None:
    sent: list[str] = []
    backend = MemoryBackend()

    def pay(*, key: str) -> str:
        sent.append(key)
        if len(sent) == 1:
            raise NotDone("connection refused")
        return "paid"

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, on_doubt=on_doubt)

    await _done(backend, handler)
    assert sent == ["1:pay"] * 2
    assert backend.results[1] == "paid"
    assert backend.recorded(1, "intent") == ["pay", "pay#2"]


async def test_a_call_in_doubt_stays_so_when_a_further_one_was_not_done() -> None:
    """Of the second it is known that it had no effect; of the first it is not."""
    sent: list[str] = []
    backend = MemoryBackend(max_attempts=9)

    def pay(*, key: str) -> str:
        sent.append(key)
        raise TimeoutError("no answer") if len(sent) == 1 else NotDone("connection refused")

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, on_doubt="retry" if task.attempt < 3 else "ask")

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "wait")
    assert len(sent) == 2


async def test_another_body_under_the_key_of_a_call_in_doubt_is_an_error() -> None:
    sent: list[int] = []
    backend = MemoryBackend(max_attempts=2)

    def pay(amount: int, *, key: str) -> None:
        sent.append(amount)
        raise TimeoutError("no answer")

    async def handler(task: Task[None]) -> Any:
        await task.call("pay", pay, task.attempt)

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await backend.at(task_id, "dead")
    assert sent == [1]
    assert backend.errors[task_id][1] == "StepChanged: the input of step 'pay' is another one than the one that was recorded"


async def test_nothing_goes_out_where_the_intent_could_not_be_recorded() -> None:
    sent: list[str] = []
    began, go_on = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend()

    async def handler(task: Task[None]) -> Any:
        began.set()
        await go_on.wait()
        await task.call("pay", _noting(sent, None))

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await began.wait()
        backend.take_away(task_id, told=False)
        go_on.set()
        await backend.until(lambda: backend.asked["intend"] == 1)
    assert sent == []
    assert backend.lines[task_id] == []


@pytest.mark.parametrize("answers", ["intend", "record"])
async def test_a_call_goes_out_once_though_an_answer_of_the_backend_is_lost(answers: str) -> None:
    sent: list[str] = []
    backend = MemoryBackend()
    backend.forgetful = {answers}

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", _noting(sent, "paid"))

    await _done(backend, handler)
    assert sent == ["1:pay"]
    assert [line.state for line in backend.lines[1]] == ["intent", "done"]


async def _in_doubt(on_doubt: Any, *, said: Any = None, ends: str = "done") -> tuple[MemoryBackend, list[str]]:
    """A call goes out, and its worker loses the task before the answer is recorded. What comes of it, and what was sent."""
    sent: list[str] = []
    out, answer = asyncio.Event(), asyncio.Event()
    backend = MemoryBackend(max_attempts=2)

    async def pay(*, key: str) -> str:
        sent.append(key)
        if len(sent) == 1:
            out.set()
            await answer.wait()
        return f"paid {len(sent)}"

    async def handler(task: Task[None]) -> Any:
        return await task.call("pay", pay, on_doubt=on_doubt)

    async with running(backend, _agent(handler)):
        task_id = backend.add()
        await out.wait()
        backend.take_away(task_id)
        answer.set()
        backend.put_back(task_id)
        if said is not None:
            await backend.at(task_id, "wait")
            assert backend.waits[task_id].kind == "approval"
            assert backend.waits[task_id].question == {
                "question": "Call 'pay' of task 1 may or may not have had its effect. Send it again?",
                "key": "1:pay",
            }
            backend.wake(task_id, said)
        await backend.at(task_id, ends)
    return backend, sent


def _noting(keys: list[str], gives: Any) -> Callable[[str], Any]:
    """A call, or a lookup, that notes the key that it was given."""

    def note(key: str) -> Any:
        keys.append(key)
        return gives

    return note


async def _done(backend: MemoryBackend, handler: Handler) -> None:
    async with running(backend, _agent(handler)):
        await backend.at(backend.add(), "done")


def _agent(handler: Handler) -> Agent:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> Any:
        return await handler(task)

    return agent
