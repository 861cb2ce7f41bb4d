"""The watch that finds verbs without an event finds one, and lets those with an event pass."""

from __future__ import annotations

import psycopg
import pytest

from tallystick import audit, work
from tallystick.db import Database
from tests.conftest import ALWAYS_WATCHED, ROOT, WATCHED, TestDatabase
from tests.eventful import untold, watch


async def test_a_transaction_that_changes_something_without_an_event_is_found(db: Database, database: TestDatabase) -> None:
    if not WATCHED:
        with psycopg.connect(database.owner_url) as owner:
            watch(owner)
    async with db.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("a", "t", {})])
        await work.claim(tx, agents=["a"], worker="w", limit=1)
    async with db.write() as tx:
        await audit.append(tx, principal="me", verb="things.make", subject_kind="thing")
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        assert untold(owner) == []
        owner.execute(
            "create or replace function audit.write(p_principal text[], p_for text[], p_verb text[], p_kind text[],"
            " p_subject bigint[], p_task bigint[], p_step text[], p_decision bigint[], p_approval bigint[], p_request text[],"
            " p_trace text[], p_detail text[], p_items_kind text[], p_refs text[], p_items bytea[], p_payload text[])"
            " returns bigint[] language sql as $$ select array[1::bigint] $$"
        )
    async with db.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("a", "t", {})])
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        assert untold(owner) == ["work.task"]
        owner.execute("delete from watch.changed")


def test_those_that_are_always_watched_are_there(request: pytest.FixtureRequest) -> None:
    """By the names that they have in a run, so that none is left out by a slip of the pen."""
    assert request.module.__name__ == "tests.test_eventful"
    assert {name for name in ALWAYS_WATCHED if not (ROOT / f"{name.replace('.', '/')}.py").exists()} == set()
