"""Facts of tasks are kept by ranges of ids; a range is given up whole, after it was exported, when all of it has ended."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tallystick import audit, work
from tallystick.db import Database
from tallystick.kit import Conflict, NotFound
from tests.conftest import TestDatabase

SPAN = 1_000_000
LATER = datetime(2100, 1, 1, tzinfo=UTC)
HASH = b"h" * 32


def _given_out(database: TestDatabase, last: int = SPAN) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute("select setval('work.task_id', %s)", (last,))


async def _run(db: Database, *, steps: int = 0, failures: int = 0, **fields: Any) -> int:
    """One task, from its beginning to its end."""
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("a", "t", {"n": 1, **fields})])
    for _ in range(failures):
        async with db.write() as tx:
            (held,) = await work.claim(tx, agents=["a"], worker="w", limit=1)
            await work.fail(tx, [work.Failure(task_id, held.fence, "busy", retry_in_s=0)], "w")
    async with db.write() as tx:
        (held,) = await work.claim(tx, agents=["a"], worker="w", limit=1)
        for number in range(steps):
            step = work.NewStep(f"s{number}", "step", "done", HASH, output={"number": number})
            await work.record_step(tx, task_id, held.fence, step)
        await work.finish(tx, [work.Finish(task_id, held.fence, "done", {"ok": True})], "w")
    return task_id


async def _export(db: Database, from_id: int = 0, ended_before: datetime = LATER) -> tuple[work.ExportedHistory, list[Any]]:
    chunks: list[bytes] = []
    async with db.read() as tx:
        exported = await work.export_history(tx, from_id, ended_before=ended_before, write=chunks.append)
    assert hashlib.sha256(b"".join(chunks)).hexdigest() == exported.sha256
    return exported, [json.loads(line) for line in b"".join(chunks).splitlines()]


async def _drop(db: Database, exported: work.ExportedHistory, ended_before: datetime = LATER) -> None:
    await db.retrying(
        lambda tx: work.drop_history(tx, "me", exported, ended_before=ended_before), lock_timeout_ms=300, attempts=20
    )


async def test_an_export_has_each_task_with_its_attempts_steps_and_outcome_in_order(
    db: Database, database: TestDatabase
) -> None:
    first = await _run(db, steps=3, failures=1, amount="1.10")
    second = await _run(db)
    _given_out(database)
    exported, lines = await _export(db)
    assert (exported.from_id, exported.to_id) == (0, SPAN)
    assert (exported.tasks, exported.attempts, exported.steps, exported.outcomes) == (2, 1, 3, 2)
    told = [(line["fact"], line.get("task_id", line["id"] if line["fact"] == "task" else None)) for line in lines]
    assert told == [
        ("task", first), ("attempt", first), ("step", first), ("step", first), ("step", first), ("outcome", first),
        ("task", second), ("outcome", second),
    ]  # fmt: skip
    assert (lines[0]["agent"], lines[0]["type"], lines[0]["payload"]) == ("a", "t", {"n": 1, "amount": "1.10"})
    assert (lines[1]["ended"], lines[1]["error"]) == ("error", "busy")
    assert [(line["name"], line["output"]["number"], line["input_hash"]) for line in lines[2:5]] == [
        (f"s{number}", number, HASH.hex()) for number in range(3)
    ]
    assert (lines[5]["state"], lines[5]["result"]) == ("done", {"ok": True})


async def test_an_export_of_more_than_a_page_has_every_fact_once_and_is_the_same_each_time(
    db: Database, database: TestDatabase
) -> None:
    first = await _run(db, steps=1200)
    async with db.write() as tx:
        ids = await work.enqueue(tx, "me", [work.NewTask("a", "t", {})] * 1500)
        held = await work.claim(tx, agents=["a"], worker="w", limit=1500)
        await work.finish(tx, [work.Finish(each.task_id, each.fence, "done") for each in held], "w")
    _given_out(database, SPAN - 2)
    # The last one of the range has many steps too, with names that sort in any way.
    last = await _run(db, steps=501)
    assert last == SPAN - 1
    exported, lines = await _export(db)
    assert Counter(line["fact"] for line in lines) == {"task": 1502, "outcome": 1502, "step": 1701}
    assert [line["id"] for line in lines if line["fact"] == "task"] == [first, *ids, last]
    steps = [(line["task_id"], line["name"]) for line in lines if line["fact"] == "step"]
    assert Counter(task_id for task_id, _ in steps) == {first: 1200, last: 501}
    assert len(set(steps)) == 1701
    kinds = ["task", "attempt", "step", "outcome"]
    order = [(line.get("task_id", line["id"] if line["fact"] == "task" else None), kinds.index(line["fact"])) for line in lines]
    assert order == sorted(order)
    assert (await _export(db))[0] == exported


async def test_a_dropped_range_is_gone_from_every_table_and_noted_with_what_was_exported(
    db: Database, database: TestDatabase
) -> None:
    task_id = await _run(db, steps=1, failures=1)
    _given_out(database)
    newer = await _run(db, steps=1)
    exported, _ = await _export(db)
    await _drop(db, exported)
    async with db.read() as tx:
        with pytest.raises(NotFound, match="unknown_task"):
            await work.get(tx, task_id)
        assert (await work.get(tx, newer)).status == "done"
        assert [task.id for task in await work.page(tx)] == [newer]
        assert await work.steps(tx, task_id) == []
        assert await work.attempts(tx, task_id) == []
        assert len(await work.steps(tx, newer)) == 1
        old, current, *_ = await work.history(tx)
        event = await audit.latest(tx, subject_kind="work", subject_id=0)
    facts = {
        "from_id": 0, "to_id": SPAN, "tasks": 1, "attempts": 1, "steps": 1, "outcomes": 1, "sha256": exported.sha256,
    }  # fmt: skip
    assert (old.exported, old.complete, current.dropped_at, current.complete) == (facts, False, None, False)
    assert old.dropped_at is not None
    assert event is not None
    assert (event.verb, event.detail) == ("tasks.drop_history", facts)
    with psycopg.connect(database.owner_url) as owner:
        left = owner.execute("select count(*) from pg_class where relname ~ '_000000' and relkind in ('r', 'i')").fetchone()
    assert left == (0,)
    with pytest.raises(NotFound, match="unknown_history"):
        await _drop(db, exported)
    with pytest.raises(NotFound, match="unknown_history"):
        await _export(db)


@pytest.mark.parametrize("place", ["ready", "wait", "run", "dead"])
async def test_a_range_is_kept_while_one_task_of_it_has_not_ended(db: Database, database: TestDatabase, place: str) -> None:
    await _run(db)
    soon = datetime.now(UTC) + timedelta(hours=1)
    async with db.write() as tx:
        new = work.NewTask("a", "t", {}, run_at=soon if place == "wait" else None, max_attempts=1)
        (open_id,) = await work.enqueue(tx, "me", [new])
        if place in ("run", "dead"):
            (held,) = await work.claim(tx, agents=["a"], worker="w", limit=1)
        if place == "dead":
            assert await work.fail(tx, [work.Failure(open_id, held.fence, "no")], "w") == ["dead"]
    _given_out(database)
    with pytest.raises(Conflict, match="history_not_ended"):
        await _export(db)
    told = work.ExportedHistory(0, SPAN, 2, 0, 0, 1, "0" * 64)
    with pytest.raises(Conflict, match="history_not_ended"):
        await _drop(db, told)
    async with db.write() as tx:
        await work.cancel(tx, open_id, "me")
        assert (await work.history(tx))[0].complete
    await _drop(db, (await _export(db))[0])


async def test_a_range_whose_ids_are_not_all_given_out_is_kept(db: Database, database: TestDatabase) -> None:
    await _run(db)
    _given_out(database, SPAN - 2)
    with pytest.raises(Conflict, match="history_not_ended"):
        await _export(db)
    with pytest.raises(Conflict, match="history_not_ended"):
        await _drop(db, work.ExportedHistory(0, SPAN, 1, 0, 0, 1, "0" * 64))
    _given_out(database, SPAN - 1)
    await _export(db)


async def test_what_ended_too_recently_is_kept(db: Database, database: TestDatabase) -> None:
    task_id = await _run(db)
    _given_out(database)
    async with db.read() as tx:
        ended_at = (await work.get(tx, task_id)).finished_at
    assert ended_at is not None
    with pytest.raises(Conflict, match="history_too_recent"):
        await _export(db, ended_before=ended_at)
    exported, _ = await _export(db, ended_before=ended_at + timedelta(microseconds=1))
    with pytest.raises(Conflict, match="history_too_recent"):
        await _drop(db, exported, ended_before=ended_at)
    await _drop(db, exported, ended_before=ended_at + timedelta(microseconds=1))


@pytest.mark.parametrize("changed", [{"tasks": 2}, {"steps": 0}, {"attempts": 1}, {"outcomes": 0}, {"to_id": 2 * SPAN}])
async def test_a_range_that_holds_something_else_than_was_exported_is_kept(
    db: Database, database: TestDatabase, changed: dict[str, Any]
) -> None:
    task_id = await _run(db, steps=1)
    _given_out(database)
    exported, _ = await _export(db)
    with pytest.raises(Conflict, match="history_changed"):
        await _drop(db, dataclasses.replace(exported, **changed))
    async with db.read() as tx:
        assert (await work.get(tx, task_id)).status == "done"
        assert (await work.history(tx))[0].dropped_at is None


async def test_the_oldest_range_goes_first(db: Database, database: TestDatabase) -> None:
    await _run(db)
    _given_out(database)
    await _run(db)
    _given_out(database, 2 * SPAN)
    await _run(db)
    newer, _ = await _export(db, SPAN)
    with pytest.raises(Conflict, match="history_out_of_order"):
        await _drop(db, newer)
    await _drop(db, (await _export(db))[0])
    await _drop(db, newer)
    async with db.read() as tx:
        assert [each.dropped_at is None for each in await work.history(tx)][:3] == [False, False, True]


async def test_a_drop_waits_for_a_call_that_drew_an_id_long_ago(db: Database, database: TestDatabase) -> None:
    """A task of the range that is stored, but not committed yet, is not dropped with it."""
    await _run(db)
    async with db.write() as late:
        (late_id,) = await work.enqueue(late, "me", [work.NewTask("a", "t", {})])
        _given_out(database)
        exported, _ = await _export(db)
        with pytest.raises(Exception, match="contention"):
            await db.retrying(
                lambda tx: work.drop_history(tx, "me", exported, ended_before=LATER), lock_timeout_ms=50, attempts=2
            )
    with pytest.raises(Conflict, match="history_not_ended"):
        await _drop(db, exported)
    async with db.read() as tx:
        assert (await work.get(tx, late_id)).status == "queued"


async def test_tasks_go_on_after_a_drop(db: Database, database: TestDatabase) -> None:
    await _run(db)
    _given_out(database)
    held = await _run(db)
    await _drop(db, (await _export(db))[0])
    later = await _run(db, steps=1, failures=1)
    async with db.read() as tx:
        assert [task.id for task in await work.page(tx)] == [later, held]
        assert (await work.depths(tx))[0].done == 2
