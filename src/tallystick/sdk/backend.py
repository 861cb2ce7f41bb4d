"""What the sdk asks of the place where tasks are kept: the database beside a worker, or a server over HTTP.

Every method may raise `BackendAway`: the place cannot be reached, or an answer was lost. It is then asked again with the same
arguments, later; so a backend that has already done what it is asked for answers as it did then, and does it once. That is how
a commit in doubt is resolved: the backend looks for what this very fence has left behind. No method blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

StepKind = Literal["step", "call", "model", "sleep", "event", "approval"]
StepState = Literal["intent", "failed", "done"]
WaitKind = Literal["sleep", "event", "approval"]

TIMED_OUT: Mapping[str, Any] = {"timed_out": True}
"""The output of a step that waited for an event or for people, and whose time was over."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Tasks that a runner takes, and what their author says of how they are tried. None leaves what the bank has set."""

    agent: str
    version: str
    type: str
    max_attempts: int | None = None
    max_crashes: int | None = None
    timeout_s: int | None = None
    backoff_s: float | None = None
    max_backoff_s: float | None = None


# The next two are made once for every task there is. They are as frozen as a dataclass and cost half of one.
class Attempt(NamedTuple):
    """A task that this runner holds by its `fence`, a number of which there is only one among all attempts of all tasks.

    `payload` is JSON as Python objects, its fractions `Decimal`. `attempt` counts this one; going on after a wait is none.
    `timeout_s` is how long it may take from now on. `fresh` says that no step can have been recorded, so none is asked for.
    """

    task_id: int
    fence: int
    agent: str
    type: str
    payload: Any
    attempt: int
    timeout_s: float
    created_at: datetime | None = None
    fresh: bool = False


class Done(NamedTuple):
    """The task is done. `result` is plain JSON: None, bool, int, `Decimal`, text, list, dict."""

    attempt: Attempt
    result: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt came to nothing; with `final` the task has failed for good.

    `error` reads `kind: message` and has 2000 characters at most. `retry_in_s` goes before the backoff of the queue.
    """

    attempt: Attempt
    error: str
    kind: Literal["error", "timeout"] = "error"
    final: bool = False
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """The attempt was given back, as its runner stops. It does not count as one."""

    attempt: Attempt
    reason: str


End: TypeAlias = Done | Failed | Returned


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One line of the record of a step: that it is meant, that a try failed, or what it gave.

    `output` and `detail` are plain JSON. `try_no` counts the tries of one attempt from 1. `detail` of a call holds its `key`,
    that of a model call the `gen_ai.*` attributes of OpenTelemetry. Written once under its fence, name, state and `try_no`.
    """

    name: str
    kind: StepKind
    state: StepState
    input_hash: bytes
    try_no: int = 1
    output: Any = None
    error: str | None = None
    detail: Mapping[str, Any] | None = None
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """What a parked task waits for; whoever wakes it records the step `step` with what the wait gave.

    A sleep ends at `wake_at`, or `in_s` seconds from now by the clock of the place; the others end then as `TIMED_OUT`, if they
    are given either. An event has the type `event_type`, and its payload contains `match`. `question` is what people are shown.
    """

    kind: WaitKind
    step: str
    input_hash: bytes
    wake_at: datetime | None = None
    in_s: float | None = None
    event_type: str | None = None
    match: Mapping[str, Any] | None = None
    question: Any = None


@dataclass(frozen=True, slots=True)
class Transfer:
    """An effect: move an amount, above zero, from one account to another."""

    from_account: str
    to_account: str
    amount: Decimal
    currency: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """An effect: leave a fact for other agents. `payload` is plain JSON."""

    type: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Enqueue:
    """An effect: store another task. The fields mean what they mean when a task is enqueued anywhere else."""

    agent: str
    type: str
    payload: Any
    priority: int = 0
    run_at: datetime | None = None
    deadline_at: datetime | None = None
    key: str | None = None
    order_key: str | None = None
    after: tuple[int, ...] = ()
    max_attempts: int | None = None


Effect: TypeAlias = Transfer | Publish | Enqueue


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a task with its effects, in the order in which they were collected: all of it in one transaction, or none."""

    effects: tuple[Effect, ...]
    result: Any = None


@dataclass(frozen=True, slots=True)
class Lost:
    """Attempts that this runner no longer holds: those of `fences`, and all whose fence is `up_to` or lower."""

    fences: frozenset[int] = frozenset()
    up_to: int = 0


class Backend(Protocol):
    """Where tasks are kept. Used from one event loop; a heartbeat of its own keeps the leases of what it has handed out."""

    async def open(self, queues: Sequence[Queue]) -> None:
        """Make these queues known, begin the lease, and from now on claim from them."""
        ...

    async def claim(self, limit: int, wait_s: float) -> Sequence[Attempt]:
        """Begin attempts of up to `limit` queued tasks; where there are none, wait for some, `wait_s` seconds at most.

        Cancelled, it leaves nothing behind that it has claimed, or gives it back by the time of `close`.
        """
        ...

    async def settle(self, ends: Sequence[End]) -> Sequence[bool]:
        """End attempts without effects, in one transaction; for each, in order, whether its fence held. One that did not hold
        changes nothing. What an earlier call has ended by the same fence in the same way holds.
        """
        ...

    async def steps(self, attempt: Attempt) -> Sequence[StepRecord]:
        """All that is recorded of the steps of this task, in the order in which it was written."""
        ...

    async def record(self, attempt: Attempt, step: StepRecord) -> None:
        """Record a try of a step, `failed` or `done`. Raises `FenceLost`."""
        ...

    async def intend(self, attempt: Attempt, step: StepRecord) -> None:
        """Record that a call to the outside is about to be sent: an `intent`, durable when this returns. Raises `FenceLost`."""
        ...

    async def park(self, attempt: Attempt, wait: Wait) -> None:
        """End the attempt and let its task wait. Raises `FenceLost`."""
        ...

    async def finish(self, attempt: Attempt, completion: Completion) -> None:
        """Carry out the effects and end the task as done, in one transaction that asks for the fence first and last.

        Raises `FenceLost`; `EffectRefused`, and then nothing has happened and the fence still holds; and `Parked` where an
        effect needs people first: then nothing was carried out, and the task is parked.
        """
        ...

    async def lost(self) -> Lost:
        """Wait until attempts that were handed out are no longer held (cancelled, reaped, lease over), and say which."""
        ...

    async def close(self) -> None:
        """End the lease. What is still held goes back to its queue, without being counted. It may be opened again."""
        ...
