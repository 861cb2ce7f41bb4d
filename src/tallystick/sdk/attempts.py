"""One attempt: a handler is given its task, and whatever it does makes one end of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tallystick.sdk.agent import TaskType
from tallystick.sdk.backend import Attempt, Done, End, Failed
from tallystick.sdk.effects import written
from tallystick.sdk.errors import AttemptOver, Finished, NotJson, RetryLater, TaskFailed
from tallystick.sdk.hold import Hold
from tallystick.sdk.steps import clean, told
from tallystick.sdk.task import Task

_log = logging.getLogger("tallystick.sdk")
_ENDED = AttemptOver("the attempt has ended")


@dataclass(frozen=True, slots=True)
class Served:
    """A type of task, and its handler as one that can be awaited."""

    kind: TaskType
    handler: Callable[[Task[Any]], Awaitable[Any]]


async def run(hold: Hold, served: Served | None) -> End | None:
    """Run the handler of an attempt; how that ended, or None where it is known already."""
    attempt = hold.attempt
    try:
        if served is None:
            raise LookupError(f"this worker has no handler of {attempt.type!r} for {attempt.agent!r}")
        kind = served.kind
        task = Task(hold, _payload(kind, attempt), kind.result, kind.queue.version)
        result = await served.handler(task)
        if result is not None:
            result = written(result, kind.result)
        if (hold.over is None and hold.turnstile is None) or await _close(hold):
            hold.over = _ENDED
            return Done(attempt, result)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends its attempt, and nothing else
        return await _came_to_nothing(hold, error)
    if result is not None and isinstance(hold.over, Finished):
        _log.error("task %d was finished by finish(), so what its handler returned is dropped", attempt.task_id)
    return None


async def _close(hold: Hold) -> bool:
    """Close an attempt once its steps have come to their ends; whether it was open until now."""
    if hold.over is not None:
        return False
    try:
        async with hold.gate().alone():
            hold.over = _ENDED
    except AttemptOver:
        return False
    return True


async def _came_to_nothing(hold: Hold, error: BaseException) -> Failed | None:
    attempt = hold.attempt
    with contextlib.suppress(asyncio.CancelledError):
        if not await _close(hold):
            if isinstance(hold.over, Finished) and not isinstance(error, AttemptOver | asyncio.CancelledError):
                _log.error("the handler of task %d raised %s after finish()", attempt.task_id, type(error).__name__)
            return None
    if hold.over not in (None, _ENDED):
        return None
    hold.over = _ENDED
    if isinstance(error, TaskFailed):
        return Failed(attempt, clean(str(error)) or "TaskFailed", final=True)
    if isinstance(error, RetryLater):
        return Failed(attempt, told(error), retry_in_s=error.in_s)
    # Of a bug the log says what kind it is and where it came from; its message may hold data of customers.
    where = "".join(traceback.format_tb(error.__traceback__))
    _log.warning("attempt %d of task %d failed: %s\n%s", attempt.attempt, attempt.task_id, type(error).__name__, where)
    return Failed(attempt, told(error))


def _payload(kind: TaskType, attempt: Attempt) -> Any:
    if kind.payload is None:
        return attempt.payload if kind.wants_payload else None
    try:
        return kind.payload.read(attempt.payload)
    except NotJson as error:
        raise TaskFailed(f"payload_malformed: {error}") from None
