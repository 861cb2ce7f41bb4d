"""Cron: five fields that say which minutes of a local clock are meant. No time zones here; see `times.py`.

The fields are those of crontab(5): minute, hour, day of month, month, day of week (0 and 7 are Sunday), each `*` or a list of
numbers, names (`jan`, `mon`), ranges and steps. Where both days are given, either suffices; where one of them begins with `*`,
both must fit, as Vixie's cron has it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from tallystick.kit import Invalid, check_text

MAX_TEXT = 200
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?:(?P<all>\*)|(?P<first>[a-z0-9]{1,3})(?:-(?P<last>[a-z0-9]{1,3}))?)(?:/(?P<step>[0-9]{1,2}))?")
_NUMBER = re.compile(r"[0-9]{1,2}")
_DAY = timedelta(days=1)

_YEARS = 60
"""How far a time is looked for: a 29 February that has to be a Monday as well can be 40 years away."""


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes of a local clock that are meant.

    `by_the_clock`: the minute or the hour begins with `*`, so that this means an interval and not times of the day.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    by_the_clock: bool

    def first(self, start: datetime) -> datetime | None:
        """The first local minute from `start` on that is meant; `None` where none is within some decades."""
        if self._means(start.date()) and (found := self._time(start.hour, start.minute)) is not None:
            return datetime.combine(start, found)
        day = self._day_after(start.date())
        return None if day is None else datetime.combine(day, time(self.hours[0], self.minutes[0]))

    def _time(self, hour: int, minute: int) -> time | None:
        at = bisect_left(self.hours, hour)
        if at < len(self.hours) and self.hours[at] == hour:
            within = bisect_left(self.minutes, minute)
            if within < len(self.minutes):
                return time(hour, self.minutes[within])
            at += 1
        return time(self.hours[at], self.minutes[0]) if at < len(self.hours) else None

    def _day_after(self, day: date) -> date | None:
        last_year = min(day.year + _YEARS, date.max.year - 1)
        day += _DAY
        while day.year <= last_year:
            if day.month not in self.months:
                day = (day.replace(day=1) + 31 * _DAY).replace(day=1)
            elif self._means(day):
                return day
            else:
                day += _DAY
        return None

    def _means(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


@lru_cache(maxsize=1024)
def parse_cron(text: str) -> Cron:
    """Read five fields. Refuses with `Invalid`: `text_too_long`, `cron_malformed`, and `cron_never_fires` as `0 0 30 2 *`."""
    check_text(text, "a cron text", MAX_TEXT)
    fields = text.lower().split()
    if len(fields) != 5:
        raise Invalid("cron_malformed", "a cron text has five fields: minute, hour, day of month, month, day of week")
    minute, hour, day, month, weekday = fields
    cron = Cron(
        minutes=tuple(sorted(_numbers(minute, "minute", 0, 59))),
        hours=tuple(sorted(_numbers(hour, "hour", 0, 23))),
        days=frozenset(_numbers(day, "day of month", 1, 31)),
        months=frozenset(_numbers(month, "month", 1, 12, _MONTHS)),
        weekdays=frozenset(number % 7 for number in _numbers(weekday, "day of week", 0, 7, _DAYS)),
        either_day=not (day.startswith("*") or weekday.startswith("*")),
        by_the_clock=minute.startswith("*") or hour.startswith("*"),
    )
    # In 400 years each day of the year falls on each day of the week, so only months that are too short can rule all days out.
    if not cron.either_day and min(cron.days) > max(_LONGEST[number - 1] for number in cron.months):
        raise Invalid("cron_never_fires", f"no month that is meant has a day {min(cron.days)}")
    return cron


def _numbers(field: str, what: str, low: int, high: int, names: Mapping[str, int] | None = None) -> set[int]:
    numbers: set[int] = set()
    for item in field.split(","):
        found = _ITEM.fullmatch(item)
        if found is None:
            raise _malformed(what, item)
        step = int(found["step"] or 1)
        first = low if found["all"] else _number(found["first"], names)
        if found["last"] is not None:
            last = _number(found["last"], names)
        else:
            # A step without an end goes on to the last number there is.
            last = high if found["all"] or found["step"] is not None else first
        if not (low <= first <= last <= high and step >= 1):
            raise _malformed(what, item)
        numbers.update(range(first, last + 1, step))
    return numbers


def _number(text: str, names: Mapping[str, int] | None) -> int:
    """The number of a name or of digits; -1, which no field has, for anything else."""
    return int(text) if _NUMBER.fullmatch(text) else (names or {}).get(text, -1)


def _malformed(what: str, item: str) -> Invalid:
    return Invalid("cron_malformed", f"{item!r} means nothing as {what}")
