"""Model calls as steps, recorded in the vocabulary of OpenTelemetry's conventions for generative AI.

The names of attributes, and the form of messages, are those of https://github.com/open-telemetry/semantic-conventions-genai
(docs/gen-ai/gen-ai-spans.md). What those have no name for begins with `tallystick.`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import repeat
from typing import Any

from tallystick.sdk import codec
from tallystick.sdk.backend import StepRecord
from tallystick.sdk.errors import StepMisused
from tallystick.sdk.steps import Steps, input_of

MAX_REQUEST_BYTES = 1024 * 1024
_REQUEST = {
    "choice_count": "gen_ai.request.choice.count",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "max_tokens": "gen_ai.request.max_tokens",
    "n": "gen_ai.request.choice.count",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "stream": "gen_ai.request.stream",
    "system": "gen_ai.system_instructions",
    "temperature": "gen_ai.request.temperature",
    "tools": "gen_ai.tool.definitions",
    "top_k": "gen_ai.request.top_k",
    "top_p": "gen_ai.request.top_p",
}
_REPLY = {
    "response_model": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_creation_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cost": "tallystick.cost",
    "currency": "tallystick.cost.currency",
}


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered: `output`, text or any JSON, and what is known of how it came about.

    `cost` is in `currency` (ISO 4217). `messages` are the answers as messages, where they are more than `output` as one text.
    """

    output: Any
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    currency: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: Sequence[str] = ()
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None
    messages: Sequence[Mapping[str, Any]] | None = None


async def ask_model(
    steps: Steps,
    name: str,
    fn: Callable[..., Any],
    *,
    provider: str,
    model: str,
    messages: Sequence[Any],
    operation: str,
    version: str,
    retries: int,
    backoff_s: float,
    params: Mapping[str, Any],
) -> ModelReply:
    """Call `fn(model=…, messages=…, **params)` once; what it answered, now or back then."""
    given = input_of(name, (provider, model, operation, messages), params)
    request = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.agent.name": steps.hold.attempt.agent,
        "gen_ai.agent.version": version,
        "gen_ai.input.messages": [as_message(message) for message in codec.plain(messages)],
        **{_REQUEST.get(key, f"tallystick.request.{key}"): value for key, value in params.items()},
    }
    if isinstance(system := request.get("gen_ai.system_instructions"), str):
        request["gen_ai.system_instructions"] = [{"type": "text", "content": system}]
    request = codec.keep(request, f"the request of model step {name!r}", max_bytes=MAX_REQUEST_BYTES)

    def kept(reply: Any, took_ms: int) -> tuple[Any, Mapping[str, Any]]:
        if not isinstance(reply, ModelReply):
            raise StepMisused(f"the function of model step {name!r} gives a ModelReply, not {type(reply).__name__}")
        output = codec.keep(reply.output, f"what model step {name!r} gave")
        return output, codec.keep(
            {**request, **_answered(reply, output), "tallystick.latency_ms": took_ms},
            f"the record of model step {name!r}",
            max_bytes=MAX_REQUEST_BYTES + 2 * codec.MAX_BYTES,
        )

    call = partial(fn, model=model, messages=messages, **params)
    return _reply_of(await steps.once(name, "model", given, call, kept, retries=retries, backoff_s=backoff_s, detail=request))


def as_message(message: Any) -> Any:
    """A message in the form of the conventions. One with `content` and `tool_calls`, as most providers take it, is turned."""
    if not isinstance(message, dict) or "parts" in message:
        return message
    if message.get("role") == "tool" and "tool_call_id" in message:
        response = {"type": "tool_call_response", "id": message["tool_call_id"], "response": message.get("content")}
        return {"role": "tool", "parts": [response]}
    content = message.get("content")
    contents = content if isinstance(content, list) else [] if content is None else [content]
    parts = [_part(item) for item in contents] + [_tool_call(call) for call in message.get("tool_calls") or ()]
    others = {key: value for key, value in message.items() if key not in ("content", "tool_calls")}
    return {**others, "parts": parts}


def _part(content: Any) -> Any:
    if isinstance(content, dict) and "type" in content:
        is_text = content["type"] == "text" and "text" in content
        return {"type": "text", "content": content["text"]} if is_text else content
    return {"type": "text", "content": content}


def _tool_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}


def _answered(reply: ModelReply, output: Any) -> dict[str, Any]:
    told = {attribute: getattr(reply, field) for field, attribute in _REPLY.items()}
    text = output if isinstance(output, str) else codec.as_text(output)
    answers = [{"role": "assistant", "content": text}] if reply.messages is None else codec.plain(reply.messages)
    messages: list[Any] = [as_message(answer) for answer in answers]
    reasons = [*reply.finish_reasons, *repeat("unknown", len(messages))]
    for message, reason in zip(messages, reasons, strict=False):
        message.setdefault("finish_reason", reason)
    if reply.finish_reasons:
        told["gen_ai.response.finish_reasons"] = list(reply.finish_reasons)
    return {"gen_ai.output.messages": messages, **{key: value for key, value in told.items() if value is not None}}


def _reply_of(line: StepRecord) -> ModelReply:
    """The reply as the record tells it, be it a second old or a week."""
    detail = line.detail or {}
    return ModelReply(
        line.output,
        finish_reasons=tuple(detail.get("gen_ai.response.finish_reasons", ())),
        messages=detail.get("gen_ai.output.messages"),
        **{field: detail.get(attribute) for field, attribute in _REPLY.items()},
    )
