"""Waiting for something to become so, with a bound, by asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T | None]], within_s: float = 60) -> T:
    """Ask until the answer is not `None` or false; a `TimeoutError` when it never was."""
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):
            await asyncio.sleep(0.02)
        return answer
