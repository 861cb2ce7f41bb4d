"""The server is killed under running agents, and then all of it again and again: every task is done, once.

`TALLYSTICK_WORK_SOAK_S` seconds of kills over `TALLYSTICK_WORK_SOAK_TASKS` tasks; `make soak` makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import ledger, work
from tallystick.db import Database, DatabaseSettings, EmbeddedServer
from tallystick.kit import Unavailable
from tests.permitted import PermittedDatabase
from tests.processes import keepers, kill, postmaster, servers
from tests.serving import fund
from tests.waiting import until
from tests.work_crew import TELLER, Crew, Handler, Move, in_a_thread, in_parallel, move, nap, notes, pay
from tests.work_story import Story, all_done, begun, enqueue, stories, waits_for_a_lock

pytestmark = pytest.mark.faults

SECONDS = float(os.environ.get("TALLYSTICK_WORK_SOAK_S", "10"))
TASKS = int(os.environ.get("TALLYSTICK_WORK_SOAK_TASKS", "300"))
PROCESSES = 3
CHUNK_S = 0.25
LEASE_S = 2
SERVER_S = 20.0
FUNDS = 100_000_000
ACCOUNTS = [f"soak-{number}" for number in range(10)]
TYPES: dict[str, Handler] = {"in-parallel": in_parallel, "in-a-thread": in_a_thread, "pay": pay, "nap": nap}


@contextmanager
def _locked(url: str, account: str) -> Iterator[None]:
    """The row of an account's balance is locked, until the server is killed at the latest."""
    other = psycopg.connect(url)
    query = "select from ledger.balance where account_id = (select id from ledger.account where name = %s) for update"
    other.execute(query, (account,))
    try:
        yield
    finally:
        other.close()


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    db = PermittedDatabase(url, DatabaseSettings(pool_wait_s=1))
    await db.open()
    try:
        yield db
    finally:
        await db.close()


