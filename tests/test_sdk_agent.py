"""What an agent declares, and what of it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from tallystick.sdk import Agent, SyncTask, Task
from tests.memory_backend import MemoryBackend, running


class TransferRef(BaseModel):
    transfer_id: int
    amount: Decimal


class Verdict(BaseModel):
    risk: float
    limit: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    symbol: str
    quantity: int


class Note(TypedDict):
    text: str


agent = Agent("agent", version="2026-11-20")
seen: list[Any] = []


@agent.task("model", max_attempts=5, max_crashes=2, timeout_s=30, backoff_s=0.5, max_backoff_s=60)
async def on_model(task: Task[TransferRef]) -> Verdict:
    seen.append(task.payload)
    return Verdict(risk=0.1, limit=task.payload.amount)


@agent.task("dataclass")
async def on_dataclass(task: Task[Order]) -> Order:
    seen.append(task.payload)
    return task.payload


@agent.task("typed_dict")
async def on_typed_dict(task: Task[Note]) -> Note:
    seen.append(task.payload)
    return {"text": task.payload["text"].upper()}


@agent.task("plain")
async def on_plain(task: Task[dict[str, Any]]) -> dict[str, Any]:
    seen.append(task.payload)
    return task.payload


@agent.task("nothing")
async def on_nothing(task: Task[None]) -> None:
    seen.append(task.payload)


@agent.task("bare")
async def on_bare(task):  # type: ignore[no-untyped-def]
    seen.append(task.payload)
    return task.payload


@agent.task("sync")
def on_sync(task: SyncTask[Order]) -> Order:
    seen.append(task.payload)
    return task.payload


@agent.task("wrong_result")
async def on_wrong_result(task: Task[None]) -> Verdict:
    return {"risk": "high"}  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("type", "payload", "read", "result"),
    [
        (
            "model",
            {"transfer_id": 7, "amount": Decimal("12.50")},
            TransferRef(transfer_id=7, amount=Decimal("12.50")),
            {"risk": Decimal("0.1"), "limit": Decimal("12.50")},
        ),
        ("dataclass", {"symbol": "AAPL", "quantity": 3}, Order("AAPL", 3), {"symbol": "AAPL", "quantity": 3}),
        ("typed_dict", {"text": "a"}, {"text": "a"}, {"text": "A"}),
        ("plain", {"a": Decimal("0.10")}, {"a": Decimal("0.10")}, {"a": Decimal("0.10")}),
        ("nothing", {"a": 1}, None, None),
        ("bare", {"a": 1}, {"a": 1}, {"a": 1}),
        ("sync", {"symbol": "AAPL", "quantity": 3}, Order("AAPL", 3), {"symbol": "AAPL", "quantity": 3}),
    ],
)
async def test_a_payload_is_read_and_a_result_written_as_the_annotations_say(
    type: str, payload: Any, read: Any, result: Any
) -> None:
    seen.clear()
    backend = MemoryBackend()
    task_id = backend.add(type, payload)
    async with running(backend, agent):
        await backend.at(task_id, "done")
    assert seen == [read]
    assert backend.results[task_id] == result
    assert repr(backend.results[task_id]) == repr(result)


async def test_a_payload_that_is_not_what_is_declared_fails_the_task_for_good_without_telling_what_it_was() -> None:
    backend = MemoryBackend()
    task_id = backend.add("dataclass", {"symbol": "AAPL", "quantity": "CZ6508000000192000145399"})
    async with running(backend, agent):
        await backend.at(task_id, "failed")
    assert backend.errors[task_id] == ["payload_malformed: quantity (int_parsing)"]


async def test_a_result_that_is_not_what_is_declared_is_an_attempt_that_failed() -> None:
    backend = MemoryBackend(max_attempts=1)
    task_id = backend.add("wrong_result")
    async with running(backend, agent):
        await backend.at(task_id, "dead")
    assert backend.errors[task_id] == ["NotJson: the result is not what is declared: risk (float_parsing), limit (missing)"]


async def test_what_the_author_says_of_tries_is_made_known_and_what_is_left_out_is_left_to_the_bank() -> None:
    backend = MemoryBackend()
    async with running(backend, agent):
        await backend.reached["claim"].wait()
    queues = {queue.type: queue for queue in backend.queues}
    said = queues["model"]
    assert (said.agent, said.version) == ("agent", "2026-11-20")
    assert (said.max_attempts, said.max_crashes, said.timeout_s, said.backoff_s, said.max_backoff_s) == (5, 2, 30, 0.5, 60)
    left = queues["plain"]
    assert (left.max_attempts, left.max_crashes, left.timeout_s, left.backoff_s, left.max_backoff_s) == (None,) * 5


def test_a_handler_stays_the_function_that_it_is() -> None:
    async def handler(task: Task[None]) -> None: ...

    assert Agent("a", version="1").task("t")(handler) is handler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": 0}, "max_attempts of 't' is 0; it may be 1 to 1000"),
        ({"max_crashes": 1001}, "max_crashes of 't' is 1001"),
        ({"timeout_s": 86401}, "timeout_s of 't' is 86401"),
        ({"backoff_s": -1}, "backoff_s of 't' is -1"),
        ({"backoff_s": 10, "max_backoff_s": 5}, "max_backoff_s of 't' is 5; it may be 10 to 86400"),
    ],
)
def test_bounds_of_a_type_are_checked_where_it_is_declared(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Agent("a", version="1").task("t", **options)


@pytest.mark.parametrize("name", ["", "a b", "é", ".a", "a" * 101])
def test_names_are_those_that_can_stand_in_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="an agent's name"):
        Agent(name, version="1")
    with pytest.raises(ValueError, match="an agent's version"):
        Agent("a", version=name)
    with pytest.raises(ValueError, match="a task's type"):
        Agent("a", version="1").task(name)


def _two(task: SyncTask[None], more: int) -> None: ...


async def _blocking_with_async(task: SyncTask[None]) -> None: ...


def _async_with_blocking(task: Task[None]) -> None: ...


def _no_task(task: int) -> None: ...


class Opaque: ...


async def _no_json(task: Task[Opaque]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (_two, "takes one argument, the task"),
        (_blocking_with_async, "is a coroutine function, so it takes a Task"),
        (_async_with_blocking, "is no coroutine function, so it takes a SyncTask"),
        (_no_task, "so it takes a SyncTask"),
        (_no_json, "has an annotation that cannot be read from JSON"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused_where_it_is_declared(handler: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Agent("a", version="1").task("t")(handler)


def test_an_annotation_that_is_not_known_where_it_stands_is_refused() -> None:
    class Local: ...

    async def handler(task: Task[Local]) -> None: ...

    with pytest.raises(TypeError, match="'Local' is not defined"):
        Agent("a", version="1").task("t")(handler)


def test_a_type_has_one_handler() -> None:
    own = Agent("a", version="1")
    own.task("t")(on_nothing)
    with pytest.raises(ValueError, match="a has two handlers of 't'"):
        own.task("t")(on_nothing)
