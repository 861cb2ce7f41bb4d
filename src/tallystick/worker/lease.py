"""The lease of a worker: kept by a thread of its own, so that code which blocks the event loop does not cost the lease."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from tallystick import work
from tallystick.db import Database, DatabaseSettings
from tallystick.kit import TallystickError

_log = logging.getLogger(__name__)
_RETRY_S = 0.5


class Lease:
    """Holds a lease for one worker, until it is closed. `worker_id` is what to claim under; it changes when a lease is lost.

    `held` is told, from the thread, which attempts the database says are held, and the time (`time.monotonic`) just before it
    was asked; `lost` that all that was claimed before is over. A worker that could not beat for as long as its lease says so by
    itself, whatever the database would say.
    """

    def __init__(
        self,
        url: str,
        settings: DatabaseSettings | None,
        *,
        name: str,
        lease_s: int,
        held: Callable[[frozenset[int], float], None],
        lost: Callable[[], None],
    ) -> None:
        small = (settings or DatabaseSettings()).model_copy(update={"pool_max_size": 1})
        self._database = (url, small)
        self._name = name
        self._lease_s = lease_s
        self._held = held
        self._lost = lost
        self._worker_id: int | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def worker_id(self) -> int | None:
        """`None` while there is no lease."""
        return self._worker_id

    async def open(self) -> None:
        """Begin the lease; raises `Unavailable` where the database cannot be reached."""
        url, settings = self._database
        database = Database(url, settings)
        await database.open()
        try:
            self._worker_id = await self._register(database)
        finally:
            await database.close()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"lease of {self._name}", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Beat no more. Whoever holds a lease after that gives it back, or lets it run out."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        url, settings = self._database
        database = Database(url, settings)
        opened = False
        good = time.monotonic()
        wait_s = self._lease_s / 4
        while not await asyncio.to_thread(self._stopping.wait, wait_s):
            try:
                if not opened:
                    await database.open(wait_s=2)
                    opened = True
                began = time.monotonic()
                await self._beat(database, began)
                good = began
                wait_s = self._lease_s / 4
            except TallystickError as error:
                _log.warning("%s could not renew its lease: %s", self._name, error)
                wait_s = _RETRY_S
                if self._worker_id is not None and time.monotonic() - good >= self._lease_s:
                    self._lose()
        if opened:
            await database.close()

    async def _beat(self, database: Database, began: float) -> None:
        worker_id = self._worker_id
        if worker_id is None:
            self._worker_id = await self._register(database)
            return
        async with database.write() as tx:
            held = await work.beat(tx, worker_id, self._lease_s)
        if held is None:
            self._lose()
            self._worker_id = await self._register(database)
        else:
            self._held(frozenset(each.fence for each in held), began)

    async def _register(self, database: Database) -> int:
        async with database.write() as tx:
            return await work.register(tx, self._name, self._lease_s)

    def _lose(self) -> None:
        _log.warning("%s lost its lease; what it ran is over", self._name)
        self._worker_id = None
        self._lost()
