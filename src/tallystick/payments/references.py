"""What payments know of the books, for their verification: each step that moved money has its journal."""

from __future__ import annotations

from tallystick import ledger
from tallystick.db import Queries

_queries = Queries(__package__, "references.sql")
REFERENCES = (ledger.Reference(_queries.bind("verify_payments", ledger.Finding), _queries.bind("payment_edge", int)),)
"""See `ledger.verify`."""
