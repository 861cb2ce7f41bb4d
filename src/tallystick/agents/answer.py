"""What the agent of a case says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision (`approved`, `rejected`, `review`), how sure the agent is of it (0 to 1), why, and the facts it saw."""

    decision: str
    confidence: Decimal
    summary: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def a_person_decides(summary: str, facts: Mapping[str, Any] | None = None) -> Answer:
    """The agent has no opinion of its own, which is what a confidence of 0 says."""
    return Answer("review", Decimal(0), f"{summary} A person decides.", facts or {})
