"""Entries as JSON, as the routes and the command line show them."""

from __future__ import annotations

from typing import Any

from tallystick.timeline.model import Entry


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry: ids are texts."""
    return {
        "at": entry.at,
        "event_id": str(entry.event_id),
        "index": _id(entry.index),
        "verb": entry.verb,
        "principal": entry.principal,
        "on_behalf_of": entry.on_behalf_of,
        "what": entry.what,
        "task_id": _id(entry.task_id),
        "step": entry.step,
        "detail": entry.detail,
        "kind": entry.kind,
        "id": _id(entry.id),
        "text": entry.text,
        "state": entry.state,
    }


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)
