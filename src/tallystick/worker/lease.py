"""The lease of a worker: kept by a thread of its own, so that code which blocks the event loop does not cost the lease."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from tallystick import work
from tallystick.db import Database, DatabaseSettings
from tallystick.kit import TallystickError

_log = logging.getLogger(__name__)
_RETRY_S = 0.5
_LEAST_PATIENCE_S = 2.0
_TAKE_UP_S = 1.0


class Lease:
    """Holds a lease for one worker, until it is closed. `worker_id` is what to claim under; it changes when a lease is lost.

    `handed` is asked, from the thread, for attempts that were handed over, which a beat is to take up. `held` is told, from the
    thread, which attempts the database says are held, and the time (`time.monotonic`) just before it was asked; `lost` that all
    that was claimed before is over. A worker that could not beat for as long as its lease says so by itself, whatever the
    database would say, and even if that never answers.
    """

    def __init__(
        self,
        url: str,
        settings: DatabaseSettings | None,
        *,
        name: str,
        lease_s: int,
        handed: Callable[[], Sequence[work.Fence]],
        held: Callable[[Sequence[work.Held], float], None],
        lost: Callable[[], None],
    ) -> None:
        small = (settings or DatabaseSettings()).model_copy(update={"pool_max_size": 1})
        self._database = (url, small)
        self._name = name
        self._lease_s = lease_s
        self._handed = handed
        self._held = held
        self._lost = lost
        self._worker_id: int | None = None
        self._good = 0.0
        self._end: asyncio.TimerHandle | None = None
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def worker_id(self) -> int | None:
        """`None` while there is no lease."""
        return self._worker_id

    async def open(self) -> None:
        """Begin the lease; raises `Unavailable` where the database cannot be reached."""
        url, settings = self._database
        database = Database(url, settings)
        try:
            await database.open()
            self._good = time.monotonic()
            self._worker_id = await self._register(database)
        finally:
            await database.close()
        self._is_closed = False
        self._wake.clear()
        self._thread = threading.Thread(target=self._run, name=f"lease of {self._name}", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Beat now, and so have the database say which attempts are held."""
        self._wake.set()

    async def close(self) -> None:
        """Beat no more. Whoever holds a lease after that gives it back, or lets it run out."""
        self._is_closed = True
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        asyncio.run(self._beat_until_closed())

    async def _beat_until_closed(self) -> None:
        url, settings = self._database
        database: Database | None = None
        left: set[asyncio.Task[None]] = set()
        wait_s = self._lease_s / 4
        self._renew(self._good)
        while True:
            await self._wait(wait_s)
            if self._is_closed:
                break
            database = database or Database(url, settings)
            beating = asyncio.create_task(self._beat(database))
            done, _ = await asyncio.wait([beating], timeout=max(self._lease_s / 3, _LEAST_PATIENCE_S))
            error = beating.exception() if done else TimeoutError("the database does not answer")
            wait_s = self._lease_s / 4
            if error is None:
                continue
            if done and not isinstance(error, TallystickError):
                _log.error("%s could not renew its lease", self._name, exc_info=error)
            else:
                _log.warning("%s could not renew its lease: %s", self._name, error)
            wait_s = min(wait_s, _RETRY_S)
            # The next beat is on a connection of its own; nobody waits for this one any more.
            beating.cancel()
            leaving = asyncio.create_task(database.close())
            left.add(leaving)
            leaving.add_done_callback(left.discard)
            database = None
        if database is not None:
            await database.close()

    async def _wait(self, seconds: float) -> None:
        """Wait for the time of the next beat, or until one is needed."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            if await asyncio.to_thread(self._wake.wait, min(left_s, _TAKE_UP_S)) or self._handed():
                break
        self._wake.clear()

    async def _beat(self, database: Database) -> None:
        began = time.monotonic()
        await database.open(wait_s=_LEAST_PATIENCE_S)
        worker_id = self._worker_id
        if worker_id is not None:
            handed = self._handed()
            async with database.write() as tx:
                held = await work.beat(tx, worker_id, self._lease_s, handed)
            if self._worker_id != worker_id:
                # It was over before the answer came.
                return
            if held is not None:
                self._renew(began)
                self._held(held, began)
                return
            self._lose()
            began = time.monotonic()
        self._worker_id = await self._register(database)
        self._renew(began)

    async def _register(self, database: Database) -> int:
        async with database.write() as tx:
            return await work.register(tx, self._name, self._lease_s)

    def _renew(self, began: float) -> None:
        """From when the last beat began, the lease has its time."""
        if self._end is not None:
            self._end.cancel()
        left_s = began + self._lease_s - time.monotonic()
        self._end = asyncio.get_running_loop().call_later(max(left_s, 0), self._lose)

    def _lose(self) -> None:
        if self._worker_id is None:
            return
        _log.warning("%s lost its lease; what it ran is over", self._name)
        self._worker_id = None
        self._lost()
