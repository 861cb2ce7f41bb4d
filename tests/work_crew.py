"""Agents that die, and the worker processes that run them, for `test_work_kills.py` and `test_work_soak.py`.

What steps and calls do outside of the database they note in files, a line each time: so a test sees how often each ran, whoever
ran it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Annotated, Any

import uvloop
from pydantic import AfterValidator, BaseModel

from tallystick import sdk
from tallystick.db import Database, DatabaseSettings
from tallystick.kit import Unavailable
from tallystick.sdk import Agent, SyncTask, Task, Transfer
from tallystick.worker import DatabaseBackend, run_agents
from tests.processes import FORKS

TELLER, FILING = "teller", "filing"
_doom: list[str] = []


def at(point: str) -> None:
    """A point of the agents' code at which a process may be told to die."""
    if point in _doom:
        os.kill(os.getpid(), signal.SIGKILL)


def _claimed(folder: str) -> str:
    at("claimed")
    return folder


class Order(BaseModel):
    """What to do; `folder` is where notes are left. A payload is read before the handler is called."""

    folder: Annotated[str, AfterValidator(_claimed)]
    debit: str = "ALICE"


def note(folder: str | Path, task_id: int, what: str, line: str = "") -> None:
    """Leave a line that outlives the process."""
    descriptor = os.open(Path(folder) / f"{task_id}.{what}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line or os.getpid()}\n".encode())
    os.close(descriptor)


def notes(folder: Path, task_id: int, what: str) -> list[str]:
    """The lines that were left."""
    path = folder / f"{task_id}.{what}"
    return path.read_text().splitlines() if path.exists() else []


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where the steps of a task are done."""

    folder: str
    task_id: int

    def score(self, base: int) -> int:
        note(self.folder, self.task_id, "score")
        at("in-a-step")
        return base + 1

    def send(self, score: int, *, key: str) -> str:
        note(self.folder, self.task_id, "send", key)
        at("in-a-call")
        return f"sent {score}"

    def report(self, sent: str) -> int:
        note(self.folder, self.task_id, "report")
        at("in-the-last-step")
        return len(sent)

    async def wait(self, name: str) -> int:
        """A step that lasts until the gate is open; whoever is the second at this task does not wait."""
        note(self.folder, self.task_id, name)
        while not self._is_open():
            await asyncio.sleep(0.01)
        return os.getpid()

    def block(self, name: str) -> int:
        """As `wait`, for a thread."""
        note(self.folder, self.task_id, name)
        while not self._is_open():
            time.sleep(0.01)
        return os.getpid()

    async def wait_whatever_comes(self, name: str) -> int:
        """As `wait`; it does not let itself be cancelled."""
        note(self.folder, self.task_id, name)
        while not self._is_open():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return os.getpid()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Note how this ends."""
        try:
            yield
        except BaseException as error:
            note(self.folder, self.task_id, "heard", f"{os.getpid()} {type(error).__name__}")
            raise
        note(self.folder, self.task_id, "heard", f"{os.getpid()} nothing")

    def _is_open(self) -> bool:
        first, *_ = notes(Path(self.folder), self.task_id, "one")
        return first != str(os.getpid()) or (Path(self.folder) / "gate").exists()


async def pay(task: Task[Order]) -> None:
    """Two steps, a call to the outside between them, and three effects."""
    desk = _Desk(task.payload.folder, task.id)
    at("begun")
    score = await task.step("score", desk.score, 7)
    at("between-steps")
    sent = await task.call("send", desk.send, score)
    report = await task.step("report", desk.report, sent)
    at("before-finish")
    async with task.finish() as effects:
        _effects(effects, task.payload.debit, task.id)
        at("in-finish")
        effects.complete({"score": score, "report": report})
    at("finished")
    note(desk.folder, task.id, "went on")


def pay_in_a_thread(task: SyncTask[Order]) -> None:
    """As `pay`, by a function that blocks."""
    desk = _Desk(task.payload.folder, task.id)
    score = task.step("score", desk.score, 7)
    sent = task.call("send", desk.send, score)
    report = task.step("report", desk.report, sent)
    with task.finish() as effects:
        _effects(effects, task.payload.debit, task.id)
        at("in-finish-in-a-thread")
        effects.complete({"score": score, "report": report})
    note(desk.folder, task.id, "went on")


async def tell(task: Task[Order]) -> dict[str, int]:
    """A task without effects: its end goes with those of others."""
    desk = _Desk(task.payload.folder, task.id)
    return {"score": await task.step("score", desk.score, 7)}


async def nap(task: Task[Order]) -> dict[str, int]:
    """A task that is parked for a moment."""
    desk = _Desk(task.payload.folder, task.id)
    score = await task.step("score", desk.score, 7)
    await task.sleep("nap", 0.1)
    return {"score": score}


async def stumble(task: Task[Order]) -> dict[str, int]:
    """A task whose first attempt fails."""
    desk = _Desk(task.payload.folder, task.id)
    score = await task.step("score", desk.score, 7)
    if task.attempt == 1:
        raise ConnectionError("the model is away")
    return {"score": score}


async def in_parallel(task: Task[Order]) -> None:
    """Three steps side by side, which last until the gate is open."""
    desk = _Desk(task.payload.folder, task.id)
    with desk.heard():
        who = await asyncio.gather(*(task.step(name, desk.wait, name) for name in ("one", "two", "three")))
        async with task.finish() as effects:
            _effects(effects, task.payload.debit, task.id)
            effects.complete({"who": who})


