"""The ends of attempts, gathered: while one batch commits, the next one fills."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tallystick.sdk.backend import Backend, Done, End, Failed
from tallystick.sdk.errors import BackendAway
from tallystick.sdk.hold import delay_s
from tallystick.sdk.steps import told

_log = logging.getLogger("tallystick.sdk")


class Settler:
    """Settles ends in batches of up to `max_batch`. An end is kept until the backend has said whether its fence held."""

    def __init__(self, backend: Backend, max_batch: int) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._ends: list[End] = []
        self._in_flight = 0
        self._added = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def unsettled(self) -> int:
        """How many ends no backend has answered yet."""
        return len(self._ends) + self._in_flight

    def add(self, end: End) -> None:
        """Have an attempt ended with the next batch."""
        self._ends.append(end)
        self._added.set()

    async def below(self, limit: int) -> None:
        """Return when fewer than `limit` ends are unsettled."""
        while self.unsettled >= limit:
            self._settled.clear()
            await self._settled.wait()

    async def run(self) -> None:
        """Settle what is added, until this is cancelled."""
        while True:
            await self._added.wait()
            batch = self._ends[: self._max_batch]
            del self._ends[: self._max_batch]
            if not self._ends:
                self._added.clear()
            self._in_flight = len(batch)
            await self._settle(batch)
            self._in_flight = 0
            self._settled.set()

    async def _settle(self, batch: Sequence[End]) -> None:
        failures = 0
        while True:
            try:
                held = await self._backend.settle(batch)
            except BackendAway as error:
                failures += 1
                if failures == 1:
                    _log.warning("%d attempts that have ended are kept until the backend is back: %s", len(batch), error)
                await asyncio.sleep(delay_s(failures))
            except Exception as error:  # noqa: BLE001 - it belongs to one of them
                await self._search(batch, error)
                return
            else:
                for end, ok in zip(batch, held, strict=True):
                    if not ok:
                        _log.warning("fence lost: the end of task %d (fence %d) came too late", *end.attempt[:2])
                return

    async def _search(self, batch: Sequence[End], error: Exception) -> None:
        """Find the end that is refused, by halves, and settle the others; that one becomes an attempt that failed."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
            return
        end = batch[0]
        _log.error("the end of task %d (fence %d) was refused: %s", *end.attempt[:2], type(error).__name__)
        if isinstance(end, Done):
            await self._settle([Failed(end.attempt, f"result_refused: {told(error)}"[:2000])])
