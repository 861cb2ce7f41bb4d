"""`tallystick end-of-day`: close a business day."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from tallystick import actions, closing
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, errors, run
from tallystick.db import ReadTx
from tallystick.identity import house
from tallystick.kit import Invalid, NotFound

_OPERATOR = "operator:cli"
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def end_of_day(
    day: Annotated[str | None, typer.Option("--date", help="The business day; by default the next one to close.")] = None,
    calendar: Annotated[
        str | None, typer.Option(help="By which calendar; by default that of the days before, or the only one there is.")
    ] = None,
    data: Data = None,
) -> None:
    """Close a business day: accrue interest, write the closing balances of accounts, close the period.

    It ends at its cut-off, and days are closed one after the other. A run that was cut off is finished by the next one; a day
    that is closed is shown as it is.
    """

    async def work() -> None:
        async with connected(data) as database:
            async with database.read() as tx:
                name = calendar or await _calendar(tx)
                wanted = _read(day) if day is not None else await closing.due(tx, name)
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} accounts"))
            with Progress(*columns, TimeElapsedColumn(), console=errors, disable=not errors.is_terminal) as progress:
                payload = actions.CloseDay(wanted.isoformat(), name)
                gated = await actions.opened(database, house(_OPERATOR), payload)
                closed = await closing.end_of_day(gated, wanted, calendar=name, actor=_OPERATOR, watch=_shown(progress))
            async with database.read() as tx:
                steps = await closing.steps(tx, closed.id)
        for step in steps:
            took_s = (step.finished_at - step.started_at).total_seconds()
            counts = " ".join(f"{key}={value}" for key, value in sorted(step.detail.items()))
            console.print(f"{step.step} {counts} in {took_s:.1f} s", markup=False)
        console.print(
            f"{closed.business_date} is closed by {closed.calendar}, up to {closed.cut_off_at.isoformat()}", markup=False
        )

    run(work)


def _shown(progress: Progress) -> closing.Watch:
    bars: dict[str, TaskID] = {}

    def watch(step: str, accounts: int) -> None:
        if step not in bars:
            bars[step] = progress.add_task(step, total=None)
        progress.advance(bars[step], accounts)

    return watch


async def _calendar(tx: ReadTx) -> str:
    newest = await closing.newest_day(tx)
    if newest is not None:
        return newest.calendar
    names = await closing.calendar_names(tx)
    if not names:
        raise NotFound("unknown_calendar", "there is no calendar yet; `tallystick calendar add` makes one")
    if len(names) > 1:
        raise Invalid("calendar_missing", f"choose one by --calendar: {', '.join(names)}")
    return names[0]


def _read(text: str) -> date:
    try:
        if _ISO.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Invalid("date_malformed", "a date is written as 2026-11-20")
