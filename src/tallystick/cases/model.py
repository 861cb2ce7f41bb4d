"""A case, and the rule of its lifecycle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Door = Literal["request", "event"]

EVENT_STATUSES: Mapping[str, int] = {
    "queued": 0,
    "processing": 1,
    "approved": 2,
    "rejected": 2,
    "completed": 3,
    "failed": 3,
}
"""What an event may be, with its rank: an event only ever moves to a status of a higher rank."""

STATUSES = frozenset({"received", "processed", *EVENT_STATUSES})


@dataclass(frozen=True, slots=True)
class Case:
    """A case as it stands. One that came in by the door `request` has a JSON `payload`, by the door `event` a `payload_text`.

    `customer` is what the bank calls the customer, who need not be known yet: onboarding is a case too. A request that was
    processed has a `result`.
    """

    id: int
    door: str
    customer: str
    type: str
    payload: Mapping[str, Any] | None
    payload_text: str | None
    created_by: str
    created_at: datetime
    status: str
    changed_at: datetime
    result: Mapping[str, Any] | None

    def as_opened(self) -> Case:
        """The case as the call that opened it was told of it, whatever has become of it since."""
        first = "received" if self.door == "request" else "queued"
        return dataclasses.replace(self, status=first, changed_at=self.created_at, result=None)


def may_become(old: str, new: str) -> bool:
    """Whether an event that is `old` may become `new`: forward only, and never from one answer to the other."""
    return EVENT_STATUSES[new] > EVENT_STATUSES[old]
