"""Time limits of many requests, watched by one timer: a timer for each costs a tenth of a short request."""

from __future__ import annotations

import asyncio

_TICK_S = 0.25


class Deadlines:
    """Ends every watched `asyncio.Timeout` when its time is over, at most a tick late. It belongs to one event loop."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._tick_s = min(_TICK_S, timeout_s / 4)
        self._ends: dict[asyncio.Timeout, float] = {}
        self._ticking = False

    def begin(self, timeout: asyncio.Timeout) -> None:
        """Give it its whole time, from now on. It has been entered, without a time of its own."""
        loop = asyncio.get_running_loop()
        self._ends[timeout] = loop.time() + self._timeout_s
        if not self._ticking:
            self._ticking = True
            loop.call_later(self._tick_s, self._tick)

    def end(self, timeout: asyncio.Timeout) -> None:
        """Watch it no more."""
        self._ends.pop(timeout, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for timeout in [timeout for timeout, end in self._ends.items() if end <= now]:
            del self._ends[timeout]
            timeout.reschedule(now)
        self._ticking = bool(self._ends)
        if self._ticking:
            loop.call_later(self._tick_s, self._tick)
