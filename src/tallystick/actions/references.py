"""What the gate knows of the books, for their verification: each transfer that was posted has a journal that did it."""

from __future__ import annotations

from tallystick import ledger
from tallystick.db import Queries

_queries = Queries(__package__, "references.sql")
REFERENCES = (ledger.Reference(_queries.bind("verify_transfers", ledger.Finding), _queries.bind("transfer_edge", int)),)
"""See `ledger.verify`."""
