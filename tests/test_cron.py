"""Cron texts and the times they fire at: against a scan of every minute, and where clocks are put forward and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tallystick.kit import Invalid
from tallystick.schedules.cron import Cron, parse_cron
from tallystick.schedules.times import newest_time, next_time, zone_of

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_EXAMPLES = int(os.environ.get("TALLYSTICK_TEST_EXAMPLES", "80"))

CHANGES = [
    ("Europe/Prague", "2026-03-29"), ("Europe/Prague", "2026-10-25"),
    ("America/New_York", "2026-03-08"), ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),  # by half an hour
    ("America/Santiago", "2026-04-05"), ("America/Santiago", "2026-09-06"),  # at midnight
    ("Asia/Beirut", "2026-03-29"), ("Asia/Beirut", "2026-10-25"),  # the day begins twice
    ("Africa/Casablanca", "2026-02-15"), ("Africa/Casablanca", "2026-03-22"),  # back first, forward later
    ("Antarctica/Troll", "2026-03-29"), ("Antarctica/Troll", "2026-10-25"),  # by two hours
    ("America/St_Johns", "2010-03-14"), ("America/St_Johns", "2010-11-07"),  # a minute after midnight
    ("Asia/Pyongyang", "2015-08-15"), ("America/Caracas", "2016-05-01"), ("Pacific/Apia", "2011-12-30"),  # a day is left out
    ("UTC", "2026-01-01"),
]  # fmt: skip
"""Places and days on which the clock is changed."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    return list(_times(parse_cron(text), zone_of(zone), start, end))


