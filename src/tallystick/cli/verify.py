"""`tallystick verify`: whether what is stored is what was done."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tallystick import actions, closing, ledger, payments
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, errors, run
from tallystick.db import Database
from tallystick.kit import dumps

REFERENCES = (*actions.REFERENCES, *payments.REFERENCES, *closing.REFERENCES)
"""What the rooms above the books know of them, so that what was cut out of the books as if it had never been is missed."""


def verify(
    of_ledger: Annotated[bool, typer.Option("--ledger", help="The books: every row of them, against all the others.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object of JSON.")] = False,
    data: Data = None,
) -> None:
    """Check that what is stored is what was done. Names every place that is wrong; exit status 1 where there is one."""
    if not of_ledger:
        errors.print("say what to verify: --ledger, the books", style="red")
        raise typer.Exit(2)

    async def work() -> None:
        began = time.perf_counter()
        async with connected(data) as database:
            found = await verify_ledger(database)
        seconds = time.perf_counter() - began
        if as_json:
            typer.echo(_json(found, seconds))
        else:
            _print(found, seconds)
        if not found.clean:
            raise typer.Exit(1)

    run(work)


async def verify_ledger(database: Database) -> ledger.Verified:
    """Go through the books, and through what other rooms know of them, with a bar on a terminal."""
    with _bar() as progress:
        async with database.snapshot() as tx:
            return await ledger.verify(tx, references=REFERENCES, progress=progress)


@contextmanager
def _bar() -> Iterator[ledger.Progress | None]:
    if not errors.is_terminal:
        yield None
        return
    columns = (TextColumn("verifying"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        bar = progress.add_task("verifying", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def _print(found: ledger.Verified, seconds: float) -> None:
    if found.findings:
        table = Table("code", "table", "place", "found", "expected")
        for finding in found.findings:
            cells = (finding.code, finding.relation, finding.place, finding.found, finding.expected)
            table.add_row(*(Text(cell) for cell in cells))
        console.print(table)
        listed = dict.fromkeys(found.counts, 0)
        for finding in found.findings:
            listed[finding.code] += 1
        for code, count in sorted(found.counts.items()):
            if count > listed[code]:
                console.print(f"{code}: {count - listed[code]} more")
    console.print(
        f"verified journals={found.journals} entries={found.entries} accounts={found.accounts} holds={found.holds}"
        f" findings={found.total} seconds={seconds:.1f}",
        soft_wrap=True,
    )


def _json(found: ledger.Verified, seconds: float) -> str:
    return dumps(
        {
            "journals": found.journals,
            "entries": found.entries,
            "accounts": found.accounts,
            "holds": found.holds,
            "total": found.total,
            "counts": dict(found.counts),
            "findings": [dataclasses.asdict(finding) for finding in found.findings],
            "seconds": str(round(seconds, 1)),
        }
    ).decode()
