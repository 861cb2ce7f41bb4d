"""Model calls: steps whose record is the prompt history, in the names of OpenTelemetry's GenAI conventions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tallystick.sdk import Agent, ModelReply, Task
from tests.memory_backend import MemoryBackend, running

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it fraud?"}]


async def test_a_model_call_is_recorded_under_the_names_of_the_conventions() -> None:
    def ask(**_: Any) -> ModelReply:
        return ModelReply(
            "No.",
            input_tokens=12,
            output_tokens=2,
            cost=Decimal("0.00031"),
            currency="USD",
            response_model="m-1-2026-10-01",
            response_id="r-7",
            finish_reasons=("stop",),
            cache_read_tokens=8,
        )

    backend, _ = await _asked(ask, temperature=0.2, max_tokens=50, system="You know fraud.", user="u1")
    line = backend.lines[1][0]
    detail = dict(line.detail or {})
    assert (line.kind, line.state, line.output) == ("model", "done", "No.")
    assert isinstance(detail.pop("tallystick.latency_ms"), int)
    assert detail == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.temperature": Decimal("0.2"),
        "gen_ai.request.max_tokens": 50,
        "gen_ai.agent.name": "agent",
        "gen_ai.agent.version": "2026-11-20",
        "gen_ai.system_instructions": [{"type": "text", "content": "You know fraud."}],
        "gen_ai.input.messages": [
            {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Is it fraud?"}]},
        ],
        "gen_ai.output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "No."}], "finish_reason": "stop"}
        ],
        "gen_ai.response.model": "m-1-2026-10-01",
        "gen_ai.response.id": "r-7",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "tallystick.cost": Decimal("0.00031"),
        "tallystick.cost.currency": "USD",
        "tallystick.request.user": "u1",
    }


async def test_a_reply_that_is_recorded_is_read_again_as_it_was_and_the_model_is_not_asked_again() -> None:
    asked: list[Any] = []

    def ask(**given: Any) -> ModelReply:
        asked.append(given)
        return ModelReply({"risk": 0.25, "why": ["new payee"]}, input_tokens=3, output_tokens=4, cost=Decimal("0.10"))

    backend, replies = await _asked(ask, attempts=2, seed=7)
    assert asked == [{"model": "m-1", "messages": MESSAGES, "seed": 7}]
    assert replies[0] == replies[1]
    assert repr(replies[0]) == repr(replies[1])
    assert replies[0].output == {"risk": Decimal("0.25"), "why": ["new payee"]}
    assert replies[0].cost == Decimal("0.10")
    assert backend.lines[1][0].detail["gen_ai.output.messages"] == [  # type: ignore[index]
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": '{"risk":0.25,"why":["new payee"]}'}],
            "finish_reason": "unknown",
        }
    ]


async def test_a_model_call_that_failed_is_on_the_record_with_what_was_asked() -> None:
    tries: list[int] = []

    def ask(**_: Any) -> ModelReply:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("reset")
        return ModelReply("No.")

    backend, _ = await _asked(ask, retries=1, backoff_s=0)
    failed, done = backend.lines[1]
    assert (failed.state, failed.error, done.state) == ("failed", "ConnectionError: reset", "done")
    assert failed.detail is not None
    assert failed.detail["error.type"] == "ConnectionError"
    assert failed.detail["gen_ai.input.messages"] == done.detail["gen_ai.input.messages"]  # type: ignore[index]


async def test_other_messages_under_the_same_name_are_an_error() -> None:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await task.model("ask", lambda **_: ModelReply("No."), provider="p", model="m", messages=[{"n": task.attempt}])
        raise RuntimeError("again")

    backend = MemoryBackend(max_attempts=2)
    async with running(backend, agent):
        await backend.at(backend.add(), "dead")
    assert backend.errors[1][1].startswith("StepChanged: the input of step 'ask'")


async def test_messages_of_providers_are_turned_into_parts_and_tool_calls_too() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "x"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "balance", "arguments": '{"account":"A"}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12.50"},
        {"role": "user", "parts": [{"type": "text", "content": "So?"}]},
    ]
    backend, _ = await _asked(lambda **_: ModelReply("Yes."), messages=messages)
    assert backend.lines[1][0].detail["gen_ai.input.messages"] == [  # type: ignore[index]
        {
            "role": "user",
            "parts": [{"type": "text", "content": "Look."}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "balance", "arguments": '{"account":"A"}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "12.50"}]},
        {"role": "user", "parts": [{"type": "text", "content": "So?"}]},
    ]


async def test_a_model_function_that_gives_no_reply_is_refused() -> None:
    agent = Agent("agent", version="1")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        await task.model("ask", lambda **_: "No.", provider="p", model="m", messages=[])  # type: ignore[arg-type]

    backend = MemoryBackend(max_attempts=1)
    async with running(backend, agent):
        await backend.at(backend.add(), "dead")
    assert backend.errors[1] == ["StepMisused: the function of model step 'ask' gives a ModelReply, not str"]


async def test_more_messages_than_the_record_takes_are_refused_before_the_model_is_asked() -> None:
    asked: list[int] = []
    agent = Agent("agent", version="1")

    def ask(**_: Any) -> ModelReply:
        asked.append(1)
        return ModelReply("No.")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        messages = [{"role": "user", "content": "x" * 1_100_000}]
        await task.model("ask", ask, provider="p", model="m", messages=messages)

    backend = MemoryBackend(max_attempts=1)
    async with running(backend, agent):
        await backend.at(backend.add(), "dead")
    assert asked == []
    assert backend.errors[1][0].startswith("NotJson: the request of model step 'ask' has 1100")


async def _asked(
    ask: Any, *, attempts: int = 1, messages: Any = MESSAGES, **options: Any
) -> tuple[MemoryBackend, list[ModelReply]]:
    """A task that asks a model, as often as there are attempts; its record, and what it was given each time."""
    replies: list[ModelReply] = []
    agent = Agent("agent", version="2026-11-20")

    @agent.task("work")
    async def work(task: Task[None]) -> None:
        replies.append(await task.model("ask", ask, provider="openai", model="m-1", messages=messages, **options))
        if task.attempt < attempts:
            raise RuntimeError("again")

    backend = MemoryBackend()
    async with running(backend, agent):
        await backend.at(backend.add(), "done")
    return backend, replies
