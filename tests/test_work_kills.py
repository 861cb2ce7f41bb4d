"""Agents whose workers are killed at every point, stopped past their lease, or cut off from the database at a commit.

The workers are processes of their own; what they do outside of the database they note in files.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psycopg
import pytest

from tallystick.db import Database
from tests.conftest import ROOT, TestDatabase
from tests.serving import fund
from tests.waiting import until
from tests.wire import Wire
from tests.work_crew import STOPPED, Crew, Handler, in_parallel, nap, notes, pay, pay_in_a_thread, stumble, tell
from tests.work_story import Story, all_done, begun, count_of, enqueue, is_alone, stories, waits_for_a_lock

pytestmark = pytest.mark.faults

_LOCK_ALICE = """
select from ledger.balance where account_id = (select id from ledger.account where name = 'ALICE') for update
"""


@dataclass(frozen=True)
class Point:
    """Where a worker is killed: at a point of its code, or at a commit of it. Then how often each part ran in the end.

    `statement` is what the transaction has in its text, the `nth` of those; `answered`: the server has committed it.
    """

    handler: Handler = pay
    statement: str = ""
    nth: int = 1
    answered: bool = False
    ran: tuple[int, int, int] = (1, 1, 1)
    crashes: int = 1


POINTS = {
    "before-its-claim-commits": Point(statement="work.claim_", crashes=0),
    "before-it-hears-of-its-claim": Point(statement="work.claim_", answered=True),
    "claimed": Point(),
    "begun": Point(),
    "in-a-step": Point(ran=(2, 1, 1)),
    "before-a-step-commits": Point(statement="work.record(", ran=(2, 1, 1)),
    "after-a-step-commits": Point(statement="work.record(", answered=True),
    "between-steps": Point(),
    "before-an-intent-commits": Point(statement="work.record(", nth=2),
    "after-an-intent-commits": Point(statement="work.record(", nth=2, answered=True),
    "in-a-call": Point(ran=(1, 2, 1)),
    "before-a-call-commits": Point(statement="work.record(", nth=3, ran=(1, 2, 1)),
    "after-a-call-commits": Point(statement="work.record(", nth=3, answered=True),
    "in-the-last-step": Point(ran=(1, 1, 2)),
    "before-finish": Point(),
    "in-finish": Point(),
    "in-finish-in-a-thread": Point(pay_in_a_thread),
    "before-the-finish-commits": Point(statement="work.finish("),
    "before-the-finish-of-a-thread-commits": Point(pay_in_a_thread, statement="work.finish("),
    "after-the-finish-commits": Point(statement="work.finish(", answered=True, crashes=0),
    "finished": Point(crashes=0),
    "before-an-end-commits": Point(tell, statement="work.finish(", ran=(1, 0, 0)),
    "after-an-end-commits": Point(tell, statement="work.finish(", answered=True, ran=(1, 0, 0), crashes=0),
    "before-it-parks": Point(nap, statement="work.park(", ran=(1, 0, 0)),
    "after-it-parks": Point(nap, statement="work.park(", answered=True, ran=(1, 0, 0), crashes=0),
}


async def test_wherever_a_worker_is_killed_another_finishes_its_task_and_all_of_it_happened_once(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    await fund(db)
    ids = dict(zip(POINTS, await enqueue(db, tmp_path, list(POINTS)), strict=True))
    few = asyncio.Semaphore(4)

    async def die(crew: Crew, name: str, point: Point) -> None:
        async with few, Wire(database.app_url) as wire:
            worker = crew.start(wire.url, {name: point.handler}, dies_at="" if point.statement else name)
            if point.statement:

                async def killed() -> None:
                    crew.kill(worker)

                await wire.cut(point.statement, nth=point.nth, answered=point.answered, then=killed).wait()
            await until(lambda: _ended(worker))

    with Crew(tmp_path) as crew:
        await asyncio.gather(*(die(crew, name, point) for name, point in POINTS.items()))
        killed = stories(database.owner_url)
        assert {name: story.places for name, story in killed.items()} == dict.fromkeys(POINTS, 1)
        done = {name for name, story in killed.items() if story.state == "done"}
        assert done == {"after-the-finish-commits", "finished", "after-an-end-commits"}
        crew.start(database.app_url, {name: point.handler for name, point in POINTS.items()})
        await until(lambda: all_done(database.owner_url))
    effects = {name: 0 if point.handler in (tell, nap) else 1 for name, point in POINTS.items()}
    assert stories(database.owner_url) == {
        name: Story(ids[name], name, "done", 1, 1, point.crashes, *[effects[name]] * 3) for name, point in POINTS.items()
    }
    ran = {name: tuple(len(notes(tmp_path, ids[name], part)) for part in ("score", "send", "report")) for name in POINTS}
    assert ran == {name: point.ran for name, point in POINTS.items()}
    # A call that went out twice went out under one key.
    keys = {name: set(notes(tmp_path, ids[name], "send")) for name in POINTS if effects[name]}
    assert keys == {name: {f"{ids[name]}:send"} for name in keys}


async def _ended(process: ForkServerProcess) -> bool:
    return process.exitcode is not None or not process.is_alive()


async def test_a_worker_killed_while_its_finish_waits_for_a_lock_leaves_nothing_of_it(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    await fund(db)
    ids = await enqueue(db, tmp_path, ["pay"])
    with Crew(tmp_path) as crew, psycopg.connect(database.owner_url) as other:
        other.execute(_LOCK_ALICE)
        worker = crew.start(database.app_url, {"pay": pay})
        await until(lambda: waits_for_a_lock(database.owner_url))
        crew.kill(worker)
        other.rollback()
        # The server goes on with the statement, and finds nobody there who would have it committed.
        await until(lambda: is_alone(database.owner_url))
        assert stories(database.owner_url)["pay"].state == "open"
        crew.start(database.app_url, {"pay": pay})
        await until(lambda: all_done(database.owner_url))
    assert stories(database.owner_url) == {"pay": Story(ids[0], "pay", "done", 1, 1, 1, 1, 1, 1)}
    assert [len(notes(tmp_path, ids[0], part)) for part in ("score", "send", "report")] == [1, 1, 1]


DOUBTS: dict[str, tuple[Handler, str, int]] = {
    "claim": (pay, "work.claim_", 1),
    "step": (pay, "work.record(", 1),
    "intent": (pay, "work.record(", 2),
    "call": (pay, "work.record(", 3),
    "finish": (pay, "work.finish(", 1),
    "finish-of-a-thread": (pay_in_a_thread, "work.finish(", 1),
    "end": (tell, "work.finish(", 1),
    "failure": (stumble, "work.fail(", 1),
    "park": (nap, "work.park(", 1),
}


@pytest.mark.parametrize("committed", [False, True])
async def test_a_worker_that_did_not_hear_of_a_commit_finds_out_whether_it_was_one(
    committed: bool, db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    await fund(db)
    effects = {name: 1 if handler in (pay, pay_in_a_thread) else 0 for name, (handler, _, _) in DOUBTS.items()}
    async with Wire(database.app_url) as wire:
        with Crew(tmp_path) as crew:
            # A lease that is not over before the test is: nothing here is taken back from a worker.
            worker = crew.start(wire.url, {name: handler for name, (handler, _, _) in DOUBTS.items()}, lease_s=600)
            ids = {}
            for name, (_, statement, nth) in DOUBTS.items():
                cut = wire.cut(statement, nth=nth, answered=committed)
                (ids[name],) = await enqueue(db, tmp_path, [name])
                await cut.wait()
                await until(lambda: all_done(database.owner_url))
            await until(lambda: _all_went_on(tmp_path, [ids[name] for name in DOUBTS if effects[name]]))
            assert worker.is_alive()
            # Whoever was in doubt has found out; nobody takes its own commit for that of another.
            assert "fence lost" not in crew.log(worker)
    attempts = {name: 2 if name == "failure" else 1 for name in DOUBTS}
    assert stories(database.owner_url) == {
        name: Story(ids[name], name, "done", attempts[name], 1, 0, *[effects[name]] * 3) for name in DOUBTS
    }
    assert {name: len(notes(tmp_path, ids[name], "score")) for name in DOUBTS} == dict.fromkeys(DOUBTS, 1)
    assert {len(notes(tmp_path, ids[name], "send")) for name in DOUBTS if effects[name]} == {1}


GATED = {"in-parallel": 1, "in-a-thread": 1, "stubborn": 5, "stubborn-in-a-thread": 3}
"""Handlers whose steps last until the gate is open, and how often each notes what it heard."""


async def test_a_worker_stopped_past_its_lease_commits_nothing_when_it_goes_on(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    """Whatever its code is at: steps side by side, code that cannot be cancelled, threads, the middle of a finish, its commit.

    One worker is told that it has lost its attempts, and another one never hears of it.
    """
    await fund(db, "ALICE", "BOB", "EVE")
    async with Wire(database.app_url) as told, Wire(database.app_url) as deaf:
        with Crew(tmp_path) as crew, psycopg.connect(database.owner_url) as other:
            other.execute(_LOCK_ALICE)
            ids: dict[str, int] = {}
            workers: dict[str, ForkServerProcess] = {}
            for who, wire in {"told": told, "deaf": deaf}.items():
                types = {f"{who}-{type}": handler for type, handler in STOPPED.items()}
                settings = {"idle_in_transaction_timeout_ms": 500}
                workers[who] = crew.start(wire.url, types, settings=settings, deaf=wire is deaf)
                gated = [f"{who}-{type}" for type in GATED]
                ids |= zip(gated, await enqueue(db, tmp_path, gated, debit="EVE"), strict=True)
                ids |= zip([f"{who}-locked"], await enqueue(db, tmp_path, [f"{who}-locked"]), strict=True)
            await until(lambda: begun(tmp_path, [ids[f"{who}-{type}"] for who in workers for type in GATED]))
            await until(lambda: waits_for_a_lock(database.owner_url, sessions=2))
            for who, wire in {"told": told, "deaf": deaf}.items():
                cut = wire.cut("work.finish(", answered=True, then=partial(_signal, workers[who].pid, signal.SIGSTOP))
                ids |= zip([f"{who}-committed"], await enqueue(db, tmp_path, [f"{who}-committed"], debit="EVE"), strict=True)
                await cut.wait()
            other.rollback()

            with _command("worker", "tests.work_crew:stopped", "--lease", "2", url=database.app_url) as second:
                await until(lambda: all_done(database.owner_url))
            facts, stood = _facts(database.owner_url, ids.values()), stories(database.owner_url)

            (tmp_path / "gate").touch()
            for who, worker in workers.items():
                await _signal(worker.pid, signal.SIGCONT)
                await until(partial(_heard, tmp_path, {type: ids[f"{who}-{type}"] for type in GATED}, worker.pid))
                (afterwards,) = await enqueue(db, tmp_path, [f"{who}-afterwards"])
                await until(lambda: all_done(database.owner_url))
                assert len(notes(tmp_path, afterwards, "score")) == 1
                worker.terminate()
                await until(partial(_ended, worker))
                assert worker.exitcode == 0

    crashes = {type: 0 if type.endswith("committed") else 1 for type in ids}
    assert stood == {type: Story(ids[type], type, "done", 1, 1, crashes[type], 1, 1, 1) for type in ids}
    assert _facts(database.owner_url, ids.values()) == facts
    # Their code heard of it wherever it went on, and did not begin another step.
    for who, worker in workers.items():
        for type, times in GATED.items():
            task_id = ids[f"{who}-{type}"]
            heard = [line.split()[1] for line in notes(tmp_path, task_id, "heard") if line.split()[0] == str(worker.pid)]
            assert len(heard) == times
            assert set(heard) <= ({"FenceLost", "CancelledError"} if who == "told" else {"FenceLost"})
            assert notes(tmp_path, task_id, "one") == [str(worker.pid), str(second.pid)]
            assert notes(tmp_path, task_id, "send") == ([f"{task_id}:send"] if type == "stubborn" else [])


async def test_a_worker_whose_connections_have_died_without_a_word_ends_its_attempts_and_goes_on_by_new_ones(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    await fund(db)
    async with Wire(database.app_url) as wire:
        with Crew(tmp_path) as crew:
            types = {"in-parallel": in_parallel, "afterwards": tell}
            first = crew.start(wire.url, types, settings={"statement_timeout_ms": 1000})
            (task_id,) = await enqueue(db, tmp_path, ["in-parallel"])
            await until(lambda: begun(tmp_path, [task_id]))
            await until(lambda: _has_beaten(database.owner_url))
            wire.freeze()
            # Its lease is over, and it knows that although nobody has said so.
            await until(lambda: _noted(tmp_path, task_id, "heard", first.pid))
            assert {line.split()[1] for line in notes(tmp_path, task_id, "heard")} == {"CancelledError"}
            (tmp_path / "gate").touch()
            await enqueue(db, tmp_path, ["afterwards"])
            await until(lambda: all_done(database.owner_url))
            assert first.is_alive()
    assert stories(database.owner_url)["in-parallel"] == Story(task_id, "in-parallel", "done", 1, 1, 1, 1, 1, 1)


async def test_a_worker_stopped_in_the_middle_of_a_finish_goes_on_with_it(
    db: Database, database: TestDatabase, tmp_path: Path
) -> None:
    """The server does not wait for it: it ends the session, and its locks with it. The lease is not over."""
    await fund(db)
    ids = await enqueue(db, tmp_path, ["pay"])
    with Crew(tmp_path) as crew, psycopg.connect(database.owner_url) as other:
        other.execute(_LOCK_ALICE)
        settings = {"idle_in_transaction_timeout_ms": 100}
        worker = crew.start(database.app_url, {"pay": pay}, lease_s=600, settings=settings)
        assert worker.pid is not None
        await until(lambda: waits_for_a_lock(database.owner_url))
        await _signal(worker.pid, signal.SIGSTOP)
        other.rollback()
        await until(lambda: is_alone(database.owner_url))
        assert stories(database.owner_url)["pay"].state == "open"
        await _signal(worker.pid, signal.SIGCONT)
        await until(lambda: all_done(database.owner_url))
    assert stories(database.owner_url) == {"pay": Story(ids[0], "pay", "done", 1, 1, 0, 1, 1, 1)}
    assert [len(notes(tmp_path, ids[0], part)) for part in ("score", "send", "report")] == [1, 1, 1]


@contextmanager
def _command(*arguments: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command line, killed in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLYSTICK_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick", *arguments],
        cwd=ROOT,
        env=environment | {"DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _signal(pid: int | None, number: int) -> None:
    assert pid is not None
    os.kill(pid, number)


async def _all_went_on(folder: Path, task_ids: Iterable[int]) -> bool:
    """Whether the code after each finish has run."""
    return all(notes(folder, task_id, "went on") for task_id in task_ids)


async def _noted(folder: Path, task_id: int, what: str, pid: int | None) -> bool:
    return any(line.split()[0] == str(pid) for line in notes(folder, task_id, what))


async def _heard(folder: Path, ids: Mapping[str, int], pid: int | None) -> bool:
    """Whether the process has come to the end of its gated handlers."""
    lines = {type: [line for line in notes(folder, ids[type], "heard") if line.startswith(f"{pid} ")] for type in GATED}
    return all(len(lines[type]) >= times for type, times in GATED.items())


def _facts(url: str, task_ids: Iterable[int]) -> dict[str, list[tuple[object, ...]]]:
    """All that tasks have left behind."""
    with psycopg.connect(url) as connection:
        return {
            table: connection.execute(
                f"select * from {table} where {task} = any (%s) order by 1, 2, 3, 4".encode(), (list(task_ids),)
            ).fetchall()
            for table, task in {
                "work.step": "task_id",
                "work.outcome": "task_id",
                "work.attempt": "task_id",
                "ledger.journal": "task_id",
                "memory.event": "(payload ->> 'task')::bigint",
                "work.task": "(payload ->> 'task')::bigint",
            }.items()
        }


async def _has_beaten(url: str) -> bool:
    """Whether a worker with a lease of two seconds has renewed it."""
    return await count_of(url, "select count(*) from work.worker where lease_until > started_at + interval '2.1 s'") > 0
