"""The attempts that run in one process at a time, each until it ends, takes too long or loses its fence.

A lane is a task of asyncio that runs one handler after another. A handler that never waits for anything costs no task of its
own; when one does wait, another lane goes on with those behind it. So there are as many lanes as handlers that wait.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from tallystick.sdk import attempts
from tallystick.sdk.agent import TaskType
from tallystick.sdk.backend import Attempt, Backend, End, Failed, Lost, Returned
from tallystick.sdk.errors import AttemptOver, FenceLost
from tallystick.sdk.hold import Hold
from tallystick.sdk.sync_task import SyncTask
from tallystick.sdk.task import Task
from tallystick.sdk.threads import Threads

_log = logging.getLogger("tallystick.sdk")
_SLICE_S = 0.005
_LINGER_S = 10.0


class Crew:
    """Runs attempts, up to `limit` at a time, and says to `ended` how each came out. Used from one event loop."""

    def __init__(
        self,
        backend: Backend,
        kinds: Mapping[tuple[str, str], TaskType],
        ended: Callable[[End], None],
        *,
        limit: int,
        threads: Threads,
    ) -> None:
        self.limit = limit
        self.freed = asyncio.Event()
        self.stuck = asyncio.Event()
        self._backend = backend
        self._ended = ended
        self._threads = threads
        self._served = {key: attempts.Served(kind, self._handler(kind)) for key, kind in kinds.items()}
        self._waiting: deque[tuple[float, Attempt]] = deque()
        self._running: dict[int, Hold] = {}
        self._lanes: set[asyncio.Task[None]] = set()
        self._is_hiring = False
        self._loop = asyncio.get_running_loop()
        self._blank = contextvars.copy_context()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf

    @property
    def free(self) -> int:
        """How many more attempts may be taken on."""
        return self.limit - len(self._waiting) - len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is in hand."""
        return not self._waiting and not self._running

    def take_on(self, claimed: Iterable[Attempt]) -> None:
        """Run attempts; each has its time from now on."""
        now = monotonic()
        self._waiting.extend([(now + attempt.timeout_s, attempt) for attempt in claimed])
        if self._waiting and not self._is_hiring:
            self._hire()

    def lose(self, lost: Lost) -> None:
        """Stop the attempts that are no longer held here. Nothing more is written for them."""
        for fence, hold in self._running.items():
            if fence <= lost.up_to or fence in lost.fences:
                _log.warning("fence lost: task %d (fence %d) is no longer this worker's", hold.attempt.task_id, fence)
                self._cut_off(hold, FenceLost("the task is no longer this worker's"), None)
        kept = [each for each in self._waiting if each[1].fence > lost.up_to and each[1].fence not in lost.fences]
        self._waiting.clear()
        self._waiting.extend(kept)
        self.freed.set()

    def give_back_waiting(self, reason: str) -> None:
        """Give back what has not begun."""
        while self._waiting:
            self._ended(Returned(self._waiting.popleft()[1], reason))

    def give_back_all(self, reason: str) -> None:
        """Give back everything, and cancel what runs."""
        self.give_back_waiting(reason)
        for hold in self._running.values():
            self._cut_off(hold, AttemptOver(reason), Returned(hold.attempt, reason))

    def close(self) -> None:
        """Watch no deadline any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    async def idle(self) -> None:
        """Return when no attempt is in hand."""
        while not self.is_idle:
            self.freed.clear()
            await self.freed.wait()

    def _hire(self) -> None:
        self._is_hiring = True
        lane = self._loop.create_task(self._lane(), context=self._blank.copy())
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)

    async def _lane(self) -> None:
        self._is_hiring = False
        me = asyncio.current_task()
        assert me is not None
        waiting, running, served, ended = self._waiting, self._running, self._served, self._ended
        slice_ends = monotonic() + _SLICE_S
        while waiting:
            deadline, attempt = waiting.popleft()
            if waiting and not self._is_hiring:
                self._hire()
            hold = running[attempt.fence] = Hold(attempt, self._backend, deadline, me)
            if deadline < self._alarm_at:
                self._arm(deadline)
            try:
                end = await attempts.run(hold, served.get((attempt.agent, attempt.type)))
            finally:
                del running[attempt.fence]
                self.freed.set()
            if end is not None:
                ended(end)
            # Nothing of one attempt may reach the next: neither a cancellation nor what a handler has set for its context.
            if me.cancelling() or contextvars.copy_context() != self._blank:
                break
            if monotonic() > slice_ends:
                await asyncio.sleep(0)
                slice_ends = monotonic() + _SLICE_S
        if waiting and not self._is_hiring:
            self._hire()

    def _handler(self, kind: TaskType) -> Callable[[Task[Any]], Awaitable[Any]]:
        if kind.is_async:
            return kind.handler

        async def in_a_thread(task: Task[Any]) -> Any:
            blocking = SyncTask(task, self._loop)
            return await self._threads.run(partial(kind.handler, blocking), stop=blocking.stop)

        return in_a_thread

    def _arm(self, at: float) -> None:
        """One timer watches all deadlines: it rings at the first, and then looks for the next."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_later(max(0.0, at - monotonic()), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        now = monotonic()
        for hold in self._running.values():
            if hold.deadline <= now:
                self._too_long(hold)
        first = min((hold.deadline for hold in self._running.values()), default=inf)
        if first < inf:
            self._arm(first)

    def _too_long(self, hold: Hold) -> None:
        attempt = hold.attempt
        if hold.lane is not None:
            error = f"timeout: the attempt took longer than {attempt.timeout_s:g} s"
            self._cut_off(hold, AttemptOver(error), Failed(attempt, error, kind="timeout"))
            return
        hold.deadline = inf
        _log.error("the handler of task %d goes on %g s after its attempt was over", attempt.task_id, _LINGER_S)
        if sum(1 for each in self._running.values() if each.deadline == inf) >= self.limit:
            self.stuck.set()

    def _cut_off(self, hold: Hold, why: AttemptOver, end: End | None) -> None:
        """End an attempt while its handler runs. From here on the handler can write nothing, whether it heeds this or not."""
        if hold.over is None:
            hold.over = why
            if end is not None:
                self._ended(end)
        if hold.lane is not None:
            hold.lane.cancel()
            hold.lane = None
            hold.deadline = monotonic() + _LINGER_S
            if hold.deadline < self._alarm_at:
                self._arm(hold.deadline)
