"""How transfers and actions stand of which the record tells."""

from __future__ import annotations

from tallystick.audit import RecordedThing
from tallystick.db import Queries

_queries = Queries(__package__, "recorded.sql")
_KINDS = ("transfer", "action")
RECORDED_THINGS = {kind: _queries.bind(kind, RecordedThing) for kind in _KINDS}
"""Of each kind, the query that takes `ids` and returns how they stand, in that order."""
RECORDED_IDS = {kind: _queries.bind(f"{kind}_ids", int) for kind in _KINDS}
"""Of each kind, the query that takes `after` and `limit` and returns ids in order."""
