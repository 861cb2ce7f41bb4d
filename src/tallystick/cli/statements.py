"""`tallystick statement` and `tallystick trial-balance`: the books at a time and through a period."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tallystick import ledger, statements
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, errors, print_whole, run
from tallystick.kit import Invalid, dumps, format_minor

By = Literal["posted", "effective"]
Form = Literal["json", "csv", "camt053"]

_FORMS = {"json": statements.json_chunks, "csv": statements.csv_chunks, "camt053": statements.camt053_chunks}
_BY_HELP = "`posted`: by the time it was booked; `effective`: by its value date."


def statement(
    *,
    account: Annotated[str, typer.Argument(help="Name of the account.")],
    start: Annotated[str, typer.Option("--from", help="Where the period begins: a day, or a time with its offset.")],
    end: Annotated[str, typer.Option("--to", help="Where it ends; this moment itself is not in it.")],
    form: Annotated[Form, typer.Option("--format", help="Form of the statement; camt053 is camt.053.001.08.")] = "json",
    by: Annotated[By, typer.Option("--by", help=_BY_HELP)] = "posted",
    output: Annotated[
        Path | None, typer.Option("--output", dir_okay=False, help="File to write; by default standard output.")
    ] = None,
    data: Data = None,
) -> None:
    """Write an account's statement for a period. A file is there whole or not at all."""

    async def work() -> None:
        period = (_moment(start), _moment(end))
        async with connected(data) as database, ledger.report(database, as_of=period[1]) as tx:
            found = await ledger.account(tx, account)
            of = ledger.AccountRef(found.id, found.name, found.asset, found.scale, found.kind)
            head = await statements.statement(tx, of, start=period[0], end=period[1], by=by)
            with _written(output) as file, _shown(head.entries, output is not None) as progress:
                async for chunk in _FORMS[form](head, _counted(statements.lines(tx, head), progress)):
                    file.write(chunk)
        if output is not None:
            told = f"{head.entries} entries, opening {_amount(head.opening, head)}, closing {_amount(head.closing, head)}"
            errors.print(f"{output}: {told}", markup=False)

    run(work)


def trial_balance(
    at: Annotated[str | None, typer.Option("--at", help="As it stood right after this day or time; without it, now.")] = None,
    by: Annotated[By, typer.Option("--by", help=_BY_HELP)] = "posted",
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each asset.")] = False,
    data: Data = None,
) -> None:
    """Add up all accounts; exit status 1 where an asset is not in balance."""

    async def work() -> None:
        moment = None if at is None else _moment(at)
        async with connected(data) as database, ledger.report(database, as_of=moment) as tx:
            lines = await ledger.trial_balance_at(tx, at=moment, by=by)
        rows = [line.told() for line in lines]
        if as_json:
            for row in rows:
                typer.echo(dumps(row))
        else:
            table = Table("asset", "accounts", "debits", "credits", "debit balances", "credit balances", "difference")
            for row in rows:
                table.add_row(*map(str, row.values()))
            print_whole(table)
        if any(line.difference for line in lines):
            raise typer.Exit(1)

    run(work)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            "time_malformed", f"{text} is neither a day such as 2026-11-21 nor a time such as 2026-11-21T12:00:00Z"
        ) from None
    if not 1900 <= found.year <= 9000:
        raise Invalid("time_malformed", "a time is between the years 1900 and 9000")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _amount(minor: int, statement: statements.Statement) -> str:
    return f"{format_minor(minor, statement.unit)} {statement.unit.code}"


@contextmanager
def _written(output: Path | None) -> Iterator[BinaryIO]:
    """The file beside its place, moved there when it is whole; or standard output."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(output)
    except OSError as error:
        raise Invalid("file_not_written", f"{output}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _shown(entries: int, wanted: bool) -> Iterator[Progress | None]:
    if not wanted:
        yield None
        return
    columns = (TextColumn("entries"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        progress.add_task("entries", total=entries)
        yield progress


async def _counted(lines: AsyncIterator[statements.Line], progress: Progress | None) -> AsyncIterator[statements.Line]:
    number = 0
    async for line in lines:
        number += 1
        if progress is not None and number % 500 == 0:
            progress.update(progress.task_ids[0], completed=number)
        yield line
