"""A statement as a value: what the account was before, what happened, what it is after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tallystick import ledger
from tallystick.kit import Asset, digest


class BooksBroken(Exception):
    """The entries of a statement do not lead from its opening to its closing balance: a fault, to which no answer is given."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The head of a statement of one account for the period `[start, end)`: balances and sums in minor units.

    By `posted` an entry belongs to the day it was booked, by `effective` to its value date. The entries up to number `version`
    of the account are in it; a statement of the same period, time and version is always the same.
    """

    account: ledger.AccountRef
    span: ledger.Span
    totals: ledger.Totals
    made_at: datetime

    def __post_init__(self) -> None:
        moved = self.totals.credited - self.totals.debited
        check(self.opening + moved == self.closing, "the sums lead to another closing balance")
        counted = self.span.closing.entries - self.span.opening.entries
        check(self.totals.debits + self.totals.credits == counted, "the number of entries is another one")

    @property
    def unit(self) -> Asset:
        return self.account.unit

    @property
    def opening(self) -> int:
        return self.span.opening.amount

    @property
    def closing(self) -> int:
        return self.span.closing.amount

    @property
    def entries(self) -> int:
        return self.totals.debits + self.totals.credits

    @property
    def last_moment(self) -> datetime:
        """The last moment of the period, whose day is that of the closing balance."""
        return self.span.end - timedelta(microseconds=1) if self.span.end > self.span.start else self.span.start

    @property
    def id(self) -> str:
        """33 characters that are the same for the same statement and for no other."""
        facts = [self.account.name, self.span.start, self.span.end, self.span.by, self.span.version]
        return f"S{digest(facts).hex()[:32]}"


@dataclass(frozen=True, slots=True)
class Line:
    """An entry with the balance after it, in the order of the statement."""

    entry: ledger.PastEntry
    balance: int


async def running(statement: Statement, entries: AsyncIterator[ledger.PastEntry]) -> AsyncIterator[Line]:
    """All lines of a statement; raises `BooksBroken` at the end, where they do not lead to its closing balance."""
    balance, count = statement.opening, 0
    async for entry in entries:
        balance += entry.amount
        count += 1
        yield Line(entry, balance)
    check(balance == statement.closing, "the entries lead to another closing balance")
    check(count == statement.entries, "the number of entries is another one")


def check(holds: bool, what_if_not: str) -> None:
    """Raise `BooksBroken` unless it holds."""
    if not holds:
        raise BooksBroken(what_if_not)


def day_of(moment: datetime) -> str:
    """The day of a time, in UTC, as 2026-11-21."""
    return moment.astimezone(UTC).date().isoformat()
