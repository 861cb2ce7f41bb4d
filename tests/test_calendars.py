"""Business-day calendars: the rules of days, cut-offs across changes of the clock, and what is refused."""

from __future__ import annotations

import dataclasses
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import audit, closing
from tallystick.closing import Calendar, CalendarRules, CalendarSpec
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound

HOLIDAYS = {
    date(2026, 1, 1): "New Year",
    date(2026, 4, 3): "Good Friday",
    date(2026, 4, 6): "Easter Monday",
    date(2026, 5, 1): "Labour Day",
    date(2026, 12, 25): "Christmas Day",
}
ZONES = ["Europe/Prague", "America/New_York", "Atlantic/Azores", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
DAY = timedelta(days=1)
MANY = {date(2026, 1, 1) + DAY * number: "x" for number in range(1001)}


def rules(number: int = 1, **changes: Any) -> CalendarRules:
    """Rules for 2026 in Prague, with a cut-off at five."""
    values: dict[str, Any] = {
        "id": number,
        "name": "CZ",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
        "time_zone": "Europe/Prague",
        "cut_off_min": 17 * 60,
        "weekend": (6, 7),
        "holiday_days": list(HOLIDAYS),
        "holiday_names": list(HOLIDAYS.values()),
        "created_by": "me",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    } | changes
    return CalendarRules(**values)


def calendar(**changes: Any) -> Calendar:
    return Calendar("CZ", [rules(**changes)])


def spec(name: str = "CZ", **changes: Any) -> CalendarSpec:
    values: dict[str, Any] = {
        "name": name,
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
        "time_zone": "Europe/Prague",
        "cut_off_min": 17 * 60,
        "holidays": HOLIDAYS,
    } | changes
    return CalendarSpec(**values)


days = st.dates(date(2026, 2, 1), date(2026, 11, 30))
cut_offs = st.integers(1, 1440)


def test_weekends_and_holidays_are_no_business_days() -> None:
    of_easter = [day for day in range(1, 9) if calendar().is_business_day(date(2026, 4, day))]
    assert of_easter == [1, 2, 7, 8]


def test_neighbours_skip_what_is_no_business_day() -> None:
    assert calendar().next_business_day(date(2026, 4, 2)) == date(2026, 4, 7)
    assert calendar().previous_business_day(date(2026, 4, 7)) == date(2026, 4, 2)
    assert calendar().next_business_day(date(2026, 4, 4)) == date(2026, 4, 7)


@pytest.mark.parametrize(
    ("day", "following", "modified", "preceding"),
    [
        (date(2026, 4, 2), date(2026, 4, 2), date(2026, 4, 2), date(2026, 4, 2)),
        (date(2026, 4, 4), date(2026, 4, 7), date(2026, 4, 7), date(2026, 4, 2)),
        (date(2026, 5, 31), date(2026, 6, 1), date(2026, 5, 29), date(2026, 5, 29)),
        (date(2026, 5, 1), date(2026, 5, 4), date(2026, 5, 4), date(2026, 4, 30)),
        (date(2026, 1, 31), date(2026, 2, 2), date(2026, 1, 30), date(2026, 1, 30)),
    ],
)
def test_a_day_rolls_by_each_convention(day: date, following: date, modified: date, preceding: date) -> None:
    assert calendar().roll(day, "following") == following
    assert calendar().roll(day, "modified_following") == modified
    assert calendar().roll(day, "preceding") == preceding


@given(days, st.integers(-15, 15))
def test_adding_business_days_counts_those_on_the_way(day: date, count: int) -> None:
    found = calendar().add_business_days(day, count)
    assert calendar().is_business_day(found)
    between = [day + DAY * step for step in range((found - day).days + 1)][1:] if found >= day else []
    before = [found + DAY * step for step in range((day - found).days)] if found < day else []
    if count > 0:
        assert sum(calendar().is_business_day(one) for one in between) == count
    elif count < 0:
        assert sum(calendar().is_business_day(one) for one in before) == -count
    else:
        assert found == calendar().roll(day, "following")


@given(days, st.integers(1, 15))
def test_from_a_business_day_there_and_back_is_where_one_was(day: date, count: int) -> None:
    start = calendar().roll(day, "preceding")
    assert calendar().add_business_days(calendar().add_business_days(start, count), -count) == start


@given(days, st.sampled_from(["following", "modified_following", "preceding"]))
def test_a_rolled_day_is_a_business_day_and_stays_so(day: date, convention: closing.Roll) -> None:
    rolled = calendar().roll(day, convention)
    assert calendar().is_business_day(rolled)
    assert calendar().roll(rolled, convention) == rolled
    if convention == "modified_following":
        assert rolled.month == day.month


@given(st.dates(date(2026, 1, 2), date(2026, 12, 30)))
def test_the_day_after_the_day_before_is_a_business_day_itself(day: date) -> None:
    if calendar().is_business_day(day) and day > date(2026, 1, 2):
        assert calendar().next_business_day(calendar().previous_business_day(day)) == day


def test_what_a_calendar_says_nothing_of_is_refused() -> None:
    for ask in (
        lambda: calendar().is_business_day(date(2027, 1, 4)),
        lambda: calendar().next_business_day(date(2026, 12, 31)),
        lambda: calendar().previous_business_day(date(2026, 1, 2)),
        lambda: calendar().add_business_days(date(2026, 6, 1), 1000),
        lambda: calendar().cut_off(date(2025, 6, 2)),
        lambda: calendar().business_date_of(datetime(2027, 3, 1, tzinfo=UTC)),
        lambda: calendar().business_date_of(datetime(2026, 12, 31, 17, tzinfo=UTC)),
    ):
        with pytest.raises(Invalid, match="calendar_ends"):
            ask()


def test_newer_rules_speak_for_the_days_they_cover() -> None:
    shorter = rules(2, valid_from=date(2026, 7, 1), cut_off_min=12 * 60, holiday_days=[], holiday_names=[])
    both = Calendar("CZ", [shorter, rules(1)])
    assert both.cut_off(date(2026, 6, 30)) == datetime(2026, 6, 30, 15, tzinfo=UTC)
    assert both.cut_off(date(2026, 7, 1)) == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert not both.is_business_day(date(2026, 5, 1))
    assert both.is_business_day(date(2026, 12, 25))


@pytest.mark.parametrize(
    ("day", "minutes", "instant"),
    [
        (date(2026, 3, 28), 17 * 60, "2026-03-28T16:00Z"),
        (date(2026, 3, 29), 17 * 60, "2026-03-29T15:00Z"),
        (date(2026, 10, 24), 17 * 60, "2026-10-24T15:00Z"),
        (date(2026, 10, 25), 17 * 60, "2026-10-25T16:00Z"),
        # On 29 March clocks go from 02:00 to 03:00, at 01:00 UTC: 02:30 is never shown.
        (date(2026, 3, 29), 2 * 60, "2026-03-29T01:00Z"),
        (date(2026, 3, 29), 2 * 60 + 30, "2026-03-29T01:00Z"),
        (date(2026, 3, 29), 3 * 60, "2026-03-29T01:00Z"),
        (date(2026, 3, 29), 3 * 60 + 1, "2026-03-29T01:01Z"),
        # On 25 October they go from 03:00 back to 02:00, at 01:00 UTC: 02:30 is shown at 00:30 and at 01:30 UTC.
        (date(2026, 10, 25), 2 * 60, "2026-10-25T01:00Z"),
        (date(2026, 10, 25), 2 * 60 + 30, "2026-10-25T01:30Z"),
        (date(2026, 10, 25), 3 * 60, "2026-10-25T02:00Z"),
        (date(2026, 3, 29), 24 * 60, "2026-03-29T22:00Z"),
        (date(2026, 10, 25), 24 * 60, "2026-10-25T23:00Z"),
    ],
)
def test_the_cut_off_is_right_across_changes_of_the_clock(day: date, minutes: int, instant: str) -> None:
    assert calendar(cut_off_min=minutes, weekend=()).cut_off(day) == datetime.fromisoformat(instant)


@given(st.sampled_from(ZONES), st.dates(date(2026, 1, 3), date(2026, 12, 28)), cut_offs)
def test_a_cut_off_is_the_first_instant_at_which_the_clock_shows_it_for_good(zone: str, day: date, minutes: int) -> None:
    at = calendar(time_zone=zone, cut_off_min=minutes, weekend=()).cut_off(day)
    wanted = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)

    def shown(instant: datetime) -> datetime:
        return instant.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)

    second = timedelta(seconds=1)
    assert shown(at - second) < wanted
    assert all(shown(at + timedelta(minutes=later)) >= wanted for later in range(0, 180, 5))


