"""What came of comparing another bank's statement with a nostro account, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from tallystick.kit import Asset

Outcome = Literal["matched", "differing", "missing_in_ledger", "missing_in_statement", "explained"]
OUTCOMES: tuple[Outcome, ...] = ("matched", "differing", "missing_in_ledger", "missing_in_statement", "explained")
"""What a line or an entry may come to; `explained` is whatever a person has said why."""

ENTRY_BASE = 2**40
"""Items stand in one order: lines by their number, then entries by this and their sequence number."""


@dataclass(frozen=True, slots=True)
class StatementHead:
    """A statement that was imported for a nostro. Amounts are in minor units of `asset`, above zero where the bank owes us.

    `opening_on` and `closing_on` are the first and the last day that a line was booked on.
    """

    id: int
    nostro: str
    nostro_id: int
    asset: str
    scale: int
    statement_id: str
    opening: int | None
    opening_on: date
    closing: int | None
    closing_on: date
    lines: int
    imported_by: str
    imported_at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class Total:
    """How many lines and entries came to one outcome, and their sums: the lines', and the entries' mirrored."""

    count: int = 0
    theirs: int = 0
    ours: int = 0


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A statement beside our books, as both stand now. `opening` and `closing` are our balances, mirrored."""

    head: StatementHead
    totals: Mapping[Outcome, Total]
    opening: int
    closing: int
    lines_sum: int

    @property
    def opening_difference(self) -> int | None:
        """What their opening balance is over ours; `None` where they tell none."""
        return None if self.head.opening is None else self.head.opening - self.opening

    @property
    def closing_difference(self) -> int | None:
        """What their closing balance is over ours; `None` where they tell none."""
        return None if self.head.closing is None else self.head.closing - self.closing

    @property
    def unexplained_by_lines(self) -> int | None:
        """What lies between their balances and is in no line of theirs; `None` where they do not tell both balances."""
        if self.head.opening is None or self.head.closing is None:
            return None
        return self.head.closing - self.head.opening - self.lines_sum

    @property
    def agrees(self) -> bool:
        """Whether nothing differs and nothing is missing, but for what was explained, and the balances are the same."""
        wrong = sum(self.totals[outcome].count for outcome in ("differing", "missing_in_ledger", "missing_in_statement"))
        return not (wrong or self.opening_difference or self.closing_difference or self.unexplained_by_lines)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: the reconciliations of its statements, how many payments it settled, and how many it could not."""

    reconciliations: tuple[Reconciliation, ...]
    settled: int
    not_settled: int


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the statement with its entry, or an entry without a line. `entry_amount` is mirrored.

    Of an entry without a line, `booked_on` and `end_to_end_id` are the entry's. `person` and `why` are those of whoever matched
    by hand or explained.
    """

    place: int
    outcome: str
    number: int | None
    amount: int | None
    booked_on: date | None
    valued_on: date | None
    end_to_end_id: str | None
    reference: str | None
    text: str | None
    rule: str | None
    entry_seq: int | None
    journal_id: int | None
    entry_amount: int | None
    payment_id: int | None
    person: str | None
    why: str | None
    decided_at: datetime | None
