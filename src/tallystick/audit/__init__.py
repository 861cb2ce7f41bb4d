"""The record: one event for each call of a verb that changed something, written in the call's own transaction, and sealed."""

from tallystick.audit.checking import Checked, Finding, check
from tallystick.audit.exporting import Exported, Progress, export
from tallystick.audit.model import AuditEvent, Items, Lag, Origin, RecordedEvent, RecordedRow, SignedCheckpoint
from tallystick.audit.proving import checkpoint, consistency_proof, inclusion_proof, lag, origin, root_at, tile
from tallystick.audit.sealing import Sealer
from tallystick.audit.service import answer_for, append, append_many, current_request, latest

__all__ = [
    "AuditEvent",
    "Checked",
    "Exported",
    "Finding",
    "Items",
    "Lag",
    "Origin",
    "Progress",
    "RecordedEvent",
    "RecordedRow",
    "Sealer",
    "SignedCheckpoint",
    "answer_for",
    "append",
    "append_many",
    "check",
    "checkpoint",
    "consistency_proof",
    "current_request",
    "export",
    "inclusion_proof",
    "lag",
    "latest",
    "origin",
    "root_at",
    "tile",
]
