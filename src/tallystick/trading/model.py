"""Prices, as values. They are exact decimals in the currency of the instrument's exchange."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one instrument on one day. `volume` is in shares; what the source left out is `None`, `close` never."""

    symbol: str
    day: date
    close: Decimal
    volume: int | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LoadedPrices:
    """What became of a batch: rows given, and of these the new and the changed; the others were there just so."""

    rows: int
    inserted: int
    changed: int


@dataclass(frozen=True, slots=True)
class AverageDailyValue:
    """What was traded of an instrument on its last days: the exact `total` of close times volume over `days` days."""

    symbol: str
    days: int
    total: Decimal
    first_day: date
    last_day: date

    @property
    def average(self) -> Decimal:
        """The average a day, to two decimals, for people. Compare with `total` and `days`, which are exact."""
        return (self.total / self.days).quantize(Decimal("0.01"))
