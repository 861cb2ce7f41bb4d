"""A statement as CSV (RFC 4180): a header, the opening balance, the entries, the closing balance; UTF-8, lines end in CRLF."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

from tallystick.kit import format_minor
from tallystick.statements.csv_reader import guard
from tallystick.statements.model import Line, Statement, day_of

COLUMNS = (
    "row",
    "number",
    "reference",
    "booked_on",
    "valued_on",
    "kind",
    "amount",
    "balance",
    "currency",
    "reversal",
    "text",
    "end_to_end_id",
    "posted_at",
    "effective_at",
)
_CHUNK = 65_536


async def csv_chunks(statement: Statement, lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """The file, in pieces of about 64 KiB, while the lines come in.

    Free text that a spreadsheet would take for a formula begins with an apostrophe; `read_csv` takes it off again. Numbers
    are written as they are, a minus sign too.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="")
    writer.writeheader()
    writer.writerow(_balance(statement, "opening"))
    async for line in lines:
        writer.writerow(_entry(statement, line))
        if buffer.tell() > _CHUNK:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    writer.writerow(_balance(statement, "closing"))
    yield buffer.getvalue().encode()


def _balance(statement: Statement, row: str) -> dict[str, str]:
    amount, moment = (
        (statement.opening, statement.span.start) if row == "opening" else (statement.closing, statement.last_moment)
    )
    return {
        "row": row,
        "booked_on": day_of(moment),
        "balance": format_minor(amount, statement.unit),
        "currency": statement.unit.code,
    }


def _entry(statement: Statement, line: Line) -> dict[str, str]:
    entry = line.entry
    return {
        "row": "entry",
        "number": str(entry.seq),
        "reference": str(entry.journal_id),
        "booked_on": day_of(entry.posted_at),
        "valued_on": day_of(entry.effective_at),
        "kind": guard(entry.kind),
        "amount": format_minor(entry.amount, statement.unit),
        "balance": format_minor(line.balance, statement.unit),
        "currency": statement.unit.code,
        "reversal": "true" if entry.reverses is not None else "false",
        "text": guard(entry.text or ""),
        "end_to_end_id": guard(entry.end_to_end_id or ""),
        "posted_at": entry.posted_at.isoformat(),
        "effective_at": entry.effective_at.isoformat(),
    }
