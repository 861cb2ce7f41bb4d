"""The record: one event for each call of a verb that changed something, written in the call's own transaction."""

from tallystick.audit.model import AuditEvent, RecordedEvent
from tallystick.audit.service import append, append_many, latest

__all__ = ["AuditEvent", "RecordedEvent", "append", "append_many", "latest"]
