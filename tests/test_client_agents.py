"""Agents of the sdk on a real server over HTTP: what is asked twice happens once, and a process that dies loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import sdk
from tallystick.client import HttpBackend, run_agents
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.sdk import Agent, Completion, Done, Failed, Publish, Queue, Returned, StepRecord, SyncTask, Task, Transfer, Wait
from tests.conftest import TestDatabase
from tests.http_wire import HttpWire
from tests.processes import kill, python, wait_until
from tests.serving import fund, live
from tests.waiting import until

_HASH = b"\x01" * 32
_JSON = dict[str, Any]
_QUEUE = Queue("a", "1", "t", max_attempts=3)


@dataclass
class _Bank:
    """A server, reached directly by a test and over a wire by agents."""

    wire: HttpWire
    http: httpx.AsyncClient
    app_url: str

    async def add(self, **fields: Any) -> int:
        body = {"agent": "a", "type": "t", "payload": {"n": 1}} | fields
        return int((await self.http.post("/v1/tasks", json=body)).json()["id"])

    async def task(self, task_id: int) -> _JSON:
        found: _JSON = (await self.http.get(f"/v1/tasks/{task_id}")).json()
        return found

    async def becomes(self, task_id: int, status: str) -> _JSON:
        async def asked() -> _JSON | None:
            found = await self.task(task_id)
            return found if found["status"] == status else None

        return await until(asked)

    async def items(self, path: str) -> list[_JSON]:
        found: list[_JSON] = (await self.http.get(path)).json()["items"]
        return found

    async def lines(self, task_id: int) -> list[tuple[str, str]]:
        return [(line["name"], line["state"]) for line in await self.items(f"/v1/tasks/{task_id}/steps")]


@pytest.fixture
async def bank(db: Database, database: TestDatabase) -> AsyncIterator[_Bank]:
    await fund(db)
    with live(database.app_url, work=True) as base:
        async with HttpWire(base) as wire, httpx.AsyncClient(base_url=base) as http:
            yield _Bank(wire, http, database.app_url)


@contextlib.asynccontextmanager
async def _opened(bank: _Bank, *queues: Queue, lease_s: int = 30) -> AsyncIterator[HttpBackend]:
    backend = HttpBackend(bank.wire.url, lease_s=lease_s)
    await backend.open(queues or [_QUEUE])
    try:
        yield backend
    finally:
        await backend.close()


@contextlib.asynccontextmanager
async def _running(
    bank: _Bank, *agents: Agent, url: str = "", lease_s: int = 30, grace_s: float = 5
) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    running = asyncio.create_task(run_agents(agents, stop, url=url or bank.wire.url, lease_s=lease_s, grace_s=grace_s))
    try:
        yield stop
    finally:
        stop.set()
        await running


async def _one(backend: HttpBackend) -> sdk.Attempt:
    (attempt,) = await backend.claim(1, 30)
    return attempt


async def test_what_is_claimed_has_its_payload_exactly_and_its_time(bank: _Bank) -> None:
    async with _opened(bank, Queue("a", "1", "t", timeout_s=77)) as backend:
        payload = '{"agent": "a", "type": "t", "payload": {"rate": 0.10, "n": 9007199254740993}}'
        made = await bank.http.post("/v1/tasks", content=payload, headers={"content-type": "application/json"})
        attempt = await _one(backend)
        assert attempt == sdk.Attempt(
            int(made.json()["id"]), attempt.fence, "a", "t", {"rate": Decimal("0.10"), "n": 9007199254740993}, 1, 77.0
        )
        assert str(attempt.payload["rate"]) == "0.10"


async def test_a_claim_takes_no_task_of_a_type_that_the_agent_does_not_know(bank: _Bank) -> None:
    async with _opened(bank, Queue("a", "1", "x"), Queue("b", "1", "y")) as backend:
        await bank.add(agent="a", type="y")
        await bank.add(agent="b", type="x")
        known = [await bank.add(agent="b", type="y"), await bank.add(agent="a", type="x")]
        attempts = await backend.claim(10, 0)
        assert sorted(attempt.task_id for attempt in attempts) == sorted(known)


async def test_a_claim_that_is_cancelled_leaves_nothing_behind(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        claim = asyncio.create_task(backend.claim(1, 30))
        await asyncio.sleep(0)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
        task_id = await bank.add()
        assert (await _one(backend)).task_id == task_id
        second = await bank.add()
        claim = asyncio.create_task(backend.claim(1, 30))
        await bank.becomes(second, "running")
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
    for each in (task_id, second):
        task = await bank.becomes(each, "queued")
        assert (task["attempts"], task["crashes"]) == (0, 0)


async def test_what_a_claim_took_whose_answer_was_lost_is_given_back(bank: _Bank) -> None:
    async with _opened(bank, lease_s=4) as backend:
        task_id = await bank.add()
        bank.wire.lose("/claim")
        with pytest.raises(sdk.BackendAway):
            await backend.claim(1, 0)
        assert (await bank.task(task_id))["status"] == "running"
        # A claim that is under way at that time may be what brings it, but not the ones that begin later.
        while not (attempts := await backend.claim(1, 1)):
            pass
        assert (attempts[0].task_id, attempts[0].attempt) == (task_id, 1)
        (ended,) = await bank.items(f"/v1/tasks/{task_id}/attempts")
        assert (ended["ended"], ended["error"].split(":")[0]) == ("returned", "claim_unheard")


@pytest.mark.parametrize("kind", ["step", "call"])
async def test_a_line_whose_answer_was_lost_is_recorded_once(bank: _Bank, kind: Any) -> None:
    async with _opened(bank) as backend:
        task_id = await bank.add()
        attempt = await _one(backend)
        state: Any = "done" if kind == "step" else "intent"
        line = StepRecord("s", kind, state, _HASH, output={"x": Decimal("1.50")}, detail={"key": "k"}, took_ms=7)
        write = backend.record if kind == "step" else backend.intend
        bank.wire.lose("/steps")
        with pytest.raises(sdk.BackendAway):
            await write(attempt, line)
        await write(attempt, line)
        (read,) = await backend.steps(attempt)
        assert read == StepRecord("s", kind, state, _HASH, output={"x": Decimal("1.50")}, detail={"key": "k"})
        assert await bank.lines(task_id) == [("s", state)]


async def test_a_wait_whose_answer_was_lost_is_begun_once(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        task_id = await bank.add()
        attempt = await _one(backend)
        wait = Wait("approval", "may I", _HASH, question="May I?")
        bank.wire.lose("/park")
        with pytest.raises(sdk.BackendAway):
            await backend.park(attempt, wait)
        await backend.park(attempt, wait)
        with pytest.raises(sdk.FenceLost):
            await backend.park(attempt, Wait("approval", "another", _HASH, question="May I?"))
        await bank.http.post(f"/v1/tasks/{task_id}/answers", json={"step": "may I", "approved": True})
        again = await _one(backend)
        assert (again.task_id, again.attempt) == (task_id, 1)
        assert [(line.state, line.output) for line in await backend.steps(again)] == [
            ("intent", None),
            ("done", {"approved": True, "by": "demo", "comment": None}),
        ]


async def test_effects_whose_answer_was_lost_are_carried_out_once(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        task_id = await bank.add()
        attempt = await _one(backend)
        effects = (Transfer("ALICE", "BOB", Decimal("5"), "CZK", "fee"), Publish("paid", {"n": 1}))
        completion = Completion(effects, {"paid": Decimal("5.00")})
        bank.wire.lose("/finish", 2)
        for _ in range(2):
            with pytest.raises(sdk.BackendAway):
                await backend.finish(attempt, completion)
        await backend.finish(attempt, completion)
        assert (await bank.task(task_id))["result"] == {"paid": 5.0}
        (transfer,) = await bank.items("/v1/transfers")
        assert (transfer["amount"], transfer["description"]) == ({"amount": "5.00", "currency": "CZK"}, "fee")
        assert len(await bank.items("/v1/events")) == 1
        with pytest.raises(sdk.FenceLost):
            await backend.finish(attempt, Completion(effects[:1], None))


async def test_effects_that_are_refused_say_why_and_the_attempt_goes_on(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        task_id = await bank.add()
        attempt = await _one(backend)
        refusals: list[tuple[list[sdk.Effect], tuple[str, ...]]] = [
            ([Transfer("ALICE", "BOB", Decimal("9000"), "CZK"), Publish("paid", {})], ("insufficient_funds",)),
            ([Transfer("ALICE", "NOBODY", Decimal("1"), "CZK")], ("unknown_account",)),
            ([sdk.Enqueue("settlement-agent", "settle_transfer", {})], ("reserved_agent",)),
        ]
        for effects, codes in refusals:
            with pytest.raises(sdk.EffectRefused) as refused:
                await backend.finish(attempt, Completion(tuple(effects), None))
            assert refused.value.codes == codes
        await backend.finish(attempt, Completion((), "in vain"))
        assert (await bank.task(task_id))["result"] == "in vain"
        assert await bank.items("/v1/transfers") == await bank.items("/v1/events") == []


async def test_ends_whose_answer_was_lost_hold(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        ids = [await bank.add() for _ in range(5)]
        attempts = await backend.claim(5, 30)
        ends: list[sdk.End] = [
            Done(attempts[0], {"x": 1}),
            Failed(attempts[1], "no_such_customer: C", final=True),
            Failed(attempts[2], "ReadTimeout: m", retry_in_s=3600),
            Failed(attempts[3], "timeout: m", kind="timeout", retry_in_s=3600),
            Returned(attempts[4], "worker_stopped: m"),
        ]
        bank.wire.lose("/settle")
        with pytest.raises(sdk.BackendAway):
            await backend.settle(ends)
        assert await backend.settle(ends) == [True] * 5
        assert [(await bank.task(task_id))["status"] for task_id in ids] == ["done", "failed", "waiting", "waiting", "queued"]
        stale = Done(sdk.Attempt(*attempts[4]), 7)
        assert await backend.settle([stale]) == [False]


async def test_ends_that_are_large_together_are_settled_in_parts(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        for _ in range(30):
            await bank.add()
        attempts = await backend.claim(30, 30)
        assert await backend.settle([Done(attempt, "x" * 250_000) for attempt in attempts]) == [True] * 30


async def test_the_steps_of_a_long_task_are_read_page_by_page(bank: _Bank) -> None:
    async with _opened(bank) as backend:
        await bank.add()
        attempt = await _one(backend)
        names = [f"s{n}" for n in range(120)]
        for name in names:
            await backend.record(attempt, StepRecord(name, "step", "done", _HASH))
        assert [line.name for line in await backend.steps(attempt)] == names


async def test_nothing_is_written_under_a_fence_that_is_lost_and_the_runner_is_told(bank: _Bank) -> None:
    async with _opened(bank, lease_s=4) as backend:
        task_id = await bank.add()
        other = await bank.add()
        lost, kept = await backend.claim(2, 30)
        await bank.http.post(f"/v1/tasks/{task_id}/cancel", json={})
        async with asyncio.timeout(30):
            assert await backend.lost() == sdk.Lost(frozenset({lost.fence}))
        line = StepRecord("s", "step", "done", _HASH)
        pay = Transfer("ALICE", "BOB", Decimal("5"), "CZK")
        writes: list[Coroutine[Any, Any, None]] = [
            backend.record(lost, line),
            backend.park(lost, Wait("sleep", "z", _HASH, in_s=1)),
            backend.finish(lost, Completion((pay,), None)),
            backend.finish(lost, Completion((), None)),
        ]
        for write in writes:
            with pytest.raises(sdk.FenceLost):
                await write
        assert await backend.settle([Done(lost)]) == [False]
        assert await bank.lines(task_id) == []
        assert await bank.items("/v1/transfers") == []
        await backend.record(kept, line)
        assert (await bank.task(other))["status"] == "running"


async def test_without_the_server_for_as_long_as_a_lease_all_attempts_are_lost(bank: _Bank) -> None:
    async with _opened(bank, lease_s=4) as backend:
        task_id = await bank.add()
        attempt = await _one(backend)
        bank.wire.down()
        async with asyncio.timeout(30):
            assert await backend.lost() == sdk.Lost(frozenset({attempt.fence}))
        task = await bank.becomes(task_id, "queued")
        assert (task["attempts"], task["crashes"]) == (0, 1)
        with pytest.raises(sdk.BackendAway):
            await backend.record(attempt, StepRecord("s", "step", "done", _HASH))
        bank.wire.up()
        with pytest.raises(sdk.FenceLost):
            await backend.record(attempt, StepRecord("s", "step", "done", _HASH))


async def test_a_handler_that_blocks_the_loop_keeps_its_lease(bank: _Bank) -> None:
    agent = Agent("a", version="1")

    @agent.task("t")
    async def block(task: Task[Any]) -> int:
        """Blocks until its lease was prolonged twice."""
        leases: set[Any] = set()
        with psycopg.connect(bank.app_url, autocommit=True) as connection:
            while len(leases) < 3:
                leases |= set(connection.execute("select lease_until from work.worker").fetchall())
                time.sleep(0.02)
        return len(leases)

    # The wire is in this loop, and would be blocked too.
    async with _running(bank, agent, url=str(bank.http.base_url), lease_s=4):
        task = await bank.becomes(await bank.add(), "done")
    assert (task["attempts"], task["crashes"]) == (1, 0)


async def test_a_server_that_is_away_for_a_while_is_waited_for(bank: _Bank) -> None:
    agent = Agent("a", version="1")
    began, go_on = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    @agent.task("t")
    async def handle(task: Task[Any]) -> str:
        async def look(name: str) -> str:
            calls.append(name)
            began.set()
            await go_on.wait()
            return name

        return await task.step("one", look, "one") + await task.step("two", look, "two")

    async with _running(bank, agent):
        task_id = await bank.add()
        await began.wait()
        bank.wire.down()
        go_on.set()
        await asyncio.sleep(0)
        bank.wire.up()
        task = await bank.becomes(task_id, "done")
        assert (task["result"], task["attempts"], calls) == ("onetwo", 1, ["one", "two"])
        assert (await bank.becomes(await bank.add(), "done"))["result"] == "onetwo"


async def test_a_function_that_blocks_waits_for_people_and_pays(bank: _Bank) -> None:
    agent = Agent("a", version="1")

    @agent.task("t")
    def handle(task: SyncTask[Any]) -> None:
        score = task.step("score", lambda n: n + 1, task.payload["n"])
        said = task.approval({"score": score})
        with task.finish() as effects:
            if said.approved:
                effects.propose(Transfer("ALICE", "BOB", Decimal("5.00"), "CZK"))
            effects.enqueue("b", "u", {"score": score})
            effects.complete({"by": said.by})

    async with _running(bank, agent):
        task_id = await bank.add()
        await bank.becomes(task_id, "waiting")
        (asked,) = await bank.items("/v1/work/questions")
        assert asked["question"] == {"score": 2}
        await bank.http.post(f"/v1/tasks/{task_id}/answers", json={"step": asked["step"], "approved": True})
        task = await bank.becomes(task_id, "done")
    assert (task["result"], task["attempts"]) == ({"by": "demo"}, 1)
    assert len(await bank.items("/v1/transfers")) == 1
    (queued,) = await bank.items("/v1/tasks?status=queued")
    assert (queued["agent"], queued["payload"]) == ("b", {"score": 2})


async def test_a_runner_that_stops_gives_back_what_does_not_end_in_time(bank: _Bank) -> None:
    agent = Agent("a", version="1")
    began = asyncio.Event()

    @agent.task("t")
    async def wait(task: Task[Any]) -> None:
        began.set()
        await asyncio.Event().wait()

    task_id = await bank.add()
    async with _running(bank, agent, grace_s=0) as stop:
        await began.wait()
        stop.set()
    task = await bank.task(task_id)
    assert (task["status"], task["attempts"], task["crashes"]) == ("queued", 0, 0)
    # A claim that was under way may take what was just given back, until the server notices that nobody hears its answer.
    assert {ended["ended"] for ended in await bank.items(f"/v1/tasks/{task_id}/attempts")} == {"returned"}


async def test_a_key_that_is_not_known_is_waited_out(bank: _Bank, database: TestDatabase) -> None:
    with live(database.app_url, HttpSettings()) as base:
        backend = HttpBackend(base, "ts_wrong")
        with pytest.raises(sdk.BackendAway, match="key_unknown"):
            await backend.open([_QUEUE])
        await backend.close()


_PROGRAM = """
import asyncio, logging, os, sys
from decimal import Decimal
from pathlib import Path
from tallystick.client import run_agent
from tallystick.sdk import Agent, Task, Transfer

