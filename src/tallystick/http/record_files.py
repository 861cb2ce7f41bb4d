"""Events of the record as files: JSON Lines and CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

from tallystick import audit
from tallystick.kit import dumps
from tallystick.statements import guard

COLUMNS = (
    "id", "index", "at", "principal", "on_behalf_of", "verb", "subject_kind", "subject_id", "task_id", "step", "decision_id",
    "approval_id", "request_id", "trace_id", "detail", "payload", "erased_by", "items_kind", "items",
)  # fmt: skip
_CHUNK = 65_536


async def jsonl_chunks(events: AsyncIterator[audit.RecordedEvent]) -> AsyncIterator[bytes]:
    """An event a line, in pieces of about 64 KiB, while they come in."""
    buffer = bytearray()
    async for event in events:
        buffer += dumps(audit.event_json(event)) + b"\n"
        if len(buffer) > _CHUNK:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


async def csv_chunks(events: AsyncIterator[audit.RecordedEvent]) -> AsyncIterator[bytes]:
    """A header and an event a line, in pieces of about 64 KiB. What a spreadsheet would take for a formula begins with an
    apostrophe; objects are JSON, and the ids of items stand side by side."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="")
    writer.writeheader()
    async for event in events:
        writer.writerow({name: guard(_text(value)) for name, value in _row(event).items()})
        if buffer.tell() > _CHUNK:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _row(event: audit.RecordedEvent) -> dict[str, Any]:
    answer = audit.event_json(event)
    subject, items = answer.pop("subject"), answer.pop("items")
    return answer | {
        "at": event.at.isoformat(),
        "subject_kind": subject["kind"],
        "subject_id": subject["id"],
        "items_kind": items and items["kind"],
        "items": items and " ".join(items["ids"]),
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value).decode()
