"""The work against the work in plain Python, step by step: after each step both say the same of every task.

`TALLYSTICK_WORK_STEPS` sets the number of steps: 2,400 in the test command, 10,000 in `make soak`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tallystick import work
from tallystick.db import Database
from tallystick.kit import TallystickError
from tests import work_model as pure
from tests.conftest import TestDatabase
from tests.working import HASH

PHASES = [phase for phase in Phase if phase is not Phase.shrink or os.environ.get("TALLYSTICK_MODEL_SHRINK") != "0"]
STEPS = int(os.environ.get("TALLYSTICK_WORK_STEPS", "2400"))
STEPS_A_RUN = 50
PARTS = 3

START = datetime(2030, 1, 1, tzinfo=UTC)
AGENTS, TYPES = ("a", "b"), ("t", "u")
TABLES = "task, outcome, attempt, step, ready, wait, run, dead, turn, dependency, due, worker, brake, queue, open_claim"
PLACES = """
    select t.id,
           array_remove(array[case when y.task_id is not null then 'ready' end, case when r.task_id is not null then 'run' end,
                              case when w.task_id is not null then 'wait' end, case when d.task_id is not null then 'dead' end,
                              case when o.task_id is not null then 'outcome' end], null),
           coalesce(y.attempts, r.attempts, w.attempts, d.attempts, o.attempts),
           coalesce(y.crashes, r.crashes, w.crashes, d.crashes),
           r.fence, r.worker_id, r.lease_until, r.deadline_at, w.kind, w.wake_at, w.step, o.state, o.error, n.in_turn,
           array(select p.on_task from work.dependency p where p.task_id = t.id order by 1),
           array(select a.ended from work.attempt a where a.task_id = t.id order by a.fence),
           (select count(*) from work.step s where s.task_id = t.id), e.deadline_at is not null
      from work.task t
      left join work.ready y on y.task_id = t.id
      left join work.run r on r.task_id = t.id
      left join work.wait w on w.task_id = t.id
      left join work.dead d on d.task_id = t.id
      left join work.outcome o on o.task_id = t.id
      left join work.turn n on n.task_id = t.id
      left join work.due e on e.task_id = t.id
