"""The ledger against pgbench's TPC-B, itself on one hot account, and over HTTP against two peers, in one run, durable.

    python -m bench.ledger [--seconds 5] [--rounds 3] [--entries 10000000] [--no-http]

First pgbench's TPC-B-like transactions (16 clients; at its own scale of 1, where they queue for one branch, and at 16, where
they do not) and batches of 1, 50, 1,000 and 8,000 journals take turns: transfers between accounts drawn evenly from 10,000, and
payments all into one of them. Then single transfers over HTTP by 64 clients, against an empty endpoint and the guides' own way.
At last 10 million entries are put into the books, and the batches of 1,000 are posted again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import http
from bench.permits import permitted
from tallystick import ledger
from tallystick.db import Database, EmbeddedServer, migrate
from tallystick.db.embedded import bundled_bin_dir

ACCOUNTS = 10_000
BATCHES = (1, 50, 1000, 8000)
TPCB = "pgbench TPC-B, 16 clients"
SCALES = (1, 16)
_CHUNK_ROUNDS = 25
Entries = list[tuple[int, int]]
Shape = Callable[[random.Random, list[int]], Entries]


def main() -> None:
    """Run the benchmark and print its tables and ratios."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder, EmbeddedServer(Path(folder) / "data") as server:
        migrate(server.url)
        _check_durable(server)
        ids = uvloop.run(_open_accounts(server))
        rates = _measure(server, ids, arguments)
        results = http.measure_on(server, arguments) if arguments.http else {}
        if arguments.entries:
            _load(server, ids, arguments.entries)
            for _ in range(arguments.rounds):
                rates[f"1000 uniform, {arguments.entries:,} entries there"].append(
                    uvloop.run(_post(server, ids, 1000, uniform, arguments))
                )
    _report(rates, arguments)
    if results:
        http.report(results, arguments, prefix="http")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description="The ledger against pgbench and over HTTP.")
    parser.add_argument("--seconds", type=float, default=5, help="length of each run (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind; medians are compared (default 3)")
    parser.add_argument("--posters", type=int, default=2, help="connections that post batches (default 2)")
    parser.add_argument("--clients", type=int, default=64, help="clients over HTTP (default 64)")
    parser.add_argument(
        "--entries", type=int, default=10_000_000, help="entries to post on top of (default 10 million; 0: skip)"
    )
    parser.add_argument("--no-http", dest="http", action="store_false", help="skip the part over HTTP")
    return parser.parse_args()


def uniform(chance: random.Random, ids: list[int]) -> Entries:
    """A transfer between any two accounts."""
    debit, credit = chance.sample(ids, 2)
    return [(debit, -5), (credit, 5)]


def hot(chance: random.Random, ids: list[int]) -> Entries:
    """A payment into the one account that all pay into."""
    return [(ids[chance.randrange(1, len(ids))], -5), (ids[0], 5)]


def _check_durable(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url_as("tallystick_app")) as connection:
        durable = [connection.execute(f"show {name}".encode()).fetchone() for name in ("fsync", "synchronous_commit")]
        assert durable == [("on",), ("on",)], durable


async def _open_accounts(server: EmbeddedServer) -> list[int]:
    database = Database(server.url_as("tallystick_app"))
    await database.open()
    async with permitted(database).write() as tx:
        specs = [ledger.AccountSpec(f"ledger-{number}", "USD", "internal", None) for number in range(ACCOUNTS)]
        ids = [opened.id for opened in await ledger.open_accounts(tx, specs)]
    await database.close()
    return ids


def _measure(server: EmbeddedServer, ids: list[int], arguments: argparse.Namespace) -> dict[str, list[float]]:
    shapes: list[tuple[str, Shape]] = [("uniform", uniform), ("hot", hot)]
    rates: dict[str, list[float]] = defaultdict(list)
    for scale in SCALES:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"create database pgbench_{scale}".encode())
        _pgbench(server, scale, ["-i", "-q", "-s", str(scale)])
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("posting", total=arguments.rounds * (len(SCALES) + len(BATCHES) * len(shapes)))
        for _ in range(arguments.rounds):
            for scale in SCALES:
                rates[f"{TPCB}, scale {scale}"].append(_tpcb(server, scale, arguments))
                progress.advance(bar)
            for batch in BATCHES:
                for name, shape in shapes:
                    rates[f"{batch} {name}"].append(uvloop.run(_post(server, ids, batch, shape, arguments)))
                    progress.advance(bar)
            rates["1000 uniform, keyed"].append(uvloop.run(_post(server, ids, 1000, uniform, arguments, keyed=True)))
    return rates


def _tpcb(server: EmbeddedServer, scale: int, arguments: argparse.Namespace) -> float:
    printed = _pgbench(server, scale, ["-n", "-c", "16", "-j", "2", "-T", str(round(arguments.seconds))])
    found = re.search(r"tps = ([\d.]+)", printed)
    assert found, printed
    return float(found[1])


