"""What is known here of the books, for their verification: the money of fills, and positions, which are the sums of fills."""

from __future__ import annotations

from tallystick import ledger
from tallystick.db import Queries

_queries = Queries(__package__, "references.sql")
REFERENCES = (
    ledger.Reference(_queries.bind("verify_orders", ledger.Finding), _queries.bind("order_edge", int)),
    ledger.Reference(_queries.bind("verify_positions", ledger.Finding), _queries.bind("portfolio_edge", int)),
)
"""See `ledger.verify`."""
