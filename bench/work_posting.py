"""Tasks that each end with one posting in the ledger, against pgbench, which sends the same statements and runs no Python.

Both have as many connections, and each task is one transaction of its own: the fence, the accounts, the transfer with its
posting and its line on the record, the end of the task. The runner claims as it goes; what pgbench ends was claimed before.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table

from bench import work_ours, work_runs
from bench.permits import ALL_ALLOWED, allow_all, permitted
from bench.work_contenders import OURS
from tallystick import ledger, policy
from tallystick import work as tasks
from tallystick.db import Database, DatabaseSettings, Queries
from tallystick.db.embedded import bundled_bin_dir

_SHARE = 5
_CLIENTS = DatabaseSettings().pool_max_size
_CONCURRENCY = 100
RUNNER = "runner"
PGBENCH = "pgbench"


def measure(stage: work_runs.Stage, tasks: int) -> dict[str, list[float]]:
    """Tasks a second of both, in turns; `tasks` is how many do nothing in a run, and fewer of these are done in the time."""
    url = work_runs.new_database(stage.server, OURS, "posting")
    count = max(1, tasks // _SHARE // _CLIENTS) * _CLIENTS
    uvloop.run(_open_accounts(work_ours.application(url)))
    rates: dict[str, list[float]] = defaultdict(list)
    bar = stage.progress.add_task("ending tasks with postings", total=2 * stage.arguments.rounds)
    settings = {"concurrency": _CONCURRENCY, "batch": _CONCURRENCY}
    for _ in range(stage.arguments.rounds):
        _fill(url, count)
        rates[RUNNER].append(work_runs.drain(OURS, url, settings, processes=1, tasks=count).rate)
        stage.progress.advance(bar)
        _fill(url, count)
        rates[PGBENCH].append(_pgbench(url, count))
        stage.progress.advance(bar)
    _check_postings(url, 2 * stage.arguments.rounds * count)
    return rates


def report(rates: Mapping[str, list[float]]) -> None:
    """Print the table and the ratio."""
    table = Table(f"each with a posting, {_CLIENTS} connections", "tasks/s (median)", "min", "max")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}")
    Console().print(table)
    print(f"ratio posting_vs_pgbench {statistics.median(rates[RUNNER]) / statistics.median(rates[PGBENCH]):.2f}")


async def _open_accounts(url: str) -> None:
    database = Database(url)
    await database.open()
    await allow_all(database)
    async with permitted(database).write() as tx:
        specs = [
            ledger.AccountSpec("bench-equity", "USD", "internal", None),
            *(ledger.AccountSpec(name, "USD") for name in work_ours.ACCOUNTS),
        ]
        equity, *others = [opened.id for opened in await ledger.open_accounts(tx, specs)]
        await ledger.post(
            tx, [ledger.Journal("opening", ledger.transfer(debit=equity, credit=id, amount=10**9), "bench") for id in others]
        )
    await database.close()


def _fill(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        work_runs.settle(connection, OURS)
    uvloop.run(_enqueue(work_ours.application(url), count))


async def _enqueue(url: str, count: int) -> None:
    database = Database(url)
    await database.open()
    for start in range(0, count, work_runs.BULK):
        numbers = range(start, min(start + work_runs.BULK, count))
        new = [tasks.NewTask(work_ours.AGENT, work_ours.PAYING, {"number": number}) for number in numbers]
        async with database.write() as tx:
            await tasks.enqueue(tx, "bench", new)
    await database.close()


def _pgbench(url: str, count: int) -> float:
    """Claim all tasks at once, and have pgbench end them; how many a second."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_PREPARE.encode())
        connection.execute(_CLAIM.encode(), {"agents": [work_ours.AGENT], "limit": count})
        connection.execute("analyze bench.attempt")
        low, high = _account_ids(connection)
    options = conninfo_to_dict(work_ours.application(url))
    place = ["-h", str(options["host"]), "-p", str(options["port"]), "-U", str(options["user"])]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        Path(script.name).write_text(_script(low, high))
        command = ["-n", "-M", "prepared", "-c", str(_CLIENTS), "-j", "2", "-t", str(count // _CLIENTS), "-f", script.name]
        done = subprocess.run(
            [str(bundled_bin_dir() / "pgbench"), *place, *command, str(options["dbname"])],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    assert found, done.stdout
    assert "number of failed transactions: 0 " in done.stdout, done.stdout
    return float(found[1])


def _account_ids(connection: psycopg.Connection) -> tuple[int, int]:
    row = connection.execute("select min(id), max(id) from ledger.account where name like 'bench-_%%' and kind <> 'internal'")
    found = row.fetchone()
    assert found is not None
    assert found[1] - found[0] == len(work_ours.ACCOUNTS) - 1, "the accounts were not opened side by side"
    return int(found[0]), int(found[1])


def _script(low: int, high: int) -> str:
    """The statements of one task, as the rooms have them, with the values that the runner would give."""
    rules, said = _decision()
    values = {
        "task_id": ":task_id",
        "fence": ":fence",
        "limit": "1000",
        "names": "array['bench-1', 'bench-2']",
        "principal": f"'{work_ours.AGENT}'",
        "on_behalf_of": "null",
        "request": "null",
        "from_accounts": "array[:debit]",
        "to_accounts": "array[:credit]",
        "amounts": "array[5]",
        "assets": "array['USD']",
        "keys": "array[null]",
        "hashes": "array[sha256('x')]",
        "descriptions": "null",
        "fresh": "null",
        "decided": "'x'",
        "outcomes": "array['allow']",
        "decisions": "null",
        "task_ids": "array[:task_id]",
        "fences": "array[:fence]",
        "states": "array['done']",
        "results": "null",
        "errors": "null",
        "worker": "'pgbench'",
    }
    nothing = dict.fromkeys(("windows", "lists", "names", "ids", "counters", "counts", "sums"), "array[]")
    asked = values | nothing | {"known": f"'{rules}'", "payees": "array['bench']"}
    kept = (
        values
        | nothing
        | {
            "ids": "array[:made]",
            "policy": f"'{rules}'",
            "digests": "array[sha256('x')]",
            "facts": "array['{}']",
            "verdicts": f"array['{said}']",
            "salts": "array[substring(sha256('x') for 16)]",
        }
    )
    prepared = _statement("tallystick.actions.prepare", asked).rstrip(";")
    statements = [
        _statement("tallystick.work.hold", values),
        _statement("tallystick.actions.of_task", values),
        _statement("tallystick.ledger.references_by_name", values),
        f"select transfer_ids[1] as made from ({prepared}) as p \\gset",
        _statement("tallystick.actions.conclude", kept),
        _statement("tallystick.work.finish", values),
    ]
    return "\n".join(
        [
            f"\\set debit random({low}, {high})",
            f"\\set credit {low} + (:debit - {low} + random(1, {high - low})) % {high - low + 1}",
            "select task_id, fence from bench.attempt where n = (select nextval('bench.turn')) \\gset",
            "begin;",
            *statements,
            "commit;",
            "",
        ]
    )


def _decision() -> tuple[str, str]:
    """The digest of the policy that lets everything pass, and what it says."""
    rules = policy.parse(ALL_ALLOWED)
    return rules.digest, policy.evaluate(rules, {"action": "transfer", "principal": work_ours.AGENT}).text


def _statement(name: str, values: Mapping[str, str]) -> str:
    (query,) = [query for query in Queries.registry if query.name == name]
    return re.sub(r"%\((\w+)\)[sb]", lambda found: values[found[1]], query.statement.decode()) + ";"


def _check_postings(url: str, count: int) -> None:
    """Each task that ended has its posting, and the books are in balance."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_CHECK.encode(), {"paying": work_ours.PAYING}).fetchone()
    assert row is not None
    done, journals, difference = row
    assert done == journals == count, (done, journals, count)
    assert difference == 0, difference


_PREPARE = """
create schema if not exists bench;
drop table if exists bench.attempt;
drop sequence if exists bench.turn;
create sequence bench.turn;
create table bench.attempt (n bigint primary key, task_id bigint, fence bigint);
grant usage on schema bench to tallystick_app;
grant select on bench.attempt to tallystick_app;
grant usage on bench.turn to tallystick_app
"""

_CLAIM = """
insert into bench.attempt (n, task_id, fence)
select row_number() over (), c.task_id, c.fence
  from work.claim(%(agents)s::text[], null, 'pgbench', null, %(limit)s::bigint, 3600) as c
"""

_CHECK = """
select (select count(*)
          from work.outcome o
          join work.queue q on q.id = o.queue
         where q.type = %(paying)s::text and o.state = 'done'),
       (select count(*) from ledger.journal j where j.kind = 'transfer'),
       (select sum(b.cr - b.dr) from ledger.balance b)
"""
