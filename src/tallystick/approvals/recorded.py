"""What the record holds digests of: the rows of this room behind the items of its events."""

from __future__ import annotations

from tallystick.audit import RecordedRow, RecordedState
from tallystick.db import Queries

_queries = Queries(__package__, "recorded.sql")
_KINDS = ("approval_shown", "approval_vote", "approval_comment")
RECORDED = {kind: _queries.bind(kind, RecordedRow) for kind in _KINDS}
"""Of each kind, the query that takes `ids` and returns the rows in that order."""
RECORDED_IDS = {kind: _queries.bind(f"{kind}_ids", int) for kind in _KINDS}
"""Of each kind, the query that takes `after` and `limit` and returns ids in order."""
RECORDED_STATES = {"approval": _queries.bind("approval_states", RecordedState)}
"""Of each kind, the query that takes `after` and `limit` and returns how things stand, in the order of their ids."""
