"""Wake-ups between processes: NOTIFY after commit and many rings in one, LISTEN on the other side.

A notification inside a business transaction would make every commit queue for one lock. So the bell is rung after the commit,
by a task of its own, at most every few milliseconds. A ring may be lost: whoever listens also polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import psycopg

from tallystick.db.pool import Database, watched
from tallystick.db.queries import Queries
from tallystick.kit import Unavailable, end

_log = logging.getLogger(__name__)
_COALESCE_S = 0.005
_queries = Queries("tallystick.db")
_NOTIFY = _queries.command("notify")


class Bell:
    """Rings one channel. `ring` costs nothing and never waits."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have the listeners woken soon. Call it after the commit."""
        self._rung.set()

    async def run(self) -> None:
        """Send what was rung, until cancelled."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            try:
                async with asyncio.timeout(self._database.patience_s):
                    await ring(self._database, self._channel)
            except (Unavailable, TimeoutError):
                _log.debug("the bell %s could not be rung; listeners poll", self._channel)
            await asyncio.sleep(_COALESCE_S)


async def ring(database: Database, channel: str) -> None:
    """Wake the listeners now. For a process that rings once; another one has a `Bell`."""
    async with database.statement() as tx:
        await tx.run(_NOTIFY, {"channel": channel})


@contextlib.asynccontextmanager
async def listen(database: Database, channel: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever the channel is rung; the connection is made again when it is lost."""
    woken = asyncio.Event()
    task = asyncio.create_task(_listen(database.url, channel, woken), name=f"listen {channel}")
    try:
        yield woken
    finally:
        await end([task])


async def _listen(url: str, channel: str, woken: asyncio.Event) -> None:
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                connect_timeout=5,
                application_name=f"tallystick listen {channel}",
                **watched(url),
            ) as connection:
                await connection.execute(psycopg.sql.SQL("listen {}").format(psycopg.sql.Identifier(channel)))
                # What was rung before we listened is found by looking once.
                woken.set()
                async for _ in connection.notifies():
                    woken.set()
        except psycopg.OperationalError:
            _log.warning("lost the connection that listens for %s; trying again", channel)
        await asyncio.sleep(1)
