"""What any worker does for all, every now and then: take back, wake, expire, fire."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tallystick import actions, approvals, ledger, schedules, work
from tallystick.db import Bell, Database, Tx
from tallystick.kit import Unavailable, end, wait_for

_log = logging.getLogger(__name__)
_AT_ONCE = 1000
_FIRING_CALLS = 20
Answer = TypeVar("Answer")


class Sweeper:
    """Moves on what the clock moves: attempts whose worker is lost or too slow, tasks whose time or deadline has come,
    schedules, holds, questions to people.

    Any number of sweepers may run at once. `every_s` is how late any of it may be; `name` appears in the record.
    """

    def __init__(self, database: Database, name: str, *, every_s: float = 1.0) -> None:
        self._database = database
        self._name = name
        self._every_s = every_s
        self._bell = Bell(database, work.CHANNEL)
        self._swept_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop` is set. A lost database is waited for, and a defect is logged."""
        ringing = asyncio.create_task(self._bell.run(), name="bell of the sweeper")
        try:
            while not stop.is_set():
                try:
                    if await self.sweep():
                        self._bell.ring()
                except Unavailable as error:
                    _log.warning("%s could not sweep: %s", self._name, error)
                except Exception:  # noqa: BLE001 - what all workers rely on outlives its defects
                    _log.exception("%s could not sweep", self._name)
                # Sweepers that were started together do not stay together.
                await wait_for(stop, self._every_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        finally:
            await end([ringing])

    async def sweep_if_due(self) -> bool:
        """Sweep, unless that was done a moment ago; whether any task was queued."""
        if time.monotonic() - self._swept_at < self._every_s:
            return False
        return await self.sweep()

    async def sweep(self) -> bool:
        """Do all that is due now; whether any task was queued by it.

        A part that fails does not keep the others from being done; its error is raised in the end.
        """
        queued, failures = False, []
        for part in (self._reap, self._expire, self._wake, self._fire, self._free_holds, self._expire_approvals):
            try:
                queued = await part() or queued
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - raised below
                failures.append(error)
        self._swept_at = time.monotonic()
        if failures:
            raise failures[0]
        return queued

    async def _reap(self) -> bool:
        reaped = await self._asked(work.reap)
        if reaped:
            _log.warning("took back %d tasks whose worker was lost or too slow", len(reaped))
        return bool(reaped)

    async def _expire(self) -> bool:
        return bool(await self._asked(work.expire))

    async def _wake(self) -> bool:
        woken = 0
        while (more := await self._asked(work.wake_due, one_statement=True)) > 0:
            woken += more
            if more < _AT_ONCE:
                break
        return woken > 0

    async def _fire(self) -> bool:
        fired = 0
        for _ in range(_FIRING_CALLS):
            fired += len(firings := await self._asked(schedules.fire_due))
            if not firings:
                break
        return fired > 0

    async def _free_holds(self) -> bool:
        while await self._asked(self._expire_holds) >= _AT_ONCE:
            pass
        return False

    async def _expire_approvals(self) -> bool:
        while await self._asked(actions.expire_due) >= approvals.MAX_AT_ONCE:
            pass
        return False

    async def _asked(self, work_: Callable[[Tx], Awaitable[Answer]], *, one_statement: bool = False) -> Answer:
        try:
            async with asyncio.timeout(self._database.patience_s):
                return await self._database.retrying(work_, one_statement=one_statement)
        except TimeoutError:
            raise Unavailable("timeout", "the database does not answer") from None

    async def _expire_holds(self, tx: Tx) -> int:
        """Free what holds bound whose time is over by the database's clock."""
        return await ledger.expire_on_record(tx, self._name, limit=_AT_ONCE)
