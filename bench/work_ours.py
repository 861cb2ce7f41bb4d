"""Tallystick's tasks as `bench.work` runs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from psycopg.conninfo import make_conninfo

from bench.work_contenders import Enqueue, Handle, Settings
from tallystick import work as tasks
from tallystick.db import Bell, Database, migrate
from tallystick.sdk import Agent, Runner, Task, Transfer
from tallystick.worker import DatabaseBackend, Sweeper

AGENT = "bench"
TYPE = "bench.noop"
PAYING = "bench.pay"
ACCOUNTS = [f"bench-{number}" for number in range(200)]
AMOUNT = Decimal("0.05")


async def set_up(url: str) -> None:
    """All of Tallystick's schema."""
    await asyncio.to_thread(migrate, url)


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Enqueue]:
    """The verb in a transaction, and the bell after it, as the routes do."""
    database = Database(application(url))
    await database.open()
    bell = Bell(database, tasks.CHANNEL)
    ringing = asyncio.create_task(bell.run())

    async def enqueue(numbers: Sequence[int]) -> None:
        new = [tasks.NewTask(AGENT, TYPE, {"number": number}) for number in numbers]
        async with database.write() as tx:
            await tasks.enqueue(tx, "bench", new)
        bell.ring(tx)

    yield enqueue
    ringing.cancel()
    await database.close()


async def work(url: str, settings: Settings, handle: Handle, stop: asyncio.Event) -> None:
    """What `tallystick worker` runs: a runner on the database, with a sweeper beside it."""
    agent = Agent(AGENT, version="1")

    @agent.task(TYPE)
    async def noop(task: Task[dict[str, Any]]) -> None:
        handle(task.payload["number"])

    @agent.task(PAYING)
    async def pay(task: Task[dict[str, Any]]) -> None:
        number = task.payload["number"]
        handle(number)
        debit, credit = (ACCOUNTS[place % len(ACCOUNTS)] for place in (number, 7 * number + 1))
        async with task.finish() as effects:
            effects.propose(Transfer(debit, credit, AMOUNT, "USD"))

    database = Database(application(url))
    await database.open()
    name = f"bench-{os.getpid()}"
    backend = DatabaseBackend(database, name=name)
    runner = Runner(backend, [agent], concurrency=settings["concurrency"], max_batch=settings["batch"])
    async with asyncio.TaskGroup() as group:
        group.create_task(Sweeper(database, name).run(stop))
        group.create_task(runner.run(stop))
    await database.close()


def application(url: str) -> str:
    """Where the application's role finds the database of that superuser's URL."""
    return make_conninfo(url, user="tallystick_app")
