"""The work in plain Python: what tasks do, one thing at a time, with nothing clever in it.

Times are seconds on the model's clock. Fences and ids are those that the database gave; the model only remembers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

LANES = 4
HAND_OVER_S = 3
PARKED = ("sleep", "event", "approval")


class Refused(Exception):
    """A refusal, by its code."""


@dataclass
class Queue:
    max_attempts: int = 5
    max_crashes: int = 5
    timeout_s: int = 3600
    backoff_s: float = 1.0
    max_backoff_s: float = 300.0
    per_key: int = 1


@dataclass(frozen=True)
class New:
    agent: str
    type: str
    payload: int = 0
    priority: int = 0
    run_at: float | None = None
    deadline_at: float | None = None
    key: str | None = None
    order_key: str | None = None
    after: tuple[int, ...] = ()
    max_attempts: int | None = None


@dataclass
class Run:
    fence: int
    worker: int | None
    lease_until: float | None
    deadline_at: float


@dataclass
class Open:
    """A claim that stands open, of the queues that it began with: what was given by each of its lanes, and may be."""

    serves: set[tuple[str, str]]
    given: list[int]
    up_to: list[int]

    @property
    def most(self) -> int:
        return max(up_to - given for given, up_to in zip(self.given, self.up_to, strict=True))


@dataclass
class Wait:
    kind: str
    wake_at: float | None = None
    step: str | None = None
    event_type: str | None = None
    match: dict[str, Any] | None = None


@dataclass
class Outcome:
    state: str
    error: str | None
    attempts: int


@dataclass
class Task:
    """Exactly one of `ready`, `run`, `wait`, `dead` and `outcome` says where it is."""

    id: int
    new: New
    attempts: int = 0
    crashes: int = 0
    ready: bool = False
    run: Run | None = None
    wait: Wait | None = None
    dead: bool = False
    outcome: Outcome | None = None
    waits_for: set[int] = field(default_factory=set)
    in_turn: bool | None = None
    failures: list[str] = field(default_factory=list)
    steps: dict[tuple[str, str], Any] = field(default_factory=dict)
    tries: set[tuple[str, int, int]] = field(default_factory=set)

    @property
    def status(self) -> str:
        if self.outcome is not None:
            return self.outcome.state
        return "running" if self.run else "waiting" if self.wait else "dead" if self.dead else "queued"

    def to(self, *, ready: bool = False, wait: Wait | None = None, dead: bool = False, outcome: Outcome | None = None) -> None:
        self.ready, self.run, self.wait, self.dead, self.outcome = ready, None, wait, dead, outcome


class Model:
    def __init__(self) -> None:
        self.now = 0.0
        self.tasks: dict[int, Task] = {}
        self.queues: dict[tuple[str, str], Queue] = {}
        self.keys: dict[str, tuple[New, int]] = {}
        self.workers: dict[int, float] = {}
        self.open: dict[int, Open] = {}
        self.paused: set[tuple[str, str]] = set()
        self.limits: dict[tuple[str, str], int] = {}

    # --- what is stored

    def enqueue(self, batch: Sequence[New]) -> list[int | None]:
        """The ids of those that are there already, `None` for each that is to be stored."""
        known = dict(self.keys)
        found: list[int | None] = []
        for place, new in enumerate(batch):
            if new.key in known:
                if known[new.key][0] != new:
                    raise Refused("key_reused")
                found.append(known[new.key][1])
            else:
                found.append(None)
                if new.key is not None:
                    known[new.key] = (new, -place)
        return found

    def stored(self, batch: Sequence[New], ids: Sequence[int]) -> None:
        """What `enqueue` called for has been stored under these ids, one for each of `batch`."""
        fresh = [(new, id) for new, id in zip(batch, ids, strict=True) if id not in self.tasks]
        fresh = list({id: (new, id) for new, id in reversed(fresh)}.values())[::-1]
        cancelled: dict[int, int] = {}
        for new, id in fresh:
            if new.key is not None:
                self.keys[new.key] = (new, id)
            self.queues.setdefault((new.agent, new.type), Queue())
            task = self.tasks[id] = Task(id, new, in_turn=None if new.order_key is None else False)
            bad = [on for on in new.after if self.tasks[on].outcome is not None and self.tasks[on].status != "done"]
            if bad:
                cancelled[id] = min(bad)
            task.waits_for = {on for on in new.after if self.tasks[on].status != "done"}
            task.wait = Wait("tasks" if new.order_key is None else "turn")
        for id, on in cancelled.items():
            self._end(self.tasks[id], "cancelled", _not_well(on))
        for new, id in fresh:
            if new.order_key is None and id not in cancelled:
                self._admit(self.tasks[id])
        self._give_turns({(new.agent, new.order_key) for new, _ in fresh if new.order_key is not None})

    def configure(self, agent: str, type: str, **policy: Any) -> None:
        queue = self.queues.setdefault((agent, type), Queue())
        for name, value in policy.items():
            setattr(queue, name, value)

    # --- attempts

    def claim(
        self,
        agents: Iterable[str],
        types: Iterable[str] | None,
        limit: int,
        worker: int | None,
        only: Sequence[int] | None = None,
    ) -> list[int]:
        """The tasks that are claimed, in order; `claimed` says under which fences."""
        if worker is not None and not self.workers.get(worker, float("-inf")) > self.now:
            raise Refused("lease_lost")
        rooms = {brake: most - self._running(brake) for brake, most in self.limits.items()}
        taken: list[int] = []
        for task in sorted((t for t in self.tasks.values() if t.ready), key=lambda t: (-t.new.priority, t.id)):
            brakes = [("agent", task.new.agent), ("type", task.new.type)]
            wanted = task.new.agent in agents and (types is None or task.new.type in types) if only is None else task.id in only
            if len(taken) == limit or not wanted or self.paused & set(brakes) or any(rooms.get(b, 1) <= 0 for b in brakes):
                continue
            taken.append(task.id)
            for brake in brakes:
                if brake in rooms:
                    rooms[brake] -= 1
        return taken

    def claim_openly(
        self, agents: Iterable[str], types: Iterable[str] | None, limit: int, worker: int, serves: set[tuple[str, str]]
    ) -> list[int]:
        """The tasks that are claimed; for the rest it stands open. `limit` is without what the worker has not heard of."""
        taken = self.claim(agents, types, limit, worker)
        serves = {queue for queue in serves if queue in self.queues}
        if worker not in self.open and serves:
            self.open[worker] = Open(serves, [0] * LANES, [0] * LANES)
        if worker in self.open:
            lanes, rest = self.open[worker], max(limit - len(taken), 0)
            lanes.up_to = [given + (rest + LANES - 1 - lane) // LANES for lane, given in enumerate(lanes.given)]
        return taken

    def takers(self, task_id: int) -> set[int | None]:
        """The workers of which one is handed the task that was just stored by itself; `None`: it may be that none is."""
        task = self.tasks[task_id]
        queue = (task.new.agent, task.new.type)
        brakes = {("agent", task.new.agent), ("type", task.new.type)}
        others = {(t.new.agent, t.new.type) for t in self.tasks.values() if t.ready and t.id != task_id}
        waiting = {
            worker: claim
            for worker, claim in self.open.items()
            if self.workers.get(worker, float("-inf")) > self.now and queue in claim.serves and claim.most > 0
        }
        if not task.ready or not waiting or queue in others or brakes & (self.paused | self.limits.keys()):
            return {None}
        most = max(claim.most for claim in waiting.values())
        first = {worker: claim for worker, claim in waiting.items() if claim.most == most}
        return {None if claim.serves & others else worker for worker, claim in first.items()}

    def handed(self, task_id: int, fence: int, worker: int) -> None:
        self.claimed(task_id, fence, worker, 0)
        run = self.tasks[task_id].run
        assert run is not None
        run.lease_until = self.now + HAND_OVER_S

    def claimed(self, task_id: int, fence: int, worker: int | None, lease_s: int) -> float:
        """The task runs under that fence; until when, at the latest."""
        task = self.tasks[task_id]
        task.to()
        lease = None if worker is not None else self.now + lease_s
        task.run = Run(fence, worker, lease, self.now + self._queue(task).timeout_s)
        task.attempts += 1
        return min(task.run.deadline_at, lease or task.run.deadline_at)

    def finish(self, attempts: Sequence[tuple[int, int]], states: Sequence[str]) -> list[bool]:
        held: list[bool] = []
        ended: list[Task] = []
        for (task_id, fence), state in zip(attempts, states, strict=True):
            task = self._held(task_id, fence)
            held.append(task is not None)
            if task is not None:
                task.to(outcome=Outcome(state, None if state == "done" else "no", task.attempts))
                ended.append(task)
        self._move_on(ended)
        return held

    def fail(
        self, attempts: Sequence[tuple[int, int]], ended: str, retry_s: float | None, error: str = "busy"
    ) -> tuple[list[str], dict[int, tuple[float, float]]]:
        """What became of each, and between which times those whose backoff has jitter are tried again."""
        became: list[str] = []
        between: dict[int, tuple[float, float]] = {}
        left: list[Task] = []
        for task_id, fence in attempts:
            task = self._held(task_id, fence)
            if task is None:
                became.append("lost")
                continue
            queue, crashes = self._queue(task), task.crashes
            tries = crashes if ended == "crash" else task.attempts
            task.attempts -= ended in ("crash", "returned")
            task.crashes += ended == "crash"
            task.failures.append(ended)
            if ended == "crash":
                dead = task.crashes >= queue.max_crashes
            else:
                dead = ended != "returned" and task.attempts >= (task.new.max_attempts or queue.max_attempts)
            became.append("dead" if dead else "again")
            if dead:
                task.to(dead=True)
                left.append(task)
                continue
            at_once = ended == "returned" or (ended == "crash" and crashes == 0)
            if retry_s is not None or at_once:
                low = high = retry_s or 0.0
            else:
                high = min(queue.max_backoff_s, queue.backoff_s * 2 ** min(tries - 1, 30))
                low = high / 2
            if high <= 0:
                task.to(ready=True)
            else:
                task.to(wait=Wait("backoff", self.now + high))
                between[task_id] = (self.now + low, self.now + high)
        self._leave_turns(left)
        return became, between

    def hold(self, task_id: int, fence: int) -> Task:
        task = self._held(task_id, fence)
        if task is None:
            raise Refused("fence_lost")
        return task

    def extend(self, task_id: int, fence: int, lease_s: int) -> None:
        run = self.hold(task_id, fence).run
        if run is None or run.worker is not None:
            raise Refused("fence_lost")
        run.lease_until = self.now + lease_s

    def beat(self, worker: int, lease_s: int, heard: Sequence[tuple[int, int]]) -> set[tuple[int, int]] | None:
        if not self.workers.get(worker, float("-inf")) > self.now:
            return None
        self.workers[worker] = self.now + lease_s
        for task_id, fence in heard:
            task = self._held(task_id, fence)
            run = None if task is None else task.run
            if run is not None and run.worker is not None and run.lease_until is not None and run.lease_until > self.now:
                run.lease_until = None
        return {(t.id, t.run.fence) for t in self.tasks.values() if t.run is not None and t.run.worker == worker}

    def leave(self, worker: int) -> int:
        self.workers.pop(worker, None)
        self.open.pop(worker, None)
        held = [(t.id, t.run.fence) for t in self.tasks.values() if t.run is not None and t.run.worker == worker]
        self.fail(held, "returned", None)
        return len(held)

    def reap(self) -> tuple[list[tuple[int, str, str]], dict[int, tuple[float, float]]]:
        self.workers = {worker: until for worker, until in self.workers.items() if until > self.now}
        self.open = {worker: claim for worker, claim in self.open.items() if worker in self.workers}
        reaped: list[tuple[int, str, str]] = []
        between: dict[int, tuple[float, float]] = {}
        for task in sorted(self.tasks.values(), key=lambda task: task.id):
            run = task.run
            if run is None:
                continue
            gone = run.worker is not None and run.worker not in self.workers
            late = run.deadline_at <= self.now
            if gone or late or (run.lease_until is not None and run.lease_until <= self.now):
                too_slow = late and (run.lease_until is None or run.deadline_at <= run.lease_until)
                unheard = run.lease_until is not None and run.worker in self.workers
                ended = "timeout" if too_slow else "returned" if unheard else "crash"
                if unheard and run.worker is not None:
                    self.open.pop(run.worker, None)
                (became,), later = self.fail([(task.id, run.fence)], ended, None)
                reaped.append((task.id, ended, became))
                between |= later
        return reaped, between

    # --- steps and waits

    def record(self, task_id: int, fence: int, name: str, state: str, number: int) -> None:
        task = self.hold(task_id, fence)
        if (name, state) in task.steps or (state == "failed" and (name, fence, number) in task.tries):
            raise Refused("already_exists")
        if state == "failed":
            task.tries.add((name, fence, number))
        else:
            task.steps[(name, state)] = number

    def park(self, task_id: int, fence: int, wait: Wait) -> None:
        task = self.hold(task_id, fence)
        if (wait.step, "done") in task.steps:
            raise Refused("already_exists")
        task.steps.setdefault((wait.step or "", "intent"), None)
        task.attempts -= 1
        task.to(wait=wait)

    def wake_due(self) -> int:
        due = [
            t for t in self.tasks.values() if t.wait is not None and t.wait.wake_at is not None and t.wait.wake_at <= self.now
        ]
        for task in due:
            self._wake(task, {"timed_out": True} if task.wait and task.wait.kind in ("event", "approval") else None)
        return len(due)

    def wake_for_event(self, type: str, payload: dict[str, Any], event: dict[str, Any]) -> int:
        woken = 0
        for task in self.tasks.values():
            wait = task.wait
            if wait is not None and wait.event_type == type and payload.items() >= (wait.match or {}).items():
                self._wake(task, event)
                woken += 1
        return woken

    def answer(self, task_id: int, step: str, answer: dict[str, Any]) -> None:
        task = self.tasks[task_id]
        if task.wait is None or task.wait.kind != "approval" or task.wait.step != step:
            raise Refused("nothing_asked")
        self._wake(task, answer)

    # --- ends

    def cancel(self, task_id: int) -> None:
        task = self.tasks[task_id]
        if task.outcome is None:
            self._end_all([task], "cancelled", "cancelled")
        elif task.status != "cancelled":
            raise Refused("task_already_finished")

    def expire(self) -> list[int]:
        deadlines = [(t, t.new.deadline_at) for t in self.tasks.values() if t.outcome is None]
        due = [t for t, deadline_at in deadlines if deadline_at is not None and deadline_at <= self.now]
        self._end_all(due, "failed", "deadline_passed: it was not finished by its deadline")
        return sorted(task.id for task in due)

    def report(self, task_id: int, result: Any) -> None:
        task = self.tasks[task_id]
        if task.ready:
            task.to(outcome=Outcome("done", None, task.attempts + 1))
            task.steps[("", "report")] = result
            self._move_on([task])
        elif task.outcome is not None and task.steps.get(("", "report"), self) == result:
            return
        elif task.run is not None:
            raise Refused("task_is_running")
        elif task.wait is not None:
            raise Refused("task_is_waiting")
        else:
            raise Refused("task_already_finished")

    def put_back(self, task_id: int) -> None:
        task = self.tasks[task_id]
        if not task.dead:
            raise Refused("task_is_not_dead")
        task.attempts = task.crashes = 0
        task.to(wait=Wait("turn"))
        if task.new.order_key is None:
            self._admit(task)
        else:
            task.in_turn = False
            self._give_turns({(task.new.agent, task.new.order_key)})

    # --- beneath

    def _queue(self, task: Task) -> Queue:
        return self.queues[(task.new.agent, task.new.type)]

    def _held(self, task_id: int, fence: int) -> Task | None:
        task = self.tasks.get(task_id)
        return task if task is not None and task.run is not None and task.run.fence == fence else None

    def _running(self, brake: tuple[str, str]) -> int:
        kind, name = brake
        return sum(t.run is not None and (t.new.agent if kind == "agent" else t.new.type) == name for t in self.tasks.values())

    def _wake(self, task: Task, output: Any) -> None:
        assert task.wait is not None
        if task.wait.step is not None:
            task.steps[(task.wait.step, "done")] = output
        task.to(ready=True)

    def _admit(self, task: Task) -> None:
        if task.waits_for:
            task.to(wait=Wait("tasks"))
        elif task.new.run_at is not None and task.new.run_at > self.now:
            task.to(wait=Wait("run_at", task.new.run_at))
        else:
            task.to(ready=True)

    def _give_turns(self, keys: set[tuple[str, str | None]]) -> None:
        for agent, key in keys:
            of_key = [t for t in self.tasks.values() if (t.new.agent, t.new.order_key) == (agent, key)]
            busy = sum(t.in_turn is True for t in of_key)
            for task in sorted((t for t in of_key if t.in_turn is False), key=lambda t: t.id):
                if busy >= self._queue(task).per_key:
                    break
                busy += 1
                task.in_turn = True
                self._admit(task)

    def _leave_turns(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            task.in_turn = None
        self._give_turns({(t.new.agent, t.new.order_key) for t in tasks if t.new.order_key is not None})

    def _end(self, task: Task, state: str, error: str | None) -> None:
        task.to(outcome=Outcome(state, error, task.attempts))
        task.waits_for = set()
        task.in_turn = None

    def _end_all(self, tasks: Sequence[Task], state: str, error: str) -> None:
        for task in tasks:
            if task.run is not None:
                task.failures.append("returned")
            self._end(task, state, error)
        self._move_on(tasks)

    def _move_on(self, ended: Sequence[Task]) -> None:
        """What the end of tasks means for others; those cancelled with them first, then turns, then who waited for them."""
        bad = {task.id for task in ended if task.status != "done"}
        cancelled: dict[int, set[int]] = {}
        grown = True
        while grown:
            grown = False
            for task in self.tasks.values():
                on = task.waits_for & (bad | set(cancelled))
                if on and task.outcome is None and cancelled.get(task.id) != on:
                    cancelled[task.id] = on
                    grown = True
        for task_id, on in cancelled.items():
            self._end(self.tasks[task_id], "cancelled", _not_well(min(on)))
        self._leave_turns([*ended, *(self.tasks[task_id] for task_id in cancelled)])
        done = {task.id for task in ended if task.status == "done"}
        for task in self.tasks.values():
            if task.waits_for & done:
                task.waits_for -= done
                if task.wait is not None and task.wait.kind == "tasks":
                    self._admit(task)


def _not_well(task_id: int) -> str:
    return f"dependency_failed: task {task_id} did not end well"