def in_a_thread(task: SyncTask[Order]) -> None:
    """A step that blocks until the gate is open, in a thread."""
    desk = _Desk(task.payload.folder, task.id)
    with desk.heard():
        who = task.step("one", desk.block, "one")
        with task.finish() as effects:
            _effects(effects, task.payload.debit, task.id)
            effects.complete({"who": [who]})


async def stubborn(task: Task[Order]) -> dict[str, list[int]]:
    """A handler that takes no exception for an answer, and goes on whatever it is told."""
    desk = _Desk(task.payload.folder, task.id)
    who = 0
    for name in ("one", "two"):
        with contextlib.suppress(BaseException), desk.heard():
            who = await task.step(name, desk.wait_whatever_comes, name)
    with contextlib.suppress(BaseException), desk.heard():
        await task.call("send", desk.send, 1)
    with contextlib.suppress(BaseException), desk.heard():
        async with task.finish() as effects:
            _effects(effects, task.payload.debit, task.id)
            effects.complete({"who": [who]})
    with contextlib.suppress(BaseException), desk.heard():
        await task.sleep("nap", 0)
    return {"who": [os.getpid()]}


def stubborn_in_a_thread(task: SyncTask[Order]) -> dict[str, list[int]]:
    """As `stubborn`, by a function that blocks."""
    desk = _Desk(task.payload.folder, task.id)
    who = 0
    for name in ("one", "two"):
        with contextlib.suppress(BaseException), desk.heard():
            who = task.step(name, desk.block, name)
    with contextlib.suppress(BaseException), desk.heard(), task.finish() as effects:
        _effects(effects, task.payload.debit, task.id)
        effects.complete({"who": [who]})
    return {"who": [os.getpid()]}


def _effects(effects: sdk.Effects, debit: str, task_id: int) -> None:
    effects.propose(Transfer(debit, "BOB", Decimal("0.01"), "CZK"))
    effects.event("paid", {"task": task_id})
    effects.enqueue(FILING, "file", {"task": task_id})


Handler = Callable[[Any], Any]


def teller(types: Mapping[str, Handler]) -> Agent:
    """The agent, with a handler for each type. Its tasks are tried as often as workers are killed."""
    agent = Agent(TELLER, version="1")
    for type, handler in types.items():
        agent.task(type, max_attempts=3, max_crashes=1000, timeout_s=600, backoff_s=0.1, max_backoff_s=0.2)(handler)
    return agent


class Move(BaseModel):
    """Money to be moved, in hundredths."""

    folder: str
    debit: str
    credit: str
    amount: int


async def move(task: Task[Move]) -> None:
    """Two steps and a transfer. Each run of a step is noted with the fence that it ran under."""
    order = task.payload

    def run(name: str, value: int) -> int:
        note(order.folder, os.getpid(), "ran", f"{task.id} {name} {task.fence}")
        return value * 2

    doubled = await task.step("first", run, "first", order.amount)
    again = await task.step("second", run, "second", doubled)
    async with task.finish() as effects:
        effects.propose(Transfer(order.debit, order.credit, Decimal(again // 4).scaleb(-2), "CZK"))


STOPPED: dict[str, Handler] = {
    "in-parallel": in_parallel,
    "in-a-thread": in_a_thread,
    "stubborn": stubborn,
    "stubborn-in-a-thread": stubborn_in_a_thread,
    "locked": pay,
    "committed": pay,
    "afterwards": tell,
}
stopped = teller({f"{who}-{type}": handler for who in ("told", "deaf") for type, handler in STOPPED.items()})
"""For the command line."""


@dataclass
class Crew:
    """Worker processes, whose logs are in `folder`. Whoever is left at its end is killed."""

    folder: Path
    running: list[ForkServerProcess] = field(default_factory=list)
    started: int = 0

    def start(self, url: str, types: Mapping[str, Handler], *, dies_at: str = "", **options: Any) -> ForkServerProcess:
        """A worker; `dies_at` is the point of its code at which it kills itself, and `options` are those of `run_agents`."""
        self.started += 1
        arguments = (url, dict(types), dies_at, self.folder / f"worker-{self.started}.log", options)
        process = FORKS.Process(target=_work, args=arguments, name=f"worker-{self.started}")
        process.start()
        self.running.append(process)
        return process

    def kill(self, process: ForkServerProcess) -> None:
        process.kill()
        process.join()
        self.running.remove(process)

    def log(self, process: ForkServerProcess) -> str:
        return (self.folder / f"{process.name}.log").read_text()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self.running):
            self.kill(process)


def _work(url: str, types: Mapping[str, Handler], dies_at: str, log: Path, options: Mapping[str, Any]) -> None:
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
    _doom[:] = [dies_at]
    uvloop.run(_run(url, teller(types), dict(options)))


async def _run(url: str, agent: Agent, options: dict[str, Any]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = DatabaseSettings(**options.pop("settings", {}))
    database = await _opened(url, settings)
    name, options = f"worker-{os.getpid()}", {"lease_s": 2} | options
    if options.pop("deaf", False):
        await sdk.Runner(_Deaf(database, settings, name=name, **options), [agent]).run(stop)
    else:
        await run_agents(database, [agent], stop, settings=settings, name=name, **options)
    await database.close()


class _Deaf(DatabaseBackend):
    """It tells nobody that attempts were lost; so nothing but the database is in the way of what they still do."""

    async def lost(self) -> sdk.Lost:
        await super().lost()
        return sdk.Lost()


async def _opened(url: str, settings: DatabaseSettings) -> Database:
    """The database, once it is there: a worker may be started while the server is."""
    while True:
        database = Database(url, settings)
        try:
            await database.open(wait_s=2)
        except Unavailable:
            await database.close()
        else:
            return database
