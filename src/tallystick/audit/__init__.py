"""The record: one event for each call of a verb that changed something, written in the call's own transaction, and sealed."""

from tallystick.audit.asking import by_ids, find_receipt, get, page, receipt, stream, tells_of
from tallystick.audit.json_form import event_json, receipt_json
from tallystick.audit.model import (
    AuditEvent,
    Filter,
    ItemReceipt,
    Items,
    Lag,
    Origin,
    Receipt,
    RecordedEvent,
    SignedCheckpoint,
)
from tallystick.audit.proving import checkpoint, consistency_proof, entries, inclusion_proof, lag, origin, root_at, tile
from tallystick.audit.sealing import Sealer
from tallystick.audit.service import answer_for, append, append_many, current_request, latest

__all__ = [
    "AuditEvent",
    "Filter",
    "ItemReceipt",
    "Items",
    "Lag",
    "Origin",
    "Receipt",
    "RecordedEvent",
    "Sealer",
    "SignedCheckpoint",
    "answer_for",
    "append",
    "append_many",
    "by_ids",
    "checkpoint",
    "consistency_proof",
    "current_request",
    "entries",
    "event_json",
    "find_receipt",
    "get",
    "inclusion_proof",
    "lag",
    "latest",
    "origin",
    "page",
    "receipt",
    "receipt_json",
    "root_at",
    "stream",
    "tells_of",
    "tile",
]
