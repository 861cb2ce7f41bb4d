"""A sealer in a process of its own, until SIGTERM: `python -m bench.record_sealer URL KEYS`."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from tallystick import audit, tlog
from tallystick.db import SEALER, Database


async def _main(url: str, keys: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = Database(url, role=SEALER)
    await database.open()
    await audit.Sealer(database, tlog.KeyFolder(keys)).run(stop)
    await database.close()


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
