"""Callers that wait for tasks: without a connection of the database each, and without all of them asking at every task.

Whoever waits stands in a line, one for each kind of tasks that are asked for. When the bell rings, and every `poll_s`, the
first of each line is called to look. One who was given as much as was asked for calls the next, as there may be more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from tallystick.db import Database, listen
from tallystick.kit import Unavailable, end

Found = TypeVar("Found")


class Line:
    """At most `places` callers wait at a time. `run` calls them, until it is cancelled."""

    def __init__(self, database: Database, channel: str, *, places: int, poll_s: float = 1.0) -> None:
        self._database = database
        self._channel = channel
        self._places = places
        self._poll_s = poll_s
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._waiting = 0
        self._rings = 0
        self._closed = False
        self._wanted = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    def close(self) -> None:
        """Send everybody away, and let nobody wait from now on: the server is stopping."""
        self._closed = True
        for line in self._lines.values():
            for turn in line:
                _call(turn)

    async def run(self) -> None:
        """Listen for the bell once somebody has waited, and call those who wait."""
        await self._wanted.wait()
        async with listen(self._database, self._channel) as rung:
            while True:
                try:
                    async with asyncio.timeout(self._poll_s):
                        await rung.wait()
                except TimeoutError:
                    pass
                else:
                    rung.clear()
                    self._rings += 1
                for kind in list(self._lines):
                    self._call_first(kind)

    async def wait(
        self,
        kind: Hashable,
        look: Callable[[], Awaitable[Sequence[Found]]],
        *,
        limit: int,
        wait_s: float,
        gone: asyncio.Future[None],
        extend: Callable[[], None],
        extend_s: float,
    ) -> Sequence[Found]:
        """Look for up to `limit` things of a kind; where there are none, again when called, for `wait_s` seconds at most.

        It ends early when `gone` is done, which says that the caller has left, and when the server stops. `extend` is called
        at least every `extend_s`. Refuses with `Unavailable` (`too_many_waiting`) where no place is left.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        rings = self._rings
        found = await look()
        if found or wait_s <= 0 or self._closed:
            return found
        if self._waiting >= self._places:
            raise Unavailable("too_many_waiting", "too many callers wait for tasks; ask again, or without waiting")
        self._waiting += 1
        self._wanted.set()
        try:
            while not found and not self._closed and not gone.done() and loop.time() < until:
                # What was rung for while we looked may not have been seen.
                if rings == self._rings and not await self._called(kind, until, gone, extend, extend_s):
                    break
                rings = self._rings
                found = await look()
                if len(found) >= limit:
                    self._call_first(kind)
        finally:
            self._waiting -= 1
        return found

    async def _called(
        self, kind: Hashable, until: float, gone: asyncio.Future[None], extend: Callable[[], None], extend_s: float
    ) -> bool:
        """Stand in the line; whether it is one's turn, which it is not when the time is over or the caller has left."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        line = self._lines.setdefault(kind, deque())
        line.append(turn)
        stays = False
        try:
            while not turn.done() and not gone.done() and (left := until - loop.time()) > 0:
                extend()
                await asyncio.wait((turn, gone), timeout=min(left, extend_s), return_when=asyncio.FIRST_COMPLETED)
            stays = turn.done() and not gone.done() and not self._closed
            return stays
        finally:
            if turn in line:
                line.remove(turn)
            if not line and self._lines.get(kind) is line:
                del self._lines[kind]
            if turn.done() and not stays:
                # Whoever leaves when called has to let the next one look.
                self._call_first(kind)

    def _call_first(self, kind: Hashable) -> None:
        line = self._lines.get(kind)
        if line:
            _call(line.popleft())


def _call(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@asynccontextmanager
async def departure(request: Request) -> AsyncIterator[asyncio.Future[None]]:
    """What is done when the caller of a request, whose body was read, has left."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.create_task(watch(), name="departure of a caller")
    try:
        yield watching
    finally:
        await end([watching])
