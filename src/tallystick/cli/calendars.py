"""`tallystick calendar`: business-day calendars."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date
from pathlib import Path
from typing import Annotated

import holidays as known_holidays
import typer
from rich.table import Table

from tallystick import closing
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, console, run
from tallystick.kit import Invalid

app = typer.Typer(help="Business-day calendars: which days the bank works, and when they end.", no_args_is_help=True)

_OPERATOR = "operator:cli"
_MAX_FILE_BYTES = 1_000_000
_YEARS = re.compile(r"([0-9]{4})(?:-([0-9]{4}))?")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHOWN = 60

Name = Annotated[str, typer.Argument(help="What the calendar is called, as CZ or TARGET.")]


@app.command("add")
def add(
    name: Name,
    *,
    years: Annotated[str, typer.Option(help="The years it is to speak of, as 2026-2030.")],
    zone: Annotated[str, typer.Option(help="Time zone of the cut-off, as Europe/Prague.")],
    cut_off: Annotated[str, typer.Option(help="The local time at which a business day ends, from 00:01 to 24:00.")],
    file: Annotated[Path | None, typer.Option("--holidays", help="Holidays from a CSV file with the head date,name.")] = None,
    country: Annotated[str | None, typer.Option(help="Public holidays of a country, by ISO 3166 code, as CZ.")] = None,
    market: Annotated[str | None, typer.Option(help="Holidays of a market, as ECB, whose days are those of TARGET.")] = None,
    weekend: Annotated[str, typer.Option(help="Days of the week without business, with commas between.")] = "saturday,sunday",
    begin: Annotated[str | None, typer.Option("--from", help="Begin on this date instead of with the first year.")] = None,
    data: Data = None,
) -> None:
    """Add a calendar, or add to one: what is added later speaks for its days. Closed days stay as they were.

    Give the holidays by one of --holidays, --country and --market. Look through what --country and --market come to: not
    every public holiday is one on which a bank is closed.
    """

    async def work() -> None:
        first, last = _read_years(years)
        start = _read_date(begin) if begin is not None else date(first, 1, 1)
        found = _holidays(file, country, market, first, last)
        spec = closing.CalendarSpec(
            name=name,
            valid_from=start,
            valid_until=date(last, 12, 31),
            time_zone=zone,
            cut_off_min=closing.parse_cut_off(cut_off),
            weekend=_read_weekend(weekend),
            holidays={day: holiday for day, holiday in found.items() if day >= start} if file is None else found,
        )
        async with connected(data) as database, database.write() as tx:
            rules = await closing.add_calendar(tx, _OPERATOR, spec)
        console.print(
            f"calendar {name} from {rules.valid_from} until {rules.valid_until}: {len(rules.holiday_days)} holidays",
            markup=False,
        )

    run(work)


@app.command("list")
def list_calendars(data: Data = None) -> None:
    """List every calendar."""

    async def work() -> None:
        table = Table("calendar", "from", "until", "time zone", "cut-off", "holidays")
        async with connected(data) as database, database.read() as tx:
            for name in await closing.calendar_names(tx):
                rules = (await closing.calendar(tx, name)).rules
                table.add_row(
                    name,
                    str(min(one.valid_from for one in rules)),
                    str(max(one.valid_until for one in rules)),
                    rules[0].time_zone,
                    closing.format_cut_off(rules[0].cut_off_min),
                    str(len({day for one in rules for day in one.holiday_days})),
                )
        console.print(table)

    run(work)


@app.command("show")
def show(
    name: Name,
    year: Annotated[int | None, typer.Option(help="Only the holidays of this year.")] = None,
    data: Data = None,
) -> None:
    """Show what a calendar says: its stretches of days, the newest first, and its holidays."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            calendar = await closing.calendar(tx, name)
        table = Table("from", "until", "time zone", "cut-off", "weekend", "added")
        for rules in calendar.rules[:_SHOWN]:
            table.add_row(
                str(rules.valid_from),
                str(rules.valid_until),
                rules.time_zone,
                closing.format_cut_off(rules.cut_off_min),
                ", ".join(closing.WEEKDAYS[day - 1] for day in rules.weekend),
                f"{rules.created_at.astimezone(UTC):%Y-%m-%d %H:%M} by {rules.created_by}",
            )
        console.print(table)
        days = {day: text for rules in reversed(calendar.rules) for day, text in rules.holidays.items()}
        in_force = {day: text for day, text in days.items() if not calendar.is_business_day(day)}
        for day in sorted(in_force):
            if year is None or day.year == year:
                console.print(f"{day} {in_force[day]}", markup=False)

    run(work)


def read_holidays(file: Path) -> dict[date, str]:
    """The holidays of a CSV file in UTF-8 with the head `date,name`; refuses with `Invalid` (`file_malformed`)."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Invalid("file_malformed", f"{file} cannot be read: {error.strerror}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise Invalid("file_malformed", f"{file} is over {_MAX_FILE_BYTES} bytes")
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise Invalid("file_malformed", f"{file} is no CSV file in UTF-8") from None
    if not rows or rows[0] != ["date", "name"]:
        raise Invalid("file_malformed", f"the first line of {file} is date,name")
    found: dict[date, str] = {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != 2 or not row[1].strip():
            raise Invalid("file_malformed", f"{file}:{line}: a line has a date and a name")
        day = _read_date(row[0], f"{file}:{line}: ")
        if day in found:
            raise Invalid("file_malformed", f"{file}:{line}: {day} is there twice")
        found[day] = row[1].strip()
    return found


def generated(*, country: str | None = None, market: str | None = None, years: range) -> dict[date, str]:
    """The public holidays of a country, or the holidays of a market, as the library `holidays` knows them.

    Refuses with `Invalid` (`unknown_country`, `unknown_market`) what it does not know, and with `calendar_malformed` a year.
    """
    try:
        if country is not None:
            found = known_holidays.country_holidays(country, years=years, language="en_US")
        else:
            found = known_holidays.financial_holidays(market or "", years=years, language="en_US")
    except NotImplementedError:
        what = "country" if country is not None else "market"
        raise Invalid(f"unknown_{what}", f"the holidays of {what} {country or market} are not known") from None
    for year in years:
        if not any(day.year == year for day in found):
            raise Invalid("calendar_malformed", f"the holidays of {country or market} in {year} are not known")
    return {day: name[:200] for day, name in sorted(found.items())}


def _holidays(file: Path | None, country: str | None, market: str | None, first: int, last: int) -> dict[date, str]:
    if sum(given is not None for given in (file, country, market)) != 1:
        raise Invalid("calendar_malformed", "give one of --holidays, --country and --market")
    if file is not None:
        return read_holidays(file)
    return generated(country=country, market=market, years=range(first, last + 1))


def _read_years(text: str) -> tuple[int, int]:
    found = _YEARS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1900 <= first <= last <= 2200:
        raise Invalid("calendar_malformed", "years are written as 2026 or 2026-2030, from 1900 to 2200")
    return first, last


def _read_date(text: str, where: str = "") -> date:
    try:
        if _ISO.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Invalid("date_malformed", f"{where}a date is written as 2026-11-20")


def _read_weekend(text: str) -> list[int]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in closing.WEEKDAYS]:
        raise Invalid("calendar_malformed", f"{unknown[0]} is no day of the week")
    return sorted({closing.WEEKDAYS.index(name) + 1 for name in names})
