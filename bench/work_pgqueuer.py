"""pgqueuer as `bench.work` runs it: asyncpg, one connection a manager, a pool to enqueue, durable tables, `pgq autovac`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg  # type: ignore[import-untyped]
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from psycopg.conninfo import conninfo_to_dict

from bench.work_contenders import Enqueue, Handle, Settings

_ENTRYPOINT = "bench"


async def set_up(url: str) -> None:
    """What `pgq install` and `pgq autovac` do."""
    connection = await _connect(url)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()
    await connection.close()


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Enqueue]:
    """Producers use a pool."""
    async with asyncpg.create_pool(**_options(url), min_size=2, max_size=4) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))

        async def enqueue(numbers: Sequence[int]) -> None:
            if len(numbers) == 1:
                await queries.enqueue(_ENTRYPOINT, b"%d" % numbers[0])
            else:
                count = len(numbers)
                await queries.enqueue([_ENTRYPOINT] * count, [b"%d" % number for number in numbers], [0] * count)

        yield enqueue


async def work(url: str, settings: Settings, handle: Handle, stop: asyncio.Event) -> None:
    """`managers` of them in this process, as its own benchmark does, each with a connection."""
    connections = [await _connect(url) for _ in range(settings["managers"])]
    queues = [PgQueuer(AsyncpgDriver(connection)) for connection in connections]

    async def handler(job: Job) -> None:
        handle(int(job.payload or b"0"))

    for queue in queues:
        queue.entrypoint(_ENTRYPOINT)(handler)
    runs = [asyncio.create_task(queue.run(batch_size=settings["batch"])) for queue in queues]
    await stop.wait()
    for queue in queues:
        queue.shutdown.set()
    await asyncio.gather(*runs)
    for connection in connections:
        await connection.close()


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(**_options(url))


def _options(url: str) -> dict[str, str]:
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database"}
    return {names[name]: str(value) for name, value in conninfo_to_dict(url).items() if name in names}