@given(
    st.sampled_from(ZONES),
    cut_offs,
    st.datetimes(datetime(2026, 2, 1), datetime(2026, 11, 30), timezones=st.just(UTC)),
)
def test_an_instant_belongs_to_the_first_business_day_whose_cut_off_is_after_it(zone: str, minutes: int, at: datetime) -> None:
    cal = calendar(time_zone=zone, cut_off_min=minutes)
    wanted = next(
        day for day in (at.date() + DAY * step for step in range(-4, 12)) if cal.is_business_day(day) and cal.cut_off(day) > at
    )
    assert cal.business_date_of(at) == wanted


@given(st.sampled_from(ZONES), cut_offs, days)
def test_a_cut_off_belongs_to_the_next_day_and_the_moment_before_it_to_its_own(zone: str, minutes: int, day: date) -> None:
    cal = calendar(time_zone=zone, cut_off_min=minutes)
    day = cal.roll(day, "following")
    assert cal.business_date_of(cal.cut_off(day)) == cal.next_business_day(day)
    assert cal.business_date_of(cal.cut_off(day) - timedelta(microseconds=1)) == day


def test_what_is_put_back_over_midnight_still_belongs_to_the_day() -> None:
    # In Havana on 1 November 2026, 01:00 becomes 00:00 again; the midnight that ends 31 October comes twice.
    cal = calendar(time_zone="America/Havana", cut_off_min=1440, weekend=())
    assert cal.cut_off(date(2026, 10, 31)) == datetime(2026, 11, 1, 5, tzinfo=UTC)
    assert cal.business_date_of(datetime(2026, 11, 1, 4, 30, tzinfo=UTC)) == date(2026, 10, 31)


