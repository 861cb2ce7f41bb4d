"""The one pool of a process, and the two kinds of transaction that the rooms work in."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import RowMaker, class_row, scalar_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg_pool import AsyncConnectionPool

from tallystick.db.errors import RETRYABLE, translated
from tallystick.db.queries import Query
from tallystick.db.roles import APP
from tallystick.db.settings import DatabaseSettings
from tallystick.db.told import listen_for_events, listener, pass_on, told_on
from tallystick.kit import dumps, loads_stored

T = TypeVar("T")
Row = TypeVar("Row")

_ATTEMPTS = 4
_WATCHED = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}

set_json_dumps(dumps)
set_json_loads(loads_stored)


class ReadTx:
    """A transaction that only reads. Verbs that change something do not accept it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def all(self, query: Query[Row], parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Every row of the query."""
        async with self._cursor(query) as cursor:
            await cursor.execute(query.statement, parameters)
            return await cursor.fetchall()

    async def one(self, query: Query[Row], parameters: Mapping[str, Any] | None = None) -> Row | None:
        """The first row, or `None`."""
        async with self._cursor(query) as cursor:
            await cursor.execute(query.statement, parameters)
            return await cursor.fetchone()

    async def single(self, query: Query[Row], parameters: Mapping[str, Any] | None = None) -> Row:
        """The one row of a query that always has one."""
        row = await self.one(query, parameters)
        assert row is not None, f"{query.name} returned no row"
        return row

    def stream(self, query: Query[Row], parameters: Mapping[str, Any] | None = None, *, batch: int) -> AsyncIterator[Row]:
        """Rows of a query of any size, fetched `batch` at a time through a server-side cursor."""
        return self._stream(query, parameters, batch)

    async def _stream(self, query: Query[Row], parameters: Mapping[str, Any] | None, batch: int) -> AsyncIterator[Row]:
        name = f"stream_{id(query):x}"
        async with self._connection.cursor(name, row_factory=_maker(query.row)) as cursor:
            cursor.itersize = batch
            await cursor.execute(query.statement, parameters)
            async for row in cursor:
                yield row

    def _cursor(self, query: Query[Row]) -> psycopg.AsyncCursor[Row]:
        return self._connection.cursor(row_factory=_maker(query.row))


class Tx(ReadTx):
    """A transaction that may change things. Whoever opened it commits it; verbs never do.

    `announced` are the channels whose listeners its commit wakes, so that their bells need not be rung for it. `decision` is
    what allows it to change the books, and `approval` what people said of it, where they were asked: what is done in it is done
    under those, as the record says. `told` are the events that it has left in the record, fifty of them at most.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        super().__init__(connection)
        self.announced: set[str] = set()
        self.decision: int | None = None
        self.approval: int | None = None
        self.told = told_on(connection)

    async def run(self, query: Query[Any], parameters: Mapping[str, Any] | None = None) -> int:
        """Execute a command; the number of rows it changed."""
        cursor = await self._connection.execute(query.statement, parameters)
        return cursor.rowcount

    async def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Append rows to a table (`room.name`) as they come, without a statement for each; how many there were."""
        into = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        async with self._connection.cursor() as cursor:
            async with cursor.copy(into) as copy:
                for row in rows:
                    await copy.write_row(row)
            return cursor.rowcount

    async def wait_for_locks(self, timeout_ms: int) -> None:
        """From here to its end, the transaction waits for each lock as long as this."""
        await self._connection.execute(b"set local lock_timeout = %d" % timeout_ms)

    async def wait_for_answers(self, timeout_ms: int) -> None:
        """From here to its end, each statement of the transaction may take as long as this."""
        await self._connection.execute(b"set local statement_timeout = %d" % timeout_ms)

    @asynccontextmanager
    async def part(self) -> AsyncIterator[None]:
        """What happens within is undone if it raises; the transaction goes on."""
        before = self.decision, self.approval, len(self.told)
        try:
            async with self._connection.transaction():
                yield
        except BaseException:
            self._go_back(*before)
            raise

    @asynccontextmanager
    async def rehearsal(self) -> AsyncIterator[None]:
        """What happens within is undone at its end, locks included; its results are what they would have been."""
        before = self.decision, self.approval, len(self.told)
        try:
            async with self._connection.transaction(force_rollback=True):
                yield
        finally:
            self._go_back(*before)

    def _go_back(self, decision: int | None, approval: int | None, told: int) -> None:
        """A decision or an event that was made in what is undone is no more."""
        self.decision, self.approval = decision, approval
        del self.told[told:]


@dataclasses.dataclass(frozen=True, slots=True)
class PoolUse:
    """How many connections a pool has, how many of them nobody uses, and how many callers wait for one."""

    size: int
    idle: int
    waiting: int


class Connected:
    """One connection of its own, made again when it is lost. One statement at a time; a second caller waits."""

    def __init__(self, connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Tx]:
        """As `Database.statement`."""
        with translated():
            async with self._lock:
                if self._connection is None:
                    self._connection = await self._connect()
                try:
                    tx = Tx(self._connection)
                    yield tx
                    pass_on(tx.told, listener())
                finally:
                    if self._connection.info.transaction_status is not TransactionStatus.IDLE:
                        await self.close()

    async def close(self) -> None:
        """End the connection; the next statement makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class Database:
    """A process's connections: one pool, bounded waits, one role on every connection: the application's, or that of `role`."""

    def __init__(self, url: str, settings: DatabaseSettings | None = None, *, role: str = APP) -> None:
        self.url = url
        self._role = role
        self._settings = settings or DatabaseSettings()
        self._pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=self._settings.pool_max_size,
            max_waiting=2000,
            timeout=self._settings.pool_wait_s,
            max_lifetime=1800,
            reconnect_timeout=5,
            configure=self._configure,
            kwargs=self._connection_settings(),
            open=False,
        )
        self._begin: Callable[[Tx], Awaitable[None]] | None = None

    def begun(self, begin: Callable[[Tx], Awaitable[None]]) -> Database:
        """The same database, each of whose write transactions begins with `begin`."""
        view = copy.copy(self)
        view._begin = begin
        return view

    @property
    def patience_s(self) -> float:
        """How long to wait for a few statements at most: a connection that has not answered by then is dead."""
        return 2 * self._settings.statement_timeout_ms / 1000

    async def open(self, wait_s: float = 10) -> None:
        """Open the pool and wait for the first connection; `Unavailable` where none can be had in time."""
        with translated():
            await self._pool.open(wait=True, timeout=wait_s)

    async def close(self) -> None:
        """Return every connection and stop the pool's own tasks."""
        await self._pool.close(timeout=5)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """A transaction that commits on return and rolls back on a raise."""
        with translated():
            async with self._pool.connection() as connection:
                async with connection.transaction():
                    tx = Tx(connection)
                    if self._begin is not None:
                        await self._begin(tx)
                    yield tx
                pass_on(tx.told, listener())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadTx]:
        """Reads, each of which sees the newest committed state."""
        with translated():
            async with self._pool.connection() as connection:
                yield ReadTx(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[ReadTx]:
        """Reads that all see one committed state; needed for `stream`."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(b"set transaction isolation level repeatable read, read only")
                yield ReadTx(connection)

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Tx]:
        """For work that writes with one statement, which is a transaction by itself: two round trips less than `write`."""
        with translated():
            async with self._pool.connection() as connection:
                tx = Tx(connection)
                yield tx
                pass_on(tx.told, listener())

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connected]:
        """A connection outside the pool, for one caller that asks often and is not to wait for others."""
        kept = Connected(self._connect)
        try:
            yield kept
        finally:
            await kept.close()

    async def retrying(
        self,
        work: Callable[[Tx], Awaitable[T]],
        *,
        attempts: int = _ATTEMPTS,
        lock_timeout_ms: int | None = None,
        one_statement: bool = False,
        on: Connected | None = None,
    ) -> T:
        """Run `work` in a write transaction; after a deadlock or a lock timeout, again, at most `attempts` times in all.

        `lock_timeout_ms` is how long a row is waited for, where that is to differ from the setting. `one_statement` says that
        the work writes with a single one, so that no more than that has to be a transaction; it may be done `on` a connection
        that is kept for it.
        """
        begin = (on or self).statement if one_statement and lock_timeout_ms is None else self.write
        for attempt in range(1, attempts + 1):
            try:
                async with begin() as tx:
                    if lock_timeout_ms is not None:
                        await tx.wait_for_locks(lock_timeout_ms)
                    return await work(tx)
            except Exception as error:
                if attempt == attempts or not _is_retryable(error):
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.02) * 2**attempt)  # noqa: S311 - jitter, not a secret
        raise AssertionError("the last attempt returns or raises")

    def use(self) -> PoolUse:
        """How the pool is used at this moment."""
        stats = self._pool.get_stats()
        return PoolUse(stats.get("pool_size", 0), stats.get("pool_available", 0), stats.get("requests_waiting", 0))

    async def ping(self, wait_s: float = 2) -> None:
        """Ask the server one question; `Unavailable` where it does not answer in time."""
        with translated():
            async with self._pool.connection(timeout=wait_s) as connection:
                await connection.execute("select 1")

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(self.url, **self._connection_settings())
        await self._configure(connection)
        return connection

    def _connection_settings(self) -> dict[str, Any]:
        return {
            "autocommit": True,
            "application_name": "tallystick",
            "connect_timeout": 5,
            "options": session_options(self._settings),
            **watched(self.url),
        }

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # Least privilege even where the login could do more: in a small set-up it may be the owner.
        await connection.execute(sql.SQL("set role {}").format(sql.Identifier(self._role)))
        listen_for_events(connection)


def watched(url: str) -> dict[str, Any]:
    """What has a server that vanishes from the network without a word noticed in half a minute, not in hours."""
    return _WATCHED | {name: value for name, value in conninfo_to_dict(url).items() if name in _WATCHED}


def session_options(settings: DatabaseSettings) -> str:
    """The start-up options of a session: what bounds its waits, and what makes an acknowledged commit durable."""
    return " ".join(
        f"-c {name}={value}"
        for name, value in {
            "statement_timeout": settings.statement_timeout_ms,
            "lock_timeout": settings.lock_timeout_ms,
            "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout_ms,
            "synchronous_commit": "on",
            "timezone": "UTC",
            "client_encoding": "UTF8",
            "search_path": "pg_catalog,pg_temp",
        }.items()
    )


def _maker(row: type[Row]) -> Any:
    """Dataclasses are filled by column name, other types take the single column as it is."""
    if dataclasses.is_dataclass(row):
        return class_row(cast("type[Row]", row))
    return cast("Callable[[Any], RowMaker[Row]]", scalar_row)


def _is_retryable(error: BaseException) -> bool:
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    return isinstance(cause, psycopg.Error) and cause.sqlstate in RETRYABLE
