"""What the record holds, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What one call of a verb did: `principal` did `verb` to the thing `subject_id` of `subject_kind`.

    A call that did something to many things is one event, with their ids or count in `detail`. `detail` is a JSON object and
    holds no personal data; that stays in payloads and customer rows.
    """

    principal: str
    verb: str
    subject_kind: str
    subject_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    task_id: int | None = None
    request_id: str | None = None
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedEvent(AuditEvent):
    """An event as it stands in the record."""

    id: int
    at: datetime