def _pgbench(server: EmbeddedServer, scale: int, arguments: list[str]) -> str:
    options = psycopg.conninfo.conninfo_to_dict(server.url)
    place = ["-h", str(options["host"]), "-p", str(options["port"]), "-U", str(options["user"])]
    command = [str(bundled_bin_dir() / "pgbench"), *place, *arguments, f"pgbench_{scale}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@dataclass
class _Count:
    journals: int = 0


async def _post(
    server: EmbeddedServer, ids: list[int], batch: int, shape: Shape, arguments: argparse.Namespace, *, keyed: bool = False
) -> float:
    """Journals a second that were posted and committed."""
    database = Database(server.url_as("tallystick_app"))
    await database.open()
    count = _Count()
    began = time.perf_counter()
    deadline = began + arguments.seconds
    run = random.getrandbits(64)

    async def poster(number: int) -> None:
        chance = random.Random(number)
        made = 0
        while time.perf_counter() < deadline:
            journals = []
            for _ in range(batch):
                made += 1
                key = f"{run:x}-{number}-{made}" if keyed else None
                journals.append(ledger.Journal("transfer", shape(chance, ids), "bench", key=key))
            async with permitted(database).write() as tx:
                answers = await ledger.post(tx, journals)
            assert all(answer.refusal is None for answer in answers)
            count.journals += batch

    await asyncio.gather(*(poster(number) for number in range(arguments.posters)))
    rate = count.journals / (time.perf_counter() - began)
    await database.close()
    return rate


def _load(server: EmbeddedServer, ids: list[int], entries: int) -> None:
    """Put entries into the books as `ledger.post` would have left them: rounds in which each account pays the next one."""
    rounds = entries // (2 * ACCOUNTS)
    with psycopg.connect(server.url, autocommit=True) as connection, Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("loading entries", total=rounds)
        for _ in range(0, rounds, _CHUNK_ROUNDS):
            with connection.transaction():
                connection.execute(_LOAD.encode(), {"ids": ids, "rounds": _CHUNK_ROUNDS, "accounts": ACCOUNTS})
            progress.advance(bar, _CHUNK_ROUNDS)
        connection.execute("vacuum analyze ledger.entry, ledger.journal, ledger.balance")
        connection.execute("checkpoint")


_LOAD = """
with asked as (
    select %(accounts)s::bigint as accounts, %(rounds)s::bigint as rounds
), numbered as (
    select u.id, u.ord, b.dr, b.cr, b.seq
      from unnest(%(ids)s::bigint[]) with ordinality as u (id, ord)
      join ledger.balance b on b.account_id = u.id
), base as (
    select setval('ledger.journal_id', nextval('ledger.journal_id') + a.accounts * (a.rounds + 1))
           - a.accounts * (a.rounds + 1) as id
      from asked a
), made as (
    select r, n.id as account_id, n.dr, n.cr, n.seq,
           base.id + r * a.accounts + n.ord as paid,
           base.id + r * a.accounts + case when n.ord = 1 then a.accounts else n.ord - 1 end as received
      from asked a, base, numbered n, generate_series(0, a.rounds - 1) as r
), journals as (
    insert into ledger.journal (id, kind, actor, effective_at, posted_at, digest)
    select m.paid, 'load', 'bench', now(), now(), ''
      from made m
), entries as (
    insert into ledger.entry (account_id, seq, journal_id, amount, dr_after, cr_after, posted_at)
    select m.account_id, m.seq + 2 * m.r + 1, m.paid, -5, m.dr + 5 * (m.r + 1), m.cr + 5 * m.r, now()
      from made m
     union all
    select m.account_id, m.seq + 2 * m.r + 2, m.received, 5, m.dr + 5 * (m.r + 1), m.cr + 5 * (m.r + 1), now()
      from made m
)
update ledger.balance b
   set dr = b.dr + 5 * a.rounds, cr = b.cr + 5 * a.rounds, seq = b.seq + 2 * a.rounds, last_at = clock_timestamp()
  from asked a
 where b.account_id = any (%(ids)s::bigint[])
"""


def _report(rates: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    table = Table("what", "a second (median)", "min", "max")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}")
    console = Console()
    runs = f"{arguments.rounds} rounds of {arguments.seconds:g} s"
    console.print(f"journals posted by {arguments.posters} connections, {runs}; durable settings")
    console.print(table)
    middle = {name: statistics.median(found) for name, found in rates.items()}
    for scale in SCALES:
        name = "batch1000_vs_tpcb" if scale == 1 else f"batch1000_vs_tpcb_scale{scale}"
        print(f"ratio {name} {middle['1000 uniform'] / middle[f'{TPCB}, scale {scale}']:.2f}")
    print(f"ratio hot_vs_uniform {middle['1000 hot'] / middle['1000 uniform']:.2f}")
    for name, rate in middle.items():
        if name.endswith("there"):
            print(f"ratio loaded_vs_empty {rate / middle['1000 uniform']:.2f}")


if __name__ == "__main__":
    main()
