"""Authors' agents beside the database: a runner, and a sweeper with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tallystick import sdk
from tallystick.db import Database, DatabaseSettings
from tallystick.worker.backend import DatabaseBackend
from tallystick.worker.sweeper import Sweeper
from tallystick.worker.worker import default_name


async def run_agents(
    database: Database,
    agents: Sequence[sdk.Agent],
    stop: asyncio.Event,
    *,
    settings: DatabaseSettings | None = None,
    name: str | None = None,
    concurrency: int = 100,
    lease_s: int = 30,
    grace_s: float = 10.0,
) -> None:
    """Run agents on their tasks until `stop` is set; any number of processes may. A lost database is waited for, never fatal.

    `concurrency` tasks run at a time. A worker that is killed has its tasks taken from it after `lease_s` seconds. Told to
    stop, it gives its handlers `grace_s` to end. `name` appears in the record; where it is not given it is made of the first
    agent and its version, the host and the process.
    """
    first = agents[0]
    name = name or default_name(f"{first.name}:{first.version}")
    backend = DatabaseBackend(database, settings, name=name, lease_s=lease_s)
    runner = sdk.Runner(backend, agents, concurrency=concurrency, grace_s=grace_s)
    sweeping = asyncio.create_task(Sweeper(database, name).run(stop), name="sweeper")
    try:
        await runner.run(stop)
    finally:
        stop.set()
        await asyncio.gather(sweeping, return_exceptions=True)
