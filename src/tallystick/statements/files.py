"""A statement that another bank gave us, whatever the form of its file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One booking of the file. `number` counts from 1 in it; `amount` is in minor units, above zero where it is in favour of
    the account's holder. `reference` is the other bank's own, `text` what is said to the holder."""

    number: int
    reference: str | None
    amount: int
    booked_on: date | None
    valued_on: date | None
    text: str | None
    end_to_end_id: str | None


@dataclass(frozen=True, slots=True)
class StatementFile:
    """One statement of the file: an account's lines, with the balances around them where the file tells them (minor units)."""

    statement_id: str
    account: str
    currency: str
    opening: int | None
    closing: int | None
    lines: tuple[StatementLine, ...]

    @property
    def difference(self) -> int | None:
        """What the lines leave unexplained between both balances: 0 in a file that adds up, `None` where one is not told."""
        if self.opening is None or self.closing is None:
            return None
        return self.closing - self.opening - sum(line.amount for line in self.lines)
