"""A place for tasks in memory, which holds to what `Backend` promises: the seam at which the sdk is tested.

It checks fences like the real ones, and can be told to be away, to lose its answers, and to keep callers waiting at a gate.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tallystick.sdk import (
    Agent,
    Attempt,
    BackendAway,
    Completion,
    Done,
    EffectRefused,
    End,
    Failed,
    FenceLost,
    Lost,
    Parked,
    Queue,
    Runner,
    StepRecord,
    Wait,
)

_NEVER_S = 20.0


class MemoryBackend:
    """Tasks, each in one place: ready, run, wait, done, failed or dead."""

    def __init__(self, *, max_attempts: int = 3, timeout_s: float = 60.0) -> None:
        self.max_attempts = max_attempts
        self.timeout_s = timeout_s
        self.queues: Sequence[Queue] = ()
        self.places: dict[int, str] = {}
        self.results: dict[int, Any] = {}
        self.effects: dict[int, Completion] = {}
        self.ends: list[End] = []
        self.errors: defaultdict[int, list[str]] = defaultdict(list)
        self.lines: defaultdict[int, list[StepRecord]] = defaultdict(list)
        self.waits: dict[int, Wait] = {}
        self.batches: list[int] = []
        self.asked: Counter[str] = Counter()
        self.refusals: list[EffectRefused | Parked] = []
        self.is_open = False
        self.away: set[str] = set()
        self.forgetful: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.most_running = 0
        self._tasks: dict[int, tuple[str, str, Any]] = {}
        self._attempts: Counter[int] = Counter()
        self._fence = 0
        self._held: dict[int, int] = {}
        self._written: set[tuple[int, str, str, int]] = set()
        self._ended_by: dict[int, tuple[int, Any]] = {}
        self._changed = asyncio.Event()
        self._lost: asyncio.Queue[Lost] = asyncio.Queue()

    # What a test does.

    def add(self, type: str = "work", payload: Any = None, *, agent: str = "agent") -> int:
        task_id = len(self._tasks) + 1
        self._tasks[task_id] = (agent, type, {} if payload is None else payload)
        self._put(task_id, "ready")
        return task_id

    async def at(self, task_id: int, *places: str) -> str:
        """Wait until a task is in one of these places."""
        await self.until(lambda: self.places[task_id] in places)
        return self.places[task_id]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, which a change of this place makes so. What never comes fails the test."""
        async with asyncio.timeout(_NEVER_S):
            await self._until(holds)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def wake(self, task_id: int, output: Any = None) -> None:
        """What a parked task waited for has come."""
        wait = self.waits.pop(task_id)
        self.lines[task_id].append(StepRecord(wait.step, wait.kind, "done", wait.input_hash, output=output))
        self._put(task_id, "ready")

    def take_away(self, task_id: int, *, told: bool = True) -> None:
        """Somebody else takes the task over, as if the lease had ended; the runner may be told of it."""
        fence = self._held.pop(task_id)
        self._put(task_id, "taken")
        if told:
            self._lost.put_nowait(Lost(frozenset({fence})))

    def put_back(self, task_id: int) -> None:
        self._put(task_id, "ready")

    def lose_all(self) -> None:
        """The lease of the whole worker is over."""
        for task_id in self._held:
            self._put(task_id, "taken")
        self._held.clear()
        self._lost.put_nowait(Lost(up_to=self._fence))

    def recorded(self, task_id: int, state: str = "done") -> list[str]:
        return [line.name for line in self.lines[task_id] if line.state == state]

    # What the sdk asks.

    async def open(self, queues: Sequence[Queue]) -> None:
        await self._reach("open")
        self.queues = queues
        self.is_open = True
        self._answer("open")

    async def claim(self, limit: int, wait_s: float) -> list[Attempt]:
        await self._reach("claim")
        assert limit >= 1
        await self._until(lambda: "ready" in self.places.values() or "claim" in self.away)
        self._check("claim")
        ready = [task_id for task_id, place in self.places.items() if place == "ready"][:limit]
        return [self._begin(task_id) for task_id in ready]

    async def settle(self, ends: Sequence[End]) -> list[bool]:
        await self._reach("settle")
        self.batches.append(len(ends))
        held = [self._settle_one(end) for end in ends]
        self._answer("settle")
        return held

    async def steps(self, attempt: Attempt) -> list[StepRecord]:
        await self._reach("steps")
        self._answer("steps")
        return list(self.lines[attempt.task_id])

    async def record(self, attempt: Attempt, step: StepRecord) -> None:
        await self._reach("record")
        self._write(attempt, step)
        self._answer("record")

    async def intend(self, attempt: Attempt, step: StepRecord) -> None:
        await self._reach("intend")
        assert step.state == "intent"
        self._write(attempt, step)
        self._answer("intend")

    async def park(self, attempt: Attempt, wait: Wait) -> None:
        await self._reach("park")
        if self._ended_by.get(attempt.fence) != (attempt.task_id, wait):
            self._hold(attempt)
            self._end(attempt, wait, "wait")
            self.waits[attempt.task_id] = wait
        self._answer("park")

    async def finish(self, attempt: Attempt, completion: Completion) -> None:
        await self._reach("finish")
        if self._ended_by.get(attempt.fence) != (attempt.task_id, completion):
            self._hold(attempt)
            if self.refusals:
                refusal = self.refusals.pop(0)
                if isinstance(refusal, Parked):
                    self._end(attempt, refusal, "wait")
                raise refusal
            self.effects[attempt.task_id] = completion
            self.results[attempt.task_id] = completion.result
            self._end(attempt, completion, "done")
        self._answer("finish")

    async def lost(self) -> Lost:
        return await self._lost.get()

    async def close(self) -> None:
        await self._reach("close")
        self.is_open = False
        for task_id in list(self._held):
            del self._held[task_id]
            self._put(task_id, "ready")

    # How it does it.

    async def _reach(self, what: str) -> None:
        self.asked[what] += 1
        self.reached[what].set()
        self._changed.set()
        # An answer takes a turn of the event loop here as it does elsewhere.
        await asyncio.sleep(0)
        if what in self.gates:
            await self.gates[what].wait()
        self._check(what)

    def _check(self, what: str) -> None:
        if what in self.away:
            raise BackendAway(what)

    def _answer(self, what: str) -> None:
        if what in self.forgetful:
            self.forgetful.discard(what)
            raise BackendAway(f"{what}: the answer was lost")

    def _begin(self, task_id: int) -> Attempt:
        agent, type, payload = self._tasks[task_id]
        self._fence += 1
        self._attempts[task_id] += 1
        self._held[task_id] = self._fence
        self._put(task_id, "run")
        self.most_running = max(self.most_running, len(self._held))
        return Attempt(task_id, self._fence, agent, type, payload, self._attempts[task_id], self.timeout_s)

    def _hold(self, attempt: Attempt) -> None:
        if self._held.get(attempt.task_id) != attempt.fence:
            raise FenceLost(f"task {attempt.task_id}")

    def _end(self, attempt: Attempt, how: Any, place: str) -> None:
        del self._held[attempt.task_id]
        self._ended_by[attempt.fence] = (attempt.task_id, how)
        if place == "wait":
            self._attempts[attempt.task_id] -= 1
        self._put(attempt.task_id, place)

    def _write(self, attempt: Attempt, step: StepRecord) -> None:
        self._hold(attempt)
        written = (attempt.fence, step.name, step.state, step.try_no)
        if written not in self._written:
            self._written.add(written)
            self.lines[attempt.task_id].append(step)
            self._changed.set()

    def _settle_one(self, end: End) -> bool:
        attempt = end.attempt
        if self._ended_by.get(attempt.fence) == (attempt.task_id, end):
            return True
        try:
            self._hold(attempt)
        except FenceLost:
            return False
        self.ends.append(end)
        if isinstance(end, Done):
            self.results[attempt.task_id] = end.result
            self._end(attempt, end, "done")
        elif isinstance(end, Failed):
            self.errors[attempt.task_id].append(end.error)
            is_last = attempt.attempt >= self.max_attempts
            self._end(attempt, end, "failed" if end.final else "dead" if is_last else "ready")
        else:
            self._attempts[attempt.task_id] -= 1
            self._end(attempt, end, "ready")
        return True

    def _put(self, task_id: int, place: str) -> None:
        self.places[task_id] = place
        self._changed.set()


async def settle_down() -> None:
    """Let the event loop do all that it can do without something new."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(backend: MemoryBackend, *agents: Agent, **options: Any) -> AsyncIterator[asyncio.Event]:
    """A runner at work; what stops it. It is stopped at the end in any case."""
    stop = asyncio.Event()
    runner = asyncio.create_task(Runner(backend, agents, **{"grace_s": 5.0, **options}).run(stop))
    try:
        yield stop
    finally:
        stop.set()
        for gate in backend.gates.values():
            gate.set()
        await runner
