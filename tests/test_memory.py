"""Shared memory: events that agents leave for each other."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tallystick import audit, memory
from tallystick.db import Database
from tallystick.kit import Invalid, dumps, loads


async def _publish(db: Database, agent: str, count: int) -> list[int]:
    async with db.write() as tx:
        return [(await memory.publish(tx, "me", agent=agent, type="t", payload={"n": n})).id for n in range(count)]


async def test_an_event_is_read_back_with_its_numbers_exact(db: Database) -> None:
    async with db.write() as tx:
        event = await memory.publish(tx, "me", agent="risk_agent", type="score", payload={"score": Decimal("82.10")})
    async with db.read() as tx:
        (found,) = await memory.recent(tx, "risk_agent")
    assert found == event
    assert str(found.payload["score"]) == "82.10"


async def test_recent_events_come_newest_first_and_are_bounded(db: Database) -> None:
    ids = await _publish(db, "a", 25)
    await _publish(db, "b", 1)
    async with db.read() as tx:
        recent = await memory.recent(tx, "a")
        nothing = await memory.recent(tx, "nobody")
    assert [event.id for event in recent] == ids[:4:-1]
    assert nothing == []


async def test_pages_of_all_agents_or_of_one_cover_everything_once(db: Database) -> None:
    ids = [*await _publish(db, "a", 3), *await _publish(db, "b", 3), *await _publish(db, "a", 3)]
    seen: list[int] = []
    async with db.read() as tx:
        while page := await memory.page(tx, before=seen[-1] if seen else None, limit=4):
            seen += [event.id for event in page]
        of_b = await memory.page(tx, agent="b")
    assert seen == ids[::-1]
    assert [event.id for event in of_b] == ids[5:2:-1]


async def test_publishing_is_on_the_record(db: Database) -> None:
    (event_id,) = await _publish(db, "a", 1)
    async with db.read() as tx:
        recorded = await audit.latest(tx, subject_kind="event", subject_id=event_id)
    assert recorded is not None
    assert (recorded.verb, recorded.principal) == ("events.publish", "me")


@pytest.mark.parametrize(("agent", "type"), [("", "t"), ("a", "x y"), ("a" * 101, "t"), ("a", "t\x00")])
async def test_a_name_that_is_none_is_refused(db: Database, agent: str, type: str) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_malformed"):
            await memory.publish(tx, "me", agent=agent, type=type, payload={})


@pytest.mark.parametrize(
    "number", ["1e25", "1E+30", "-2.5e29", "1e-30", "9223372036854775807", "0.1000000000000000000000000000000000000001"]
)
async def test_any_number_that_may_come_in_comes_back_and_can_be_written_again(db: Database, number: str) -> None:
    payload = loads(f'{{"n":{number}}}')
    async with db.write() as tx:
        event = await memory.publish(tx, "me", agent="a", type="t", payload=payload)
        (found,) = await memory.recent(tx, "a")
    assert event.payload == found.payload == payload
    assert Decimal(loads(dumps(found.payload).replace(b'"n":', b'"n":"').replace(b"}", b'"}'))["n"]) == Decimal(number)
