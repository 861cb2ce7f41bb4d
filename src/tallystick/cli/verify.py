"""`tallystick verify`: whether what is stored is what was done."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tallystick import actions, closing, ledger, payments, trading
from tallystick.cli.options import Data
from tallystick.cli.record import bar
from tallystick.cli.runtime import connected, console, errors, refusals_as_lines, run, settings_for
from tallystick.cli.sealing import key_folder
from tallystick.cli.verify_record import read_checkpoint, read_keys, report_export, report_record
from tallystick.db import Database
from tallystick.kit import dumps

REFERENCES = (*actions.REFERENCES, *payments.REFERENCES, *closing.REFERENCES, *trading.REFERENCES)
"""What the rooms above the books know of them, so that what was cut out of the books as if it had never been is missed."""


def verify(
    *,
    export: Annotated[
        Path | None, typer.Argument(metavar="[EXPORT]", help="An export of the record, to verify without any database.")
    ] = None,
    of_ledger: Annotated[bool, typer.Option("--ledger", help="The books alone: every row against all others.")] = False,
    of_record: Annotated[bool, typer.Option("--record", help="The record alone: events, tree, signatures, rows.")] = False,
    keys: Annotated[
        Path | None,
        typer.Option(help="Verifier keys you trust, one a line. An export needs them; else those of this machine serve."),
    ] = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="A checkpoint you have kept; may be given again.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object of JSON.")] = False,
    data: Data = None,
) -> None:
    """Check that what is stored is what was done. Names every place that is wrong; exit status 1 where there is one.

    Without an export and an option, it goes through the books and the record.
    """
    with refusals_as_lines():
        trusted = None if keys is None else read_keys(keys)
        kept = [(str(path), read_checkpoint(path)) for path in checkpoint or ()]
        if export is not None:
            if trusted is None:
                errors.print("say with --keys which keys you trust; those in an export prove nothing", style="red")
                raise typer.Exit(2)
            report_export(export, trusted, kept, as_json=as_json)
            return
    both = not (of_ledger or of_record)

    async def work() -> None:
        clean = True
        async with connected(data) as database:
            if of_ledger or both:
                began = time.perf_counter()
                found = await verify_ledger(database)
                clean = found.clean
                seconds = time.perf_counter() - began
                if as_json:
                    typer.echo(_json(found, seconds))
                else:
                    _print(found, seconds)
            if of_record or both:
                own = key_folder(settings_for(data))
                checked = await report_record(database, own, trusted, kept, as_json=as_json)
                clean = clean and checked
        if not clean:
            raise typer.Exit(1)

    run(work)


async def verify_ledger(database: Database) -> ledger.Verified:
    """Go through the books, and through what other rooms know of them, with a bar on a terminal."""
    with bar("verifying") as progress:
        async with database.snapshot() as tx:
            return await ledger.verify(tx, references=REFERENCES, progress=progress)


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
