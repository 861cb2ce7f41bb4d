"""Schedules: each time comes to one task, whoever looks, whatever stops, and whatever the clock does."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest

from tallystick import audit, schedules, work
from tallystick.db import Database, Tx
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError
from tallystick.schedules import Firing, Plan, Schedule
from tallystick.worker import Worker
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.processes import kill, python

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DAILY = Plan("reporter", "report", {"report": "balances", "limit": Decimal("0.50")}, "30 2 * * *", "Europe/Prague")
HOURLY = dataclasses.replace(DAILY, cron="0 * * * *", time_zone="UTC")


@pytest.fixture
def clock(database: TestDatabase) -> Iterator[SetClock]:
    with closing(SetClock(database.owner_url, "2026-01-01T00:00:30")) as clock:
        yield clock


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def create(db: Database, plan: Plan = HOURLY, name: str = "s", principal: str = "anna", **changes: Any) -> Schedule:
    async with db.write() as tx:
        return await schedules.create(tx, principal, name, dataclasses.replace(plan, **changes))


async def fire(db: Database, limit: int = 500) -> list[Firing]:
    async with db.write() as tx:
        return await schedules.fire_due(tx, limit=limit)


async def get(db: Database, name: str = "s") -> Schedule:
    async with db.read() as tx:
        return await schedules.get(tx, name)


async def firings(db: Database, schedule_id: int) -> list[Firing]:
    async with db.read() as tx:
        return (await schedules.firings(tx, schedule_id, 100_000))[::-1]


async def tasks_of(db: Database, fired: Sequence[Firing]) -> list[work.Task]:
    async with db.read() as tx:
        return [await work.get(tx, each.task_id) for each in fired]


async def last_event(db: Database, schedule_id: int, verb: str | None = None) -> tuple[str, str, Any]:
    async with db.read() as tx:
        event = await audit.latest(tx, subject_kind="schedule", subject_id=schedule_id, verb=verb)
    assert event is not None
    return event.verb, event.principal, event.detail


# What a schedule is.


async def test_a_schedule_is_created_with_its_first_time_and_an_audit_event(db: Database, clock: SetClock) -> None:
    made = await create(db, DAILY)
    assert made == await get(db)
    assert (made.name, made.version, made.plan, made.state) == ("s", 1, DAILY, "active")
    assert made.next_at == at("2026-01-01T01:30")
    assert (made.created_by, made.created_at, made.set_by, made.set_at) == ("anna", at("2026-01-01T00:00:30")) * 2
    assert await last_event(db, made.id) == ("schedules.create", "anna", {"version": 1})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"agent": ""}, "name_malformed"), ({"type": "a b"}, "name_malformed"), ({"fire_at_field": "a b"}, "name_malformed"),
        ({"fire_at_field": "report"}, "fire_at_field_taken"), ({"priority": 1001}, "priority_out_of_range"),
        ({"payload": {"x": "y" * 65_536}}, "payload_too_large"), ({"cron": "* * * *"}, "cron_malformed"),
        ({"cron": "0 0 30 2 *"}, "cron_never_fires"), ({"cron": "*/5 2 29 3 */7"}, "cron_never_fires"),
        ({"cron": "*" + " " * 200 + "* * * *"}, "text_too_long"), ({"time_zone": "Europe/Brno"}, "unknown_time_zone"),
        ({"time_zone": "localtime"}, "unknown_time_zone"),
    ],
)  # fmt: skip
async def test_a_plan_that_makes_no_sense_is_refused_by_create_and_by_change(
    db: Database, changes: dict[str, Any], code: str
) -> None:
    await create(db, DAILY)
    # Each in a transaction of its own, which is rolled back as every refused call is.
    with pytest.raises(Invalid, match=code):
        async with db.write() as tx:
            await schedules.create(tx, "anna", "other", dataclasses.replace(DAILY, **changes))
    with pytest.raises(Invalid, match=code):
        async with db.write() as tx:
            await schedules.change(tx, "anna", "s", dataclasses.replace(DAILY, **changes))
    with pytest.raises(Invalid, match="name_malformed"):
        async with db.write() as tx:
            await schedules.create(tx, "anna", "a b", DAILY)
    assert (await get(db)).version == 1


async def test_a_name_is_of_one_schedule_until_that_is_removed(db: Database, clock: SetClock) -> None:
    first = await create(db)
    with pytest.raises(Conflict, match="schedule_exists"):
        await create(db)
    clock.set("2026-01-01T01:00")
    (fired,) = await fire(db)
    clock.set("2026-01-01T02:00")
    async with db.write() as tx:
        await schedules.remove(tx, "boss", "s")
    assert await fire(db) == []
    async with db.write() as tx:
        for verb in (schedules.pause, schedules.resume, schedules.remove):
            with pytest.raises(NotFound, match="unknown_schedule"):
                await verb(tx, "anna", "s")
        with pytest.raises(NotFound, match="unknown_schedule"):
            await schedules.change(tx, "anna", "s", DAILY)
        with pytest.raises(NotFound, match="unknown_schedule"):
            await schedules.get(tx, "s")
        assert await schedules.page(tx) == []
    assert await last_event(db, first.id) == ("schedules.remove", "boss", {})
    second = await create(db)
    assert second.id != first.id
    assert await firings(db, first.id) == [fired]
    assert await firings(db, second.id) == []


async def test_of_creations_of_one_name_at_once_one_succeeds(db: Database, clock: SetClock) -> None:
    async def attempt(number: int) -> str:
        try:
            return (await create(db, principal=f"p{number}")).created_by
        except Conflict as refusal:
            return refusal.code

    answers = Counter(await asyncio.gather(*(attempt(number) for number in range(6))))
    assert answers == {"schedule_exists": 5, (await get(db)).created_by: 1}


async def test_pages_by_agent_and_state_come_newest_first(db: Database, clock: SetClock) -> None:
    ids = [(await create(db, name=f"s{n}", agent="ab"[n % 2])).id for n in range(4)]
    async with db.write() as tx:
        await schedules.pause(tx, "anna", "s1")
        assert [each.id for each in await schedules.page(tx)] == ids[::-1]
        assert [each.id for each in await schedules.page(tx, agent="b")] == [ids[3], ids[1]]
        assert [each.id for each in await schedules.page(tx, state="paused")] == [ids[1]]
        assert [each.id for each in await schedules.page(tx, state="active", before=ids[3], limit=1)] == [ids[2]]
        assert await schedules.page(tx, state="ended") == []
        with pytest.raises(Invalid, match="unknown_status"):
            await schedules.page(tx, state="nonsense")


async def test_the_next_times_are_told_and_a_paused_schedule_has_none(db: Database, clock: SetClock) -> None:
    made = await create(db, DAILY)
    assert schedules.upcoming(made, 3) == [at("2026-01-01T01:30"), at("2026-01-02T01:30"), at("2026-01-03T01:30")]
    async with db.write() as tx:
        assert schedules.upcoming(await schedules.pause(tx, "anna", "s"), 3) == []


# What comes of it.


async def test_a_time_comes_to_one_task_in_the_name_of_who_created_it(db: Database, clock: SetClock) -> None:
    made = await create(db, priority=7)
    clock.set("2026-01-01T00:59:59")
    assert await fire(db) == []
    now = clock.set("2026-01-01T01:00:00.5")
    fired = await fire(db)
    assert [(each.schedule_id, each.fire_at, each.version, each.fired_at) for each in fired] == [
        (made.id, at("2026-01-01T01:00"), 1, now)
    ]
    (task,) = await tasks_of(db, fired)
    assert (task.agent, task.type, task.payload, task.priority) == ("reporter", "report", HOURLY.payload, 7)
    assert (task.created_by, task.status) == ("anna", "queued")
    assert (await get(db)).next_at == at("2026-01-01T02:00")
    assert await firings(db, made.id) == fired
    detail = {"fired": [[made.id, "2026-01-01T01:00:00+00:00", task.id]], "missed": []}
    assert await last_event(db, made.id) == ("schedules.fire", "tallystick", detail)
    assert await fire(db) == []


async def test_schedules_of_several_people_fire_together_each_in_its_own_name(db: Database, clock: SetClock) -> None:
    for n in range(6):
        await create(db, name=f"s{n}", principal=f"p{n % 3}", type=f"t{n}")
    clock.set("2026-01-01T01:00")
    found = await tasks_of(db, await fire(db))
    assert sorted((task.type, task.created_by) for task in found) == [(f"t{n}", f"p{n % 3}") for n in range(6)]


async def test_the_payload_says_what_time_the_task_is_for_where_that_is_wanted(db: Database, clock: SetClock) -> None:
    await create(db, catch_up="all", fire_at_field="for")
    clock.set("2026-01-01T02:30")
    found = await tasks_of(db, await fire(db))
    times = [task.payload["for"] for task in found]
    assert times == ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]
    assert found[0].payload == {**HOURLY.payload, "for": times[0]}


@pytest.mark.parametrize(
    ("catch_up", "now", "times", "missed"),
    [
        ("latest", "04:30", ["04:00"], "01:00"),
        ("latest", "01:30", ["01:00"], None),
        ("all", "04:30", ["01:00", "02:00", "03:00", "04:00"], None),
        ("none", "04:30", [], "01:00"),
        ("none", "04:01:00", ["04:00"], "01:00"),
        ("none", "04:01:01", [], "01:00"),
        ("none", "01:00", ["01:00"], None),
    ],
)
async def test_after_a_time_in_which_nobody_looked(
    db: Database, clock: SetClock, *, catch_up: str, now: str, times: list[str], missed: str | None
) -> None:
    made = await create(db, catch_up=catch_up)
    moment = clock.set(f"2026-01-01T{now}")
    fired = await fire(db)
    assert [f"{each.fire_at:%H:%M}" for each in fired] == times
    assert (await get(db)).next_at == moment.replace(minute=0, second=0) + HOUR
    _, _, detail = await last_event(db, made.id, "schedules.fire")
    assert detail["missed"] == ([] if missed is None else [[made.id, f"2026-01-01T{missed}:00+00:00"]])
    assert await fire(db) == []


async def test_ten_years_of_missed_minutes_are_one_task_at_once(db: Database, clock: SetClock) -> None:
    await create(db, cron="* * * * *")
    clock.set("2036-01-01T00:00:10")
    assert [each.fire_at for each in await fire(db)] == [at("2036-01-01T00:00")]
    assert (await get(db)).next_at == at("2036-01-01T00:01")


async def test_all_missed_times_come_in_order_a_bounded_number_at_once_and_hold_up_nobody(
    db: Database, clock: SetClock
) -> None:
    late = await create(db, name="late", cron="* * * * *", catch_up="all")
    clock.set("2026-01-01T01:00:00")
    await create(db, name="other", cron="* * * * *", catch_up="all")
    clock.set("2026-01-01T02:00:00")
    times: dict[int, list[datetime]] = {}
    sizes = []
    while fired := await fire(db, limit=50):
        sizes.append(len(fired))
        for each in fired:
            times.setdefault(each.schedule_id, []).append(each.fire_at)
    assert sum(sizes) == 180
    assert max(sizes) == 50
    assert times.pop(late.id) == [at("2026-01-01T00:01") + n * MINUTE for n in range(120)]
    assert times.popitem()[1] == [at("2026-01-01T01:01") + n * MINUTE for n in range(60)]


async def test_of_more_schedules_than_fit_those_that_wait_longest_come_first(db: Database, clock: SetClock) -> None:
    ids = [(await create(db, name=f"s{n}", cron=f"{9 - n} * * * *")).id for n in range(4)]
    clock.set("2026-01-01T00:30")
    assert [each.schedule_id for each in await fire(db, limit=3)] == [ids[3], ids[2], ids[1]]
    assert [each.schedule_id for each in await fire(db, limit=3)] == [ids[0]]
    async with db.write() as tx:
        for limit in (0, 501):
            with pytest.raises(Invalid, match="limit_out_of_range"):
                await schedules.fire_due(tx, limit=limit)


@pytest.mark.parametrize(
    ("zone", "begin", "text", "times"),
    [
        ("Europe/Prague", "2026-03-28T12:00", "30 2 * * *", ["29T01:00", "30T00:30"]),
        ("Europe/Prague", "2026-10-24T12:00", "30 2 * * *", ["25T00:30", "26T01:30"]),
        ("America/New_York", "2026-03-07T12:00", "30 2 * * *", ["08T07:00", "09T06:30"]),
        ("America/New_York", "2026-10-31T12:00", "30 1 * * *", ["01T05:30", "02T06:30"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "15 2 * * *", ["03T15:30", "04T15:15"]),
        ("Australia/Lord_Howe", "2026-04-04T12:00", "45 1 * * *", ["04T14:45", "05T15:15"]),
        (
            "Australia/Lord_Howe",
            "2026-04-04T14:00",
            "*/30 1 * * *",
            ["04T14:00", "04T14:30", "04T15:00", "05T14:30", "05T15:00"],
        ),
    ],
)
async def test_a_schedule_that_is_looked_at_every_quarter_of_an_hour_keeps_to_the_clock_of_its_place(
    db: Database, clock: SetClock, *, zone: str, begin: str, text: str, times: list[str]
) -> None:
    start = at(begin)
    clock.set(start - MINUTE)
    await create(db, cron=text, time_zone=zone, catch_up="none")
    found = []
    for step in range(44 * 4):
        clock.set(start + step * 15 * MINUTE)
        found += await fire(db)
    assert [f"{each.fire_at:%dT%H:%M}" for each in found] == times


# Pause, resume, change.


async def test_a_paused_schedule_does_not_fire_and_what_passed_does_not_come_later(db: Database, clock: SetClock) -> None:
    made = await create(db, catch_up="all")
    async with db.write() as tx:
        paused = await schedules.pause(tx, "boss", "s")
    assert (paused.state, paused.paused_by, paused.pause_reason) == ("paused", "boss", None)
    assert await last_event(db, made.id) == ("schedules.pause", "boss", {})
    clock.set("2026-01-01T05:30")
    assert await fire(db) == []
    async with db.write() as tx:
        resumed = await schedules.resume(tx, "boss", "s")
    assert (resumed.state, resumed.paused_at, resumed.next_at) == ("active", None, at("2026-01-01T06:00"))
    assert await last_event(db, made.id) == ("schedules.resume", "boss", {})
    assert await fire(db) == []
    clock.set("2026-01-01T06:00")
    assert [each.fire_at for each in await fire(db)] == [at("2026-01-01T06:00")]


async def test_pausing_twice_and_resuming_twice_change_nothing_and_are_not_recorded(db: Database, clock: SetClock) -> None:
    made = await create(db)
    for verb in (schedules.pause, schedules.resume):
        async with db.write() as tx:
            first = await verb(tx, "anna", "s")
        recorded = await last_event(db, made.id)
        clock.set("2026-01-01T00:00:40")
        async with db.write() as tx:
            assert await verb(tx, "boss", "s") == first
        assert await last_event(db, made.id) == recorded


async def test_a_change_is_a_new_version_in_the_name_of_who_made_it(db: Database, clock: SetClock) -> None:
    made = await create(db)
    clock.set("2026-01-01T01:00")
    first = await fire(db)
    plan = dataclasses.replace(HOURLY, payload={"report": "holds"})
    async with db.write() as tx:
        changed = await schedules.change(tx, "boris", "s", plan)
    assert (changed.version, changed.plan, changed.next_at) == (2, plan, at("2026-01-01T02:00"))
    assert (changed.created_by, changed.set_by) == ("anna", "boris")
    assert await last_event(db, made.id) == ("schedules.change", "boris", {"version": 2})
    clock.set("2026-01-01T02:00")
    second = await fire(db)
    assert [each.version for each in first + second] == [1, 2]
    assert [(task.created_by, task.payload["report"]) for task in await tasks_of(db, first + second)] == [
        ("anna", "balances"),
        ("boris", "holds"),
    ]
    async with db.read() as tx:
        assert await schedules.as_created(tx, made.id) == made


async def test_the_plan_that_a_schedule_has_already_changes_nothing(db: Database, clock: SetClock) -> None:
    made = await create(db)
    same = dataclasses.replace(HOURLY, cron=" 0  * * *\t*", payload=dict(list(HOURLY.payload.items())[::-1]))
    async with db.write() as tx:
        assert await schedules.change(tx, "boris", "s", same) == made
        # 0.50 and 0.5 are one number, and not one payload.
        other = dataclasses.replace(HOURLY, payload={**HOURLY.payload, "limit": Decimal("0.5")})
        assert (await schedules.change(tx, "boris", "s", other)).version == 2


async def test_other_times_count_from_the_change_and_the_same_times_from_where_they_were(db: Database, clock: SetClock) -> None:
    await create(db, catch_up="all")
    clock.set("2026-01-01T03:30")
    async with db.write() as tx:
        kept = await schedules.change(tx, "anna", "s", dataclasses.replace(HOURLY, catch_up="latest"))
        assert kept.next_at == at("2026-01-01T01:00")
        moved = await schedules.change(tx, "anna", "s", dataclasses.replace(HOURLY, cron="15 * * * *"))
        assert moved.next_at == at("2026-01-01T04:15")


async def test_a_schedule_in_the_hand_of_a_change_is_skipped_and_not_waited_for(db: Database, clock: SetClock) -> None:
    await create(db, name="held")
    free = await create(db, name="free")
    clock.set("2026-01-01T01:00")
    async with db.write() as tx:
        await schedules.pause(tx, "anna", "held")
        assert [each.schedule_id for each in await fire(db)] == [free.id]
    assert await fire(db) == []


async def test_a_pause_waits_for_the_firing_in_hand_and_holds_from_then_on(db: Database, clock: SetClock) -> None:
    await create(db)
    clock.set("2026-01-01T01:00")

    async def pause() -> Schedule:
        async with db.write() as tx:
            return await schedules.pause(tx, "anna", "s")

    async with db.write() as tx:
        fired = await schedules.fire_due(tx)
        pausing = asyncio.create_task(pause())
        await _until_somebody_waits(db)
        assert not pausing.done()
    assert (await pausing).next_at == at("2026-01-01T02:00")
    assert len(fired) == 1
    clock.set("2026-01-01T03:00")
    assert await fire(db) == []


async def test_changes_at_once_are_made_one_after_the_other_and_none_is_lost(db: Database, clock: SetClock) -> None:
    made = await create(db)

    async def change(number: int) -> None:
        async with db.write() as tx:
            before = await schedules.lock(tx, "s")
            plan = dataclasses.replace(before.plan, payload={**before.plan.payload, f"n{number}": number})
            await schedules.change(tx, f"p{number}", "s", plan)

    await asyncio.gather(*(change(number) for number in range(8)))
    changed = await get(db)
    assert changed.version == made.version + 8
    assert set(changed.payload) == {*HOURLY.payload, *(f"n{number}" for number in range(8))}


# What goes wrong.


async def _break(db: Database, owner_url: str, name: str, column: str, value: str) -> None:
    """Let a schedule say what no verb would have let it say, as if it had made sense when it was said."""
    made = await get(db, name)
    with psycopg.connect(owner_url, autocommit=True) as connection:
        columns = "schedule_id, n, agent, type, payload, cron, time_zone, priority, catch_up, set_by, set_at"
        values = columns.replace(column, "%(value)s").replace("schedule_id, n", "schedule_id, 2")
        insert = f"insert into schedules.version ({columns}) select {values} from schedules.version where schedule_id = %(id)s"
        connection.execute(insert.encode(), {"value": value, "id": made.id})
        connection.execute("update schedules.schedule set version = 2 where id = %s", (made.id,))


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("time_zone", "Mars/Base", "unknown_time_zone"),
        ("cron", "0 0 * * mars", "cron_malformed"),
        ("type", "a b", "name_malformed"),
    ],
)
async def test_a_schedule_that_cannot_fire_is_paused_and_says_why_and_the_others_fire(
    db: Database, database: TestDatabase, clock: SetClock, *, column: str, value: str, code: str
) -> None:
    bad, good = await create(db, name="bad"), await create(db, name="good")
    await _break(db, database.owner_url, "bad", column, value)
    clock.set("2026-01-01T01:00")
    fired = await fire(db)
    assert [(each.schedule_id, each.fire_at) for each in fired] == [(good.id, at("2026-01-01T01:00"))]
    paused = await get(db, "bad")
    assert (paused.state, paused.paused_by, paused.pause_reason) == ("paused", "tallystick", code)
    assert await last_event(db, bad.id) == ("schedules.pause", "tallystick", {"reason": code})
    assert (await get(db, "good")).next_at == at("2026-01-01T02:00")
    async with db.write() as tx:
        with pytest.raises(Invalid, match=code):
            await schedules.resume(tx, "anna", "bad")
        await schedules.change(tx, "anna", "bad", HOURLY)
        assert (await schedules.resume(tx, "anna", "bad")).next_at == at("2026-01-01T02:00")


async def test_a_clock_that_jumps_an_hour_either_way_fires_no_time_twice_and_misses_none(db: Database, clock: SetClock) -> None:
    made = await create(db, cron="*/10 * * * *", catch_up="all")
    moment = furthest = at("2026-01-01T00:30")
    for jump in (-HOUR, HOUR, HOUR, -HOUR, -HOUR, HOUR, -HOUR, HOUR):
        for _ in range(5):
            moment += 7 * MINUTE
            furthest = max(furthest, clock.set(moment))
            await fire(db)
        moment += jump
    clock.set(furthest)
    await fire(db)
    assert [each.fire_at for each in await firings(db, made.id)] == _wanted(made, furthest)
    assert furthest > at("2026-01-01T04:00")


async def test_a_time_that_has_fired_does_not_fire_again_when_the_clock_was_put_back(db: Database, clock: SetClock) -> None:
    made = await create(db, cron="*/10 * * * *", catch_up="all")
    clock.set("2026-01-01T01:00")
    assert len(await fire(db)) == 6
    clock.set("2026-01-01T00:15")
    async with db.write() as tx:
        await schedules.pause(tx, "anna", "s")
        assert (await schedules.resume(tx, "anna", "s")).next_at == at("2026-01-01T00:20")
    clock.set("2026-01-01T01:10")
    assert [each.fire_at for each in await fire(db)] == [at("2026-01-01T01:10")]
    assert [each.fire_at for each in await firings(db, made.id)] == [at("2026-01-01") + n * 10 * MINUTE for n in range(1, 8)]


async def test_a_scheduler_that_is_cut_off_before_its_commit_has_done_nothing(
    db: Database, database: TestDatabase, clock: SetClock
) -> None:
    made = await create(db)
    clock.set("2026-01-01T01:00")
    with pytest.raises(TallystickError):
        async with db.write() as tx:
            assert len(await schedules.fire_due(tx)) == 1
            with psycopg.connect(database.owner_url, autocommit=True) as connection:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and state = 'idle in transaction'"
                )
            await schedules.fire_due(tx)
    assert await firings(db, made.id) == []
    async with db.read() as read:
        assert await work.page(read) == []
    fired = await fire(db)
    assert [each.fire_at for each in fired] == [at("2026-01-01T01:00")]
    assert [task.id for task in await tasks_of(db, fired)] == [fired[0].task_id]


# Many schedulers at once.

TEXTS = ("* * * * *", "*/7 * * * *", "0,30 1-5 * * *", "15 * * * mon-fri", "30 2 * * *", "*/20 */2 * * *")
ZONES = ("UTC", "Europe/Prague", "America/New_York", "Australia/Lord_Howe")


async def _many(db: Database, catch_up: str) -> list[Schedule]:
    return [
        await create(db, name=f"s{n}-{m}", cron=text, time_zone=zone, catch_up=catch_up, principal=f"p{n % 3}")
        for n, text in enumerate(TEXTS)
        for m, zone in enumerate(ZONES)
    ]


def _wanted(made: Schedule, until: datetime) -> list[datetime]:
    """The times of a schedule up to a moment; that they are the right ones is seen in `test_cron.py`."""
    return [each for each in schedules.upcoming(made, 10_000) if each <= until]


async def _check_each_time_came_once(db: Database, made: Sequence[Schedule], until: datetime) -> int:
    found = [await firings(db, each.id) for each in made]
    for one, fired in zip(made, found, strict=True):
        assert [each.fire_at for each in fired] == _wanted(one, until), one.name
    task_ids = sorted(each.task_id for fired in found for each in fired)
    async with db.read() as tx:
        assert sorted(task.id for task in await work.page(tx, limit=100_000)) == task_ids
    assert len(set(task_ids)) == len(task_ids)
    return len(task_ids)


async def test_many_schedulers_at_once_fire_no_time_twice_and_miss_none(db: Database, clock: SetClock) -> None:
    start = clock.set("2026-03-28T20:00:30")
    made = await _many(db, "all")
    last = asyncio.Event()

    async def schedule(seed: int) -> int:
        chance, count = random.Random(seed), 0
        while True:
            ending = last.is_set()
            fired = await fire(db, limit=chance.choice((1, 3, 10, 100)))
            count += len(fired)
            if ending and not fired:
                return count
            await asyncio.sleep(0)

    async def tick() -> datetime:
        moment, chance = start, random.Random(0)
        for _ in range(60):
            moment = await asyncio.to_thread(clock.set, moment + chance.randint(20, 900) * timedelta(seconds=1))
        last.set()
        return moment

    until, counts = await asyncio.gather(tick(), asyncio.gather(*(schedule(seed) for seed in range(8))))
    total = await _check_each_time_came_once(db, made, until)
    assert total == sum(counts) > 1000
    assert sum(count > 0 for count in counts) > 1


_SCHEDULER = """
import asyncio, random, sys
from tallystick import schedules
from tallystick.db import Database

