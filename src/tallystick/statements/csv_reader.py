"""A statement as CSV (RFC 4180) into `StatementFile`: the form that we write, and into which others' exports are brought."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tallystick.kit import Invalid
from tallystick.statements.files import StatementFile, StatementLine
from tallystick.statements.limits import check_count, check_size, day, free_text, malformed, minor_units, reference

_FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@＝＋－＠])")  # noqa: RUF001 - spreadsheets take the wide signs too
_KNOWN = frozenset({"row", "reference", "booked_on", "valued_on", "amount", "balance", "currency", "text", "end_to_end_id"})


def guard(text: str) -> str:
    """Free text that no spreadsheet takes for a formula: an apostrophe stands before what would be one. `unguard` undoes it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def read_csv(data: bytes, *, account: str, currency: str, scale: int) -> StatementFile:
    """The statement of `account` in a file of CSV: UTF-8, comma or semicolon, a first line that names the columns.

    `amount` is needed, a plain decimal number, above zero in favour of the holder; `reference`, `booked_on`, `valued_on` (days
    as 2026-11-21), `text`, `end_to_end_id` and `currency` may be there, in any order, and others are passed over. With a column
    `row`, each row is an `entry`, or the `opening` or `closing` balance, which stands in `balance`.

    Refuses with `Invalid`, with the line: what is not of this form (`statement_malformed`), another currency
    (`currency_mismatch`), more than 64 MiB or 250,000 entries (`statement_too_large`).
    """
    check_size(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise malformed(data.count(b"\n", 0, error.start) + 1, "this is not UTF-8") from None
    if "\x00" in text:
        raise malformed(text.count("\n", 0, text.index("\x00")) + 1, "a text may not hold U+0000")
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in first else ",", strict=True)
    reader = _Reader(currency, scale)
    try:
        _check_header(rows.fieldnames or ())
        for row in rows:
            reader.row(row, rows.line_num)
    except csv.Error as error:
        raise malformed(rows.line_num + 1, f"this is no CSV: {error}") from None
    return StatementFile("", account, currency, reader.opening, reader.closing, tuple(reader.lines))


def _check_header(names: object) -> None:
    columns = [str(name) for name in names] if isinstance(names, list) else []
    if "amount" not in columns:
        raise malformed(1, "no column is called amount")
    twice = sorted(name for name in _KNOWN if columns.count(name) > 1)
    if twice:
        raise malformed(1, f"the column {twice[0]} is there twice")


@dataclass(slots=True)
class _Reader:
    currency: str
    scale: int
    opening: int | None = None
    closing: int | None = None
    lines: list[StatementLine] = field(default_factory=list)

    def row(self, row: Mapping[str | None, object], line: int) -> None:
        if None in row or None in row.values():
            raise malformed(line, "a row has another number of columns than the first line")
        cells = {str(name): str(value) for name, value in row.items()}
        if cells.get("currency", self.currency) != self.currency:
            raise Invalid("currency_mismatch", f"line {line}: the statement is in another currency than {self.currency}")
        kind = cells.get("row", "entry")
        if kind == "entry":
            check_count(len(self.lines) + 1, line)
            self.lines.append(self._entry(cells, line))
        elif kind == "opening" and self.opening is None:
            self.opening = minor_units(cells.get("balance", ""), self.scale, line)
        elif kind == "closing" and self.closing is None:
            self.closing = minor_units(cells.get("balance", ""), self.scale, line)
        else:
            raise malformed(line, "row is none of entry, opening and closing, or there are two of these")

    def _entry(self, cells: dict[str, str], line: int) -> StatementLine:
        booked, valued = cells.get("booked_on", ""), cells.get("valued_on", "")
        return StatementLine(
            number=len(self.lines) + 1,
            reference=reference(unguard(cells.get("reference", "")), line),
            amount=minor_units(cells["amount"], self.scale, line),
            booked_on=day(booked, line) if booked else None,
            valued_on=day(valued, line) if valued else None,
            text=free_text(unguard(cells.get("text", ""))),
            end_to_end_id=reference(unguard(cells.get("end_to_end_id", "")), line),
        )
