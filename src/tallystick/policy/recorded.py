"""What the record holds digests of: the decisions that events tell of."""

from __future__ import annotations

from tallystick.audit import RecordedDecision
from tallystick.db import Queries

RECORDED_DECISIONS = Queries(__package__, "recorded.sql").bind("decision", RecordedDecision)
"""The query that takes `ids` and returns the decisions in that order."""
