"""Business days as values, and the rules of the calendar."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Literal

from tallystick.kit import Invalid

Roll = Literal["following", "modified_following", "preceding"]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)
MAX_HOLIDAYS = 1000
_DAY = timedelta(days=1)
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")


@dataclass(frozen=True, slots=True)
class CalendarSpec:
    """What a calendar is to say of the days from `valid_from` to `valid_until`, both included.

    `weekend` holds days of the week by ISO 8601 (1 is Monday), `cut_off_min` is in minutes after local midnight; 1440 is the
    midnight that ends the day.
    """

    name: str
    valid_from: date
    valid_until: date
    time_zone: str
    cut_off_min: int
    weekend: Sequence[int] = (6, 7)
    holidays: Mapping[date, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CalendarRules:
    """What a calendar says of the days from `valid_from` to `valid_until`, as it was stored; its holidays in two lists."""

    id: int
    name: str
    valid_from: date
    valid_until: date
    time_zone: str
    cut_off_min: int
    weekend: Sequence[int]
    holiday_days: Sequence[date]
    holiday_names: Sequence[str]
    created_by: str
    created_at: datetime
    _holidays: frozenset[date] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_holidays", frozenset(self.holiday_days))

    @property
    def holidays(self) -> dict[date, str]:
        return dict(zip(self.holiday_days, self.holiday_names, strict=True))

    def covers(self, day: date) -> bool:
        return self.valid_from <= day <= self.valid_until

    def is_business_day(self, day: date) -> bool:
        return day.isoweekday() not in self.weekend and day not in self._holidays


@dataclass(frozen=True, slots=True)
class Calendar:
    """A calendar by its name: `rules`, the newest first, of which the first that covers a day speaks for it.

    Every question about a day that no rule covers is refused with `Invalid` (`calendar_ends`): a calendar that knows no
    holidays of a year must not pass for one that has none.
    """

    name: str
    rules: Sequence[CalendarRules]

    def rules_on(self, day: date) -> CalendarRules:
        """What is in force on `day`."""
        found = self._find(day)
        if found is None:
            raise Invalid("calendar_ends", f"the calendar {self.name} says nothing of {day}")
        return found

    def is_business_day(self, day: date) -> bool:
        return self.rules_on(day).is_business_day(day)

    def next_business_day(self, day: date) -> date:
        """The first business day after `day`."""
        return self._search(day, _DAY)

    def previous_business_day(self, day: date) -> date:
        """The last business day before `day`."""
        return self._search(day, -_DAY)

    def add_business_days(self, day: date, count: int) -> date:
        """The `count`-th business day after `day`, or before it where `count` is below zero; for zero, as rolled following."""
        if count == 0:
            return self.roll(day, "following")
        for _ in range(abs(count)):
            day = self._search(day, _DAY if count > 0 else -_DAY)
        return day

    def roll(self, day: date, convention: Roll) -> date:
        """`day` where it is a business day, else the next one (`following`), the one before (`preceding`), or the next one
        unless that lies in another month, then the one before (`modified_following`).
        """
        if self.is_business_day(day):
            return day
        if convention == "preceding":
            return self.previous_business_day(day)
        rolled = self.next_business_day(day)
        if convention == "modified_following" and rolled.month != day.month:
            return self.previous_business_day(day)
        return rolled

    def cut_off(self, day: date) -> datetime:
        """The instant (UTC) at which `day` ends as a business day.

        It is the first at which the clock on that day shows the cut-off or later for good: the second of two where clocks are
        put back over it, and the moment of the change where they are put forward over it.
        """
        rules = self.rules_on(day)
        local = datetime(day.year, day.month, day.day) + timedelta(minutes=rules.cut_off_min)
        return instant_of(local, rules.time_zone)

    def business_date_of(self, instant: datetime) -> date:
        """The business day that `instant` belongs to: the first whose cut-off is after it."""
        day = self._local_date(instant)
        # Where clocks are put back over midnight, the day before may still be going on.
        if self._find(day - _DAY) is not None:
            day -= _DAY
        while not (self.is_business_day(day) and instant < self.cut_off(day)):
            day += _DAY
        return day

    def _local_date(self, instant: datetime) -> date:
        around = instant.astimezone(UTC).date()
        for day in (around, around - _DAY, around + _DAY):
            rules = self._find(day)
            if rules is not None and instant.astimezone(zoneinfo.ZoneInfo(rules.time_zone)).date() == day:
                return day
        raise Invalid("calendar_ends", f"the calendar {self.name} says nothing of {around}")

    def _search(self, day: date, step: timedelta) -> date:
        # A calendar covers a few hundred years at most, so that this ends.
        day += step
        while not self.is_business_day(day):
            day += step
        return day

    def _find(self, day: date) -> CalendarRules | None:
        return next((rules for rules in self.rules if rules.covers(day)), None)


@dataclass(frozen=True, slots=True)
class BusinessDay:
    """A business day that was closed, or is being closed while `closed_at` is `None`. `moved` counts its closing balances."""

    id: int
    business_date: date
    previous_date: date | None
    calendar: str
    cut_off_at: datetime
    started_by: str
    started_at: datetime
    closed_at: datetime | None
    moved: int | None


@dataclass(frozen=True, slots=True)
class DayStep:
    """A step of a day that is done."""

    day_id: int
    step: str
    started_at: datetime
    finished_at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClosingBalance:
    """An account's balance (minor units) at the cut-off of a business day on which it moved; `entries` it had by then."""

    account_id: int
    business_date: date
    balance: int
    entries: int


@dataclass(frozen=True, slots=True)
class OpenBalance:
    """An account and its closing balance (minor units) of the business day before, as an accrual hook is given it."""

    account_id: int
    name: str
    asset: str
    kind: str
    balance: int


def instant_of(local: datetime, time_zone: str) -> datetime:
    """The first instant (UTC) from which the clock of the zone shows `local` or later for good, around that time."""
    zone = zoneinfo.ZoneInfo(time_zone)
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return second
    # No clock ever shows `local`: read by the offset after the change it is too early, by the one before too late.
    early, late = int(second.timestamp()), int(first.timestamp())
    while late - early > 1:
        middle = (early + late) // 2
        shown = datetime.fromtimestamp(middle, zone).replace(tzinfo=None)
        early, late = (early, middle) if shown >= local else (middle, late)
    return datetime.fromtimestamp(late, UTC)


def parse_cut_off(text: str) -> int:
    """`17:00` as minutes after midnight; `24:00` is the midnight that ends the day.

    Refuses with `Invalid` (`cut_off_malformed`).
    """
    if not _TIME.fullmatch(text) or text == "00:00":
        raise Invalid("cut_off_malformed", "a cut-off is a time of the day from 00:01 to 24:00")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def format_cut_off(minutes: int) -> str:
    """Minutes after midnight as `17:00`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


@cache
def time_zones() -> frozenset[str]:
    """Every time zone by its IANA name."""
    return frozenset(zoneinfo.available_timezones())
