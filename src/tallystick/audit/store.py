"""One function a query of the record."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.audit.model import AuditEvent, RecordedEvent
from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import dumps

_queries = Queries(__package__)
_APPEND = _queries.bind("append", int)
_LATEST = _queries.bind("latest", RecordedEvent)


async def append(tx: Tx, events: Sequence[AuditEvent]) -> list[int]:
    return await tx.all(
        _APPEND,
        {
            "principals": [event.principal for event in events],
            "on_behalf_of": [event.on_behalf_of for event in events],
            "verbs": [event.verb for event in events],
            "subject_kinds": [event.subject_kind for event in events],
            "subject_ids": [event.subject_id for event in events],
            "task_ids": [event.task_id for event in events],
            "request_ids": [event.request_id for event in events],
            "details": [dumps(dict(event.detail)).decode() for event in events],
        },
    )


async def latest(tx: ReadTx, *, subject_kind: str, subject_id: int, verb: str | None) -> RecordedEvent | None:
    return await tx.one(_LATEST, {"subject_kind": subject_kind, "subject_id": subject_id, "verb": verb})
