"""The record: one event for each call of a verb that changed something, written in the call's own transaction, and sealed."""

from tallystick.audit.asking import by_ids, find_receipt, get, page, receipt, stream, tells_of
from tallystick.audit.checking import Checked, Finding, check
from tallystick.audit.exporting import Exported, Progress, Sources, export
from tallystick.audit.json_form import event_json, receipt_json
from tallystick.audit.model import (
    AuditEvent,
    Filter,
    ItemReceipt,
    Items,
    Lag,
    Origin,
    Receipt,
    RecordedDecision,
    RecordedEvent,
    RecordedRow,
    RecordedState,
    RecordedThing,
    SignedCheckpoint,
)
from tallystick.audit.proving import checkpoint, consistency_proof, entries, inclusion_proof, lag, origin, root_at, tile
from tallystick.audit.sealing import Sealer
from tallystick.audit.service import answer_for, append, append_many, current_request, latest

__all__ = [
    "AuditEvent",
    "Checked",
    "Exported",
    "Filter",
    "Finding",
    "ItemReceipt",
    "Items",
    "Lag",
    "Origin",
    "Progress",
    "Receipt",
    "RecordedDecision",
    "RecordedEvent",
    "RecordedRow",
    "RecordedState",
    "RecordedThing",
    "Sealer",
    "SignedCheckpoint",
    "Sources",
    "answer_for",
    "append",
    "append_many",
    "by_ids",
    "check",
    "checkpoint",
    "consistency_proof",
    "current_request",
    "entries",
    "event_json",
    "export",
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
