"""The task as a handler sees it that is no coroutine function, and so runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from tallystick.sdk.calls import OnDoubt
from tallystick.sdk.effects import Effects
from tallystick.sdk.models import ModelReply
from tallystick.sdk.task import BACKOFF_S, Approval, Task

Payload = TypeVar("Payload")
Result = TypeVar("Result")
_Box = SimpleQueue["_Errand | asyncio.Task[Any]"]


class SyncTask(Generic[Payload]):
    """A `Task` without `await`: the same verbs, for functions that block. Step functions run in the thread that asks for them.

    A thread cannot be stopped. When the attempt is over, the next use of the task raises what ended it; give whatever blocks a
    timeout of its own.
    """

    __slots__ = ("_hold", "_loop", "_open", "_task", "payload")

    def __init__(self, task: Task[Payload], loop: asyncio.AbstractEventLoop) -> None:
        self.payload = task.payload
        self._task = task
        self._hold = task.hold
        self._loop = loop
        self._open: set[asyncio.Task[Any]] = set()

    @property
    def id(self) -> int:
        """The task's number."""
        return self._task.id

    @property
    def agent(self) -> str:
        """The agent that the task is for."""
        return self._task.agent

    @property
    def type(self) -> str:
        """The type of the task."""
        return self._task.type

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1. Going on after a wait is the same attempt."""
        return self._task.attempt

    @property
    def fence(self) -> int:
        """The number that only this attempt holds."""
        return self._task.fence

    @property
    def created_at(self) -> datetime | None:
        """When the task was stored, where the place tells."""
        return self._task.created_at

    def step(
        self, name: str, fn: Callable[..., Result], /, *args: Any, retries: int = 0, backoff_s: float = BACKOFF_S, **kwargs: Any
    ) -> Result:
        """As `Task.step`."""
        gave: Result = self._ask(
            lambda box: self._task.step(name, _sent(box, fn), *args, retries=retries, backoff_s=backoff_s, **kwargs)
        )
        return gave

    def call(
        self,
        name: str,
        fn: Callable[..., Result],
        /,
        *args: Any,
        key: str | None = None,
        on_doubt: OnDoubt = "retry",
        **kwargs: Any,
    ) -> Result:
        """As `Task.call`."""
        gave: Result = self._ask(
            lambda box: self._task.call(
                name,
                _sent(box, fn),
                *args,
                key=key,
                on_doubt=_sent(box, on_doubt) if callable(on_doubt) else on_doubt,
                **kwargs,
            )
        )
        return gave

    def model(
        self,
        name: str,
        fn: Callable[..., ModelReply],
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
        """As `Task.model`."""
        return self._ask(
            lambda box: self._task.model(
                name,
                _sent(box, fn),
                provider=provider,
                model=model,
                messages=messages,
                operation=operation,
                retries=retries,
                backoff_s=backoff_s,
                **params,
            )
        )

    def sleep(self, name: str, seconds: float | None = None, *, until: datetime | None = None) -> None:
        """As `Task.sleep`."""
        self._ask(lambda _: self._task.sleep(name, seconds, until=until))

    def event(
        self, type: str, match: Mapping[str, Any] | None = None, *, timeout_s: float | None = None, name: str | None = None
    ) -> Any:
        """As `Task.event`."""
        return self._ask(lambda _: self._task.event(type, match, timeout_s=timeout_s, name=name))

    def approval(self, question: Any, *, name: str = "approval", timeout_s: float | None = None) -> Approval:
        """As `Task.approval`."""
        return self._ask(lambda _: self._task.approval(question, name=name, timeout_s=timeout_s))

    @contextmanager
    def finish(self) -> Iterator[Effects]:
        """As `Task.finish`, with a plain `with`."""
        finish = self._task.finish()
        effects = self._ask(lambda _: finish.__aenter__())
        try:
            yield effects
        except BaseException:
            effects.close()
            raise
        self._ask(lambda _: finish.__aexit__(None, None, None))

    def stop(self) -> None:
        """Let go of a thread that waits for an answer, as the attempt is over. For the event loop's thread."""
        for asked in list(self._open):
            asked.cancel()

    def _ask(self, question: Callable[[_Box], Coroutine[Any, Any, Result]]) -> Result:
        """Have the event loop answer, and do here meanwhile what it sends."""
        self._hold.check()
        box: _Box = SimpleQueue()
        self._loop.call_soon_threadsafe(self._begin, question, box)
        while True:
            got = box.get()
            if isinstance(got, _Errand):
                got.run()
                continue
            if got.cancelled():
                self._hold.check()
            answer: Result = got.result()
            return answer

    def _begin(self, question: Callable[[_Box], Coroutine[Any, Any, Any]], box: _Box) -> None:
        asked = self._loop.create_task(question(box))
        self._open.add(asked)
        asked.add_done_callback(self._open.discard)
        asked.add_done_callback(box.put)


@dataclass(frozen=True, slots=True)
class _Errand:
    """A function that the event loop wants to have called in the handler's thread."""

    call: Callable[[], Any]
    context: contextvars.Context
    answer: asyncio.Future[Any]

    def run(self) -> None:
        try:
            value, error = self.context.run(self.call), None
        except BaseException as raised:  # noqa: BLE001 - it belongs to the step
            value, error = None, raised
        self.answer.get_loop().call_soon_threadsafe(self._tell, value, error)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(value)
        elif isinstance(error, StopIteration):
            self.answer.set_exception(RuntimeError("a step function raised StopIteration"))
        else:
            self.answer.set_exception(error)


def _sent(box: _Box, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function as one that the event loop can await, and that runs where the box is read."""

    @functools.wraps(fn)
    async def away(*args: Any, **kwargs: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        box.put(_Errand(functools.partial(fn, *args, **kwargs), contextvars.copy_context(), answer))
        value = await answer
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError("a step function of a SyncTask is no coroutine function")
        return value

    return away
