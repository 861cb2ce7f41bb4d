"""Tasks and what becomes of them, as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Status = Literal["queued", "waiting", "running", "done", "failed", "cancelled", "dead"]
FinishState = Literal["done", "failed"]
Ended = Literal["error", "timeout", "crash", "returned"]
Became = Literal["lost", "again", "dead"]
StepKind = Literal["step", "call", "model", "sleep", "event", "approval"]
StepState = Literal["intent", "failed", "done"]

CHANNEL = "tallystick_work"
"""The channel that is rung after tasks were committed."""

STATUSES = frozenset({"queued", "waiting", "running", "done", "failed", "cancelled", "dead"})
MAX_ATTEMPTS = 5
"""A task whose attempts came to nothing this often is `dead`, where its queue or the task itself does not say otherwise."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """Work to be stored for `agent`; `payload` is a JSON object with exact numbers.

    Higher `priority` (-1000 to 1000) is claimed first. It is run at `run_at` or later, after all the tasks of `after` are done,
    and, among tasks of the agent with its `order_key`, one at a time in the order of their ids. What is not finished by
    `deadline_at` fails. The same task again under the same `key` of the same principal is the first one.
    """

    agent: str
    type: str
    payload: Mapping[str, Any]
    priority: int = 0
    run_at: datetime | None = None
    deadline_at: datetime | None = None
    key: str | None = None
    order_key: str | None = None
    after: Sequence[int] = ()
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. `error` says why it is not `done`; `started_at` is that of the latest attempt.

    `attempts` were begun, and are not counted where it was parked or its worker crashed (`crashes`). `waiting_for` says what a
    task that is `waiting` waits for (`run_at`, `backoff`, `sleep`, `turn`, `tasks`, `event`, `approval`), and `wake_at` when it
    goes on in any case.
    """

    id: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    status: str
    result: Any
    error: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    priority: int
    attempts: int
    crashes: int
    waiting_for: str | None
    wake_at: datetime | None
    deadline_at: datetime | None
    order_key: str | None
    worker: str | None

    def as_enqueued(self) -> Task:
        """The task as the call that enqueued it was told of it, whatever has become of it since."""
        return dataclasses.replace(
            self, status="queued", result=None, error=None, started_at=None, finished_at=None, attempts=0, crashes=0,
            waiting_for=None, wake_at=None, worker=None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that the caller holds: `fence` is what finishes the task, at the latest by `deadline_at`.

    `attempts` counts this one; it may take `timeout_s` in all.
    """

    task_id: int
    fence: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    attempts: int
    deadline_at: datetime
    timeout_s: int


@dataclass(frozen=True, slots=True)
class Handed:
    """An attempt that the caller was handed; as `Claimed`."""

    task_id: int
    fence: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    attempts: int
    timeout_s: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a task: `done` with its `result`, any JSON, or `failed` for good with its `error` and perhaps a result."""

    task_id: int
    fence: int
    state: FinishState
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that came to nothing, and why. `error` and `timeout` count as attempts, `crash` apart, `returned` not at all.

    It is tried again after `retry_in_s`, or when the backoff of its queue says.
    """

    task_id: int
    fence: int
    error: str
    ended: Ended = "error"
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class NewStep:
    """What a step of an attempt gave (`done`, with its `output`), a try of it that `failed`, or that it is meant (`intent`).

    `input_hash` is the SHA-256 of its input, 32 bytes; `detail` is a JSON object of facts beside the output.
    """

    name: str
    kind: StepKind
    state: StepState
    input_hash: bytes
    attempt: int = 1
    output: Any = None
    error: str | None = None
    detail: Mapping[str, Any] | None = None
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A recorded step; `attempt` is which try of it in the attempt that held `fence`."""

    name: str
    kind: str
    state: str
    fence: int
    attempt: int
    input_hash: bytes
    output: Any
    error: str | None
    detail: Mapping[str, Any] | None
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Wait:
    """What a task waits for as its step `step`: `sleep`, `event` of `event_type` whose payload contains `match`, `approval`.

    It ends at `wake_at`, or `in_s` seconds from now, in any case; a sleep needs one of the two. `question` is what people are
    shown, any JSON.
    """

    kind: Literal["sleep", "event", "approval"]
    step: str
    input_hash: bytes
    wake_at: datetime | None = None
    in_s: float | None = None
    event_type: str | None = None
    match: Mapping[str, Any] | None = None
    question: Any = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that came to nothing."""

    fence: int
    ended: str
    error: str
    worker: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Reaped:
    """An attempt that was taken from its worker: how it `ended`, and what its task `became`."""

    task_id: int
    ended: str
    became: str


@dataclass(frozen=True, slots=True)
class Fence:
    """An attempt, by the number that only it holds."""

    task_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that a worker holds. One that it was handed is `heard` once the worker has taken it up."""

    task_id: int
    fence: int
    heard: bool


@dataclass(frozen=True, slots=True)
class Depth:
    """How it stands with one type of an agent: tasks in each place, and the age in seconds of the oldest that is queued.

    `done`, `failed` and `retried` are those of the last `window_s` seconds that were asked for.
    """

    agent: str
    type: str
    queued: int
    waiting: int
    running: int
    dead: int
    oldest_s: float | None
    done: int
    failed: int
    retried: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Brake:
    """What is paused or limited: an agent, or a type."""

    kind: str
    name: str
    max_running: int | None
    paused_at: datetime | None
    paused_by: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """What a parked task asks people."""

    task_id: int
    agent: str
    type: str
    step: str
    question: Any
    since: datetime
    wake_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task is, and whether its outcome is the one that was asked about."""

    status: str
    same: bool
