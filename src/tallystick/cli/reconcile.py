"""`tallystick reconcile NOSTRO FILE`: another bank's statement beside our books."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tallystick import actions, ledger, payments
from tallystick.cli.operator import perform
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, errors, run
from tallystick.db import Database, Tx
from tallystick.kit import Asset, Invalid, dumps, format_minor

_OPERATOR = "operator:cli"
_FINDINGS: tuple[payments.Outcome, ...] = ("differing", "missing_in_ledger", "missing_in_statement")
_FINDINGS_SHOWN = 50


def reconcile(  # noqa: PLR0917 - they are options
    nostro: Annotated[str, typer.Argument(help="The nostro account that the statement is of.")],
    file: Annotated[Path, typer.Argument(help="camt.053 (.xml) or CSV (.csv).", exists=True, dir_okay=False)],
    settle: Annotated[bool, typer.Option("--settle", help="Settle the sent payments that the statement shows.")] = False,
    tolerance_days: Annotated[
        int, typer.Option(min=0, max=31, help="How far apart days may be where there is no reference.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, with the first findings.")] = False,
    data: Data = None,
) -> None:
    """Import a statement once, match it with the books, and say what differs or is missing: then the exit status is 1.

    Given again, the same file is matched again, which finds what was posted since.
    """

    async def work() -> None:
        async with connected(data) as database:
            imported = await _import(database, nostro, file, settle=settle, tolerance_days=tolerance_days)
            findings = {found.head.id: await _findings(database, found) for found in imported.reconciliations}
        if as_json:
            typer.echo(dumps(_as_json(imported, findings)))
        else:
            for found in imported.reconciliations:
                _print(found, findings[found.head.id])
            if settle:
                typer.echo(f"settled={imported.settled} not_settled={imported.not_settled}")
        if not all(found.agrees for found in imported.reconciliations):
            raise typer.Exit(1)

    run(work)


async def _import(database: Database, name: str, file: Path, *, settle: bool, tolerance_days: int) -> payments.Imported:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as progress:
        stage = progress.add_task(f"reading {file.name}", total=None)
        content = await asyncio.to_thread(file.read_bytes)
        async with database.read() as tx:
            nostro = await payments.nostro(tx, name)
            scales = {asset.code: asset.scale for asset in await ledger.assets(tx)}
        files = await asyncio.to_thread(payments.read_file, content, form=_form(file), nostro=nostro, scales=scales)
        progress.update(stage, description=f"matching {sum(len(found.lines) for found in files):,} lines")

        async def work(tx: Tx) -> payments.Imported:
            return await payments.import_statements(
                tx,
                _OPERATOR,
                name,
                files,
                file_digest=hashlib.sha256(content).digest(),
                tolerance_days=tolerance_days,
                settle=settle,
            )

        return await perform(database, _OPERATOR, actions.ImportStatement(name, settle), work)


def _form(file: Path) -> Literal["camt053", "csv"]:
    forms: dict[str, Literal["camt053", "csv"]] = {".xml": "camt053", ".csv": "csv"}
    if file.suffix.lower() not in forms:
        raise Invalid("unknown_form", f"{file.name} is neither .xml (camt.053) nor .csv")
    return forms[file.suffix.lower()]


async def _findings(database: Database, found: payments.Reconciliation) -> list[payments.Item]:
    items: list[payments.Item] = []
    async with database.read() as tx:
        for outcome in _FINDINGS:
            if found.totals[outcome].count:
                items += await payments.items(tx, found.head.id, outcome=outcome, limit=_FINDINGS_SHOWN)
    return items


def _as_json(imported: payments.Imported, findings: dict[int, list[payments.Item]]) -> dict[str, object]:
    items = [
        payments.reconciliation_json(found)
        | {"findings": [payments.item_json(one, found.head.unit) for one in findings[found.head.id]]}
        for found in imported.reconciliations
    ]
    return {"items": items, "settled": imported.settled, "not_settled": imported.not_settled}


def _print(found: payments.Reconciliation, findings: list[payments.Item]) -> None:
    head, unit = found.head, found.head.unit
    title = f"statement {head.statement_id} of {head.nostro}, {head.opening_on} to {head.closing_on}, in {head.asset}"
    totals = Table("outcome", "count", "theirs", "ours", title=title)
    for outcome, total in found.totals.items():
        totals.add_row(outcome, str(total.count), format_minor(total.theirs, unit), format_minor(total.ours, unit))
    for what, theirs, ours in (
        ("opening balance", head.opening, found.opening),
        ("closing balance", head.closing, found.closing),
    ):
        totals.add_row(what, "", _written(theirs, unit), format_minor(ours, unit))
    console.print(totals)
    if findings:
        _print_findings(findings, unit)
    for what, difference in (
        ("opening balance differs", found.opening_difference),
        ("closing balance differs", found.closing_difference),
        ("their lines do not add up", found.unexplained_by_lines),
    ):
        if difference:
            console.print(f"{what} by {format_minor(difference, unit)} {head.asset}")
    wrong = sum(found.totals[outcome].count for outcome in _FINDINGS)
    matched = found.totals["matched"].count
    console.print(f"reconciliation id={head.id} lines={head.lines} matched={matched} findings={wrong} agrees={found.agrees}")


def _print_findings(findings: list[payments.Item], unit: Asset) -> None:
    table = Table("outcome", "line", "entry", "day", "theirs", "ours", "reference")
    for one in findings:
        # What another bank wrote is text, never markup.
        table.add_row(
            one.outcome,
            str(one.number or ""),
            str(one.entry_seq or ""),
            str(one.booked_on or ""),
            _written(one.amount, unit),
            _written(one.entry_amount, unit),
            Text(one.end_to_end_id or one.reference or ""),
        )
    console.print(table)
    if len(findings) >= _FINDINGS_SHOWN:
        console.print(f"the first {_FINDINGS_SHOWN} of each outcome; GET /v1/reconciliations/ID/items has all")


def _written(minor: int | None, unit: Asset) -> str:
    return "-" if minor is None else format_minor(minor, unit)
