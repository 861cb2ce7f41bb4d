"""The record: what a call leaves in it."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from tallystick import audit
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
