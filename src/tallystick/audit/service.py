"""The verbs of the record that write and read events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from tallystick.audit import store
from tallystick.audit.model import AuditEvent, Items, RecordedEvent
from tallystick.db import ReadTx, Tx
from tallystick.kit import dumps

_MAX_DETAIL = 16 * 1024
_REQUEST: ContextVar[tuple[str | None, str | None]] = ContextVar("tallystick.request", default=(None, None))


def current_request() -> str | None:
    """The request, or the requests, that this task of asyncio answers."""
    return _REQUEST.get()[0]


def answer_for(request_id: str | None, trace_id: str | None = None) -> None:
    """From here on, what this task of asyncio does is done for that request, or for those, which its events name."""
    _REQUEST.set((request_id, trace_id))


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
    step: str | None = None,
    payload: Mapping[str, Any] | None = None,
    items: Items | None = None,
    decision_id: int | None = None,
    approval_id: int | None = None,
) -> int:
    """Write one event into the record, in the transaction of what it tells of; the event's id.

    Where no decision and no approval are named, the event names those under which the transaction writes.
    """
    event = AuditEvent(
        principal,
        verb,
        subject_kind,
        subject_id,
        detail or {},
        task_id,
        request_id,
        on_behalf_of,
        step=step,
        decision_id=decision_id,
        approval_id=approval_id,
        payload=payload,
        items=items,
    )
    (event_id,) = await append_many(tx, [event])
    return event_id


async def append_many(tx: Tx, events: Sequence[AuditEvent]) -> list[int]:
    """Write events into the record; their ids, in order. For calls of several verbs that were gathered into one transaction."""
    if not events:
        return []
    return await store.append(tx, [_complete(tx, event) for event in events])


async def latest(tx: ReadTx, *, subject_kind: str, subject_id: int, verb: str | None = None) -> RecordedEvent | None:
    """The newest event of one thing, of `verb` where that is given; `None` where there is none."""
    return await store.latest(tx, subject_kind=subject_kind, subject_id=subject_id, verb=verb)


def _complete(tx: Tx, event: AuditEvent) -> AuditEvent:
    if event.decision_id is None and event.approval_id is None and tx.decision is not None:
        event = replace(event, decision_id=tx.decision, approval_id=tx.approval)
    request_id, trace_id = _REQUEST.get()
    if event.request_id is None and request_id is not None:
        event = replace(event, request_id=request_id, trace_id=event.trace_id or trace_id)
    if event.payload is None and len(dumps(dict(event.detail))) > _MAX_DETAIL:
        # A leaf is small. What is too large for it is kept beside it.
        event = replace(event, detail={"beside": True}, payload=event.detail)
    return event
