"""procrastinate as `bench.work` runs it: its psycopg connector, with as many connections as jobs at once and one more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import procrastinate
from procrastinate.types import JSONValue

from bench.work_contenders import Enqueue, Handle, Settings

_TASK = "bench"


async def set_up(url: str) -> None:
    """What `procrastinate schema --apply` does."""
    async with _app(url, connections=1).open_async() as app:
        await app.schema_manager.apply_schema_async()


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Enqueue]:
    """Jobs are deferred one by one, or many in a batch."""
    async with _app(url, connections=4).open_async() as app:
        task = app.configure_task(_TASK)

        async def enqueue(numbers: Sequence[int]) -> None:
            if len(numbers) == 1:
                await task.defer_async(number=numbers[0])
            else:
                jobs: list[dict[str, JSONValue]] = [{"number": number} for number in numbers]
                await task.batch_defer_async(*jobs)

        yield enqueue


async def work(url: str, settings: Settings, handle: Handle, stop: asyncio.Event) -> None:
    """`workers` of them in this process, each with its own connections and `concurrency` jobs at once."""

    async def worker() -> None:
        async with _app(url, connections=settings["concurrency"] + 1).open_async() as app:

            async def handler(number: int) -> None:
                handle(number)

            app.task(name=_TASK)(handler)
            await app.run_worker_async(concurrency=settings["concurrency"], install_signal_handlers=False)

    workers = [asyncio.create_task(worker()) for _ in range(settings["workers"])]
    await stop.wait()
    for running in workers:
        running.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


def _app(url: str, *, connections: int) -> procrastinate.App:
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=connections, max_size=connections)
    return procrastinate.App(connector=connector)
