"""Ending tasks of the event loop for certain, and waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.05


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until each has ended; what they raise is theirs and is not passed on.

    One cancellation is not enough: on Python 3.11 `asyncio.wait_for`, which drivers use, loses one that comes at the moment in
    which what it waits for is done.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, or after so many seconds.

    Not `asyncio.wait_for`, which on Python 3.11 may lose that whoever waits is cancelled.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