logging.basicConfig(stream=sys.stderr)
folder = Path(sys.argv[2])
agent = Agent("a", version="1")

async def work(name: str) -> str:
    with open(folder / name, "a") as notes:
        print(os.getpid(), file=notes)
    while name == "three" and not (folder / "gate").exists():
        await asyncio.sleep(0.01)
    return name

@agent.task("t")
async def five(task: Task) -> None:
    try:
        done = [await task.step(name, work, name) for name in ("one", "two", "three", "four", "five")]
        async with task.finish() as effects:
            effects.propose(Transfer("ALICE", "BOB", Decimal("5"), "CZK"))
            effects.complete({"done": done})
    except BaseException as error:
        (folder / "heard").write_text(type(error).__name__)
        raise

run_agent(agent, url=sys.argv[1], lease_s=6)
"""


@contextlib.contextmanager
def _process(bank: _Bank, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with open(folder / "errors", "a") as errors:
        process = python(_PROGRAM, str(bank.http.base_url), str(folder), stderr=errors)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _notes(folder: Path) -> dict[str, list[int]]:
    """Which processes have made each step."""
    steps = ("one", "two", "three", "four", "five")
    return {name: [int(line) for line in (folder / name).read_text().split()] for name in steps if (folder / name).exists()}


@pytest.mark.faults
async def test_an_agent_that_is_killed_in_the_middle_is_finished_by_another_process(bank: _Bank, tmp_path: Path) -> None:
    task_id = await bank.add()
    with _process(bank, tmp_path) as first:
        await asyncio.to_thread(wait_until, lambda: bool(_notes(tmp_path).get("three")), "the third step")
        kill(first.pid)
    with _process(bank, tmp_path) as second:
        (tmp_path / "gate").touch()
        task = await bank.becomes(task_id, "done")
        second.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(second.wait, 60) == 0
    assert task["result"] == {"done": ["one", "two", "three", "four", "five"]}
    assert _notes(tmp_path) == {
        "one": [first.pid], "two": [first.pid], "three": [first.pid, second.pid], "four": [second.pid], "five": [second.pid],
    }  # fmt: skip
    assert len(await bank.items("/v1/transfers")) == 1
    assert [each["ended"] for each in await bank.items(f"/v1/tasks/{task_id}/attempts")] == ["crash"]


@pytest.mark.faults
async def test_an_agent_that_was_asleep_past_its_lease_writes_nothing_when_it_goes_on(bank: _Bank, tmp_path: Path) -> None:
    task_id = await bank.add()
    with _process(bank, tmp_path) as first:
        await asyncio.to_thread(wait_until, lambda: bool(_notes(tmp_path).get("three")), "the third step")
        first.send_signal(signal.SIGSTOP)
        with _process(bank, tmp_path) as second:
            (tmp_path / "gate").touch()
            await bank.becomes(task_id, "done")
            first.send_signal(signal.SIGCONT)
            await asyncio.to_thread(wait_until, (tmp_path / "heard").exists, "the end of the first")
            # It goes on with other tasks.
            kill(second.pid)
            await bank.becomes(await bank.add(), "done")
    lines = await bank.items(f"/v1/tasks/{task_id}/steps")
    fences = [int(line["fence"]) for line in lines]
    assert [line["name"] for line in lines] == ["one", "two", "three", "four", "five"]
    assert fences == sorted(fences)
    assert [fence == fences[-1] for fence in fences] == [False, False, True, True, True]
    assert len(await bank.items("/v1/transfers")) == 2


@pytest.mark.faults
async def test_the_command_runs_an_agent_on_a_server(bank: _Bank, tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(
        "from tallystick.sdk import Agent, Task\n"
        "agent = Agent('a', version='1')\n"
        "@agent.task('t')\n"
        "async def double(task: Task[dict]) -> int:\n"
        "    return task.payload['n'] * 2\n"
    )
    command = [sys.executable, "-m", "tallystick", "worker", "doubling:agent", "--server", str(bank.http.base_url)]
    environment = {**os.environ, "TALLYSTICK_KEY": "not asked for"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert (await bank.becomes(await bank.add(), "done"))["result"] == 2
        process.send_signal(signal.SIGINT)
        told, errors = await asyncio.to_thread(process.communicate, timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert told.startswith("the worker runs a 1 on http://127.0.0.1:")
    alone = subprocess.run([*command[:4], *command[5:]], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (alone.returncode, "[agent_not_found]" in alone.stderr) == (1, True), alone.stderr
