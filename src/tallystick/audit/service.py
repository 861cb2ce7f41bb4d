"""The verbs of the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.audit import store
from tallystick.audit.model import AuditEvent, RecordedEvent
from tallystick.db import ReadTx, Tx


async def append(
    tx: Tx,
    *,
    principal: str,
    verb: str,
    subject_kind: str,
    subject_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
    task_id: int | None = None,
    request_id: str | None = None,
    on_behalf_of: str | None = None,
) -> int:
    """Write one event into the record, in the transaction of what it tells of; the event's id."""
    event = AuditEvent(principal, verb, subject_kind, subject_id, detail or {}, task_id, request_id, on_behalf_of)
    (event_id,) = await append_many(tx, [event])
    return event_id


async def append_many(tx: Tx, events: Sequence[AuditEvent]) -> list[int]:
    """Write events into the record; their ids, in order. For calls of several verbs that were gathered into one transaction."""
    if not events:
        return []
    return await store.append(tx, events)


async def latest(tx: ReadTx, *, subject_kind: str, subject_id: int, verb: str | None = None) -> RecordedEvent | None:
    """The newest event of one thing, of `verb` where that is given; `None` where there is none."""
    return await store.latest(tx, subject_kind=subject_kind, subject_id=subject_id, verb=verb)
