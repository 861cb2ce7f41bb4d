"""The sealer beside whatever a process does: started with it, stopped with it, and never in its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tallystick import audit, tlog
from tallystick.cli.runtime import Urls
from tallystick.db import SEALER, Database, DatabaseSettings
from tallystick.kit import Unavailable, wait_for

_log = logging.getLogger(__name__)
_AGAIN_S = 30.0
_OPENING_S = 3.0


def key_folder(settings: DatabaseSettings) -> tlog.KeyFolder:
    """Where the record's signing keys are."""
    return tlog.KeyFolder(settings.signing_keys or settings.data / "signing-keys")


def sealing_database(urls: Urls, settings: DatabaseSettings) -> Database:
    """The database as the sealer sees it."""
    return Database(urls.sealer, settings.model_copy(update={"pool_max_size": 2}), role=SEALER)


@asynccontextmanager
async def sealing(urls: Urls, settings: DatabaseSettings) -> AsyncIterator[None]:
    """Seal the record while we are in here. What is left at the end is sealed by whoever comes next."""
    stop = asyncio.Event()
    task = asyncio.create_task(_seal(urls, settings, stop), name="sealer")
    try:
        yield
    finally:
        stop.set()
        await task


async def _seal(urls: Urls, settings: DatabaseSettings, stop: asyncio.Event) -> None:
    while not stop.is_set():
        database = sealing_database(urls, settings)
        try:
            await database.open(_OPENING_S)
        except Unavailable as error:
            _log.warning("this process cannot seal the record, and tries again: %s", error)
            await database.close()
            await wait_for(stop, _AGAIN_S)
            continue
        try:
            await audit.Sealer(database, key_folder(settings), max_lag_s=settings.max_sealing_lag_s).run(stop)
        finally:
            await database.close()