def _times(cron: Cron, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    found = next_time(cron, zone, start)
    while found is not None and found < end:
        yield found
        found = next_time(cron, zone, found)


def shown(text: str, zone: str, day: str) -> list[str]:
    """The local times at which a text fires on a day, with their offsets."""
    place = zone_of(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=place)
    end = (datetime.fromisoformat(day) + DAY).replace(tzinfo=place)
    found = times(text, zone, start.astimezone(UTC) - MINUTE, end.astimezone(UTC))
    return [f"{each.astimezone(place):%H:%M%z}" for each in found]


# The other way to say it, as simple as can be: look at every minute.


def _numbers(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = ("", "", "") if span == "*" else span.partition("-")
        begin = low if span == "*" else int(first)
        end = int(last) if last else (high if span == "*" or step else begin)
        found |= {
            number for number in range(low, high + 1) if begin <= number <= end and (number - begin) % int(step or 1) == 0
        }
    return found


def _meant(text: str) -> Callable[[datetime], bool]:
    fields = text.split()
    minute, hour, day, month, weekday = (_numbers(field, *bounds) for field, bounds in zip(fields, FIELDS, strict=True))
    both = fields[2].startswith("*") or fields[4].startswith("*")

    def meant(local: datetime) -> bool:
        days = (local.day in day, bool({local.isoweekday(), local.isoweekday() % 7} & weekday))
        return local.minute in minute and local.hour in hour and local.month in month and (all(days) if both else any(days))

    return meant


@lru_cache(maxsize=1_000_000)
def _local(place: ZoneInfo, instant: datetime) -> datetime:
    return instant.astimezone(place).replace(tzinfo=None, fold=0)


def scanned(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Every minute on which the text fires, by looking at each: a time of the day fires when the clock has first come to it."""
    meant, place = _meant(text), zone_of(zone)
    by_the_clock = any(field.startswith("*") for field in text.split()[:2])
    found: list[datetime] = []
    furthest = _local(place, start - 2 * DAY)
    for number in range(int((end - start + 2 * DAY) / MINUTE)):
        instant = start - 2 * DAY + number * MINUTE
        local = _local(place, instant)
        passed = int((local - furthest) / MINUTE)
        fires = meant(local) if by_the_clock else any(meant(furthest + k * MINUTE) for k in range(1, passed + 1))
        furthest = max(furthest, local)
        if fires and instant > start:
            found.append(instant)
    return found


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span, number.map(str)), st.integers(1, 30)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    items = st.lists(st.one_of(number.map(str), span, step), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), items)


# Most fields of the day are `*`, so that something fires on the days that are looked at.
TEXTS = st.tuples(
    _field(0, 59), st.one_of(_field(0, 23), _field(0, 3)), *(st.one_of(st.just("*"), _field(*bounds)) for bounds in FIELDS[2:])
).map(" ".join)


@settings(max_examples=_EXAMPLES, deadline=None)
@given(text=TEXTS, change=st.sampled_from(CHANGES), before_min=st.integers(0, 1500), after_s=st.integers(0, 4 * 86_400))
@example(text="*/21 * * */9 4-6", change=("Asia/Beirut", "2026-10-25"), before_min=1460, after_s=0)
@example(text="30 2 * * *", change=("Europe/Prague", "2026-10-25"), before_min=0, after_s=74_700)
def test_the_times_are_those_that_a_scan_of_every_minute_finds(
    text: str, change: tuple[str, str], before_min: int, after_s: int
) -> None:
    zone, day = change
    start = at(day) - before_min * MINUTE
    end = start + 3 * DAY
    try:
        cron = parse_cron(text)
    except Invalid:
        assert scanned(text, zone, start, end) == []
        return
    wanted = scanned(text, zone, start, end)
    assert times(text, zone, start, end) == wanted
    moment = start + timedelta(seconds=after_s)
    following = next_time(cron, zone_of(zone), moment)
    assert following == next((each for each in wanted if each > moment), following)
    passed = [each for each in wanted if each <= moment]
    if passed and moment < end:
        assert newest_time(cron, zone_of(zone), passed[0], moment) == passed[-1]


@settings(max_examples=_EXAMPLES, deadline=None)
@given(
    text=TEXTS,
    zone=st.sampled_from(sorted({zone for zone, _ in CHANGES})),
    days=st.integers(0, 20_000),
    minutes=st.integers(0, 1439),
)
def test_the_next_time_is_later_and_shown_by_the_clock_and_none_lies_between(
    text: str, zone: str, days: int, minutes: int
) -> None:
    try:
        cron = parse_cron(text)
    except Invalid:
        return
    start = at("1990-01-01") + days * DAY + minutes * MINUTE
    found = next_time(cron, zone_of(zone), start)
    if found is None:
        return
    assert found > start
    assert next_time(cron, zone_of(zone), found - MINUTE) == found
    assert next_time(cron, zone_of(zone), start + (found - start) / 2) == found
    # A day before it and a day after it every minute is looked at.
    low, high = max(start, found - DAY), found + DAY
    assert times(text, zone, low, high) == scanned(text, zone, low, high)


SPRING = [
    ("Europe/Prague", "2026-03-29", "30 2 * * *", "03:00+0200"),
    ("Europe/Prague", "2026-03-29", "0,30 2 * * *", "03:00+0200"),
    ("Europe/Prague", "2026-03-29", "15 2,3 * * *", "03:00+0200 03:15+0200"),
    ("Europe/Prague", "2026-03-29", "0 3 * * *", "03:00+0200"),
    ("Europe/Prague", "2026-03-29", "*/30 1-3 * * *", "01:00+0100 01:30+0100 03:00+0200 03:30+0200"),
    ("Europe/Prague", "2026-03-29", "*/30 2 * * *", ""),
    ("Europe/Prague", "2026-03-29", "0 */8 * * *", "00:00+0100 08:00+0200 16:00+0200"),
    ("Europe/Prague", "2026-03-29", "5 */2 29 * *", "00:05+0100 " + " ".join(f"{hour:02}:05+0200" for hour in range(4, 24, 2))),
    ("America/New_York", "2026-03-08", "30 2 * * *", "03:00-0400"),
    ("America/New_York", "2026-03-08", "30 2 * * 1-6", ""),
    ("America/New_York", "2026-03-08", "*/30 1-3 * * *", "01:00-0500 01:30-0500 03:00-0400 03:30-0400"),
    ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", "02:30+1100"),
    ("Australia/Lord_Howe", "2026-10-04", "45 2 * * *", "02:45+1100"),
    ("Australia/Lord_Howe", "2026-10-04", "*/20 2,3 * * *", "02:40+1100 03:00+1100 03:20+1100 03:40+1100"),
    ("America/Santiago", "2026-09-06", "15 0 * * *", "01:00-0300"),
]
AUTUMN = [
    ("Europe/Prague", "2026-10-25", "30 2 * * *", "02:30+0200"),
    ("Europe/Prague", "2026-10-25", "0 3 * * *", "03:00+0100"),
    ("Europe/Prague", "2026-10-25", "*/30 2 * * *", "02:00+0200 02:30+0200 02:00+0100 02:30+0100"),
    ("Europe/Prague", "2026-10-25", "0 */2 * * *",
     "00:00+0200 02:00+0200 02:00+0100 " + " ".join(f"{hour:02}:00+0100" for hour in range(4, 24, 2))),
    ("America/New_York", "2026-11-01", "30 1 * * *", "01:30-0400"),
    ("America/New_York", "2026-11-01", "30 * * * 0",
     "00:30-0400 01:30-0400 " + " ".join(f"{hour:02}:30-0500" for hour in range(1, 24))),
    ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", "01:45+1100"),
    ("Australia/Lord_Howe", "2026-04-05", "*/20 1 * * *", "01:00+1100 01:20+1100 01:40+1100 01:40+1030"),
    ("Australia/Lord_Howe", "2026-04-05", "0 2 * * *", "02:00+1030"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "day", "text", "wanted"), SPRING)
def test_where_the_clock_is_put_forward(zone: str, day: str, text: str, wanted: str) -> None:
    assert shown(text, zone, day) == wanted.split()


@pytest.mark.parametrize(("zone", "day", "text", "wanted"), AUTUMN)
def test_where_the_clock_is_put_back(zone: str, day: str, text: str, wanted: str) -> None:
    assert shown(text, zone, day) == wanted.split()


def test_a_time_of_the_day_fires_once_on_each_day_of_every_zone_that_has_that_day() -> None:
    for zone in sorted({zone for zone, _ in CHANGES}):
        found = times("30 2 * * *", zone, at("2024-12-31T12:00"), at("2035-12-31T12:00"))
        assert len({each.astimezone(zone_of(zone)).date() for each in found}) == len(found) == 11 * 365 + 2, zone


def test_a_time_of_the_day_that_was_shown_before_the_clock_went_back_does_not_fire_again() -> None:
    second_quarter_past_two = at("2026-10-25T01:15")
    assert next_time(parse_cron("30 2 * * *"), zone_of("Europe/Prague"), second_quarter_past_two) == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0 12 13 * fri", ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16"]),
        ("0 12 13 * *", ["2026-01-13", "2026-02-13", "2026-03-13"]),
        ("0 12 */2 * mon", ["2026-01-05", "2026-01-19", "2026-02-09"]),
        ("0 12 * feb 7", ["2026-02-01", "2026-02-08"]),
        ("0 12 * FEB Sun", ["2026-02-01", "2026-02-08"]),
        ("0 12 29 2 *", ["2028-02-29", "2032-02-29"]),
        ("0 12 29 2 */7", ["2032-02-29", "2060-02-29"]),
        ("0 12 31 4,6 2", ["2026-04-07"]),
        ("0 12 30/1 1-3 *", ["2026-01-30", "2026-01-31", "2026-03-30"]),
    ],
)
def test_days_of_the_month_and_of_the_week(text: str, wanted: list[str]) -> None:
    found = islice(_times(parse_cron(text), zone_of("UTC"), at("2026-01-01"), at("2070-01-01")), len(wanted))
    assert [f"{each:%Y-%m-%d}" for each in found] == wanted


def test_a_leap_day_that_has_to_be_a_certain_day_of_the_week_is_found_forty_years_away() -> None:
    cron = parse_cron("0 0 29 2 */7")
    assert next_time(cron, zone_of("UTC"), at("2088-03-01")) == at("2128-02-29")


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *",
     "* * * * 8", "-1 * * * *", "5-1 * * * *", "*/0 * * * *", "1/0 * * * *", "a * * * *", "* * * foo *", "* * * * mondays",
     "jan * * * *", "1,,2 * * * *", ",1 * * * *", "1- * * * *", "** * * * *", "*-5 * * * *", "1.5 * * * *", "1/*/2 * * * *",
     "٣ * * * *", "1 2 L * *", "1 2 * * 5#1", "? * * * *", "* * * * mon-sun", "000 * * * *", "1/100 * * * *"],
)  # fmt: skip
def test_what_is_no_cron_text_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cron_malformed"):
        parse_cron(text)


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 apr */2", "* * 30-31 2 *"])
def test_a_text_that_never_fires_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cron_never_fires"):
        parse_cron(text)


def test_a_text_that_is_too_long_is_refused() -> None:
    longest = ",".join(str(minute) for minute in range(60)) + " * * * *"
    assert parse_cron(longest).minutes == tuple(range(60))
    with pytest.raises(Invalid, match="text_too_long"):
        parse_cron(longest + " " * 200)


def test_times_that_no_clock_of_the_zone_ever_shows_have_no_next_one() -> None:
    # The last Sunday of March from the 29th on is the day on which Prague leaves this hour out.
    assert next_time(parse_cron("*/5 2 29 3 */7"), zone_of("Europe/Prague"), at("2026-01-01")) is None
    assert next_time(parse_cron("5 2 29 3 */7"), zone_of("Europe/Prague"), at("2026-01-01")) == at("2026-03-29T01:00")


@pytest.mark.parametrize(
    "name", ["", "Europe/Brno", "europe/prague", "../etc/passwd", "/etc/localtime", "localtime", "Prague\x00", "x" * 9000]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="unknown_time_zone"):
        zone_of(name)


def test_the_end_of_all_time_is_no_error() -> None:
    assert next_time(parse_cron("* * * * *"), zone_of("Europe/Prague"), datetime.max.replace(tzinfo=UTC) - DAY) is None
