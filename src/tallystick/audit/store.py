"""One function a query of the record."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.audit.model import AuditEvent, RecordedEvent
from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import dumps

_queries = Queries(__package__)
_APPEND = _queries.bind("append", list[int])
_LATEST = _queries.bind("latest", RecordedEvent)


async def append(tx: Tx, events: Sequence[AuditEvent]) -> list[int]:
    return await tx.single(
        _APPEND,
        {
            "principals": [event.principal for event in events],
            "on_behalf_of": [event.on_behalf_of for event in events],
            "verbs": [event.verb for event in events],
            "subject_kinds": [event.subject_kind for event in events],
            "subject_ids": [event.subject_id for event in events],
            "task_ids": [event.task_id for event in events],
            "steps": [event.step for event in events],
            "decision_ids": [event.decision_id for event in events],
            "approval_ids": [event.approval_id for event in events],
            "request_ids": [event.request_id for event in events],
            "trace_ids": [event.trace_id for event in events],
            "details": [dumps(dict(event.detail)).decode() for event in events],
            "items_kinds": [event.items.kind if event.items else None for event in events],
            "refs": ["{" + ",".join(map(str, event.items.ids)) + "}" if event.items else None for event in events],
            "items": [event.items.digests if event.items else None for event in events],
            "payloads": [None if event.payload is None else dumps(dict(event.payload)).decode() for event in events],
        },
    )


async def latest(tx: ReadTx, *, subject_kind: str, subject_id: int, verb: str | None) -> RecordedEvent | None:
    return await tx.one(_LATEST, {"subject_kind": subject_kind, "subject_id": subject_id, "verb": verb})