"""

numbers = st.integers(0, 1000)
agents = st.sampled_from(AGENTS)
types = st.sampled_from(TYPES)
soon = st.none() | st.none() | st.integers(-5, 60)
step_names = st.sampled_from(["s1", "s2", "s3", "s4"])


@st.composite
def tasks(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "agent": draw(agents),
        "type": draw(types),
        "payload": draw(st.integers(0, 1)),
        "priority": draw(st.sampled_from([0, 0, 0, 1, -1])),
        "run_in": draw(soon),
        "due_in": draw(soon),
        "key": draw(st.none() | st.none() | st.sampled_from([f"k{number}" for number in range(5)])),
        "order_key": draw(st.none() | st.none() | st.sampled_from(["o1", "o2"])),
        "after": draw(st.lists(numbers, max_size=2) | st.just([])),
        "max_attempts": draw(st.none() | st.integers(1, 2)),
    }


PLAIN: dict[str, Any] = {
    "agent": "a", "type": "t", "payload": 0, "priority": 0, "run_in": None, "due_in": None, "key": None, "order_key": None,
    "after": [], "max_attempts": None,
}  # fmt: skip


class Work(RuleBasedStateMachine):
    """One rule a verb. Each answer is compared where it is given, all tasks after each step in `same`."""

    database: TestDatabase
    db: Database
    runner: asyncio.Runner
    owner: psycopg.Connection[Any]
    steps = 0
    seen: Counter[str]

    @initialize()
    def begin(self) -> None:
        self.owner.execute(f"truncate db.claim, {', '.join('work.' + table for table in TABLES.split(', '))}".encode())
        self.model = pure.Model()
        self.ids: list[int] = []
        self.attempts: list[tuple[int, int]] = []
        self.workers: list[int] = []
        self.to(0)
        self.configure("a", "t", 2, 30, 1)
        self.configure("b", "t", 2, 3600, 1)

    # --- rules

    @rule(batch=st.lists(tasks(), min_size=1, max_size=3))
    def enqueue(self, batch: list[dict[str, Any]]) -> None:
        now = self.model.now
        news = [
            pure.New(
                each["agent"], each["type"], each["payload"], each["priority"],
                None if each["run_in"] is None else now + each["run_in"],
                None if each["due_in"] is None else now + each["due_in"],
                each["key"], each["order_key"], tuple(sorted({self.some_task(n) for n in each["after"]} - {0})),
                each["max_attempts"],
            )
            for each in batch
        ]  # fmt: skip
        self.store(news)

    @rule(number=numbers)
    def enqueue_again(self, number: int) -> None:
        """The very task that is known under a key, or one that differs a little."""
        known = [new for new, _ in self.model.keys.values()]
        if known:
            new = known[number % len(known)]
            self.store([new, new] if number % 3 else [dataclasses.replace(new, priority=7)])

    @rule(number=numbers, count=st.integers(3, 8))
    def enqueue_many(self, number: int, count: int) -> None:
        """More than are claimed at once, or a chain of tasks each after the one before it."""
        if number % 2:
            self.store([pure.New("a", "t")] * count)
            return
        for _ in range(count // 2):
            last = self.ids[-1] if self.ids else 0
            self.store([pure.New("b", "u", after=(last,) if last else ())])

    def store(self, news: list[pure.New]) -> None:
        tasks = [
            work.NewTask(
                new.agent, new.type, {"n": new.payload}, new.priority, self.time(new.run_at), self.time(new.deadline_at),
                new.key, new.order_key, new.after, new.max_attempts,
            )
            for new in news
        ]  # fmt: skip
        wanted = self.expected(lambda: self.model.enqueue(news))
        before = set(self.model.tasks)
        found = self.given(work.enqueue, "me", tasks)
        if isinstance(wanted, str) or isinstance(found, str):
            assert found == wanted
            return
        for known, id, new in zip(wanted, found, news, strict=True):
            first = next(i for other, i in zip(news, found, strict=True) if other.key == new.key) if new.key else id
            assert id == (first if known is None or known <= 0 else known)
        self.ids += [id for id in dict.fromkeys(found) if id not in self.model.tasks]
        self.model.stored(news, found)
        self.hand_over(list(dict.fromkeys(found)), before)

    def hand_over(self, stored: list[int], before: set[int]) -> None:
        """One that was stored by itself may have been handed to a worker that waits."""
        fresh = [id for id in stored if id not in before]
        rows = self.owner.execute(
            "select task_id, fence, worker_id from work.run where task_id = any (%s)", (fresh,)
        ).fetchall()
        found = {id: (fence, worker) for id, fence, worker in rows}
        takers = self.model.takers(fresh[0]) if len(fresh) == 1 else {None}
        assert {found[id][1] if id in found else None for id in fresh or [0]} <= takers
        for id, (fence, worker) in found.items():
            lanes = self.owner.execute(
                "select given, up_to from work.open_claim where worker_id = %s order by lane", (worker,)
            ).fetchall()
            claim = self.model.open[worker]
            # Of lanes with as much room, either may be taken.
            grew = [lane for lane, (given, _) in enumerate(lanes) if given != claim.given[lane]]
            assert [claim.up_to[lane] - claim.given[lane] for lane in grew] == [claim.most]
            claim.given[grew[0]] += 1
            self.model.handed(id, fence, worker)
            self.attempts.append((id, fence))
            self.seen["handed over"] += 1

    @rule(
        agent=agents,
        type=types,
        attempts=st.integers(1, 3),
        timeout_s=st.sampled_from([5, 30, 3600]),
        per_key=st.integers(1, 2),
    )
    def configure(self, agent: str, type: str, attempts: int, timeout_s: int, per_key: int) -> None:
        policy = {"max_attempts": attempts, "max_crashes": 2, "timeout_s": timeout_s, "backoff_s": 2, "max_backoff_s": 5}
        policy["per_key"] = per_key
        self.given(work.configure, agent, type, by="me", **policy)
        self.model.configure(agent, type, **policy)

    @rule(
        of=st.sets(agents, min_size=1), types=st.none() | st.sets(types, min_size=1), limit=st.integers(1, 5), worker=numbers,
        lease_s=st.sampled_from([10, 10, 60]),
    )  # fmt: skip
    def claim(self, of: set[str], types: set[str] | None, limit: int, worker: int, lease_s: int) -> None:
        if worker % 4 == 1:
            self.register(lease_s)
        older = worker % 7 == 0 and len(self.workers) > 1
        worker_id = self.workers[-2 if older else -1] if self.workers and worker % 2 else None
        self.begun(
            self.expected(lambda: self.model.claim(of, types, limit, worker_id)),
            self.given(
                work.claim, agents=list(of), types=None if types is None else list(types), worker="w", limit=limit,
                worker_id=worker_id, lease_s=lease_s,
            ),
            worker_id,
            lease_s,
        )  # fmt: skip

    @rule(
        of=st.sets(agents, min_size=1), limit=st.integers(1, 6), worker=numbers, serves=st.sets(agents, min_size=1),
        unheard=st.integers(0, 1),
    )  # fmt: skip
    def claim_openly(self, of: set[str], limit: int, worker: int, serves: set[str], unheard: int) -> None:
        if worker % 4 == 1 or not self.workers:
            self.register(60)
        worker_id = self.workers[-2 if worker % 7 == 0 and len(self.workers) > 1 else -1]
        queues = {(agent, type) for agent in serves for type in TYPES}
        given = sum(self.model.open[worker_id].given) if worker_id in self.model.open else 0
        unheard = min(unheard, given)
        self.begun(
            self.expected(lambda: self.model.claim_openly(of, None, limit - unheard, worker_id, queues)),
            self.given(
                work.claim_openly, agents=list(of), types=None, worker="w", worker_id=worker_id, limit=limit, channel="c",
                heard=given - unheard, serves=sorted(queues),
            ),
            worker_id,
            0,
        )  # fmt: skip
        if worker % 3 == 0:
            self.store([pure.New(sorted(serves)[0], "t")])

    @rule(of=st.lists(numbers, min_size=1, max_size=3))
    def claim_these(self, of: list[int]) -> None:
        only = sorted({self.some_task(number) for number in of})
        wanted = self.model.claim((), None, len(only), None, only)
        self.begun(wanted, self.given(work.claim_these, only, worker="w", lease_s=20), None, 20)

    @rule(of=st.lists(numbers, min_size=1, max_size=3), done=st.booleans())
    def finish(self, of: list[int], done: bool) -> None:
        held = self.some_attempts(of)
        states: list[Any] = ["done" if done or place else "failed" for place in range(len(held))]
        wanted = self.model.finish(held, states)
        finishes = [
            work.Finish(task, fence, state, error=None if state == "done" else "no")
            for (task, fence), state in zip(held, states, strict=True)
        ]
        assert self.given(work.finish, finishes, "w") == wanted

    @rule(
        of=st.lists(numbers, min_size=1, max_size=3), ended=st.sampled_from(["error", "error", "timeout", "crash", "returned"]),
        retry_s=st.none() | st.sampled_from([0, 7]),
    )  # fmt: skip
    def fail(self, of: list[int], ended: Any, retry_s: float | None) -> None:
        held = self.some_attempts(of)
        wanted, between = self.model.fail(held, ended, retry_s)
        found = self.given(work.fail, [work.Failure(task, fence, "busy", ended, retry_s) for task, fence in held], "w")
        assert found == wanted
        self.settle(between)

    @rule(
        attempt=numbers, wait=st.sampled_from(["sleep", "event", "approval"]), in_s=st.none() | st.integers(0, 40),
        name=step_names, match=st.none() | st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2),
    )  # fmt: skip
    def park(self, attempt: int, wait: Any, in_s: int | None, name: str, match: dict[str, Any] | None) -> None:
        ((task, fence),) = self.some_attempts([attempt])
        in_s = 5 if wait == "sleep" and in_s is None else in_s
        match = match if wait == "event" else None
        model = pure.Wait(
            wait, None if in_s is None else self.model.now + in_s, name, "paid" if wait == "event" else None, match
        )
        wanted = self.expected(lambda: self.model.park(task, fence, model))
        asked = work.Wait(
            wait,
            name,
            HASH,
            in_s=in_s,
            event_type=model.event_type,
            match=match,
            question={"?": 1} if wait == "approval" else None,
        )
        assert self.given(work.park, task, fence, asked) == wanted

    @rule(attempt=numbers, name=step_names, state=st.sampled_from(["done", "failed", "intent"]), number=st.integers(1, 2))
    def record(self, attempt: int, name: str, state: Any, number: int) -> None:
        ((task, fence),) = self.some_attempts([attempt])
        wanted = self.expected(lambda: self.model.record(task, fence, name, state, number))
        step = work.NewStep(name, "step", state, HASH, number, error="no" if state == "failed" else None)
        assert self.given(work.record_step, task, fence, step) == wanted

    @rule(attempt=numbers)
    def hold(self, attempt: int) -> None:
        ((task, fence),) = self.some_attempts([attempt])
        wanted = self.expected(lambda: self.model.hold(task, fence))
        assert self.given(work.hold_fence, task, fence) == (wanted if isinstance(wanted, str) else None)

    @rule(attempt=numbers, lease_s=st.sampled_from([10, 60]))
    def extend(self, attempt: int, lease_s: int) -> None:
        ((task, fence),) = self.some_attempts([attempt])
        wanted = self.expected(lambda: self.model.extend(task, fence, lease_s))
        assert self.given(work.extend, task, fence, lease_s) == wanted

    @rule(lease_s=st.sampled_from([10, 60, 600]))
    def register(self, lease_s: int) -> None:
        worker = self.given(work.register, "w", lease_s)
        self.workers.append(worker)
        self.model.workers[worker] = self.model.now + lease_s

    @rule(worker=numbers, lease_s=st.sampled_from([10, 60]), of=st.lists(numbers, min_size=1, max_size=3))
    def beat(self, worker: int, lease_s: int, of: list[int]) -> None:
        worker = self.workers[worker % len(self.workers)] if self.workers else 77
        heard = [] if of[0] % 3 == 0 else self.some_attempts(of)
        wanted = self.model.beat(worker, lease_s, heard)
        held = self.given(work.beat, worker, lease_s, [work.Fence(*each) for each in heard])
        assert (None if held is None else {(each.task_id, each.fence) for each in held}) == wanted

    @rule(worker=numbers)
    def leave(self, worker: int) -> None:
        worker = self.workers[worker % len(self.workers)] if self.workers else 77
        wanted = self.model.leave(worker)
        assert self.given(work.leave, worker) == wanted

    @rule()
    def reap(self) -> None:
        wanted, between = self.model.reap()
        self.seen.update(f"reaped {ended}" for _, ended, _ in wanted)
        assert [(each.task_id, each.ended, each.became) for each in self.given(work.reap)] == wanted
        self.settle(between)

    @rule()
    def wake_due(self) -> None:
        wanted = self.model.wake_due()
        assert self.given(work.wake_due) == wanted

    @rule(payload=st.dictionaries(st.sampled_from("xyz"), st.integers(0, 1), max_size=3))
    def publish(self, payload: dict[str, Any]) -> None:
        wanted = self.model.wake_for_event("paid", payload, {"id": 1})
        assert self.given(work.wake_for_event, "paid", payload, {"id": 1}) == wanted

    @rule(number=numbers, name=step_names)
    def answer(self, number: int, name: str) -> None:
        asking = [t.id for t in self.model.tasks.values() if t.wait is not None and t.wait.kind == "approval"]
        task_id = asking[number % len(asking)] if asking and number % 3 else self.some_task(number)
        if task_id:
            wait = self.model.tasks[task_id].wait
            name = wait.step if wait is not None and wait.step is not None and number % 4 else name
            said = {"approved": True, "by": "me", "comment": None}
            wanted = self.expected(lambda: self.model.answer(task_id, name, said))
            self.told(self.given(work.answer, task_id, name, "me", approved=True), wanted)

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        if task_id := self.some_task(number):
            wanted = self.expected(lambda: self.model.cancel(task_id))
            self.told(self.given(work.cancel, task_id, "me"), wanted)

    @rule()
    def expire(self) -> None:
        wanted = self.model.expire()
        assert self.given(work.expire) == wanted

    @rule(number=numbers, result=st.integers(0, 1))
    def report(self, number: int, result: int) -> None:
        if task_id := self.some_task(number):
            wanted = self.expected(lambda: self.model.report(task_id, result))
            self.told(self.given(work.complete_from_outside, task_id, "them", result), wanted)

    @rule(number=numbers)
    def put_back(self, number: int) -> None:
        dead = [task.id for task in self.model.tasks.values() if task.dead]
        task_id = dead[number % len(dead)] if dead and number % 5 else self.some_task(number)
        if task_id:
            wanted = self.expected(lambda: self.model.put_back(task_id))
            self.told(self.given(work.put_back, task_id, "me"), wanted)

    @rule(kind=st.sampled_from(["agent", "type"]), number=numbers)
    def pause(self, kind: Any, number: int) -> None:
        name = (AGENTS if kind == "agent" else TYPES)[number % 2]
        if (kind, name) in self.model.paused:
            self.given(work.resume, kind, name, "me")
            self.model.paused.discard((kind, name))
        elif number % 3 == 0:
            self.given(work.pause, kind, name, "me")
            self.model.paused.add((kind, name))

    @rule(kind=st.sampled_from(["agent", "type"]), number=numbers, most=st.none() | st.integers(1, 4))
    def limit(self, kind: Any, number: int, most: int | None) -> None:
        name = (AGENTS if kind == "agent" else TYPES)[number % 2]
        self.given(work.limit, kind, name, "me", max_running=most)
        if most is None:
            self.model.limits.pop((kind, name), None)
        else:
            self.model.limits[(kind, name)] = most

    @rule(by_s=st.sampled_from([1, 3, 10, 10, 30, 100, 3600, -20, -3600]))
    def clock(self, by_s: int) -> None:
        self.to(self.model.now + by_s)

    @rule(by_s=st.sampled_from([6, 11, 11, 11, 31, 61, 3601]))
    def time_passes(self, by_s: int) -> None:
        """What a sweeper does after a while."""
        self.to(self.model.now + by_s)
        self.reap()
        self.expire()
        self.wake_due()

    # --- comparing

    @invariant()
    def same(self) -> None:
        type(self).steps += 1
        found = {row[0]: row[1:] for row in self.owner.execute(PLACES.encode()).fetchall()}
        wanted = {task.id: self.shown(task) for task in self.model.tasks.values()}
        assert found == wanted
        workers = dict(self.owner.execute("select id, lease_until from work.worker").fetchall())
        assert workers == {worker: self.time(until) for worker, until in self.model.workers.items()}
        lanes = self.owner.execute("select worker_id, lane, given, up_to from work.open_claim").fetchall()
        assert {(worker, lane): (given, up_to) for worker, lane, given, up_to in lanes} == {
            (worker, lane): (claim.given[lane], claim.up_to[lane])
            for worker, claim in self.model.open.items()
            for lane in range(pure.LANES)
        }
        if self.ids:
            task = self.model.tasks[self.ids[type(self).steps % len(self.ids)]]
            told = self.reading(lambda tx: work.get(tx, task.id))
            assert (told.status, told.waiting_for) == (task.status, task.wait.kind if task.wait else None)
            done = {
                step.name: step.output
                for step in self.reading(lambda tx: work.steps(tx, task.id))
                if step.state == "done" and step.kind != "step"
            }
            assert {name: task.steps[(name, "done")] for name in done} == done

    def shown(self, task: pure.Task) -> tuple[Any, ...]:
        run, wait, outcome = task.run, task.wait, task.outcome
        place = "outcome" if outcome else "ready" if task.ready else "run" if run else "wait" if wait else "dead"
        self.seen[place if wait is None else f"wait for {wait.kind}"] += 1
        return (
            [place],
            outcome.attempts if outcome else task.attempts,
            None if outcome else task.crashes,
            run.fence if run else None,
            run.worker if run else None,
            self.time(run.lease_until) if run else None,
            self.time(run.deadline_at) if run else None,
            wait.kind if wait else None,
            self.time(wait.wake_at) if wait else None,
            wait.step if wait else None,
            outcome.state if outcome else None,
            outcome.error if outcome else None,
            task.in_turn,
            sorted(task.waits_for),
            task.failures,
            len(task.tries) + sum(name != "" for name, _ in task.steps),
            task.new.deadline_at is not None and outcome is None,
        )

    def begun(self, wanted: Any, found: Any, worker_id: int | None, lease_s: int) -> None:
        """Compare what was claimed, and remember under which fences."""
        if isinstance(wanted, str) or isinstance(found, str):
            assert found == wanted
            return
        assert [each.task_id for each in found] == wanted
        for each in found:
            until = self.model.claimed(each.task_id, each.fence, worker_id, lease_s)
            task = self.model.tasks[each.task_id]
            assert (each.deadline_at, each.attempts) == (self.time(until), task.attempts)
            assert all(each.fence > fence for _, fence in self.attempts)
        self.attempts += [(each.task_id, each.fence) for each in found]
        self.seen["begun by a worker with a lease" if worker_id else "begun"] += len(found)

    def settle(self, between: dict[int, tuple[float, float]]) -> None:
        """A backoff with jitter lies where it may; from here on the model knows it."""
        for task_id, (low, high) in between.items():
            task = self.model.tasks[task_id]
            if task.wait is not None:
                ((wake_at,),) = self.owner.execute("select wake_at from work.wait where task_id = %s", (task_id,)).fetchall()
                task.wait.wake_at = (wake_at - START).total_seconds()
                assert low - 0.001 <= task.wait.wake_at <= high + 0.001

    def told(self, found: Any, wanted: Any) -> None:
        assert (found if isinstance(found, str) else None) == wanted

    # --- ways

    def given(self, verb: Any, *args: Any, **fields: Any) -> Any:
        """What a verb answers in a transaction of its own: a value, or the code of its refusal."""

        async def run() -> Any:
            async with self.db.write() as tx:
                return await verb(tx, *args, **fields)

        try:
            return self.runner.run(run())
        except TallystickError as refusal:
            self.seen[refusal.code] += 1
            return refusal.code

    def expected(self, ask: Any) -> Any:
        try:
            return ask()
        except pure.Refused as refusal:
            return str(refusal)

    def reading(self, ask: Any) -> Any:
        async def run() -> Any:
            async with self.db.read() as tx:
                return await ask(tx)

        return self.runner.run(run())

    def some_task(self, number: int) -> int:
        """Mostly one of the newest tasks; 0 where there is none."""
        if not self.ids:
            return 0
        newest = self.ids if number % 4 == 0 else self.ids[-6:]
        return newest[number % len(newest)]

    def some_attempts(self, of: list[int]) -> list[tuple[int, int]]:
        """Mostly attempts that run, begun for this where there are none; now and then ones that are over or never were."""
        if of[0] % 5 and not any(task.run for task in self.model.tasks.values()):
            if not any(task.ready for task in self.model.tasks.values()):
                self.enqueue([{**PLAIN, "agent": agent, "order_key": key} for agent in AGENTS for key in (None, "o1")])
            self.claim(set(AGENTS), None, 4, of[0], 60)
        running = [(t.id, t.run.fence) for t in self.model.tasks.values() if t.run is not None]
        found = []
        before = [attempt for attempt in self.attempts if attempt not in running and attempt[0] in dict(running)]
        for number in of:
            usual = running if running and number % 5 else self.attempts[-8:]
            choice = before if before and number % 4 == 0 else usual
            found.append(choice[number % len(choice)] if choice else (1_000_000 + number, 1))
        return found

    def time(self, at: float | None) -> datetime | None:
        return None if at is None else START + timedelta(seconds=at)

    def to(self, now: float) -> None:
        self.model.now = now
        self.owner.execute("select setval('db.model_clock', %s)", (int(now),))


def _frozen(owner: psycopg.Connection[Any]) -> None:
    """From here on the database's clock stands still, where `to` puts it."""
    owner.execute("create sequence db.model_clock minvalue -100000000 start 0")
    owner.execute("grant select on db.model_clock to public")
    owner.execute("""
        create or replace function db.clock() returns timestamptz language sql volatile
        return timestamptz '2030-01-01 00:00+00' + make_interval(secs => (select last_value from db.model_clock))
    """)
    # The facts cannot be removed by anyone who abides by the triggers; a test's owner steps over them between runs.
    owner.execute("set session_replication_role = replica")


@pytest.fixture
def runner(database: TestDatabase) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.parametrize("part", range(PARTS))
def test_after_each_step_every_task_is_where_the_model_says(database: TestDatabase, runner: asyncio.Runner, part: int) -> None:
    async def opened() -> Database:
        db = Database(database.app_url)
        await db.open()
        return db

    with psycopg.connect(database.owner_url, autocommit=True, options="-c timezone=UTC") as owner:
        _frozen(owner)
        # As a session that listens for what workers are handed.
        owner.execute("select pg_advisory_lock(7331025, hashtext('c'))")
        fields = {"database": database, "db": runner.run(opened()), "runner": runner, "owner": owner, "seen": Counter()}
        machine: Any = type("Machine", (Work,), fields)
        runs = max(STEPS // PARTS // STEPS_A_RUN, 1)
        seed(part)(machine)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=runs,
                stateful_step_count=STEPS_A_RUN,
                deadline=None,
                phases=PHASES,
                suppress_health_check=list(HealthCheck),
            ),
        )
        runner.run(machine.db.close())
    print(machine.steps, dict(machine.seen.most_common()))
    assert machine.steps >= runs * STEPS_A_RUN * 0.5
