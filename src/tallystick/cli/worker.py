"""`tallystick worker`: run the agents that come with Tallystick."""

from __future__ import annotations

import asyncio

import uvloop

from tallystick import agents
from tallystick.cli.listening import stopped_by_signals
from tallystick.cli.options import Data
from tallystick.cli.runtime import Urls, console, log_to_stderr, opened, prepare, refusals_as_lines, server, settings_for
from tallystick.db import DatabaseSettings
from tallystick.worker import Worker


def worker(data: Data = None) -> None:
    """Work off tasks until Ctrl-C: settle transfers, review positions. Any number of workers may run."""
    log_to_stderr()
    with refusals_as_lines():
        settings = settings_for(data)
        with server(settings) as urls:
            prepare(urls)
            uvloop.run(_run(urls, settings))


async def _run(urls: Urls, settings: DatabaseSettings) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        async with opened(urls, settings) as database:
            console.print("the worker runs; Ctrl-C stops it")
            await Worker(database, agents.built_in()).run(stop)
