"""A statement as JSON: its head, and its lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tallystick.kit import Asset, dumps, format_minor
from tallystick.statements.model import Line, Statement

_AT_ONCE = 500


def head(statement: Statement) -> dict[str, Any]:
    """The head, with amounts as decimal strings."""
    totals, unit, span = statement.totals, statement.unit, statement.span
    return {
        "id": statement.id,
        "account_id": statement.account.name,
        "currency": unit.code,
        "from": span.start,
        "to": span.end,
        "by": span.by,
        "version": span.version,
        "made_at": statement.made_at,
        "opening": format_minor(statement.opening, unit),
        "closing": format_minor(statement.closing, unit),
        "debits": {"count": totals.debits, "sum": format_minor(totals.debited, unit)},
        "credits": {"count": totals.credits, "sum": format_minor(totals.credited, unit)},
    }


def line(line: Line, unit: Asset) -> dict[str, Any]:
    """One line, with amounts as decimal strings."""
    entry = line.entry
    return {
        "seq": entry.seq,
        "journal_id": str(entry.journal_id),
        "kind": entry.kind,
        "amount": format_minor(entry.amount, unit),
        "balance": format_minor(line.balance, unit),
        "posted_at": entry.posted_at,
        "effective_at": entry.effective_at,
        "reverses": None if entry.reverses is None else str(entry.reverses),
        "text": entry.text,
        "end_to_end_id": entry.end_to_end_id,
    }


async def json_chunks(statement: Statement, lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    """All of it in one document, `{"items": […], "statement": {…}}`, in pieces while the lines come in."""
    chunk, separator = [b'{"items":['], b""
    async for one in lines:
        chunk += [separator, dumps(line(one, statement.unit))]
        separator = b","
        if len(chunk) > _AT_ONCE:
            yield b"".join(chunk)
            chunk.clear()
    chunk += [b'],"statement":', dumps(head(statement)), b"}\n"]
    yield b"".join(chunk)