async def main(url, seed):
    database = Database(url)
    await database.open()
    print("ready", flush=True)
    while True:
        async with database.write() as tx:
            await schedules.fire_due(tx, limit=random.Random(seed).choice((1, 5, 50)))
            await asyncio.sleep(0)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.faults
async def _until(db: Database, holds: LiteralString) -> None:
    async with asyncio.timeout(30), await psycopg.AsyncConnection.connect(db.url, autocommit=True) as connection:
        while await (await connection.execute(holds)).fetchone() != (True,):
            await asyncio.sleep(0.01)


async def test_schedulers_that_are_killed_at_any_moment_lose_nothing_and_do_nothing_twice(
    db: Database, database: TestDatabase, clock: SetClock
) -> None:
    moment = clock.set("2026-10-24T20:00:30")
    made = await _many(db, "all")
    chance = random.Random(1)

    def start() -> subprocess.Popen[str]:
        process = python(_SCHEDULER, database.app_url, str(chance.random()))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    running = [start() for _ in range(3)]
    try:
        for _ in range(6):
            moment = clock.set(moment + chance.randint(5, 120) * MINUTE)
            await asyncio.sleep(chance.random() * 0.1)
            victim = running.pop(0)
            kill(victim.pid)
            victim.communicate()
            running.append(await asyncio.to_thread(start))
    finally:
        for process in running:
            kill(process.pid)
            process.communicate()
    # The server may still be at work for one that was killed, and what it has locked is left alone.
    await _until(
        db,
        """select not exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
             and state in ('active', 'idle in transaction'))""",
    )
    while await fire(db):
        pass
    assert await _check_each_time_came_once(db, made, moment) > 300


# The worker.


class Reporter:
    """Does nothing, and remembers for what."""

    name = "reporter"
    types = ("report",)

    def __init__(self) -> None:
        self.done: list[int] = []

    async def run(self, tx: Tx, claimed: Sequence[work.Claimed]) -> list[work.Finish]:
        self.done += [each.task_id for each in claimed]
        return [work.Finish(each.task_id, each.fence, "done") for each in claimed]


async def test_a_worker_fires_what_is_due_and_carries_it_out_in_the_same_round(db: Database, clock: SetClock) -> None:
    made = await create(db, catch_up="all")
    clock.set("2026-01-01T03:00")
    reporter = Reporter()
    await Worker(db, [reporter]).round(asyncio.Event())
    fired = await firings(db, made.id)
    assert len(fired) == 3
    assert reporter.done == [each.task_id for each in fired]


async def _until_somebody_waits(db: Database) -> None:
    await _until(
        db, "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
    )
