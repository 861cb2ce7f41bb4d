"""Tallystick's tasks as `bench.work` runs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from psycopg.conninfo import make_conninfo

from bench.work_contenders import Enqueue, Handle, Settings
from tallystick import work as tasks
from tallystick.db import Bell, Database, listen, migrate

AGENT = "bench"
TYPE = "bench.noop"


async def set_up(url: str) -> None:
    """All of Tallystick's schema."""
    await asyncio.to_thread(migrate, url)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Enqueue]:
    """The verb in a transaction, and the bell after it, as the routes do."""
    database = Database(_application(url))
    await database.open()
    bell = Bell(database, tasks.CHANNEL)
    ringing = asyncio.create_task(bell.run())

    async def enqueue(numbers: Sequence[int]) -> None:
        new = [tasks.NewTask(AGENT, TYPE, {"number": number}) for number in numbers]
        async with database.write() as tx:
            await tasks.enqueue(tx, "bench", new)
        bell.ring()

    yield enqueue
    ringing.cancel()
    await database.close()


async def work(url: str, settings: Settings, handle: Handle, stop: asyncio.Event) -> None:
    """For now the verbs themselves, in batches, on some connections."""
    database = Database(_application(url))
    await database.open()
    name = f"bench-{os.getpid()}"

    async def loop() -> None:
        async with listen(database, tasks.CHANNEL) as woken:
            while not stop.is_set():
                woken.clear()
                async with database.write() as tx:
                    claimed = await tasks.claim(tx, agents=[AGENT], worker=name, limit=settings["batch"])
                if not claimed:
                    _, pending = await asyncio.wait(
                        [asyncio.create_task(woken.wait()), asyncio.create_task(stop.wait())],
                        timeout=1,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for waiting in pending:
                        waiting.cancel()
                    continue
                for task in claimed:
                    handle(task.payload["number"])
                async with database.write() as tx:
                    await tasks.finish(tx, [tasks.Finish(task.task_id, task.fence, "done") for task in claimed], name)

    await asyncio.gather(*(loop() for _ in range(settings["connections"])))
    await database.close()


def _application(url: str) -> str:
    return make_conninfo(url, user="tallystick_app")
