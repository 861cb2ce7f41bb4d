"""Asking the record: what filters find, in which order, and receipts that anyone can check."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import audit, tlog
from tallystick.db import SEALER, Database
from tallystick.kit import Invalid, NotFound
from tests.conftest import TestDatabase

Event = audit.AuditEvent


@pytest.fixture
async def sealer(database: TestDatabase, tmp_path: Path) -> AsyncIterator[audit.Sealer]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield audit.Sealer(opened, tlog.KeyFolder(tmp_path / "keys"))
    await opened.close()


async def _tell(db: Database, *events: Event) -> list[int]:
    async with db.write() as tx:
        return await audit.append_many(tx, events)


async def _found(db: Database, **asked: Any) -> list[int]:
    async with db.read() as tx:
        return [event.id for event in await audit.page(tx, audit.Filter(**asked), ascending=True, limit=1000)]


def _items(kind: str, *ids: int) -> audit.Items:
    return audit.Items(kind, ids, b"".join(sha256(b"%s %d" % (kind.encode(), id)).digest() for id in ids))


async def test_each_filter_finds_what_it_names_and_together_they_find_what_all_name(db: Database) -> None:
    ids = await _tell(
        db,
        Event("anna", "tasks.enqueue", "task", 1, task_id=1),
        Event("anna", "tasks.end", "task", 1, task_id=1, on_behalf_of="carl"),
        Event("bert", "tasksx", "task", 2, task_id=2, request_id="r-1"),
        Event("bert", "keys.make", "api_key", 1, request_id="r-1 r-2"),
        Event("anna", "ledger.post", "journal", 5, items=_items("journal", 5, 6, 7)),
    )

    def of(*places: int) -> list[int]:
        return [ids[place] for place in places]

    assert await _found(db) == ids
    assert await _found(db, principal="anna") == of(0, 1, 4)
    assert await _found(db, on_behalf_of="carl") == of(1)
    assert await _found(db, subject_kind="task") == of(0, 1, 2)
    assert await _found(db, subject_kind="task", subject_id=1) == of(0, 1)
    assert await _found(db, subject_kind="journal", subject_id=6) == of(4)
    assert await _found(db, subject_kind="journal", subject_id=8) == []
    assert await _found(db, subject_kind="task", subject_id=6) == []
    assert await _found(db, verb="tasks.end") == of(1)
    assert await _found(db, verb="tasks.") == of(0, 1)
    assert await _found(db, verb="tasks") == []
    assert await _found(db, task_id=1) == of(0, 1)
    assert await _found(db, principal="bert", request_id="r-1") == of(2, 3)
    assert await _found(db, principal="bert", request_id="r-2") == of(3)
    assert await _found(db, principal="bert", request_id="r") == []
    assert await _found(db, principal="anna", verb="tasks.", task_id=1, on_behalf_of="carl") == of(1)
    assert await _found(db, principal="bert", task_id=1) == []


@pytest.mark.parametrize("ascending", [False, True])
async def test_pages_hold_every_event_once_in_order(db: Database, ascending: bool) -> None:
    ids = await _tell(db, *(Event("anna", "things.make", "thing", number) for number in range(1, 24)))
    found: list[int] = []
    bound = None
    async with db.read() as tx:
        while rows := await audit.page(tx, audit.Filter(), bound=bound, ascending=ascending, limit=5):
            found += [row.id for row in rows]
            bound = rows[-1].id
    assert found == (ids if ascending else ids[::-1])


async def test_a_time_has_a_beginning_that_counts_and_an_end_that_does_not(db: Database, database: TestDatabase) -> None:
    ids = await _tell(db, *(Event("anna", "things.make", "thing", number) for number in range(1, 301)))
    # Spread over days, with neighbours in the wrong order, as transactions that run side by side leave them.
    begin = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    chance = random.Random(1)
    at = {id: begin + timedelta(minutes=17 * place + chance.randint(-25, 25)) for place, id in enumerate(ids)}
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        for id, moment in at.items():
            owner.execute("update audit.event set at = %s where id = %s", (moment, id))
    moments = sorted(at.values())
    times = [begin - timedelta(days=2), *(chance.choice(moments) for _ in range(20)), begin + timedelta(days=90)]
    for start in times:
        assert await _found(db, start=start) == [id for id in ids if at[id] >= start]
        assert await _found(db, end=start) == [id for id in ids if at[id] < start]
    start, end = sorted(times[5:7])
    assert await _found(db, start=start, end=end) == [id for id in ids if start <= at[id] < end]


async def test_a_thing_is_found_among_items_of_calls_that_ran_side_by_side(db: Database) -> None:
    chance = random.Random(2)
    numbers = list(range(1, 400))
    holders: dict[int, int] = {}
    while numbers:
        # Ids that were drawn while others drew theirs.
        taken = sorted(chance.sample(numbers[:12], k=min(len(numbers), chance.randint(1, 6))))
        (event,) = await _tell(db, Event("anna", "ledger.post", "journal", taken[0], items=_items("journal", *taken)))
        holders |= dict.fromkeys(taken, event)
        numbers = [number for number in numbers if number not in taken]
    async with db.read() as tx:
        for number, event in holders.items():
            assert await audit.tells_of(tx, kind="journal", id=number) == event
        assert await audit.tells_of(tx, kind="journal", id=400) is None
        assert await audit.tells_of(tx, kind="task", id=1) is None


@pytest.mark.parametrize(
    ("asked", "code"),
    [({"subject_id": 1}, "subject_malformed"), ({"request_id": "r"}, "filter_too_wide")],
)
async def test_what_cannot_be_meant_or_would_read_everything_is_refused(db: Database, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        await _found(db, **asked)
    assert caught.value.code == code


async def test_an_event_that_is_not_there_is_unknown(db: Database) -> None:
    async with db.read() as tx:
        for ask in (audit.get, audit.receipt):
            with pytest.raises(NotFound) as caught:
                await ask(tx, 1)
            assert caught.value.code == "unknown_event"
        with pytest.raises(NotFound) as caught:
            await audit.find_receipt(tx, kind="journal", id=1)
        assert caught.value.code == "not_on_record"


async def test_a_receipt_is_pending_until_a_checkpoint_covers_the_event(
    db: Database, database: TestDatabase, sealer: audit.Sealer
) -> None:
    (first,) = await _tell(db, Event("anna", "things.make", "thing", 1))
    await sealer.seal()
    (second,) = await _tell(db, Event("anna", "things.make", "thing", 2))
    async with db.read() as tx:
        assert (await audit.receipt(tx, first)).state == "sealed"
        pending = await audit.receipt(tx, second)
    assert (pending.state, pending.index, pending.path, pending.checkpoint) == ("pending", None, [], None)
    await sealer.seal()
    async with db.read() as tx:
        sealed = await audit.receipt(tx, second)
    assert (sealed.state, sealed.index, sealed.leaf) == ("sealed", 1, pending.leaf)
    # A leaf may stand in the tree for a moment before a checkpoint covers it.
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("delete from audit.checkpoint where size = 2")
    async with db.read() as tx:
        unsigned = await audit.receipt(tx, second)
    assert (unsigned.state, unsigned.index, unsigned.path) == ("pending", 1, [])


async def test_receipts_are_checked_with_the_leaf_and_the_signed_root_alone(
    db: Database, sealer: audit.Sealer, tmp_path: Path
) -> None:
    counts = [1, 2, 3, 4, 5, 7, 8, 255, 256, 257, 1000]
    first = 1
    for count in counts:
        ids = range(first, first + count)
        await _tell(db, Event("anna", "ledger.post", "journal", first, items=_items("journal", *ids)))
        first += count
    await _tell(db, *(Event("anna", "things.make", "thing", number) for number in range(1, 300)))
    await sealer.seal()
    keys = tlog.KeyFolder(tmp_path / "keys").public()
    chance = random.Random(3)
    for number in [*chance.sample(range(1, first), k=60), 1, first - 1]:
        async with db.read() as tx:
            receipt = await audit.find_receipt(tx, kind="journal", id=number)
        assert receipt.checkpoint is not None
        signed = tlog.open_checkpoint(receipt.checkpoint.note, keys)
        assert receipt.index is not None
        leaf = tlog.leaf_hash(receipt.leaf.encode())
        assert leaf == receipt.leaf_hash
        assert tlog.check_inclusion(leaf, receipt.index, signed.size, receipt.path, signed.root)
        item = receipt.item
        assert item is not None
        assert item.digest == sha256(b"journal %d" % number).digest()
        assert tlog.check_inclusion(tlog.leaf_hash(item.digest), item.place, item.count, item.path, item.root)
        assert f'"items":{{"count":{item.count},"kind":"journal","refs":"' in receipt.leaf
        assert f'","root":"{item.root.hex()}"}}' in receipt.leaf


async def test_a_receipt_of_a_thing_without_items_is_that_of_the_first_event_about_it(db: Database) -> None:
    first, _, items = await _tell(
        db,
        Event("anna", "accounts.open", "account", 3),
        Event("anna", "accounts.close", "account", 3),
        Event("anna", "ledger.post", "journal", 3, items=_items("journal", 3)),
    )
    async with db.read() as tx:
        receipt = await audit.find_receipt(tx, kind="account", id=3)
        assert (receipt.event_id, receipt.item) == (first, None)
        with pytest.raises(NotFound) as caught:
            await audit.receipt(tx, items, item=4)
    assert caught.value.code == "unknown_item"


async def test_all_events_are_streamed_in_either_order(db: Database) -> None:
    ids = await _tell(db, *(Event("anna", "things.make", "thing", number) for number in range(1, 1201)))
    order: Callable[[list[int]], list[int]]
    for ascending, order in ((True, list), (False, lambda ids: ids[::-1])):
        async with db.snapshot() as tx:
            found = [event.id async for event in audit.stream(tx, audit.Filter(), ascending=ascending)]
        assert found == order(ids)
