"""The record: one event for each call of a verb that changed something, written in the call's own transaction."""

from tallystick.audit.model import AuditEvent, Items, RecordedEvent
from tallystick.audit.service import answer_for, append, append_many, latest

__all__ = ["AuditEvent", "Items", "RecordedEvent", "answer_for", "append", "append_many", "latest"]
