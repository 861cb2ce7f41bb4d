"""An attempt for as long as it lasts: whether it may still write, and patience with a backend that is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from math import inf
from typing import TypeVar

from tallystick.sdk.backend import Attempt, Backend
from tallystick.sdk.errors import AttemptOver, BackendAway, StepMisused

_inside: ContextVar[object] = ContextVar("tallystick_step", default=None)

Answer = TypeVar("Answer")


class Hold:
    """An attempt that this process holds. `over` says why it no longer does; from then on nothing is written for it.

    `deadline` is the time of the event loop at which it has taken too long, and `lane` what runs its handler.
    """

    __slots__ = ("attempt", "backend", "deadline", "lane", "over", "turnstile")

    def __init__(
        self, attempt: Attempt, backend: Backend, deadline: float = inf, lane: asyncio.Task[None] | None = None
    ) -> None:
        self.attempt = attempt
        self.backend = backend
        self.deadline = deadline
        self.lane = lane
        self.over: AttemptOver | None = None
        self.turnstile: Turnstile | None = None

    def gate(self) -> Turnstile:
        """What the steps of the attempt go through."""
        if self.turnstile is None:
            self.turnstile = Turnstile(self)
        return self.turnstile

    def check(self) -> None:
        """Raise what ended the attempt, if it has ended."""
        if self.over is not None:
            raise type(self.over)(*self.over.args)

    def end(self, why: AttemptOver) -> None:
        """Close the attempt to whatever its code still does. The first reason stands."""
        if self.over is None:
            self.over = why

    async def ask(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask the backend, again and again while it is away and the attempt lasts."""
        failures = 0
        while True:
            self.check()
            try:
                answer = await question()
            except BackendAway:
                failures += 1
                await asyncio.sleep(delay_s(failures))
            except AttemptOver as over:
                self.end(over)
                raise
            else:
                self.check()
                return answer


class Turnstile:
    """Lets any number of steps go on at once, and lets one who would end the attempt in when none is under way."""

    __slots__ = ("_alone", "_free", "_hold", "_leaving", "_open", "_quiet")

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._open = 0
        self._leaving = False
        self._alone = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._free = asyncio.Event()

    @property
    def is_quiet(self) -> bool:
        """Whether no step is under way."""
        return not self._open

    def refuse_inside(self) -> None:
        """Refuse what is asked for by the function of a step: its own result would be kept without it."""
        if _inside.get() is self._hold:
            raise StepMisused("a step cannot hold another step, a wait or finish(); do them one after the other")

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """One step. It waits while somebody would end the attempt, and then finds out whether that has come about."""
        while self._leaving:
            await self._free.wait()
        self._hold.check()
        self._open += 1
        self._quiet.clear()
        within = _inside.set(self._hold)
        try:
            yield
        finally:
            _inside.reset(within)
            self._open -= 1
            if not self._open:
                self._quiet.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Let the steps under way come to their ends, and begin no other until this one has left."""
        async with self._alone:
            self._hold.check()
            self._leaving = True
            self._free.clear()
            try:
                await self._quiet.wait()
                self._hold.check()
                yield
            finally:
                self._leaving = False
                self._free.set()


def delay_s(failures: int, *, first_s: float = 0.1, most_s: float = 5.0) -> float:
    """How long to wait after so many failures in a row: twice as long each time, with jitter against crowds."""
    return random.uniform(0.5, 1.0) * min(most_s, first_s * 2.0 ** min(failures - 1, 20))  # noqa: S311 - jitter