async def test_a_killed_server_costs_no_attempt_of_a_worker_that_keeps_its_lease(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """At steps that run, at a finish that waits for a lock, and at a task that sleeps."""
    url = own_server.url_as("tallystick_app")
    async with _opened(url) as db:
        await fund(db)
        with Crew(tmp_path) as crew:
            worker = crew.start(url, TYPES, lease_s=600)
            with _locked(own_server.url, "ALICE"):
                ids = dict(zip(TYPES, await enqueue(db, tmp_path, list(TYPES)), strict=True))
                await until(lambda: begun(tmp_path, [ids["in-parallel"], ids["in-a-thread"]]))
                await until(lambda: waits_for_a_lock(own_server.url))
                for pid in servers(own_server.layout.data):
                    kill(pid)
            (tmp_path / "gate").touch()
            await until(lambda: all_done(own_server.url))
            assert worker.is_alive()
    effects = {type: 0 if type == "nap" else 1 for type in TYPES}
    assert stories(own_server.url) == {type: Story(ids[type], type, "done", 1, 1, 0, *[effects[type]] * 3) for type in TYPES}
    assert {type: _ran(tmp_path, ids[type]) for type in TYPES} == {
        "in-parallel": {"one": 1, "two": 1, "three": 1},
        "in-a-thread": {"one": 1},
        "pay": {"score": 1, "send": 1, "report": 1},
        "nap": {"score": 1},
    }


async def test_a_server_that_is_away_for_longer_than_a_lease_costs_an_attempt_and_no_more(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    url, data = own_server.url_as("tallystick_app"), own_server.layout.data
    async with _opened(url) as db:
        await fund(db)
        with Crew(tmp_path) as crew:
            worker = crew.start(url, TYPES)
            ids = dict(zip(TYPES, await enqueue(db, tmp_path, list(TYPES)), strict=True))
            gated = ["in-parallel", "in-a-thread"]
            await until(lambda: begun(tmp_path, [ids[type] for type in gated]))
            for keeper in keepers(data):
                os.kill(keeper, signal.SIGSTOP)
            for pid in servers(data):
                kill(pid)

            async def lost() -> bool:
                return "lost its lease" in crew.log(worker)

            await until(lost)
            (tmp_path / "gate").touch()
            for keeper in keepers(data):
                os.kill(keeper, signal.SIGCONT)
            await until(lambda: all_done(own_server.url))
            assert worker.is_alive()
    told = stories(own_server.url)
    assert {type: told[type] for type in gated} == {type: Story(ids[type], type, "done", 1, 1, 1, 1, 1, 1) for type in gated}
    assert [(told[type].state, told[type].places, told[type].journals) for type in ("pay", "nap")] == [
        ("done", 1, 1),
        ("done", 1, 0),
    ]


@dataclass
class Chaos:
    """Kills workers and the server, and stops workers past their leases, by chance; in the end everybody goes on."""

    server: EmbeddedServer
    crew: Crew
    chance: random.Random = field(default_factory=lambda: random.Random(1494))
    did: Counter[str] = field(default_factory=Counter)
    stopped: dict[int, float] = field(default_factory=dict)
    server_killed: float = 0.0

    def start(self) -> None:
        settings = {"idle_in_transaction_timeout_ms": LEASE_S * 500, "pool_wait_s": 1}
        self.crew.start(
            self.server.url_as("tallystick_app"), {"move": move}, lease_s=LEASE_S, concurrency=20, settings=settings
        )

    async def reign(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            await asyncio.sleep(self.chance.uniform(0.3, 1.2))
            self._wake(time.monotonic())
            ended = [worker for worker in self.crew.running if not worker.is_alive()]
            assert ended == [], "a worker ends when it is killed, and never by itself"
            # The keeper of the server does not put up with more than a few restarts a minute.
            if time.monotonic() - self.server_killed > SERVER_S and self.chance.random() < 0.3:
                self._kill_server()
            elif self.chance.random() < 0.4 and len(self.stopped) < PROCESSES - 1:
                self._stop_worker()
            else:
                self._kill_worker()
        self._wake(float("inf"))

    def _kill_server(self) -> None:
        data = self.server.layout.data
        for pid in servers(data) if self.chance.random() < 0.5 else [postmaster(data)]:
            kill(pid)
        self.server_killed = time.monotonic()
        self.did["server killed"] += 1

    def _stop_worker(self) -> None:
        worker = self.chance.choice([each for each in self.crew.running if each.pid not in self.stopped])
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        self.stopped[worker.pid] = time.monotonic() + self.chance.uniform(0.2, 2 * LEASE_S)
        self.did["worker stopped"] += 1

    def _kill_worker(self) -> None:
        worker = self.chance.choice(self.crew.running)
        self.stopped.pop(worker.pid or 0, None)
        self.crew.kill(worker)
        self.start()
        self.did["worker killed"] += 1

    def _wake(self, now: float) -> None:
        for pid, at in list(self.stopped.items()):
            if at <= now:
                os.kill(pid, signal.SIGCONT)
                del self.stopped[pid]


async def test_whatever_is_killed_each_task_moves_its_money_once(own_server: EmbeddedServer, tmp_path: Path) -> None:
    url = own_server.url_as("tallystick_app")
    began = time.monotonic()
    async with _opened(url) as db:
        before = await _funded(db)
        with Crew(tmp_path) as crew:
            chaos = Chaos(own_server, crew, server_killed=began + min(SECONDS / 3, SERVER_S) - SERVER_S)
            for _ in range(PROCESSES):
                chaos.start()
            feeding = asyncio.create_task(_feed(db, tmp_path, began + SECONDS))
            await chaos.reign(began + SECONDS)
            orders = await feeding
            await until(lambda: _count_is(own_server.url, TASKS), within_s=60 + SECONDS)
            for worker in crew.running:
                worker.terminate()
            for worker in list(crew.running):
                await asyncio.to_thread(worker.join, 60)
                assert worker.exitcode == 0, crew.log(worker)
    with psycopg.connect(own_server.url) as connection:
        places = _rows(connection, _PLACES)
        outcomes = _rows(connection, "select task_id, state, fence from work.outcome order by task_id")
        journals = _rows(connection, "select task_id, id from ledger.journal where task_id is not null order by task_id")
        steps = _rows(connection, "select task_id, name, fence from work.step where state = 'done'")
        retried = dict(_rows(connection, "select ended, count(*) from work.attempt group by ended"))
        unbalanced = _rows(connection, "select journal_id from ledger.entry group by journal_id having sum(amount) <> 0")
        balances = dict(_rows(connection, _BALANCES))
    # Every task is in one place, and that is its end; each has posted once.
    assert places == [(TASKS, 0, 0, 0, 0, TASKS)]
    assert [task_id for task_id, _, _ in outcomes] == sorted(orders)
    assert {state for _, state, _ in outcomes} == {"done"}
    assert [task_id for task_id, _ in journals] == sorted(orders)
    # The money is where the tasks were to move it to.
    for order in orders.values():
        before[order.debit] -= order.amount
        before[order.credit] += order.amount
    assert balances == before
    assert sum(balances.values()) == 0
    assert unbalanced == []
    # A step is on record once, and did not run again under any later fence.
    recorded = {(task_id, name): fence for task_id, name, fence in steps}
    assert len(recorded) == len(steps) == 2 * TASKS
    ran = [line.split() for path in tmp_path.glob("*.ran") for line in path.read_text().splitlines()]
    assert [line for line in ran if int(line[2]) > recorded[int(line[0]), line[1]]] == []
    assert set(recorded) == {(int(task_id), name) for task_id, name, _ in ran}
    assert "deadlock detected" not in own_server.layout.log.read_text("utf-8", "replace")
    print(
        f"\n{dict(chaos.did)}; {TASKS} tasks done with {len(journals)} journals in {time.monotonic() - began:.0f} s;"
        f" attempts that came to nothing: {retried}; {len(ran) - len(recorded)} steps ran again before they were on record"
    )


_PLACES = """
select (select count(*) from work.task), (select count(*) from work.ready), (select count(*) from work.wait),
       (select count(*) from work.run), (select count(*) from work.dead), (select count(*) from work.outcome)
"""
_BALANCES = """
select a.name, (b.cr - b.dr)::bigint from ledger.balance b join ledger.account a on a.id = b.account_id
"""


async def _funded(db: Database) -> dict[str, int]:
    async with db.write() as tx:
        specs = [ledger.AccountSpec("BANK", "CZK", "internal", None), *(ledger.AccountSpec(name, "CZK") for name in ACCOUNTS)]
        bank, *others = [opened.id for opened in await ledger.open_accounts(tx, specs)]
        opening = [ledger.Journal("o", ledger.transfer(debit=bank, credit=id, amount=FUNDS), "soak") for id in others]
        assert all(posted.refusal is None for posted in await ledger.post(tx, opening))
    return {"BANK": -FUNDS * len(ACCOUNTS)} | dict.fromkeys(ACCOUNTS, FUNDS)


async def _feed(db: Database, folder: Path, until_s: float) -> dict[int, Move]:
    """Store the tasks a few at a time, until the time is over; each call until it is answered. What was stored, by id."""
    chance = random.Random(1797)
    orders: dict[int, Move] = {}
    count = max(1, int((until_s - time.monotonic()) / CHUNK_S))
    number = 0
    for chunk in range(1, count + 1):
        moves: list[Move] = []
        while number + len(moves) < TASKS * chunk // count:
            debit, credit = chance.sample(ACCOUNTS, 2)
            moves.append(Move(folder=str(folder), debit=debit, credit=credit, amount=chance.randint(1, 1000)))
        for at in range(0, len(moves), 1000):
            some = moves[at : at + 1000]
            # The key has a call that was stored and not heard of be the same call when it is made again.
            tasks = [
                work.NewTask(TELLER, "move", each.model_dump(), key=f"move-{number + at + place}")
                for place, each in enumerate(some)
            ]
            orders |= zip(await _stored(db, tasks), some, strict=True)
        number += len(moves)
        await asyncio.sleep(CHUNK_S)
    return orders


async def _stored(db: Database, tasks: list[work.NewTask]) -> list[int]:
    while True:
        try:
            async with db.write() as tx:
                return await work.enqueue(tx, "soak", tasks)
        except Unavailable:
            await asyncio.sleep(0.05)


async def _count_is(url: str, count: int) -> bool:
    def ask() -> bool:
        with psycopg.connect(url) as connection:
            return _rows(connection, "select count(*) from work.outcome") == [(count,)]

    try:
        return await asyncio.to_thread(ask)
    except psycopg.OperationalError:
        return False


def _rows(connection: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def _ran(folder: Path, task_id: int) -> dict[str, int]:
    """How often each part of a task ran."""
    parts = ("one", "two", "three", "score", "send", "report")
    return {part: len(found) for part in parts if (found := notes(folder, task_id, part))}
