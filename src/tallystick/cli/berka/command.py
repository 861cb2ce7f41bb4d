"""`tallystick import berka DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli.berka.importing import import_berka
from tallystick.cli.berka.model import ImportRefused, written
from tallystick.cli.berka.progress import shown
from tallystick.cli.berka.report import Reconciliation, last_line, render
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, errors, run

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder with account.asc.gz, trans_*.asc.gz, trans_*.csv.gz and the others.")
]


def berka(directory: Directory, data: Data = None) -> None:
    """Take in a bank's books from 1993 to 1998, and prove that every balance is the bank's own."""
    run(lambda: _import(directory, data))


async def _import(directory: Path, data: Path | None) -> None:
    async with connected(data) as database:
        try:
            with shown(errors) as watcher:
                outcome = await import_berka(database, directory, watcher=watcher)
        except ImportRefused as refused:
            _list(refused)
            raise typer.Exit(1) from None
    _print(outcome)
    if not outcome.agrees:
        raise typer.Exit(1)


def _list(refused: ImportRefused) -> None:
    for problem in refused.problems.listed:
        errors.print(str(problem), markup=False, soft_wrap=True)
    more = refused.problems.total - len(refused.problems.listed)
    if more:
        errors.print(f"… and {more} more")
    errors.print(f"error: {refused.detail} [{refused.code}]", style="red", markup=False)


def _print(outcome: Reconciliation) -> None:
    for difference in outcome.differences:
        found = "nothing" if difference.balance is None else written(difference.balance)
        errors.print(f"trans_id {difference.trans_id}: the source says {written(difference.wanted)}, the books say {found}")
    console.print(render(outcome))
    console.print(last_line(outcome), soft_wrap=True)
