"""What the record costs, and how fast it is sealed, proved and verified, in one run on one durable server.

    python -m bench.record [--seconds 5] [--rounds 3] [--clients 64] [--events 10000 1000000]

Posting is measured in turns on two databases: one as it is, with a sealer at work in a process of its own, and one whose
functions that write events do nothing. Then events are made, sealed, proved, exported and verified, as many as are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import http
from bench.load import run_load, transfer_request
from bench.permits import permitted
from tallystick import audit, ledger, tlog
from tallystick.cli.record import SOURCES
from tallystick.db import SEALER, Database, EmbeddedServer, migrate

BATCH = 1000
_ACCOUNTS = 1000
_POSTERS = 2
_AT_ONCE = 5000
_PROOFS = 300
_SILENCED = ("audit.write", "audit.append")


def main() -> None:
    """Run the benchmark and print its tables and ratios."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder, EmbeddedServer(Path(folder) / "data") as server:
        console = Console()
        with Progress(console=Console(stderr=True)) as progress:
            rates = _posting(server, Path(folder), arguments, progress)
            sizes = [_size(server, Path(folder), count, progress) for count in sorted(arguments.events)]
        _report(console, rates, sizes, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.record", description="What the record costs, and how fast it is.")
    parser.add_argument("--seconds", type=float, default=5, help="length of each run of posting (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind; medians are compared (default 3)")
    parser.add_argument("--clients", type=int, default=64, help="concurrent clients over HTTP (default 64)")
    parser.add_argument(
        "--events", type=int, nargs="+", default=[10_000, 1_000_000], help="sizes of the record (default 10,000 and 1 million)"
    )
    return parser.parse_args()


def _posting(server: EmbeddedServer, folder: Path, arguments: argparse.Namespace, progress: Progress) -> dict[str, list[float]]:
    urls = {"with": _database(server, "with"), "without": _database(server, "without")}
    with psycopg.connect(urls["without"], autocommit=True) as connection:
        for name in _SILENCED:
            _silence(connection, name)
    ids = {name: asyncio.run(_open_accounts(url)) for name, url in urls.items()}
    rates: dict[str, list[float]] = defaultdict(list)
    bar = progress.add_task("posting", total=4 * arguments.rounds)
    with _sealer(urls["with"], folder / "keys-with"):
        for _ in range(arguments.rounds):
            for name, url in urls.items():
                rates[f"batches {name}"].append(uvloop.run(_post(_application(url), ids[name], arguments.seconds)))
                progress.advance(bar)
            for name, url in urls.items():
                rates[f"http {name}"].append(_over_http(_application(url), arguments))
                progress.advance(bar)
    return rates


def _database(server: EmbeddedServer, name: str) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'create database "bench_{name}"'.encode())
    url = server.url_of(f"bench_{name}")
    migrate(url)
    return url


def _silence(connection: psycopg.Connection, name: str) -> None:
    """Have a function take what it takes and do nothing."""
    row = connection.execute(
        "select pg_get_function_arguments(oid), pg_get_function_result(oid) from pg_proc where oid = %s::regproc", (name,)
    ).fetchone()
    assert row is not None
    taken, given = row
    body = "select array_agg(0::bigint) from unnest(p_principal)" if given.endswith("[]") else "select 0::bigint"
    connection.execute(f"create or replace function {name}({taken}) returns {given} language sql as $$ {body} $$".encode())


async def _open_accounts(url: str) -> list[int]:
    database = Database(_application(url))
    await database.open()
    async with permitted(database).write() as tx:
        specs = [ledger.AccountSpec(f"ledger-{number}", "USD", "internal", None) for number in range(_ACCOUNTS)]
        specs += [ledger.AccountSpec(name, "USD", "internal", None) for name in http.ACCOUNTS]
        ids = [opened.id for opened in await ledger.open_accounts(tx, specs)]
    await database.close()
    return ids[:_ACCOUNTS]


async def _post(url: str, ids: list[int], seconds: float) -> float:
    """Journals a second, in batches, each call with its events."""
    database = Database(url)
    await database.open()
    posted = 0
    began = time.perf_counter()

    async def poster(number: int) -> None:
        nonlocal posted
        chance = random.Random(number)
        while time.perf_counter() < began + seconds:
            pairs = [chance.sample(ids, 2) for _ in range(BATCH)]
            journals = [ledger.Journal("t", ledger.transfer(debit=one, credit=two, amount=5), "bench") for one, two in pairs]
            async with permitted(database).write() as tx:
                answers = await ledger.post_on_record(tx, journals)
            assert all(answer.refusal is None for answer in answers)
            posted += BATCH

    await asyncio.gather(*(poster(number) for number in range(_POSTERS)))
    rate = posted / (time.perf_counter() - began)
    await database.close()
    return rate


