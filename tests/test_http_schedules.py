"""`/v1/schedules`: made once under a key, listed in pages, changed, paused, resumed and ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from tallystick import actions, schedules
from tallystick.db import Database
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.serving import body_of, code_of, serving

BODY = {
    "name": "nightly", "agent": "reporter", "type": "report", "payload": {"limit": 0.50}, "cron": "30  2 * * *",
    "time_zone": "Europe/Prague",
}  # fmt: skip
STORED = {**BODY, "payload": {"limit": "0.5"}, "cron": "30 2 * * *", "priority": 0, "catch_up": "latest", "fire_at_field": None}


@pytest.fixture
def clock(database: TestDatabase) -> Iterator[SetClock]:
    with closing(SetClock(database.owner_url, "2026-03-28T12:00:00")) as clock:
        yield clock


@pytest.fixture
async def client(db: Database, clock: SetClock) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(db) as client:
        yield client


async def create(client: httpx.AsyncClient, key: str | None = None, **changes: Any) -> httpx.Response:
    return await client.post("/v1/schedules", json=BODY | changes, headers={"idempotency-key": key} if key else {})


async def test_a_schedule_is_answered_as_it_is_stored_and_made_once_under_a_key(
    client: httpx.AsyncClient, clock: SetClock
) -> None:
    first = await create(client, "k")
    assert first.status_code == 201
    made = body_of(first)
    assert {name: made[name] for name in STORED} == STORED
    assert (made["state"], made["version"], made["next_at"]) == ("active", 1, "2026-03-29T01:00:00Z")
    clock.set("2026-03-30T12:00:00")
    assert (await client.patch("/v1/schedules/nightly", json={"cron": "0 6 * * *"})).status_code == 200
    assert (await client.post("/v1/schedules/nightly/pause")).status_code == 200
    assert body_of(await create(client, "k")) == made
    assert code_of(await create(client, "k", cron="0 7 * * *")) == "key_reused"
    assert code_of(await create(client)) == "schedule_exists"
    assert (await client.delete("/v1/schedules/nightly")).status_code == 200
    assert body_of(await create(client, "k")) == made
    assert code_of(await client.get("/v1/schedules/nightly")) == "unknown_schedule"


async def test_one_schedule_tells_its_last_firings_and_its_next_times(
    client: httpx.AsyncClient, db: Database, clock: SetClock
) -> None:
    await create(client, catch_up="all")
    clock.set("2026-04-12T12:00:00")
    async with db.write() as tx:
        fired = await schedules.fire_due(tx)
    told = body_of(await client.get("/v1/schedules/nightly"))
    assert len(fired) == 15
    assert [(one["fire_at"], one["task_id"]) for one in told["firings"]] == [
        (f"{each.fire_at:%Y-%m-%dT%H:%M:%SZ}", str(each.task_id)) for each in fired[:-11:-1]
    ]
    assert told["upcoming"] == [f"2026-04-{day}T00:30:00Z" for day in range(13, 18)]
    assert told["next_at"] == told["upcoming"][0]
    task = body_of(await client.get(f"/v1/tasks/{fired[0].task_id}"))
    assert (task["agent"], task["type"], task["payload"], task["status"]) == ("reporter", "report", {"limit": "0.5"}, "queued")


async def test_pages_go_through_all_of_an_agent_in_a_state(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await create(client, name=f"s{number}", agent="ab"[number % 2])
    await client.post("/v1/schedules/s2/pause")
    found, cursor = [], ""
    while cursor is not None:
        answer = body_of(await client.get(f"/v1/schedules?limit=2{cursor and f'&cursor={cursor}'}"))
        found += [one["name"] for one in answer["items"]]
        cursor = answer["next_cursor"]
    assert found == ["s4", "s3", "s2", "s1", "s0"]
    active = body_of(await client.get("/v1/schedules?agent=a&state=active"))
    assert [one["name"] for one in active["items"]] == ["s4", "s0"]


async def test_a_change_keeps_what_is_left_out_and_null_takes_away_the_field_of_the_time(client: httpx.AsyncClient) -> None:
    await create(client, fire_at_field="for", priority=3)
    changed = body_of(await client.patch("/v1/schedules/nightly", json={"priority": 5, "cron": None}))
    assert {name: changed[name] for name in STORED} == STORED | {"priority": 5, "fire_at_field": "for"}
    changed = body_of(await client.patch("/v1/schedules/nightly", json={"fire_at_field": None, "payload": {}}))
    assert {name: changed[name] for name in STORED} == STORED | {"priority": 5, "payload": {}}
    assert changed["version"] == 3


async def test_a_pause_is_not_repeated_by_its_key_once_the_schedule_was_resumed(client: httpx.AsyncClient) -> None:
    await create(client)
    for action, key, state in (("pause", "p", "paused"), ("resume", "r", "active"), ("pause", "p", "active")):
        answer = await client.post(f"/v1/schedules/nightly/{action}", headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["state"]) == (200, state)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cron": "* * * * * *"}, "cron_malformed"), ({"cron": "0 0 30 2 *"}, "cron_never_fires"),
        ({"cron": "*" * 201}, "validation_failed"), ({"time_zone": "Europe/Brno"}, "unknown_time_zone"),
        ({"fire_at_field": "limit"}, "fire_at_field_taken"), ({"payload": {"x": "y" * 65_536}}, "payload_too_large"),
        ({"priority": 1001}, "validation_failed"), ({"catch_up": "some"}, "validation_failed"),
        ({"agent": actions.SETTLEMENT_AGENT}, "reserved_agent"), ({"more": 1}, "validation_failed"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused_by_creation_and_change(
    client: httpx.AsyncClient, changes: dict[str, Any], code: str
) -> None:
    assert code_of(await create(client, **changes)) == code
    await create(client)
    assert code_of(await client.patch("/v1/schedules/nightly", json=changes)) == code
    assert body_of(await client.get("/v1/schedules/nightly"))["version"] == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")],
)
async def test_an_unknown_schedule_is_not_found(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"/v1/schedules/nobody{path}", json={} if method == "PATCH" else None)
    assert code_of(answer) == "unknown_schedule"
