"""`tallystick worker`: run agents on their tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
import uvloop

from tallystick import agents as built_in_agents
from tallystick import client, sdk
from tallystick.approvals import WebhookSettings
from tallystick.cli.listening import stopped_by_signals
from tallystick.cli.options import Data
from tallystick.cli.runtime import Urls, console, log_to_stderr, opened, prepare, refusals_as_lines, server, settings_for
from tallystick.cli.sealing import sealing
from tallystick.db import DatabaseSettings
from tallystick.kit import Invalid
from tallystick.worker import Worker, load, run_agents


def worker(
    *,
    agents: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE:AGENT]...", help="Agents of your own, as `screening:agent`. None: those that come with us."
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Tasks that run at a time, of agents of your own.")] = 100,
    lease_s: Annotated[
        int, typer.Option("--lease", min=2, max=3600, help="Seconds after which a worker that was killed loses its tasks.")
    ] = 30,
    grace_s: Annotated[
        float, typer.Option("--grace", min=0, max=600, help="Seconds that handlers have to end after Ctrl-C.")
    ] = 10,
    name: Annotated[
        str | None, typer.Option(help="What the record calls this worker. Over HTTP it is called as its key is.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="Run agents of your own on a server, over HTTP, and touch no database."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="TALLYSTICK_KEY", help="The API key for --server; better given in the environment.")
    ] = None,
    data: Data = None,
) -> None:
    """Work off tasks until Ctrl-C. Any number of workers may run.

    Without an agent it runs those that come with Tallystick: they settle transfers and review positions.
    """
    log_to_stderr()
    with refusals_as_lines():
        loaded = load(agents or [])
        how = _How(name, concurrency, lease_s, grace_s)
        if url is not None:
            uvloop.run(_run_over_http(url, key, loaded, how))
            return
        settings = settings_for(data)
        if not loaded:
            # A setting of the notices that makes no sense is told before anything is begun.
            WebhookSettings()
        if loaded:
            # A worker that is stopped in a transaction is to lose its locks no later than its lease.
            idle_ms = min(settings.idle_in_transaction_timeout_ms, lease_s * 500)
            settings = settings.model_copy(update={"idle_in_transaction_timeout_ms": idle_ms})
        with server(settings) as urls:
            prepare(urls)
            uvloop.run(_run(urls, settings, loaded, how))


@dataclass(frozen=True, slots=True)
class _How:
    name: str | None
    concurrency: int
    lease_s: int
    grace_s: float


async def _run_over_http(url: str, key: str | None, loaded: Sequence[sdk.Agent], how: _How) -> None:
    if not loaded:
        raise Invalid("agent_not_found", "--server runs agents of your own: name them, as screening:agent")
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        console.print(f"the worker runs {_names(loaded)} on {url}; Ctrl-C stops it", markup=False)
        await client.run_agents(
            loaded, stop, url=url, key=key, concurrency=how.concurrency, lease_s=how.lease_s, grace_s=how.grace_s
        )


def _names(loaded: Sequence[sdk.Agent]) -> str:
    return ", ".join(f"{agent.name} {agent.version}" for agent in loaded)


async def _run(urls: Urls, settings: DatabaseSettings, loaded: Sequence[sdk.Agent], how: _How) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        async with opened(urls, settings) as database, sealing(urls, settings):
            if not loaded:
                console.print("the worker runs; Ctrl-C stops it")
                await Worker(database, built_in_agents.built_in(), name=how.name).run(stop)
                return
            console.print(f"the worker runs {_names(loaded)}; Ctrl-C stops it", markup=False)
            await run_agents(
                database,
                loaded,
                stop,
                settings=settings,
                name=how.name,
                concurrency=how.concurrency,
                lease_s=how.lease_s,
                grace_s=how.grace_s,
            )
