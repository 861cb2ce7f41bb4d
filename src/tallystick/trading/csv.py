"""Daily prices from a file: CSV, plain or gzipped, read as a stream, row by row."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from tallystick.kit import Invalid
from tallystick.trading.model import Price

HEADER = "date,open,high,low,close,volume,Name"
_COLUMNS = HEADER.count(",") + 1
_MAX_LINE = 1000
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.-]{0,11}")
_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,8})?")
_VOLUME = re.compile(r"[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: its line, from 1, and why."""

    line: int
    reason: str


class _Malformed(Exception):
    """The reason why a row is left out."""


def read_prices(path: Path) -> Iterator[Price | BadRow]:
    """Every row of the file, in order: its price, or why it is left out. Memory does not grow with the file.

    A price needs a symbol, a day and a close above zero; the other columns may be blank, and need not agree with each other.
    Refuses with `Invalid` a file that is not what it says (`file_malformed`) or has another header (`unknown_header`).
    """
    try:
        with _opened(path) as file:
            header = file.readline(_MAX_LINE).rstrip("\r\n")
            if header != HEADER:
                raise Invalid("unknown_header", f"{path.name} does not begin with {HEADER}")
            yield from _rows(file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Invalid("file_malformed", f"{path.name} is no whole gzip file") from error


def _opened(path: Path) -> TextIO:
    # A byte that is no UTF-8 spoils its row, not the file.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="\n")
    return path.open("r", encoding="utf-8-sig", errors="replace", newline="\n")


def _rows(file: TextIO) -> Iterator[Price | BadRow]:
    number = 1
    while line := file.readline(_MAX_LINE):
        number += 1
        try:
            if not line.endswith("\n") and len(line) == _MAX_LINE:
                _skip_line(file)
                raise _Malformed(f"a line has at most {_MAX_LINE} characters")
            price = _price(line.rstrip("\r\n"))
        except _Malformed as error:
            yield BadRow(number, str(error))
        else:
            yield price


def _skip_line(file: TextIO) -> None:
    while (rest := file.readline(_MAX_LINE)) and not rest.endswith("\n"):
        pass


def _price(line: str) -> Price:
    columns = _columns(line)
    if len(columns) != _COLUMNS:
        raise _Malformed(f"a row has {_COLUMNS} columns, and this has {len(columns)}")
    day, open_, high, low, close, volume, symbol = columns
    if not _SYMBOL.fullmatch(symbol):
        raise _Malformed("the symbol is not 1 to 12 capital letters, digits, dots or dashes")
    closed_at = _amount(close, "close")
    if not closed_at:
        raise _Malformed("there is no close above zero")
    return Price(
        symbol=symbol,
        day=_day(day),
        close=closed_at,
        volume=_volume(volume),
        open=_amount(open_, "open"),
        high=_amount(high, "high"),
        low=_amount(low, "low"),
    )


def _columns(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        raise _Malformed("the quotes do not pair") from None


def _day(text: str) -> date:
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise _Malformed("the date is not a day such as 2016-12-30")


def _amount(text: str, column: str) -> Decimal | None:
    if not text:
        return None
    if not _PRICE.fullmatch(text):
        raise _Malformed(f"the {column} is not a plain decimal number of 9 and 8 digits")
    return Decimal(text)


def _volume(text: str) -> int | None:
    if not text:
        return None
    if not _VOLUME.fullmatch(text):
        raise _Malformed("the volume is not a whole number")
    return int(text)
