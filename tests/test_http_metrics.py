"""`/metrics`: who may read it, and what it says of the record's sealing and of the answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from pydantic import SecretStr

from tallystick import audit, identity, tlog
from tallystick.db import SEALER, Database
from tallystick.http import HttpSettings
from tests.conftest import TestDatabase
from tests.recorded import seal
from tests.serving import OPEN, code_of, serving


@pytest.fixture
async def sealing(database: TestDatabase) -> AsyncIterator[Database]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield opened
    await opened.close()


async def _tell(db: Database, count: int) -> None:
    async with db.write() as tx:
        await audit.append_many(tx, [audit.AuditEvent("me", "things.make", "thing", n) for n in range(count)])


async def _values(client: httpx.AsyncClient) -> dict[str, float]:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    return {sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value for sample in samples}


async def test_the_lag_of_the_sealer_is_told(db: Database, sealing: Database, tmp_path: Path) -> None:
    keys = tlog.KeyFolder(tmp_path / "keys")
    async with serving(db, OPEN) as client:
        await _tell(db, 3)
        before = await _values(client)
        assert before["tallystick_record_unsealed_events"] == 3
        assert before["tallystick_record_leaves"] == before["tallystick_record_signed_leaves"] == 0
        assert before["tallystick_record_oldest_unsealed_seconds"] > 0
        assert "tallystick_record_newest_sealed_seconds" not in before
        await seal(sealing, keys)
        await _tell(db, 2)
        then = await _values(client)
        assert then["tallystick_record_unsealed_events"] == 2
        assert then["tallystick_record_leaves"] == then["tallystick_record_signed_leaves"] == 3
        assert then["tallystick_record_newest_sealed_seconds"] > then["tallystick_record_oldest_unsealed_seconds"] > 0
        await seal(sealing, keys)
        after = await _values(client)
        assert after["tallystick_record_unsealed_events"] == after["tallystick_record_oldest_unsealed_seconds"] == 0
        assert after["tallystick_record_signed_leaves"] == 5


async def test_leaves_that_nobody_has_signed_are_behind_too(
    db: Database, sealing: Database, database: TestDatabase, tmp_path: Path
) -> None:
    await _tell(db, 3)
    await seal(sealing, tlog.KeyFolder(tmp_path / "keys"))
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from audit.checkpoint")
    async with serving(db, OPEN) as client:
        found = await _values(client)
    assert found["tallystick_record_unsealed_events"] == 0
    assert found["tallystick_record_oldest_unsealed_seconds"] > 0


async def test_answers_are_counted_by_their_status(db: Database) -> None:
    async with serving(db, OPEN) as client:
        for _ in range(2):
            await client.get("/healthz")
        await client.get("/v1/transfers/1")
        assert (await client.post("/v1/transfers", content=b"{")).status_code == 415
        found = await _values(client)
    # The answer with the figures is counted when it goes out.
    assert found["tallystick_http_responses_total 200"] == 2
    assert found["tallystick_http_responses_total 404"] == 1
    assert found["tallystick_http_responses_total 415"] == 1
    assert found["tallystick_database_connections"] >= found["tallystick_database_connections_idle"] >= 0
    assert found["process_open_fds"] > 0


@pytest.mark.parametrize(
    ("accept", "read"),
    [
        ("text/plain;version=0.0.4", parse),
        ("application/openmetrics-text;version=1.0.0", parse_openmetrics),
        ("*/*", parse),
    ],
)
async def test_both_formats_of_prometheus_are_spoken(db: Database, accept: str, read: Callable[[str], list[object]]) -> None:
    async with serving(db, OPEN) as client:
        answer = await client.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    assert len(list(read(answer.text))) > 8


@pytest.mark.parametrize("role", sorted({*identity.ROLES, "none"}))
async def test_it_is_for_those_who_look_after_the_bank(db: Database, role: str) -> None:
    async with db.write() as tx:
        await identity.add_principal(tx, "anna", kind="person", by="test")
        if role == "agent":
            await identity.add_principal(tx, "somebody", kind="agent", owner="anna", by="test")
        else:
            await identity.add_principal(tx, "somebody", kind="person", roles={role} - {"none"}, by="test")
        key = await identity.create_key(tx, "somebody", by="test")
    async with serving(db, HttpSettings(key_cache_s=0)) as client:
        assert code_of(await client.get("/metrics")) == "key_missing"
        answer = await client.get("/metrics", headers={"authorization": f"Bearer {key.secret}"})
    if role in ("operator", "auditor", "admin"):
        assert answer.status_code == 200
    else:
        assert code_of(answer) == "role_missing"


async def test_where_the_database_does_not_answer_that_is_told(database: TestDatabase) -> None:
    gone = Database(database.app_url)
    await gone.open()
    await gone.close()
    async with serving(gone, HttpSettings(api_key=SecretStr("first"))) as client:
        answer = await client.get("/metrics", headers={"authorization": "Bearer first"})
    assert answer.status_code == 200
    assert "\ntallystick_database_up 0.0\n" in answer.text
    assert "tallystick_record" not in answer.text
