"""When a cron text fires in a time zone, whatever its clock does.

A text whose minute or hour begins with `*` goes by the clock: it fires whenever the local clock shows a minute that is meant,
so twice where the clock shows it twice, and not where it is left out. Any other names times of the day: each fires once, when
the local clock first shows it or, where it is left out, at the first moment after. Vixie's cron tells the two apart like this.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache

from tallystick.kit import Invalid
from tallystick.schedules.cron import Cron

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_FAR = 4 * _DAY
"""No clock was ever put forward or back by more than a day, so what is so far away stands clear of any change near here."""

_YEARS = 60
_LAST_YEAR = 9000


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """The time zone of an IANA name; refuses with `Invalid` (`unknown_time_zone`)."""
    if name not in _zones():
        raise Invalid("unknown_time_zone", "the time zone is one of the IANA names, such as Europe/Prague")
    return zoneinfo.ZoneInfo(name)


def next_time(cron: Cron, zone: zoneinfo.ZoneInfo, after: datetime) -> datetime | None:
    """The first time after `after`, in UTC; `None` where there is none for decades.

    Both are times with an offset. It never decreases where `after` rises.
    """
    minute = after.astimezone(UTC).replace(second=0, microsecond=0)
    find = _by_the_clock if cron.by_the_clock else _time_of_day
    return find(cron, zone, minute) if minute.year < _LAST_YEAR else None


def newest_time(cron: Cron, zone: zoneinfo.ZoneInfo, first: datetime, until: datetime) -> datetime:
    """The last time that is not after `until`; `first` is some time that is not.

    It takes some dozens of looks at the clock, however many times lie between them.
    """
    following = next_time(cron, zone, first)
    if following is None or following > until:
        return first
    newest, low, high = first, 0, int((until - first) / _MINUTE) + 1
    # What comes next from `low` minutes on is not after `until`; from `high` on it is.
    while high - low > 1:
        middle = (low + high) // 2
        found = next_time(cron, zone, first + (middle - 1) * _MINUTE)
        if found is not None and found <= until:
            newest, low = found, int((found - first) / _MINUTE)
        else:
            high = middle
    return newest


def _by_the_clock(cron: Cron, zone: zoneinfo.ZoneInfo, after: datetime) -> datetime | None:
    start = after + _MINUTE
    end = start.replace(year=start.year + _YEARS, day=min(start.day, 28))
    while start < end:
        shown = _shown(start, zone)
        found = cron.first(shown)
        if found is None:
            return None
        there = start + (found - shown)
        change = _change(zone, start, min(there, start + _FAR))
        if change is None and there - start <= _FAR:
            return there
        # After a change the clock shows something else; far from here and from there a change makes no difference.
        start = change or there - _FAR / 2
    return None


def _time_of_day(cron: Cron, zone: zoneinfo.ZoneInfo, after: datetime) -> datetime | None:
    # Each time of the day is first shown, or passed over, later than all earlier ones. So only those behind what is shown now
    # can come; of them, those that were shown before the clock was put back have fired.
    local = cron.first(_shown(after, zone) + _MINUTE)
    while local is not None:
        instant = _first_shown(local, zone)
        if instant > after:
            return instant
        local = cron.first(local + _MINUTE)
    return None


def _first_shown(local: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    """When the clock of the zone first shows `local`, or, where it never does, the first moment at which it is past it."""
    instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _shown(instant, zone) == local:
        return instant
    # Read by the offset after the change (PEP 495: fold 1), a time that is left out lies before the change.
    change = _change(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), instant)
    assert change is not None, "a time is left out where the clock is changed"
    return change


def _change(zone: zoneinfo.ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first minute after `start` and not after `end` that has another offset than `start`. Changes are days apart."""
    offset = _offset(start, zone)
    before = start
    while before < end:
        behind = min(before + _DAY, end)
        if _offset(behind, zone) != offset:
            while behind - before > _MINUTE:
                middle = before + (behind - before) // _MINUTE // 2 * _MINUTE
                before, behind = (middle, behind) if _offset(middle, zone) == offset else (before, middle)
            return behind
        before = behind
    return None


def _shown(instant: datetime, zone: zoneinfo.ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(instant: datetime, zone: zoneinfo.ZoneInfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


@cache
def _zones() -> frozenset[str]:
    # What the machine is set to is no name of a place, and another machine may be set to something else.
    return frozenset(zoneinfo.available_timezones() - {"Factory", "localtime", "posixrules"})
