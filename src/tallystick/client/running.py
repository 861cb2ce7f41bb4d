"""Agents anywhere: a runner whose tasks are on a server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence

from tallystick.client.backend import HttpBackend
from tallystick.sdk import Agent, Runner


def run_agent(
    *agents: Agent, url: str, key: str | None = None, concurrency: int = 100, lease_s: int = 30, grace_s: float = 10.0
) -> None:
    """Run agents on their tasks on the server at `url`, with an API key, until Ctrl-C or SIGTERM. Any number of processes may.

    `concurrency` tasks run at a time. A process that is killed has its tasks taken from it after `lease_s` seconds. Told to
    stop, it gives its handlers `grace_s` to end, and gives back what does not. A server that is away is waited for.
    """

    async def until_told() -> None:
        stop = asyncio.Event()
        with _told_by_signals(stop):
            await run_agents(agents, stop, url=url, key=key, concurrency=concurrency, lease_s=lease_s, grace_s=grace_s)

    asyncio.run(until_told())


async def run_agents(
    agents: Sequence[Agent],
    stop: asyncio.Event,
    *,
    url: str,
    key: str | None = None,
    concurrency: int = 100,
    lease_s: int = 30,
    grace_s: float = 10.0,
) -> None:
    """As `run_agent`, until `stop` is set; for who has an event loop already."""
    backend = HttpBackend(url, key, lease_s=lease_s)
    await Runner(backend, agents, concurrency=concurrency, grace_s=grace_s).run(stop)


@contextlib.contextmanager
def _told_by_signals(stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at the first SIGINT or SIGTERM; the next one is as it always is."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def forget() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def on_signal() -> None:
        forget()
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        forget()
