"""`tallystick import`: take in data from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tallystick.cli.berka.command import berka
from tallystick.cli.options import Data
from tallystick.cli.prices import PriceReport, import_prices
from tallystick.cli.runtime import connected, console, errors, run

app = typer.Typer(help="Take in data from elsewhere.", no_args_is_help=True)
app.command("berka")(berka)

_BAD_ROWS_SHOWN = 20


@app.command("prices")
def prices(
    file: Annotated[Path, typer.Argument(help="Daily prices: date,open,high,low,close,volume,Name; .csv or .csv.gz.")],
    data: Data = None,
) -> None:
    """Load daily prices. A row that makes no sense is left out and named; running it again changes only what differs."""

    async def work() -> None:
        async with connected(data) as database:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} rows"))
            with Progress(*columns, TimeElapsedColumn(), console=errors, disable=not errors.is_terminal) as progress:
                bar = progress.add_task(f"reading {file.name}", total=None)
                report = await import_prices(database, file, lambda rows: progress.advance(bar, rows))
        _print(report, file)

    run(work)


def _print(report: PriceReport, file: Path) -> None:
    for row in report.bad[:_BAD_ROWS_SHOWN]:
        errors.print(f"{file.name}:{row.line}: {row.reason}", markup=False)
    if report.left_out > _BAD_ROWS_SHOWN:
        errors.print(f"... and {report.left_out - _BAD_ROWS_SHOWN} more")
    console.print(
        f"prices rows={report.rows} new={report.inserted} changed={report.changed}"
        f" same={report.same} left_out={report.left_out}"
    )
