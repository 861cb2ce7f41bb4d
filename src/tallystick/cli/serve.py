"""`tallystick serve`: the API, for those who have a key."""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated

import typer
import uvloop

from tallystick import http, identity
from tallystick.cli.listening import GRACE_S, address, bound, check_loopback, serve_until, server_for, stopped_by_signals
from tallystick.cli.options import Data, Host, Port
from tallystick.cli.runtime import (
    Urls,
    console,
    errors,
    log_to_stderr,
    opened,
    prepare,
    refusals_as_lines,
    server,
    settings_for,
)
from tallystick.cli.sealing import sealing
from tallystick.db import Database, DatabaseSettings


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = None,
    open_to_all: Annotated[bool, typer.Option("--open", help="Ask for no key; on loopback only.")] = False,
    grace_s: Annotated[
        int, typer.Option("--grace", min=0, max=600, help="Seconds that requests in hand have to end after Ctrl-C.")
    ] = GRACE_S,
) -> None:
    """Run the API. Callers need a key: `tallystick keys create NAME --kind service`. Run workers with `tallystick worker`."""
    log_to_stderr()
    with refusals_as_lines():
        settings = settings_for(data)
        http_settings = http.HttpSettings(open=True) if open_to_all else http.HttpSettings()
        if http_settings.open:
            check_loopback(host)
        with bound(host, port) as listener, server(settings) as urls:
            prepare(urls)
            uvloop.run(_run(urls, settings, http_settings, listener, grace_s))


async def _run(
    urls: Urls, settings: DatabaseSettings, http_settings: http.HttpSettings, listener: socket.socket, grace_s: int
) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        async with opened(urls, settings) as database, sealing(urls, settings):
            await _warn_without_keys(database, http_settings)
            console.print(f"Tallystick serves on {address(listener)}")
            await serve_until(stop, server_for(http.create_app(http_settings, database), grace_s=grace_s), listener)


async def _warn_without_keys(database: Database, settings: http.HttpSettings) -> None:
    if settings.open or settings.api_key is not None:
        return
    async with database.read() as tx:
        if not await identity.any_key(tx):
            errors.print(
                "warning: there is no key yet, so nobody can call; `tallystick keys create NAME --kind service` makes one",
                style="yellow",
            )
