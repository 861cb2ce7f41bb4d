"""How tasks are printed: in columns, with times and lengths of time. What a task holds never commands the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tallystick.cli.runtime import console
from tallystick.kit import Invalid, dumps

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LENGTH = re.compile(r"([0-9]{1,9})([smhd])")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a head, a line each. On a terminal a line ends where the terminal does."""
    lines = [tuple(plain(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for number, line in enumerate([tuple(head), *lines]):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        if console.is_terminal and len(text) > console.width:
            text = text[: console.width - 1] + "…"
        typer.secho(text, bold=number == 0)


def plain(text: str) -> str:
    """The text with everything that is not to be seen written out, so that it stays on its line and moves no cursor."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def short(value: Any, width: int = 60) -> str:
    """Any JSON on one line, cut after some characters."""
    text = dumps(value).decode()
    return text if len(text) <= width else text[: width - 1] + "…"


def moment(when: datetime | None) -> str:
    """A time in UTC, to the second."""
    return "-" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def length(seconds: float | None) -> str:
    """A length of time in the unit that fits it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{seconds / size:.1f} {unit}" if unit == "s" and seconds < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def seconds_of(text: str) -> int:
    """How many seconds a length of time such as 90d, 12h, 5m or 30s has; refuses with `Invalid` (`length_malformed`)."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise Invalid("length_malformed", "a length of time is written as 90d, 12h, 5m or 30s")
    return int(found[1]) * _UNITS[found[2]]
