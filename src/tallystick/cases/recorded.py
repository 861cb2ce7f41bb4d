"""What the record holds digests of: the rows of this room behind the items of its events."""

from __future__ import annotations

from tallystick.audit import RecordedRow
from tallystick.db import Queries

_queries = Queries(__package__, "recorded.sql")
RECORDED = {kind: _queries.bind(kind, RecordedRow) for kind in ("case",)}
"""Of each kind, the query that takes `ids` and returns the rows in that order."""
