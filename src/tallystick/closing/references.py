"""What the bank's days know of the books, for their verification: accruals, closed periods and closing balances."""

from __future__ import annotations

from tallystick import ledger
from tallystick.db import Queries

_queries = Queries(__package__, "references.sql")
_BY_DAY = _queries.bind("day_edge", int)
REFERENCES = (
    ledger.Reference(_queries.bind("verify_accruals", ledger.Finding), _BY_DAY),
    ledger.Reference(_queries.bind("verify_closed_days", ledger.Finding), _BY_DAY),
    ledger.Reference(_queries.bind("verify_closing_balances", ledger.Finding), ledger.BY_ACCOUNT),
)
"""See `ledger.verify`."""
