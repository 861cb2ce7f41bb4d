"""What the sdk says, as the JSON of `/v1/tasks`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallystick.sdk import (
    Attempt,
    Completion,
    Done,
    Effect,
    End,
    Enqueue,
    Failed,
    Publish,
    Queue,
    StepRecord,
    Transfer,
    Wait,
)


def policy(queue: Queue) -> dict[str, Any]:
    """How often and how long its author would have tasks of a queue tried."""
    given = {
        "max_attempts": queue.max_attempts,
        "max_crashes": queue.max_crashes,
        "timeout_s": queue.timeout_s,
        "backoff_s": queue.backoff_s,
        "max_backoff_s": queue.max_backoff_s,
    }
    return {name: value for name, value in given.items() if value is not None}


def attempt(answer: Mapping[str, Any]) -> Attempt:
    return Attempt(
        int(answer["id"]),
        int(answer["fence"]),
        answer["agent"],
        answer["type"],
        answer["payload"],
        answer["attempts"],
        float(answer["timeout_s"]),
    )


def held(one: Attempt) -> dict[str, str]:
    """An attempt by its task and its fence."""
    return {"id": str(one.task_id), "fence": str(one.fence)}


def end(ended: End) -> dict[str, Any]:
    """How an attempt ended."""
    body: dict[str, Any] = held(ended.attempt)
    if isinstance(ended, Done):
        return body | {"ended": "done", "result": ended.result}
    if isinstance(ended, Failed):
        how = "failed" if ended.final else ended.kind
        return body | {"ended": how, "error": ended.error, "retry_in_s": ended.retry_in_s}
    return body | {"ended": "returned", "error": ended.reason}


def finish(one: Attempt, completion: Completion) -> dict[str, Any]:
    """The end of a task, with its effects."""
    return {
        "fence": str(one.fence),
        "state": "done",
        "result": completion.result,
        "effects": [_effect(each) for each in completion.effects],
    }


def wait(one: Attempt, waits: Wait) -> dict[str, Any]:
    """What a task that is parked waits for."""
    return {
        "fence": str(one.fence),
        "kind": waits.kind,
        "step": waits.step,
        "input_hash": waits.input_hash.hex(),
        "wake_at": _time(waits.wake_at),
        "in_s": waits.in_s,
        "event_type": waits.event_type,
        "match": waits.match,
        "question": waits.question,
    }


def line(one: Attempt, step: StepRecord) -> dict[str, Any]:
    """One line of the record of a step."""
    return {
        "fence": str(one.fence),
        "name": step.name,
        "kind": step.kind,
        "state": step.state,
        "try": step.try_no,
        "input_hash": step.input_hash.hex(),
        "output": step.output,
        "error": step.error,
        "detail": step.detail,
        "took_ms": step.took_ms,
    }


def step_record(answer: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        answer["name"],
        answer["kind"],
        answer["state"],
        bytes.fromhex(answer["input_hash"]),
        answer["try"],
        answer["output"],
        answer["error"],
        answer["detail"],
    )


def _effect(effect: Effect) -> dict[str, Any]:
    if isinstance(effect, Transfer):
        return {
            "effect": "transfer",
            "from_account": effect.from_account,
            "to_account": effect.to_account,
            "amount": {"amount": format(effect.amount, "f"), "currency": effect.currency},
            "description": effect.description,
        }
    if isinstance(effect, Publish):
        return {"effect": "event", "type": effect.type, "payload": effect.payload}
    return _task(effect)


def _task(effect: Enqueue) -> dict[str, Any]:
    return {
        "effect": "task",
        "agent": effect.agent,
        "type": effect.type,
        "payload": effect.payload,
        "priority": effect.priority,
        "run_at": _time(effect.run_at),
        "deadline_at": _time(effect.deadline_at),
        "key": effect.key,
        "order_key": effect.order_key,
        "after": [str(task_id) for task_id in effect.after],
        "max_attempts": effect.max_attempts,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
