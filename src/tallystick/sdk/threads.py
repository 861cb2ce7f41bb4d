"""Threads for handlers that block: a bounded number of them, and none that keeps the process from ending."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[], Any]
    context: contextvars.Context
    answer: asyncio.Future[Any]


class Threads:
    """Runs functions in up to `limit` threads, which are begun when they are needed. Used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = 0
        self._busy = 0
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    async def run(self, call: Callable[[], Any], *, stop: Callable[[], None]) -> Any:
        """Call a function in a thread. Cancelled, this says `stop`, and still returns no sooner than the function does."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._busy += 1
        if self._busy > self._begun and self._begun < self._limit:
            self._begun += 1
            threading.Thread(target=self._work, name=f"tallystick-{self._begun}", daemon=True).start()
        self._jobs.put(_Job(call, contextvars.copy_context(), answer))
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            stop()
            await asyncio.wait([answer])
            answer.exception()
            raise
        finally:
            self._busy -= 1

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in range(self._begun):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                value, error = job.context.run(job.call), None
            except BaseException as raised:  # noqa: BLE001 - it belongs to the handler
                value, error = None, raised
            try:
                job.answer.get_loop().call_soon_threadsafe(_tell, job.answer, value, error)
            except RuntimeError:
                # The event loop is closed, so nobody waits for this any more.
                return
            del job, value, error


def _tell(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    elif isinstance(error, StopIteration):
        answer.set_exception(RuntimeError("a handler raised StopIteration"))
    else:
        answer.set_exception(error)
