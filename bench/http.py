"""POST /v1/transfers against an empty endpoint and against the guides' own way, in one run, on durable settings.

    python -m bench.http [--clients 64] [--seconds 8] [--rounds 3]

Each peer is one server process; the load generator is another, on the same machine, for all of them. Rounds take turns, and
the medians are compared, because machines are shared and noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.load import Request, Result, run_load, transfer_request
from bench.permits import allow_all, permitted
from bench.settled import settle
from tallystick import ledger
from tallystick.db import Database, EmbeddedServer, migrate

ACCOUNTS = [f"bench-{number}" for number in range(200)]


def main() -> None:
    """Run the benchmark and print its table and ratios."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder, EmbeddedServer(Path(folder) / "data") as server:
        migrate(server.url)
        results = measure_on(server, arguments)
    report(results, arguments, prefix="transfers")


def measure_on(server: EmbeddedServer, arguments: argparse.Namespace) -> dict[str, list[Result]]:
    """Runs of each peer on a migrated server, in turns; `arguments` has `clients`, `seconds` and `rounds`."""
    _prepare(server)
    settle(server)
    return _measure(server, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.http", description="POST /v1/transfers against two peers, in one run."
    )
    parser.add_argument("--clients", type=int, default=64, help="concurrent clients, each with one connection (default 64)")
    parser.add_argument("--seconds", type=float, default=8, help="length of each run (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each peer (default 3)")
    return parser.parse_args()


def _prepare(server: EmbeddedServer) -> None:
    """Accounts with money for ours, and the guides' table."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("create schema bench")
        connection.execute(
            """create table bench.transactions (id bigserial primary key, from_account text not null, to_account text not null,
               amount numeric not null, status text not null, created_at timestamptz not null)"""
        )
        durable = [connection.execute(f"show {name}".encode()).fetchone() for name in ("fsync", "synchronous_commit")]
        assert durable == [("on",), ("on",)], durable
    asyncio.run(_open_accounts(server))


async def _open_accounts(server: EmbeddedServer) -> None:
    database = Database(server.url_as("tallystick_app"))
    await database.open()
    await allow_all(database)
    async with permitted(database).write() as tx:
        specs = [
            ledger.AccountSpec("bench-equity", "USD", "internal", None),
            *(ledger.AccountSpec(name, "USD") for name in ACCOUNTS),
        ]
        equity, *others = [opened.id for opened in await ledger.open_accounts(tx, specs)]
        await ledger.post(
            tx, [ledger.Journal("opening", ledger.transfer(debit=equity, credit=id, amount=10**9), "bench") for id in others]
        )
    await database.close()


def _measure(server: EmbeddedServer, arguments: argparse.Namespace) -> dict[str, list[Result]]:
    native = transfer_request(
        "/v1/transfers", ACCOUNTS, keyed=True, amount=lambda n: f'{{"amount": "{n}.50", "currency": "USD"}}'
    )
    guide = transfer_request("/transfers/persisted", ACCOUNTS, keyed=False, amount=lambda n: f"{n}.5")
    peers: dict[str, tuple[Request, str]] = {
        "empty": (native, ""),
        "guide": (guide, server.url),
        "tallystick": (native, server.url_as("tallystick_app")),
    }
    results: dict[str, list[Result]] = {name: [] for name in peers}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("measuring", total=arguments.rounds * len(peers))
        for _ in range(arguments.rounds):
            for name, (request, url) in peers.items():
                with serving(name, url) as port:
                    run_load(port, request, clients=arguments.clients, seconds=1)
                    results[name].append(run_load(port, request, clients=arguments.clients, seconds=arguments.seconds))
                progress.advance(bar)
    return results


@contextmanager
def serving(name: str, url: str) -> Iterator[int]:
    """A peer in a process of its own; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "bench.peers", name, str(port), url])
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def report(results: dict[str, list[Result]], arguments: argparse.Namespace, *, prefix: str) -> None:
    """Print the table, and the ratios under names that begin with `prefix`."""
    table = Table("server", "answers/s (median)", "min", "max", "p50 ms", "p99 ms", "statuses")
    rates = {}
    for name, runs in results.items():
        by_rate = sorted(runs, key=lambda run: run.rate)
        middle = by_rate[len(by_rate) // 2]
        rates[name] = statistics.median(run.rate for run in runs)
        statuses = {status: sum(run.statuses.get(status, 0) for run in runs) for run in runs for status in run.statuses}
        table.add_row(
            name,
            f"{rates[name]:,.0f}",
            f"{by_rate[0].rate:,.0f}",
            f"{by_rate[-1].rate:,.0f}",
            f"{middle.quantile_ms(0.5):.1f}",
            f"{middle.quantile_ms(0.99):.1f}",
            str(statuses),
        )
    console = Console()
    console.print(f"{arguments.clients} clients, {arguments.rounds} rounds of {arguments.seconds:g} s each; durable settings")
    console.print(table)
    print(f"ratio {prefix}_vs_guide {rates['tallystick'] / rates['guide']:.2f}")
    print(f"ratio {prefix}_vs_empty {rates['tallystick'] / rates['empty']:.2f}")


if __name__ == "__main__":
    main()
