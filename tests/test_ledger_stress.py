"""Eight processes post to ten accounts in orders that could deadlock, while they and the server are killed.

`TALLYSTICK_SOAK_S` makes it longer; `make soak` runs it for a minute.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psycopg
import pytest

from tallystick import ledger
from tallystick.db import EmbeddedServer
from tests.ledger_writer import ACCOUNTS, COIN, SINK, write
from tests.permitted import PermittedDatabase
from tests.processes import FORKS, kill, postmaster

pytestmark = pytest.mark.faults

PROCESSES = 8
SECONDS = float(os.environ.get("TALLYSTICK_SOAK_S", "6"))
FUNDS = 1_500


@dataclass
class Writers:
    """The processes, each with a record of its own; a killed one is followed by another under a new name."""

    url: str
    folder: Path
    mode: str
    running: dict[str, ForkServerProcess] = field(default_factory=dict)
    started: int = 0

    def start(self) -> None:
        self.started += 1
        name = f"{self.mode}-{self.started}"
        arguments = (self.url, name, self.mode, self.folder / f"{name}.jsonl", self.stop)
        self.running[name] = FORKS.Process(target=write, args=arguments, name=name)
        self.running[name].start()

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.join()

    def end(self, *, ask: bool) -> None:
        """Wait for each to end by itself, or ask it to; its last batch is answered first."""
        if ask:
            self.stop.touch()
        for name, process in self.running.items():
            process.join(180)
            assert process.exitcode == 0, f"{name} ended with {process.exitcode}"

    @property
    def stop(self) -> Path:
        return self.folder / f"{self.mode}.stop"


@dataclass
class Record:
    """What the writers asked for (by key) and what they were told."""

    asked: dict[str, list[list[int]]] = field(default_factory=dict)
    told: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Record:
        record = cls()
        for path in folder.glob("*.jsonl"):
            for line in path.read_bytes().splitlines():
                entry = json.loads(line)
                record.asked.update(entry.get("asked", []))
                record.told.update(entry.get("told", []))
        return record


async def _prepare(url: str) -> None:
    db = PermittedDatabase(url)
    await db.open()
    async with db.write() as tx:
        specs = [ledger.AccountSpec(SINK, "CZK", "internal", None), *(ledger.AccountSpec(name, "CZK") for name in ACCOUNTS)]
        sink, *others = [opened.id for opened in await ledger.open_accounts(tx, specs)]
        opening = [ledger.Journal("o", ledger.transfer(debit=sink, credit=id, amount=FUNDS), "stress") for id in others]
        assert all(answer.refusal is None for answer in await ledger.post(tx, opening))
    await db.close()


def _kill_some(server: EmbeddedServer, writers: Writers, seconds: float) -> Counter[str]:
    chance, kills = random.Random(1494), Counter[str]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(chance.uniform(0.7, 2.2))
        if chance.random() < 0.4:
            kill(postmaster(server.layout.data))
            kills["server"] += 1
        else:
            for name in chance.sample(sorted(writers.running), 2):
                writers.kill(name)
                writers.start()
                kills["client"] += 1
    return kills


def _balances(url: str) -> dict[str, int]:
    query = "select a.name, b.cr - b.dr from ledger.balance b join ledger.account a on a.id = b.account_id"
    with psycopg.connect(url) as connection:
        return {str(name): int(posted) for name, posted in connection.execute(query.encode())}


def _ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.05)
        else:
            return


async def test_what_was_acknowledged_is_there_once_and_nothing_deadlocks(own_server: EmbeddedServer, tmp_path: Path) -> None:
    server = own_server
    url = server.url_as("tallystick_app")
    await _prepare(url)
    movers = Writers(url, tmp_path, "move")
    for _ in range(PROCESSES):
        movers.start()
    kills = _kill_some(server, movers, SECONDS)
    _ready(server.url)
    movers.end(ask=True)
    moved = _balances(server.url)

    # Eight processes take coins out of each account until it has none left: exactly as many as it held.
    drainers = Writers(url, tmp_path, "drain")
    for _ in range(PROCESSES):
        drainers.start()
    kill(postmaster(server.layout.data))
    kills["server"] += 1
    drainers.end(ask=False)
    _ready(server.url)
    left = _balances(server.url)
    assert {name: left[name] for name in ACCOUNTS} == {name: moved[name] % COIN for name in ACCOUNTS}
    assert sum(left.values()) == 0

    record = Record.of(tmp_path)
    with psycopg.connect(server.url) as connection:
        rows = connection.execute(
            """select c.key, j.id, r.code,
                      (select jsonb_agg(jsonb_build_array(e.account_id, e.amount) order by e.account_id)
                         from ledger.entry e where e.journal_id = j.id)
                 from db.claim c
                 left join ledger.journal j on j.id = c.ref_id
                 left join ledger.refusal r on r.ref_id = c.ref_id"""
        ).fetchall()
        lowest = connection.execute(
            """select min(e.cr_after - e.dr_after) from ledger.entry e join ledger.balance b using (account_id)
                where b.floor is not null"""
        ).fetchone()
        counted = connection.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
    stored = {key: (code, entries) for key, _, code, entries in rows}
    assert len(stored) == len(rows)
    assert all((journal is None) == (code is not None) for _, journal, code, _ in rows)
    missing = {key: refusal for key, refusal in record.told.items() if key not in stored or stored[key][0] != refusal}
    assert missing == {}, "told, and not so"
    unasked = {key for key in stored if key not in record.asked}
    assert unasked == set()
    wrong = {key for key, (code, entries) in stored.items() if code is None and entries != sorted(record.asked[key])}
    assert wrong == set()
    # An entry of three accounts may pass through a lower balance only after the journal as a whole was allowed.
    assert lowest is not None
    assert lowest[0] >= 0
    # The count of the server is lost when it is killed; its log is not.
    assert counted == (0,)
    log = server.layout.log.read_text("utf-8", "replace")
    assert "deadlock detected" not in log
    refused = sum(1 for code, _ in stored.values() if code is not None)
    print(f"\n{dict(kills)} killed, {len(stored)} journals asked for, {refused} refused, {len(record.told)} answers heard")
