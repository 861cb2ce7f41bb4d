"""Transfers through the whole gate against bare posting, single over HTTP and in batches, in one run, on durable settings.

    python -m bench.gate [--clients 64] [--seconds 6] [--rounds 3] [--batch 1000] [--names 1000000]

Through the gate: a key is looked up, ten rules are asked, the decision is kept, the money is posted, the record has its event.
Bare: the same server and the same posting with its event of the record, for whoever asks. The bare peer's database asks for no
decision: `policy.consume` does nothing there.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.http import serving
from bench.load import Result, run_load, transfer_request
from bench.permits import permitted
from bench.settled import settle
from tallystick import actions, identity, ledger, policy
from tallystick.db import Database, EmbeddedServer, migrate
from tallystick.kit import seldom_collected

ACCOUNTS = [f"bench-{number}" for number in range(200)]
_BY = identity.Principal("bench-agent", "agent", frozenset({"agent"}), owner="anna", risk_tier="low")
_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_RULES: list[dict[str, Any]] = [
    {"id": "agents-transfer", "when": {"kind": ["agent", "service"], "action": "transfer"}, "allow": True},
    {"id": "amount", "when": {"action": "transfer"}, "amount": {"at_most": {"USD": "1000.00"}}},
    {"id": "large-needs-two", "when": {"action": "transfer"}, "amount": {"at_most": {"USD": "100000.00"}}, "otherwise": "deny"},
    {
        "id": "day-of-principal",
        "when": {"action": "transfer"},
        "window": {"sum": {"at_most": {"USD": "9000000000.00"}}, "per": "principal", "over": "24h"},
    },
    {
        "id": "hour-of-principal",
        "when": {"action": "transfer"},
        "window": {"count": {"at_most": 900000000}, "per": "principal", "over": "1h"},
    },
    {
        "id": "day-of-account",
        "when": {"action": "transfer"},
        "window": {"sum": {"at_most": {"USD": "9000000.00"}}, "per": "account", "over": "24h"},
    },
    {"id": "known-payee", "when": {"action": "transfer", "counterparty_kind": "external"}, "payee": {}},
    {
        "id": "hours",
        "when": {"action": "transfer"},
        "hours": {
            "zone": "Europe/Prague",
            "days": _DAYS,
            "from": "00:00",
            "to": "24:00",
        },
    },
    {"id": "listed", "when": {"action": "transfer"}, "list": {"name": "sanctions", "by": "counterparty", "mode": "deny"}},
    {"id": "high-risk-asks", "when": {"action": "transfer", "risk_tier": "high"}, "hold": True},
]


def main() -> None:
    """Run the benchmark and print its tables and ratios."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description="The gate against bare posting, in one run.")
    parser.add_argument("--clients", type=int, default=64, help="concurrent clients over HTTP (default 64)")
    parser.add_argument("--seconds", type=float, default=6, help="length of each run (default 6)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--batch", type=int, default=1000, help="transfers in a batch (default 1000)")
    parser.add_argument("--names", type=int, default=1_000_000, help="names on a list, at the end (default 1,000,000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder, EmbeddedServer(Path(folder) / "data") as server:
        migrate(server.url)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute('create database "bare"')
        migrate(server.url_of("bare"))
        with psycopg.connect(server.url_of("bare"), autocommit=True) as connection:
            connection.execute(
                "create or replace function policy.consume(p_ids bigint[]) returns void language plpgsql security definer"
                " set search_path = pg_catalog, pg_temp as $$ begin end $$"
            )
        urls = {"gate": server.url_as("tallystick_app"), "bare": server.url_of("bare", "tallystick_app")}
        key = asyncio.run(_prepare(urls))
        with psycopg.connect(server.url, autocommit=True) as connection:
            # A bank's accounts have paid each other before.
            connection.execute(
                "insert into actions.payee (account_id, payee, since, by_principal) select a.id, b.name, now(), 'bench'"
                " from ledger.account a cross join ledger.account b where a.id <> b.id"
            )
            connection.execute("vacuum analyze")
        settle(server)
        _http(urls, key, arguments)
        asyncio.run(_batches(urls, arguments))
        asyncio.run(_more(urls["gate"], arguments))


async def _prepare(urls: dict[str, str]) -> str:
    secrets = {}
    for name, url in urls.items():
        database = Database(url)
        await database.open()
        async with permitted(database).write() as tx:
            own = ledger.AccountSpec("equity", "USD", "internal", None)
            specs = [own, *(ledger.AccountSpec(name, "USD") for name in ACCOUNTS)]
            equity, *others = [opened.id for opened in await ledger.open_accounts(tx, specs)]
            opening = [
                ledger.Journal("opening", ledger.transfer(debit=equity, credit=id, amount=10**12), "bench") for id in others
            ]
            await ledger.post(tx, opening)
            await policy.apply(tx, {"name": "bench", "rules": _RULES}, by="bench")
            await policy.import_list(tx, "sanctions", [("1", "Nobody Anywhere")], kind="names", source="bench", by="bench")
            await identity.add_principal(tx, "anna", kind="person", by="bench")
            secrets[name] = (await identity.create_key(tx, "bench-agent", kind="service", by="bench")).secret
        await database.close()
    return secrets["gate"]


def _http(urls: dict[str, str], key: str, arguments: argparse.Namespace) -> None:
    keys = {"gate": key, "bare": ""}
    results: dict[str, list[Result]] = {name: [] for name in urls}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("single, over HTTP", total=arguments.rounds * len(urls))
        for _ in range(arguments.rounds):
            for name, url in urls.items():
                request = transfer_request(
                    "/v1/transfers", ACCOUNTS, keyed=True, amount=lambda n: f'{{"amount": "{n}.50", "currency": "USD"}}',
                    token=keys[name],
                )  # fmt: skip
                with serving(name, url) as port:
                    run_load(port, request, clients=arguments.clients, seconds=1)
                    results[name].append(run_load(port, request, clients=arguments.clients, seconds=arguments.seconds))
                progress.advance(bar)
    table = Table("server", "answers/s (median)", "min", "max", "p50 ms", "p99 ms", "statuses")
    rates = {name: statistics.median(run.rate for run in runs) for name, runs in results.items()}
    for name, runs in results.items():
        middle = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
        assert set().union(*(run.statuses for run in runs)) == {201}, "each transfer was posted"
        statuses = {status: sum(run.statuses.get(status, 0) for run in runs) for run in runs for status in run.statuses}
        table.add_row(
            name, f"{rates[name]:,.0f}", f"{min(run.rate for run in runs):,.0f}", f"{max(run.rate for run in runs):,.0f}",
            f"{middle.quantile_ms(0.5):.1f}", f"{middle.quantile_ms(0.99):.1f}", str(statuses),
        )  # fmt: skip
    console = Console()
    console.print(f"{arguments.clients} clients, {arguments.rounds} rounds of {arguments.seconds:g} s each; durable settings")
    console.print(table)
    print(f"ratio gate_vs_bare_http {rates['gate'] / rates['bare']:.2f}")


async def _batches(urls: dict[str, str], arguments: argparse.Namespace) -> None:
    databases = {name: Database(url) for name, url in urls.items()}
    for database in databases.values():
        await database.open()
    rates: dict[str, list[float]] = {name: [] for name in urls}
    for round in range(arguments.rounds):
        for name, database in databases.items():
            await _posting(database, name, arguments.batch, f"{round}-warm", 1)
            rates[name].append(await _posting(database, name, arguments.batch, str(round), arguments.seconds))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, each in rates.items():
        print(f"{name} in batches of {arguments.batch}: {medians[name]:,.0f}/s ({min(each):,.0f} to {max(each):,.0f})")
    print(f"ratio gate_vs_bare_batch {medians['gate'] / medians['bare']:.2f}")
    for database in databases.values():
        await database.close()


async def _posting(database: Database, name: str, size: int, prefix: str, seconds: float) -> float:
    """Transfers a second, in batches; each has a key. The bare way posts their journals and nothing else."""
    # As in a server.
    with seldom_collected():
        return await _posting_of(database, name, size, prefix, seconds)


async def _posting_of(database: Database, name: str, size: int, prefix: str, seconds: float) -> float:
    directory = ledger.Directory()
    chance = random.Random(1)
    async with database.read() as tx:
        ids = {account: ref.id for account, ref in (await ledger.references(tx, ACCOUNTS)).items()}
    done, number = 0, 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        pairs = [chance.sample(ACCOUNTS, 2) for _ in range(size)]
        number += 1
        if name == "gate":
            new = [
                actions.NewTransfer(debit, credit, "1.50", key=f"{prefix}-{number}-{place}")
                for place, (debit, credit) in enumerate(pairs)
            ]

            async def work(tx: Any, new: Any = new) -> int:
                answers = await actions.propose(tx, _BY, new, directory=directory)
                return sum(1 for answer in answers if isinstance(answer, actions.Transfer) and answer.status == "posted")
        else:
            journals = [
                ledger.Journal(
                    "transfer", ledger.transfer(debit=ids[debit], credit=ids[credit], amount=150), "bench-agent",
                    key=f"{prefix}-{number}-{place}",
                )
                for place, (debit, credit) in enumerate(pairs)
            ]  # fmt: skip

            async def work(tx: Any, new: Any = journals) -> int:
                return sum(1 for answer in await ledger.post(tx, new) if answer.refusal is None)

        posted = await database.retrying(work)
        assert posted == size, posted
        done += posted
    return done / (time.perf_counter() - began)


async def _more(url: str, arguments: argparse.Namespace) -> None:
    """What more rules and a long list cost a batch."""
    database = Database(url)
    await database.open()
    never = [{"id": f"other-{n}", "when": {"action": f"other.{n}"}, "amount": {"at_most": {"USD": "1.00"}}} for n in range(990)]
    base = 0.0
    for count in (10, 100, 1000):
        async with database.write() as tx:
            await policy.apply(tx, {"name": "bench", "rules": [*_RULES, *never[: count - 10]]}, by="bench")
        await _posting(database, "gate", arguments.batch, f"rules-{count}-warm", 1)
        rate = await _posting(database, "gate", arguments.batch, f"rules-{count}", arguments.seconds)
        base = base or rate
        print(f"ratio rules_{count}_vs_10 {rate / base:.2f} ({rate:,.0f}/s)")
    async with database.write() as tx:
        await policy.apply(tx, {"name": "bench", "rules": _RULES}, by="bench")
        names = ((str(n), f"Name {n:07d} of a List") for n in range(arguments.names))
        await policy.import_list(tx, "sanctions", names, kind="names", source="bench", by="bench")
    await _posting(database, "gate", arguments.batch, "names-warm", 1)
    rate = await _posting(database, "gate", arguments.batch, "names", arguments.seconds)
    print(f"ratio names_{arguments.names}_vs_1 {rate / base:.2f} ({rate:,.0f}/s)")
    await database.close()


if __name__ == "__main__":
    main()