def _over_http(url: str, arguments: argparse.Namespace) -> float:
    request = transfer_request(
        "/v1/transfers", http.ACCOUNTS, keyed=True, amount=lambda n: f'{{"amount": "{n}.50", "currency": "USD"}}'
    )
    with http.serving("tallystick", url) as port:
        run_load(port, request, clients=arguments.clients, seconds=1)
        result = run_load(port, request, clients=arguments.clients, seconds=arguments.seconds)
    assert set(result.statuses) == {201}, result.statuses
    return result.rate


@contextmanager
def _sealer(url: str, keys: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "bench.record_sealer", url, str(keys)])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _application(url: str) -> str:
    return psycopg.conninfo.make_conninfo(url, user="tallystick_app")


def _size(server: EmbeddedServer, folder: Path, count: int, progress: Progress) -> dict[str, float]:
    url = _database(server, f"size_{count}")
    place = folder / f"size-{count}"
    place.mkdir()
    return uvloop.run(_measure(url, place, count, progress))


async def _measure(url: str, folder: Path, count: int, progress: Progress) -> dict[str, float]:
    keys = tlog.KeyFolder(folder / "keys")
    database, sealing = Database(_application(url)), Database(url, role=SEALER)
    await database.open()
    await sealing.open()
    found: dict[str, float] = {"events": count}
    bar = progress.add_task(f"{count:,} events", total=count)
    for start in range(0, count, _AT_ONCE):
        events = [
            audit.AuditEvent("bench", "things.make", "thing", number, {"n": number}, task_id=number)
            for number in range(start, min(start + _AT_ONCE, count))
        ]
        async with database.write() as tx:
            await audit.append_many(tx, events)
        progress.update(bar, completed=start + len(events))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    sealer = audit.Sealer(sealing, keys)
    began = time.perf_counter()
    while await sealer.seal():
        pass
    found["sealed a second"] = count / (time.perf_counter() - began)
    chance = random.Random(1)
    taken = []
    async with database.read() as tx:
        for _ in range(_PROOFS):
            index = chance.randrange(count)
            began = time.perf_counter()
            await audit.inclusion_proof(tx, index, count)
            taken.append(1000 * (time.perf_counter() - began))
    cuts = statistics.quantiles(taken, n=100)
    found["inclusion proof, p50, ms"], found["inclusion proof, p99, ms"] = cuts[49], cuts[98]
    began = time.perf_counter()
    async with database.snapshot() as tx:
        await audit.export(tx, folder / "export.zip", keys.public(), SOURCES)
    found["exported a second"] = count / (time.perf_counter() - began)
    began = time.perf_counter()
    meaning = tlog.Meaning()
    verified = tlog.verify_export(folder / "export.zip", keys=keys.public(), visit=meaning, finish=meaning.end)
    found["verified offline a second"] = count / (time.perf_counter() - began)
    assert verified.clean, verified.findings
    assert verified.events == count
    await database.close()
    await sealing.close()
    return found


def _report(
    console: Console, rates: dict[str, list[float]], sizes: list[dict[str, float]], arguments: argparse.Namespace
) -> None:
    console.print(f"{arguments.rounds} rounds of {arguments.seconds:g} s each; durable settings")
    table = Table("posting", "a second (median)", "min", "max")
    medians = {name: statistics.median(runs) for name, runs in rates.items()}
    for name, runs in rates.items():
        table.add_row(name, f"{medians[name]:,.0f}", f"{min(runs):,.0f}", f"{max(runs):,.0f}")
    console.print(table)
    table = Table("the record", *(f"{int(size['events']):,} events" for size in sizes))
    for name in sizes[0]:
        if name != "events":
            table.add_row(name, *(f"{size[name]:,.2f}" if "ms" in name else f"{size[name]:,.0f}" for size in sizes))
    console.print(table)
    print(f"ratio posting_with_record_vs_without {medians['batches with'] / medians['batches without']:.2f}")
    print(f"ratio http_with_record_vs_without {medians['http with'] / medians['http without']:.2f}")
    print(f"sealed_per_s {sizes[-1]['sealed a second']:.0f}")
    print(f"verified_per_s {sizes[-1]['verified offline a second']:.0f}")
    print(f"inclusion_proof_p99_ms {sizes[-1]['inclusion proof, p99, ms']:.2f}")


if __name__ == "__main__":
    main()
