"""Interest: how much of it accrues from one day to another, exactly, and what of it is a whole minor unit.

A year's interest is divided by 365 or by 360. To keep every sum exact, interest is counted in parts: 26,280ths of a minor unit,
26,280 being the least common multiple of the two. What is posted of an account, all in all, is the whole units of all that
accrued on it, cut off toward zero; the rest is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from itertools import pairwise
from typing import Literal

DayCount = Literal["ACT/365", "ACT/360", "30E/360"]

PARTS = 26_280
"""Parts in one minor unit."""

DAY_COUNTS: dict[str, int] = {"ACT/365": PARTS // 365, "ACT/360": PARTS // 360, "30E/360": PARTS // 360}
"""The day-count conventions, with the parts of one minor unit that one day of interest of 100 % a year is."""

MAX_RATE, MIN_RATE, RATE_DECIMALS = Decimal(10), Decimal(-1), 12
_EXACT = Context(prec=200, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class InterestRate:
    """Interest of `rate` a year (0.035 is 3.5 %) on an account from `from_date` on, out of the account `paid_from`."""

    id: int
    account_id: int
    rate: Decimal
    day_count: str
    from_date: date
    paid_from: int
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Accrual:
    """What accrued on an account from `from_date` to the business day, and what became of it; see the table."""

    account_id: int
    business_date: date
    from_date: date
    balance: int
    parts: Decimal
    total_parts: Decimal
    owed: int
    journal_id: int | None
    refusal: str | None
    posted_total: int


def days_between(start: date, end: date, day_count: str) -> int:
    """The days of interest from `start` to `end`: those of the calendar, or of months of 30 days (ISDA 2006, 4.16(g))."""
    if day_count != "30E/360":
        return (end - start).days
    return (end.year - start.year) * 360 + (end.month - start.month) * 30 + min(end.day, 30) - min(start.day, 30)


def parts_between(balance: int, rates: Sequence[InterestRate], start: date, end: date) -> Decimal:
    """The parts that accrue on `balance` (minor units) from `start` to `end`, exactly.

    `rates` are those of one account; on each day the one with the newest `from_date` counts, and of several the last that was
    made. A balance below zero accrues interest that the account owes.
    """
    total = Decimal(0)
    for rate, begin, until in _spans(rates, start, end):
        days = days_between(begin, until, rate.day_count)
        share = _EXACT.multiply(rate.rate, Decimal(balance * days * DAY_COUNTS[rate.day_count]))
        total = _EXACT.add(total, share)
    return total


def rate_on(rates: Sequence[InterestRate], day: date) -> InterestRate | None:
    """The rate of an account that counts on `day`."""
    begun = [rate for rate in rates if rate.from_date <= day]
    return max(begun, key=lambda rate: (rate.from_date, rate.id), default=None)


def added(first: Decimal, second: Decimal) -> Decimal:
    """The exact sum."""
    return _EXACT.add(first, second)


def whole_units(parts: Decimal) -> int:
    """The whole minor units in `parts`, cut off toward zero."""
    # The fraction of a part is cut off first, which changes nothing of the quotient.
    units = abs(int(parts)) // PARTS
    return -units if parts < 0 else units


def _spans(rates: Sequence[InterestRate], start: date, end: date) -> list[tuple[InterestRate, date, date]]:
    """From `start` to `end`, the stretches in which one rate counts."""
    changes = sorted({rate.from_date for rate in rates if start < rate.from_date < end})
    borders = [start, *changes, end]
    return [(rate, begin, until) for begin, until in pairwise(borders) if (rate := rate_on(rates, begin)) is not None]
