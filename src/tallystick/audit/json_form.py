"""Events and receipts as JSON, as the routes and the command line show them."""

from __future__ import annotations

from typing import Any

from tallystick.audit.model import Receipt, RecordedEvent


def event_json(event: RecordedEvent) -> dict[str, Any]:
    """An event: ids are texts."""
    return {
        "id": str(event.id),
        "index": _id(event.index),
        "at": event.at,
        "principal": event.principal,
        "on_behalf_of": event.on_behalf_of,
        "verb": event.verb,
        "subject": {"kind": event.subject_kind, "id": _id(event.subject_id)},
        "task_id": _id(event.task_id),
        "step": event.step,
        "decision_id": _id(event.decision_id),
        "approval_id": _id(event.approval_id),
        "request_id": event.request_id,
        "trace_id": event.trace_id,
        "detail": event.detail,
        "payload": event.payload,
        "erased_by": _id(event.erased_by),
        "items": None if event.refs is None else {"kind": event.items_kind, "ids": [str(ref) for ref in event.refs]},
    }


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt: hashes are in hexadecimal."""
    item = receipt.item
    return {
        "event_id": str(receipt.event_id),
        "state": receipt.state,
        "leaf": receipt.leaf,
        "leaf_hash": receipt.leaf_hash.hex(),
        "index": None if receipt.index is None else str(receipt.index),
        "size": None if receipt.checkpoint is None else str(receipt.checkpoint.size),
        "path": [step.hex() for step in receipt.path],
        "checkpoint": None if receipt.checkpoint is None else receipt.checkpoint.note,
        "item": None
        if item is None
        else {
            "kind": item.kind,
            "id": str(item.id),
            "place": item.place,
            "count": item.count,
            "digest": item.digest.hex(),
            "path": [step.hex() for step in item.path],
            "root": item.root.hex(),
        },
    }


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)
