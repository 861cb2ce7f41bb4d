"""`tallystick demo`: database, API and workers in one process, over a small generated bank."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tallystick import agents, http
from tallystick.cli.demo_bank import Loaded, load
from tallystick.cli.listening import address, bound, check_loopback, serve_until, server_for, stopped_by_signals
from tallystick.cli.options import Data, Host, Port
from tallystick.cli.runtime import Urls, console, log_to_stderr, opened, prepare, refusals_as_lines, server, settings_for
from tallystick.cli.sealing import sealing
from tallystick.db import DatabaseSettings
from tallystick.kit import Invalid
from tallystick.worker import Worker


def demo(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin with an empty database: what is in the data folder is deleted.")
    ] = False,
) -> None:
    """Run everything: PostgreSQL, migrations, a generated bank, the API, workers and the sealer. Ctrl-C stops all of it.

    Listens on loopback only and asks for no key.
    """
    log_to_stderr()
    with refusals_as_lines():
        settings = settings_for(data)
        check_loopback(host)
        with bound(host, port) as listener:
            if fresh:
                _forget(settings)
            started = time.monotonic()
            with server(settings) as urls:
                prepare(urls)
                uvloop.run(_run(urls, settings, listener, started))
            console.print("stopped")


async def _run(urls: Urls, settings: DatabaseSettings, listener: socket.socket, started: float) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop):
        async with opened(urls, settings, first_policy="demo") as database, sealing(urls, settings):
            loaded = await load(database)
            app = http.create_app(http.HttpSettings(open=True), database)
            working = asyncio.create_task(Worker(database, agents.built_in()).run(stop), name="worker")
            _greet(urls, listener, loaded, time.monotonic() - started)
            try:
                await serve_until(stop, server_for(app), listener)
            finally:
                stop.set()
                await working


def _greet(urls: Urls, listener: socket.socket, loaded: Loaded, seconds: float) -> None:
    base = address(listener)
    where = f"embedded, in {urls.embedded.layout.data}" if urls.embedded else "the one of DATABASE_URL"
    folder = f" --data {shlex.quote(str(urls.embedded.layout.data))}" if urls.embedded else ""
    text = f"""
Tallystick runs on {base}   (started in {seconds:.1f} s)

  loaded      a generated bank: {loaded.customers} customers, {loaded.accounts} accounts, prices of {loaded.symbols} symbols,
              {loaded.journals} journals, {loaded.new_journals} of them new
  PostgreSQL  {where}
  try         curl {base}/accounts/ACC123/balance
              curl '{base}/v1/accounts/ACC123/entries?limit=5'
              curl -X POST {base}/v1/transfers \\
                   -H 'content-type: application/json' -H 'idempotency-key: try-1' \\
                   -d '{{"from_account": "ACC123", "to_account": "ACC999",
                        "amount": {{"amount": "12.50", "currency": "USD"}}}}'
  API         {base}/docs
  SQL         {_psql(urls)}
  books       tallystick import berka DIR{folder}

Anyone on this machine may call it: this is a demo. Ctrl-C stops all of it.
"""
    console.print(text, markup=False, soft_wrap=True)


def _psql(urls: Urls) -> str:
    """How to read the database by SQL; the address of another's database may hold a password and is not shown."""
    return f"psql {shlex.quote(urls.embedded.url_as('tallystick_auditor'))}" if urls.embedded else 'psql "$DATABASE_URL"'


def _forget(settings: DatabaseSettings) -> None:
    """Delete the embedded server's folder; refuses where it does not look like one or is in use."""
    if settings.database_url is not None:
        raise Invalid("fresh_needs_embedded", "--fresh is for the embedded server; DATABASE_URL is set")
    folder: Path = settings.data
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / "users.lock").exists():
        raise Invalid("not_a_data_folder", f"{folder} was not made by Tallystick; it is left alone")
    with server(settings):
        # Whoever else uses the server would lose it under their feet.
        pass
    if (folder / "postgres" / "postmaster.pid").exists():
        raise Invalid("data_folder_in_use", f"another process uses {folder}")
    shutil.rmtree(folder)
