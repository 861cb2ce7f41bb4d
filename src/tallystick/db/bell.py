"""Wake-ups between processes: NOTIFY, and LISTEN on the other side.

Of transactions that notify, the server commits one at a time. So at most one does at any moment, where a verb can arrange that,
and says so in `Tx.announced`. For all others the bell is rung after the commit, by a task and a connection of its own: at once
while that is seldom, and many rings in one when there are many. A ring may be lost: whoever listens also polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Protocol

import psycopg
from psycopg import sql

from tallystick.db.pool import Database, Tx, watched
from tallystick.db.queries import Queries
from tallystick.kit import end

_log = logging.getLogger(__name__)
_EVERY_S = 0.005
_BURST = 20
_AWAY_S = 1.0
OWN_CHANNEL = 7331025
_queries = Queries("tallystick.db")
_NOTIFY = _queries.command("notify")


class Bell:
    """Rings one channel. `ring` costs nothing and never waits."""

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._rung = asyncio.Event()

    def ring(self, after: Tx | None = None) -> None:
        """Have the listeners woken soon. Call it after the commit; of `after`, where that may have woken them itself."""
        if after is None or self._channel not in after.announced:
            self._rung.set()

    async def run(self) -> None:
        """Send what was rung, until cancelled."""
        while True:
            await self._rung.wait()
            try:
                async with await _connect(self._database.url, f"tallystick bell {self._channel}") as connection:
                    await self._send(Tx(connection))
            except (psycopg.OperationalError, TimeoutError):
                _log.debug("the bell %s could not be rung; it is rung once there is a connection again", self._channel)
                self._rung.set()
            await asyncio.sleep(_AWAY_S)

    async def _send(self, tx: Tx) -> None:
        loop = asyncio.get_running_loop()
        # As many at once as were saved up, and no more than one each few milliseconds in the long run.
        paid_until = loop.time()
        while True:
            await self._rung.wait()
            self._rung.clear()
            async with asyncio.timeout(self._database.patience_s):
                await tx.run(_NOTIFY, {"channel": self._channel})
            paid_until = max(paid_until, loop.time() - _BURST * _EVERY_S) + _EVERY_S
            if (ahead := paid_until - loop.time()) > 0:
                await asyncio.sleep(ahead)


async def ring(database: Database, channel: str) -> None:
    """Wake the listeners now. For a process that rings once; another one has a `Bell`."""
    async with database.statement() as tx:
        await tx.run(_NOTIFY, {"channel": channel})


class Post(Protocol):
    """Who listens to a channel, and to one that is its own. Its methods are called on the event loop, and return at once."""

    def rung(self) -> None:
        """The bell was rung, or may have been."""

    def told(self, text: str) -> None:
        """Somebody sent this to the own channel."""

    def reached(self, channel: str | None) -> None:
        """The own channel is this one from now on; `None`: the connection is lost, and with it what was not told yet."""


@contextlib.asynccontextmanager
async def listen(database: Database, channel: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever the channel is rung; the connection is made again when it is lost."""
    woken = _Woken()
    async with listen_privately(database, channel, woken, prefix=None):
        yield woken.event


@contextlib.asynccontextmanager
async def listen_privately(database: Database, channel: str, post: Post, *, prefix: str | None) -> AsyncIterator[None]:
    """Tell `post` of what comes on the channel, and on one of its own, whose name begins with `prefix` and cannot be guessed.

    The session that listens to an own channel holds an advisory lock as long as it lives (`OWN_CHANNEL`, the hash of the name).
    The connection is made again when it is lost.
    """
    task = asyncio.create_task(_listen(database.url, channel, post, prefix), name=f"listen {channel}")
    try:
        yield
    finally:
        await end([task])


class _Woken:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    def rung(self) -> None:
        self.event.set()

    def told(self, text: str) -> None:
        pass

    def reached(self, channel: str | None) -> None:
        pass


async def _listen(url: str, channel: str, post: Post, prefix: str | None) -> None:
    while True:
        try:
            async with await _connect(url, f"tallystick listen {channel}") as connection:
                own = None if prefix is None else prefix + secrets.token_hex(16)
                if own is not None:
                    await connection.execute("select pg_advisory_lock(%s, hashtext(%s))", [OWN_CHANNEL, own])
                    await connection.execute(sql.SQL("listen {}").format(sql.Identifier(own)))
                # Last, as the name of the own channel is not to be seen where the server shows a session's latest statement.
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                if own is not None:
                    post.reached(own)
                # What was rung before we listened is found by looking once.
                post.rung()
                async for heard in connection.notifies():
                    if heard.channel == channel:
                        post.rung()
                    else:
                        post.told(heard.payload)
        except psycopg.OperationalError:
            _log.warning("lost the connection that listens for %s; trying again", channel)
        finally:
            post.reached(None)
        await asyncio.sleep(_AWAY_S)


async def _connect(url: str, name: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5, application_name=name, **watched(url))
