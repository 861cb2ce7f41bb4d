"""A reconciliation as JSON, for whoever reads it: by HTTP or at the command line."""

from __future__ import annotations

from typing import Any

from tallystick.kit import Asset, format_minor
from tallystick.payments.reconciliation_model import Item, Reconciliation, StatementHead


def reconciliation_json(found: Reconciliation) -> dict[str, Any]:
    """A reconciliation as JSON."""
    unit = found.head.unit
    return {
        **head_json(found.head),
        "agrees": found.agrees,
        "opening": _compared(found.head.opening, found.opening, found.opening_difference, unit),
        "closing": _compared(found.head.closing, found.closing, found.closing_difference, unit),
        "unexplained_by_lines": _written(found.unexplained_by_lines, unit),
        "outcomes": {
            outcome: {
                "count": total.count,
                "theirs": format_minor(total.theirs, unit),
                "ours": format_minor(total.ours, unit),
            }
            for outcome, total in found.totals.items()
        },
    }


def item_json(row: Item, unit: Asset) -> dict[str, Any]:
    """An item as JSON."""
    return {
        "outcome": row.outcome,
        "line": row.number,
        "amount": _written(row.amount, unit),
        "booked_on": row.booked_on,
        "valued_on": row.valued_on,
        "end_to_end_id": row.end_to_end_id,
        "reference": row.reference,
        "text": row.text,
        "rule": row.rule,
        "entry": row.entry_seq,
        "journal_id": None if row.journal_id is None else str(row.journal_id),
        "entry_amount": _written(row.entry_amount, unit),
        "payment_id": None if row.payment_id is None else str(row.payment_id),
        "person": row.person,
        "why": row.why,
        "decided_at": row.decided_at,
    }


def head_json(head: StatementHead) -> dict[str, Any]:
    """A statement that was imported, as JSON."""
    return {
        "id": str(head.id),
        "nostro": head.nostro,
        "statement_id": head.statement_id,
        "currency": head.asset,
        "first_day": head.opening_on,
        "last_day": head.closing_on,
        "lines": head.lines,
        "imported_at": head.imported_at,
    }


def _compared(theirs: int | None, ours: int, difference: int | None, unit: Asset) -> dict[str, Any]:
    return {
        "theirs": _written(theirs, unit),
        "ours": format_minor(ours, unit),
        "difference": _written(difference, unit),
    }


def _written(minor: int | None, unit: Asset) -> str | None:
    return None if minor is None else format_minor(minor, unit)