@pytest.mark.parametrize(("text", "minutes"), [("00:01", 1), ("17:00", 1020), ("23:59", 1439), ("24:00", 1440)])
def test_a_cut_off_is_written_as_it_is_read(text: str, minutes: int) -> None:
    assert closing.parse_cut_off(text) == minutes
    assert closing.format_cut_off(minutes) == text


@pytest.mark.parametrize(
    "text",
    ["", "00:00", "24:01", "25:00", "7:00", "17:60", "17.00", "noon", "17:00:00", "\u0660\u0669:00", "17:00\n"],
)
def test_a_malformed_cut_off_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cut_off_malformed"):
        closing.parse_cut_off(text)


async def test_a_calendar_is_stored_as_it_was_given_and_recorded(db: Database) -> None:
    async with db.write() as tx:
        made = await closing.add_calendar(tx, "me", spec())
        found = await closing.calendar(tx, "CZ")
        event = await audit.latest(tx, subject_kind="calendar", subject_id=made.id)
    assert found == Calendar("CZ", [made])
    assert made.holidays == HOLIDAYS
    assert (made.weekend, made.cut_off_min, made.time_zone, made.created_by) == ([6, 7], 1020, "Europe/Prague", "me")
    assert event is not None
    assert (event.verb, event.detail["holidays"]) == ("closing.add_calendar", 5)


async def test_what_is_added_later_speaks_first(db: Database) -> None:
    async with db.write() as tx:
        await closing.add_calendar(tx, "me", spec())
        await closing.add_calendar(tx, "me", spec("TARGET"))
        await closing.add_calendar(tx, "me", spec(holidays={}, weekend=(7,)))
        found = await closing.calendar(tx, "CZ")
        assert [row.name for row in await closing.calendars(tx)] == ["CZ", "TARGET", "CZ"]
        assert await closing.calendar_names(tx) == ["CZ", "TARGET"]
    assert found.is_business_day(date(2026, 5, 2))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "no name"}, "name_malformed"),
        ({"time_zone": "Europe/Atlantis"}, "unknown_time_zone"),
        ({"time_zone": "../../etc/passwd"}, "unknown_time_zone"),
        ({"time_zone": "America"}, "unknown_time_zone"),
        ({"time_zone": ""}, "unknown_time_zone"),
        ({"cut_off_min": 0}, "calendar_malformed"),
        ({"cut_off_min": 1441}, "calendar_malformed"),
        ({"valid_until": date(2025, 12, 31), "holidays": {}}, "calendar_malformed"),
        ({"valid_from": date(1800, 1, 1)}, "calendar_malformed"),
        ({"valid_until": date(9999, 1, 1)}, "calendar_malformed"),
        ({"weekend": (1, 2, 3, 4, 5, 6, 7)}, "calendar_malformed"),
        ({"weekend": (0,)}, "calendar_malformed"),
        ({"weekend": (6, 6)}, "calendar_malformed"),
        ({"holidays": {date(2027, 1, 1): "New Year"}}, "calendar_malformed"),
        ({"holidays": {date(2026, 1, 1): " "}}, "calendar_malformed"),
        ({"holidays": {date(2026, 1, 1): "x" * 201}}, "text_too_long"),
        ({"holidays": {date(2026, 1, 1): "a\x00"}}, "text_malformed"),
        ({"valid_until": date(2030, 1, 1), "holidays": MANY}, "calendar_malformed"),
    ],
)  # fmt: skip
async def test_a_calendar_that_makes_no_sense_is_refused(db: Database, changes: dict[str, Any], code: str) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match=code):
            await closing.add_calendar(tx, "me", spec(**changes))
        assert await closing.calendars(tx) == []


async def test_an_unknown_calendar_is_not_found(db: Database) -> None:
    async with db.read() as tx:
        with pytest.raises(NotFound, match="unknown_calendar"):
            await closing.calendar(tx, "CZ")


async def test_what_closed_days_were_measured_by_is_never_changed(db: Database) -> None:
    old = spec(valid_from=date(2024, 1, 1), holidays={})
    async with db.write() as tx:
        await closing.add_calendar(tx, "me", old)
        await closing.begin(tx, date(2024, 3, 6), calendar="CZ", actor="me")
        for day in (date(2024, 1, 1), date(2024, 3, 6)):
            with pytest.raises(Conflict, match="business_day_begun"):
                await closing.add_calendar(tx, "me", dataclasses.replace(old, valid_from=day))
        changed = await closing.add_calendar(tx, "me", dataclasses.replace(old, valid_from=date(2024, 3, 7), cut_off_min=600))
        await closing.add_calendar(tx, "me", spec("TARGET"))
        found = await closing.calendar(tx, "CZ")
    assert found.rules_on(date(2024, 3, 7)) == changed
    assert found.cut_off(date(2024, 3, 6)) == datetime(2024, 3, 6, 16, tzinfo=UTC)
