"""A worker's open claim: what it was handed by those who store tasks, and how much more it may be."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from tallystick import sdk, work

_WORTH_A_WORD_S = 0.5


class OpenClaim:
    """Listens for what is handed over, and keeps it until the runner has a place for it. Used from one event loop.

    `stirred` is set whenever there may be something new; `is_rung` says that tasks may be queued. `channel` is where the
    worker is told, and `None` while it cannot be. `heard` counts what came on that channel and has left here, and `left` is how
    much of what was asked for is still open. `arrived` is called with each attempt.
    """

    def __init__(self, arrived: Callable[[sdk.Attempt], None]) -> None:
        self.stirred = asyncio.Event()
        self.is_rung = False
        self.channel: str | None = None
        self.heard = 0
        self.left = 0
        self._arrived = arrived
        self._waiting: deque[sdk.Attempt] = deque()
        self._untaken: dict[int, tuple[float, work.Fence]] = {}
        self._worker_id: int | None = None

    def rung(self) -> None:
        """See `Post`."""
        self.is_rung = True
        self.stirred.set()

    def told(self, text: str) -> None:
        """See `Post`."""
        handed = work.handed(text)
        self._untaken[handed.fence] = (time.monotonic(), work.Fence(handed.task_id, handed.fence))
        self._waiting.append(
            sdk.Attempt(
                handed.task_id, handed.fence, handed.agent, handed.type, handed.payload, handed.attempts, handed.timeout_s
            )
        )
        self.stirred.set()
        self._arrived(self._waiting[-1])

    def reached(self, channel: str | None) -> None:
        """See `Post`."""
        self.channel = channel
        self.begin()

    def begin(self) -> None:
        """Nothing was asked for yet."""
        self.heard = -len(self._waiting)
        self.left = 0

    def belongs_to(self, worker_id: int) -> None:
        """The claim is that of this worker; what another one was handed is not counted."""
        if self._worker_id != worker_id:
            self._worker_id = worker_id
            self.begin()

    def suffices(self, limit: int) -> bool:
        """Whether so much is open still that another claim would not be worth it, or nothing can be."""
        return self.channel is None or 2 * self.left >= limit

    def take(self, limit: int) -> list[sdk.Attempt]:
        """What was handed over first."""
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self.heard += len(taken)
        self.left -= len(taken)
        return taken

    def drop(self, fences: Iterable[int]) -> None:
        """Forget attempts that have ended, or are no longer held."""
        if not self._untaken and not self._waiting:
            return
        gone = set(fences)
        for fence in gone:
            self._untaken.pop(fence, None)
        kept = [attempt for attempt in self._waiting if attempt.fence not in gone]
        self.heard += len(self._waiting) - len(kept)
        self._waiting = deque(kept)

    def to_take_up(self) -> list[work.Fence]:
        """Attempts that last longer than most, and that the database is to be told of. May be called from any thread."""
        before = time.monotonic() - _WORTH_A_WORD_S
        return [attempt for since, attempt in list(self._untaken.values()) if since <= before]

    def taken_up(self, held: Sequence[work.Held]) -> None:
        """The database was told of these."""
        for each in held:
            if each.heard:
                self._untaken.pop(each.fence, None)
