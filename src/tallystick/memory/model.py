"""What agents leave for each other, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """An immutable fact of `type` that `agent` left; `payload` is a JSON object with exact numbers."""

    id: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    created_at: datetime

    def as_json(self) -> dict[str, Any]:
        """The event as tasks see it."""
        return {
            "id": str(self.id),
            "agent": self.agent,
            "type": self.type,
            "payload": self.payload,
            "created_at": self.created_at.isoformat(),
        }
