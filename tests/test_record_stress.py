"""Sixteen writers with long transactions and rollbacks, and sealers that are killed: the record has all of it, once, in order.

`TALLYSTICK_RECORD_SOAK_S` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import psycopg
import pytest

from tallystick import audit, tlog
from tallystick.db import SEALER, Database
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase
from tests.processes import kill, python

SECONDS = float(os.environ.get("TALLYSTICK_RECORD_SOAK_S", "5"))
WRITERS = 16

_SEALER = """
import asyncio, sys, uvloop
from tallystick import audit, tlog
from tallystick.db import SEALER, Database

async def main():
    database = Database(sys.argv[1], role=SEALER)
    await database.open()
    print("ready", flush=True)
    await audit.Sealer(database, tlog.KeyFolder(sys.argv[2]), every_s=0.005, batch=50).run(asyncio.Event())

uvloop.run(main())
"""


class Aborted(Exception):
    """What a writer raises to have its transaction undone."""


@pytest.mark.faults
async def test_nothing_is_missed_or_sealed_twice_whoever_is_killed_and_however_late_one_commits(
    database: TestDatabase, tmp_path: Path
) -> None:
    db = PermittedDatabase(database.app_url)
    await db.open()
    keys = tmp_path / "keys"
    chance = random.Random(7)
    enough = asyncio.Event()
    done: list[tuple[float, float, list[int]]] = []
    undone: set[int] = set()
    loop = asyncio.get_running_loop()

    async def writer(number: int) -> None:
        own = random.Random(number)
        while not enough.is_set():
            ids: list[int] = []
            began = loop.time()
            try:
                async with db.write() as tx:
                    for _ in range(own.randint(1, 4)):
                        events = [audit.AuditEvent(f"w{number}", "things.make", "thing", n) for n in range(own.randint(1, 5))]
                        # An id that was drawn and whose transaction ended otherwise is in the record of nobody.
                        ids += await audit.append_many(tx, events)
                        await asyncio.sleep(own.random() ** 6 * 1.5)
                    if own.random() < 0.25:
                        raise Aborted
            except Aborted:
                undone.update(ids)
            else:
                done.append((began, loop.time(), ids))

    def start() -> object:
        process = python(_SEALER, database.owner_url, str(keys))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    sealers = [await asyncio.to_thread(start) for _ in range(2)]
    writing = [asyncio.create_task(writer(number)) for number in range(WRITERS)]
    killed = 0
    until = loop.time() + SECONDS
    while loop.time() < until:
        await asyncio.sleep(chance.random() * 0.6)
        victim = sealers.pop(0)
        kill(victim.pid)  # type: ignore[attr-defined]
        await asyncio.to_thread(victim.communicate)  # type: ignore[attr-defined]
        killed += 1
        sealers.append(await asyncio.to_thread(start))
    enough.set()
    await asyncio.gather(*writing)
    for each in sealers:
        kill(each.pid)  # type: ignore[attr-defined]
        await asyncio.to_thread(each.communicate)  # type: ignore[attr-defined]
    sealing = Database(database.owner_url, role=SEALER)
    await sealing.open()
    folder = tlog.KeyFolder(keys)
    async with asyncio.timeout(60):
        # A killed sealer's backend may have the turn for a moment more.
        while await audit.Sealer(sealing, folder).seal() or await _pending(db):
            await asyncio.sleep(0.01)
    with psycopg.connect(database.owner_url) as owner:
        rows = owner.execute("select idx, event_id, hash from audit.leaf order by idx").fetchall()
    place = {event_id: idx for idx, event_id, _ in rows}
    told = [event_id for *_, ids in done for event_id in ids]
    assert [idx for idx, *_ in rows] == list(range(len(rows)))
    assert len(place) == len(rows) == len(told)
    assert set(place) == set(told)
    assert not undone & set(place)
    # What was committed before another transaction began comes before all of it.
    last_before: list[tuple[float, int]] = []
    highest = -1
    for _, committed, ids in sorted(done, key=lambda one: one[1]):
        highest = max(highest, *(place[each] for each in ids))
        last_before.append((committed, highest))
    at = 0
    for began, _, ids in sorted(done):
        while at < len(last_before) and last_before[at][0] < began:
            at += 1
        if at:
            assert min(place[each] for each in ids) > last_before[at - 1][1]
    async with db.read() as tx:
        found = await audit.check(tx, folder.public(), kept=[("last", str(folder.last_checkpoint()).encode())])
    assert found.findings == []
    print(f"{killed} sealers killed, {len(rows)} events in {len(done)} transactions, {len(undone)} undone")
    assert killed >= 2
    assert len(done) > 50
    await sealing.close()
    await db.close()


async def _pending(db: Database) -> bool:
    async with db.read() as tx:
        return (await audit.lag(tx)).pending > 0
