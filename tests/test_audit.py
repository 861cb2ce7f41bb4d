"""The record: what a call leaves in it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import audit, tlog
from tallystick.db import Database
from tests.conftest import TestDatabase


async def test_an_event_is_read_back_as_it_was_written(db: Database) -> None:
    async with db.write() as tx:
        event_id = await audit.append(
            tx,
            principal="alice",
            verb="cases.open",
            subject_kind="case",
            subject_id=7,
            detail={"share": Decimal("0.10"), "ids": [1, 2]},
            task_id=3,
            request_id="r-1",
            on_behalf_of="bob",
        )
        event = await audit.latest(tx, subject_kind="case", subject_id=7)
    assert event is not None
    assert (event.id, event.principal, event.verb, event.task_id) == (event_id, "alice", "cases.open", 3)
    assert (event.request_id, event.on_behalf_of) == ("r-1", "bob")
    assert event.detail == {"share": Decimal("0.10"), "ids": [1, 2]}
    assert event.at.tzinfo is not None


async def test_events_of_one_call_have_ids_in_their_order(db: Database) -> None:
    events = [audit.AuditEvent("alice", f"verb.{number}", "thing", number) for number in range(500)]
    async with db.write() as tx:
        ids = await audit.append_many(tx, events)
        found = [await audit.latest(tx, subject_kind="thing", subject_id=number) for number in (0, 250, 499)]
    assert ids == sorted(set(ids))
    assert len(ids) == 500
    assert [(event.id, event.verb) for event in found if event] == [
        (ids[0], "verb.0"),
        (ids[250], "verb.250"),
        (ids[499], "verb.499"),
    ]


async def test_the_latest_event_may_be_asked_for_by_verb(db: Database) -> None:
    async with db.write() as tx:
        first = await audit.append(tx, principal="a", verb="processed", subject_kind="case", subject_id=1)
        second = await audit.append(tx, principal="a", verb="read", subject_kind="case", subject_id=1)
        latest = await audit.latest(tx, subject_kind="case", subject_id=1)
        processed = await audit.latest(tx, subject_kind="case", subject_id=1, verb="processed")
        nothing = await audit.latest(tx, subject_kind="task", subject_id=1)
    assert latest is not None
    assert processed is not None
    assert (latest.id, processed.id, nothing) == (second, first, None)


async def test_nothing_is_written_for_a_call_without_events(db: Database) -> None:
    async with db.write() as tx:
        assert await audit.append_many(tx, []) == []


@pytest.mark.parametrize("statement", ["update audit.event set verb = 'x'", "delete from audit.event", "truncate audit.event"])
def test_not_even_the_owner_changes_the_record(database: TestDatabase, statement: str) -> None:
    with (
        psycopg.connect(database.owner_url, autocommit=True) as connection,
        pytest.raises(psycopg.Error, match="facts") as caught,
    ):
        connection.execute(statement.encode())
    assert caught.value.sqlstate == "TS002"


@given(count=st.integers(1, 70))
@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_root_over_items_is_that_of_rfc_6962(db: Database, count: int) -> None:
    digests = [hashlib.sha256(bytes([number])).digest() for number in range(count)]
    async with db.read() as tx:
        cursor = await tx._connection.execute("select audit.items_root(%s)", [b"".join(digests)])
        row = await cursor.fetchone()
    assert row == (tlog.root(tlog.leaf_hashes(digests)),)


async def test_a_detail_that_is_too_large_for_a_leaf_is_kept_beside_it(db: Database) -> None:
    detail = {"things": list(range(20_000))}
    async with db.write() as tx:
        await audit.append(tx, principal="me", verb="things.make", subject_kind="thing", subject_id=1, detail=detail)
        event = await audit.latest(tx, subject_kind="thing", subject_id=1)
    assert event is not None
    assert (event.detail, event.payload) == ({"beside": True}, detail)
    assert len(event.leaf) < 1000


async def test_the_leaf_says_all_that_is_known_of_an_event(db: Database) -> None:
    audit.answer_for("r-1", "4bf92f3577b34da6a3ce929d0e0e4736")
    items = audit.Items("part", [3, 1], hashlib.sha256(b"a").digest() + hashlib.sha256(b"b").digest())
    event = audit.AuditEvent(
        'me "and" you\n', "things.make", "thing", 5, {"b": 1, "a": "ü"}, 7, on_behalf_of="alice", step="s", decision_id=8,
        approval_id=9, payload={"name": "Ada"}, items=items,
    )  # fmt: skip
    async with db.write() as tx:
        await audit.append_many(tx, [event])
        stored = await audit.latest(tx, subject_kind="thing", subject_id=5)
    assert stored is not None
    leaf = json.loads(stored.leaf)
    assert stored.leaf == json.dumps(leaf, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert datetime.fromisoformat(leaf.pop("at")) == stored.at
    assert len(leaf.pop("payload")) == 64
    assert leaf.pop("tx").isdecimal()
    assert leaf == {
        "approval": "9", "decision": "8", "detail": {"a": "ü", "b": 1}, "event": str(stored.id), "for": "alice",
        "items": {
            "count": 2, "kind": "part", "refs": hashlib.sha256(b"3,1").hexdigest(),
            "root": tlog.root(tlog.leaf_hashes([items.digests[:32], items.digests[32:]])).hex(),
        },
        "principal": 'me "and" you\n', "request": "r-1", "step": "s", "subject": {"id": "5", "kind": "thing"}, "task": "7",
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "verb": "things.make",
    }  # fmt: skip
