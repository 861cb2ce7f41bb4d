"""The task as its handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, overload

from tallystick.sdk import calls, codec, models
from tallystick.sdk.backend import TIMED_OUT, Wait
from tallystick.sdk.calls import OnDoubt
from tallystick.sdk.effects import Finish
from tallystick.sdk.errors import StepMisused
from tallystick.sdk.hold import Hold
from tallystick.sdk.models import ModelReply
from tallystick.sdk.steps import Steps, data_of

BACKOFF_S = 0.2

Payload = TypeVar("Payload")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Approval:
    """What people said. Where nobody did in time, it is not approved, and `timed_out`."""

    approved: bool
    by: str | None = None
    comment: str | None = None
    timed_out: bool = False


class Task(Generic[Payload]):
    """One attempt of a task. What is done under a name is done once, and read again wherever the task goes on.

    Step functions may be asynchronous or not. What they give is kept as JSON of up to 256 KiB, and comes back as the type that
    their annotation declares, else as plain JSON with `Decimal` for fractions: the first time as every other time. Waits park
    the task: `Parked` goes through the handler, and the handler runs from its beginning again once the wait is over.
    """

    __slots__ = ("_shape", "_steps", "_version", "hold", "payload")

    def __init__(self, hold: Hold, payload: Payload, shape: codec.Shape | None, version: str) -> None:
        """`shape` is the declared type of the result, `version` that of the agent."""
        self.payload = payload
        self.hold = hold
        self._shape = shape
        self._version = version
        self._steps: Steps | None = None

    @property
    def id(self) -> int:
        """The task's number."""
        return self.hold.attempt.task_id

    @property
    def agent(self) -> str:
        """The agent that the task is for."""
        return self.hold.attempt.agent

    @property
    def type(self) -> str:
        """The type of the task."""
        return self.hold.attempt.type

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1. Going on after a wait is the same attempt."""
        return self.hold.attempt.attempt

    @property
    def fence(self) -> int:
        """The number that only this attempt holds."""
        return self.hold.attempt.fence

    @property
    def created_at(self) -> datetime | None:
        """When the task was stored, where the place tells."""
        return self.hold.attempt.created_at

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[Result]],
        /,
        *args: Any,
        retries: int = 0,
        backoff_s: float = BACKOFF_S,
        **kwargs: Any,
    ) -> Result: ...

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Result],
        /,
        *args: Any,
        retries: int = 0,
        backoff_s: float = BACKOFF_S,
        **kwargs: Any,
    ) -> Result: ...

    async def step(
        self, name: str, fn: Callable[..., Any], /, *args: Any, retries: int = 0, backoff_s: float = BACKOFF_S, **kwargs: Any
    ) -> Any:
        """Call `fn(*args, **kwargs)` once, and keep what it gave. Its arguments are data: with others, it is `StepChanged`.

        A failed call is made up to `retries` times more within the attempt, after `backoff_s` doubled each time; then its
        exception is raised. A later attempt makes it anew.
        """
        return await self._recorded().step(name, fn, args, kwargs, retries=retries, backoff_s=backoff_s)

    @overload
    async def call(
        self,
        name: str,
        fn: Callable[..., Awaitable[Result]],
        /,
        *args: Any,
        key: str | None = None,
        on_doubt: OnDoubt = "retry",
        **kwargs: Any,
    ) -> Result: ...

    @overload
    async def call(
        self,
        name: str,
        fn: Callable[..., Result],
        /,
        *args: Any,
        key: str | None = None,
        on_doubt: OnDoubt = "retry",
        **kwargs: Any,
    ) -> Result: ...

    async def call(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        on_doubt: OnDoubt = "retry",
        **kwargs: Any,
    ) -> Any:
        """Call the world outside: `fn(*args, key=…, **kwargs)`, with an idempotency key, by default `<task id>:<name>`.

        The intent is recorded first. A call that was meant and has no result may have had its effect: `retry` calls again under
        the same key; a function of the key gives the result or `NOT_DONE`; `ask` parks the task until a person allows another
        call, or raises `InDoubt`. Where `fn` knows that it had no effect, it raises `NotDone`.
        """
        return await calls.call(self._recorded(), name, fn, args, kwargs, key=key, on_doubt=on_doubt)

    async def model(
        self,
        name: str,
        fn: Callable[..., Awaitable[ModelReply] | ModelReply],
        /,
        *,
        provider: str,
        model: str,
        messages: Sequence[Any],
        operation: str = "chat",
        retries: int = 0,
        backoff_s: float = BACKOFF_S,
        **params: Any,
    ) -> ModelReply:
        """Ask a model: `fn(model=…, messages=…, **params)` gives a `ModelReply`. A step whose record is the prompt history."""
        return await models.ask_model(
            self._recorded(),
            name,
            fn,
            provider=provider,
            model=model,
            messages=messages,
            operation=operation,
            version=self._version,
            retries=retries,
            backoff_s=backoff_s,
            params=params,
        )

    async def sleep(self, name: str, seconds: float | None = None, *, until: datetime | None = None) -> None:
        """Go on after some seconds, or at a time; until then the task holds no worker."""
        if (seconds is None) == (until is None) or (seconds is not None and not 0 <= seconds < float("inf")):
            raise StepMisused(f"sleep {name!r} takes a number of seconds or a time")
        if until is not None and until.tzinfo is None:
            raise StepMisused(f"the time of sleep {name!r} has no time zone")
        await self._recorded().wait(Wait("sleep", name, data_of(name, "sleep"), wake_at=until, in_s=seconds))

    async def event(
        self, type: str, match: Mapping[str, Any] | None = None, *, timeout_s: float | None = None, name: str | None = None
    ) -> Any:
        """Wait for an event of a type whose payload contains `match`: the event, or None where `timeout_s` were over first."""
        name = f"event:{type}" if name is None else name
        wanted = None if match is None else codec.keep(match, f"the match of {name!r}")
        given = data_of(name, type, wanted)
        found = await self._recorded().wait(Wait("event", name, given, in_s=timeout_s, event_type=type, match=wanted))
        return None if found == TIMED_OUT else found

    async def approval(self, question: Any, *, name: str = "approval", timeout_s: float | None = None) -> Approval:
        """Put a question to people, text or any JSON, and wait for what they say."""
        shown = codec.keep(question, f"the question of {name!r}")
        said = await self._recorded().wait(Wait("approval", name, data_of(name, shown), in_s=timeout_s, question=shown))
        if said == TIMED_OUT:
            return Approval(approved=False, timed_out=True)
        return Approval(said.get("approved") is True, said.get("by"), said.get("comment"))

    def finish(self) -> Finish:
        """`async with task.finish() as effects`: collect effects, and carry them out with the end of the task."""
        return Finish(self.hold, self.hold.gate(), self._shape)

    def _recorded(self) -> Steps:
        if self._steps is None:
            self._steps = Steps(self.hold)
        return self._steps
