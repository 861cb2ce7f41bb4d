"""Replay: an agent's code is run over what was recorded of a task, and is to come by the same way to the same end.

Nothing is done again. A step is answered with what it gave back then, and its function is not called; what is not on the
record is not made up: there the replay ends, with the first difference. Steps are to be asked for in the order of the record,
as far as it has one: of steps that ran side by side, either may come first.
"""

# A place that takes nothing has no use for what it is given.
# ruff: noqa: ARG002

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, NoReturn

from tallystick.sdk import attempts, codec
from tallystick.sdk.agent import Agent, TaskType
from tallystick.sdk.backend import (
    Attempt,
    Completion,
    Done,
    Effect,
    End,
    Enqueue,
    Failed,
    Lost,
    Publish,
    Queue,
    StepKind,
    StepRecord,
    Transfer,
    Wait,
)
from tallystick.sdk.errors import AttemptOver, EffectRefused
from tallystick.sdk.hold import Hold
from tallystick.sdk.steps import Steps
from tallystick.sdk.sync_task import SyncTask
from tallystick.sdk.task import Task
from tallystick.sdk.threads import Threads

DifferenceKind = Literal["no_handler", "step", "input", "order", "missing", "result", "effects", "end", "outside", "timeout"]

# The times of the record are the database's, and what a step took is rounded to milliseconds.
_SIDE_BY_SIDE = timedelta(milliseconds=2)
_TURNS = 100
_MAX_SHOWN = 300


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A line of the record of a step, with when it began and ended; `is_last` where it is of the attempt that is replayed."""

    line: StepRecord
    began: datetime
    ended: datetime
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of a task. `end` is how its last attempt came out: `open` where the record does not say.

    `error` is that of an attempt that `failed`. `refusals` are the codes with which effects of the attempt were refused before.
    Of `effects` the ones of a kind are in their order.
    """

    attempt: Attempt
    steps: Sequence[RecordedStep]
    end: Literal["done", "failed", "open"]
    result: Any = None
    error: str | None = None
    effects: Sequence[Effect] = ()
    refusals: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the code first goes another way than the record: at a step where `step` names one."""

    kind: DifferenceKind
    what: str
    step: str | None = None


async def replay(agents: Iterable[Agent], recorded: Recorded, *, timeout_s: float = 60.0) -> Difference | None:
    """Run the handler of a task over what is recorded; the first difference, or None where there is none.

    The code between steps does run, and is to have no effect of its own. An attempt that looks at its number may pass by steps
    of earlier ones. What a failed step raised is raised again as far as its class can be found by its name.
    """
    attempt = recorded.attempt
    kind = _kind(agents, attempt)
    if kind is None:
        return Difference("no_handler", f"the agent has no handler of {attempt.type!r} for {attempt.agent!r}")
    run = _Run(recorded)
    quiet = logging.getLogger("tallystick.sdk")
    level = quiet.level
    # What an attempt comes to is told here, and not as if it had been one.
    quiet.setLevel(logging.CRITICAL)
    try:
        async with asyncio.timeout(timeout_s) as time:
            end = await attempts.run(run.hold, attempts.Served(kind, run.handler(kind)))
        if time.expired():
            run.differs("timeout", f"the handler has not ended after {timeout_s:g} s")
        run.ended(end)
    finally:
        quiet.setLevel(level)
        run.close()
    return run.difference


class _Stopped(AttemptOver):
    """The replay is over: there is a difference, or the record ends here."""


class _Run:
    """One replay: what was asked for so far, and the first difference."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.hold = Hold(recorded.attempt, _Backend(self))
        self.difference: Difference | None = None
        self.looked_at_attempt = False
        self.is_over = False
        self._asked: set[str] = set()
        self._refusals = list(recorded.refusals)
        self._threads: Threads | None = None
        self._given = _given(recorded.steps)

    def handler(self, kind: TaskType) -> Callable[[Task[Any]], Awaitable[Any]]:
        """The handler, with a task that takes its steps from the record."""

        async def replayed(task: Task[Any]) -> Any:
            shown = _ReplayedTask(task, self)
            if kind.is_async:
                return await kind.handler(shown)
            blocking = SyncTask(shown, asyncio.get_running_loop())
            self._threads = Threads(1)
            return await self._threads.run(partial(kind.handler, blocking), stop=blocking.stop)

        return replayed

    def close(self) -> None:
        """Let go of the thread of a handler that blocks."""
        if self._threads is not None:
            self._threads.close()

    def differs(self, kind: DifferenceKind, what: str, step: str | None = None) -> None:
        """Note a difference; the first one stands."""
        if self.difference is None and not self.is_over:
            self.difference = Difference(kind, what, step)

    def stop(self) -> NoReturn:
        """End the handler where it is."""
        self.is_over = True
        self.hold.end(stopped := _Stopped("the replay is over"))
        raise stopped

    async def asked(self, name: str) -> None:
        """A step is asked for. Those that came before it are to be asked for by now, or at this same moment."""
        self._asked.add(name)
        given = self._given.get(name)
        if given is None:
            await self._turns(lambda: not self._missing())
            self._not_recorded(name)
        await self._turns(lambda: self._before(given) is None)
        first = self._before(given)
        if first is not None:
            self.differs("order", f"the code asks for step {name!r}, and the record has {first!r} before it", name)
            self.stop()

    def check(self, name: str, kind: StepKind, input_hash: bytes) -> StepRecord:
        """The line that says what a step gave; raises what a step that failed raised."""
        given = self._given[name].line
        if given.kind != kind:
            self.differs("step", f"step {name!r} was recorded as a {given.kind}, and is a {kind} now", name)
            self.stop()
        if given.input_hash != input_hash:
            self.differs("input", f"step {name!r} is asked for with another input than the one that was recorded", name)
            self.stop()
        if given.state == "failed":
            raise _raised(given.error or "")
        if given.state == "intent":
            # A wait that goes on, or a call whose answer nobody has heard: here the record ends.
            self._at_the_end_of_the_record()
        return given

    def finish(self, completion: Completion) -> None:
        """The handler finishes with effects."""
        if self._refusals:
            raise EffectRefused(tuple(self._refusals.pop(0)))
        self._done(completion.result, completion.effects)
        if self.difference is not None:
            self.stop()

    def ended(self, end: End | None) -> None:
        """The handler has ended; by a finish that was looked at already where `end` is None."""
        if self.is_over or end is None:
            return
        if isinstance(end, Done):
            self._done(end.result, ())
        elif isinstance(end, Failed):
            self._failed(end)

    def _done(self, result: Any, effects: Sequence[Effect]) -> None:
        recorded = self.recorded
        if (missing := self._missing()) is not None:
            self.differs("missing", f"the code ends, and does not ask for step {missing!r}, which is on the record", missing)
        elif recorded.end == "failed":
            self.differs("end", f"the code ends well, and the record has it failed: {recorded.error}")
        elif recorded.end == "done":
            if (what := _other_effects(recorded.effects, effects)) is not None:
                self.differs("effects", what)
            elif codec.digest(codec.plain(result)) != codec.digest(codec.plain(recorded.result)):
                self.differs("result", f"the code gives {_shown(result)}, and the record has {_shown(recorded.result)}")

    def _failed(self, end: Failed) -> None:
        recorded = self.recorded
        if recorded.end == "failed" and recorded.error == end.error:
            if (missing := self._missing()) is not None:
                self.differs("missing", f"the code fails before it asks for step {missing!r}, which is on the record", missing)
        elif recorded.end == "failed":
            self.differs("end", f"the code fails with {_shown(end.error)}, and the record has {_shown(recorded.error)}")
        else:
            self.differs("end", f"the code fails with {_shown(end.error)}, and the record has nothing of it")

    def _not_recorded(self, name: str) -> NoReturn:
        missing = self._missing()
        if missing is not None:
            self.differs("step", f"the code asks for step {name!r}, where the record has {missing!r}", name)
        elif self.recorded.end != "open":
            self.differs("step", f"the code asks for step {name!r}, and the record has no further step", name)
        self.stop()

    def _at_the_end_of_the_record(self) -> None:
        if (missing := self._missing()) is not None:
            self.differs("missing", f"the code does not ask for step {missing!r}, which is on the record", missing)
        self.stop()

    def _before(self, given: RecordedStep | None) -> str | None:
        """A step that was over before this one began, and was not asked for yet."""
        if given is None or self.looked_at_attempt:
            return None
        for name, other in self._given.items():
            if other is given:
                return None
            if name not in self._asked and other.ended <= given.began + _SIDE_BY_SIDE:
                return name
        return None

    def _missing(self) -> str | None:
        """The first recorded step that was not asked for."""
        for name, given in self._given.items():
            if name not in self._asked and (given.is_last or not self.looked_at_attempt):
                return name
        return None

    @staticmethod
    async def _turns(holds: Callable[[], bool]) -> None:
        """Let code that runs beside this one ask for its steps."""
        for _ in range(_TURNS):
            if holds():
                return
            await asyncio.sleep(0)


class _ReplayedTask(Task[Any]):
    """A task whose steps come from the record."""

    def __init__(self, task: Task[Any], run: _Run) -> None:
        super().__init__(task.hold, task.payload, task._shape, task._version)
        self._run = run
        self._steps = _ReplayedSteps(run)

    @property
    def attempt(self) -> int:
        """Which attempt this was."""
        self._run.looked_at_attempt = True
        return super().attempt


class _ReplayedSteps(Steps):
    """Steps that were done."""

    __slots__ = ("_run",)

    def __init__(self, run: _Run) -> None:
        super().__init__(run.hold)
        self._run = run

    async def begin(self, name: str, *, ours: bool = False) -> None:
        await super().begin(name, ours=ours)
        await self._run.asked(name)

    def recorded(self, name: str, kind: StepKind, input_hash: bytes) -> StepRecord:
        return self._run.check(name, kind, input_hash)


class _Backend:
    """A place that serves what is recorded, and takes nothing."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    async def open(self, queues: Sequence[Queue]) -> None:
        self._refuse()

    async def claim(self, limit: int, wait_s: float) -> Sequence[Attempt]:
        self._refuse()

    async def settle(self, ends: Sequence[End]) -> Sequence[bool]:
        self._refuse()

    async def steps(self, attempt: Attempt) -> Sequence[StepRecord]:
        return [step.line for step in self._run.recorded.steps]

    async def record(self, attempt: Attempt, step: StepRecord) -> None:
        self._refuse()

    async def intend(self, attempt: Attempt, step: StepRecord) -> None:
        self._refuse()

    async def park(self, attempt: Attempt, wait: Wait) -> None:
        self._refuse()

    async def finish(self, attempt: Attempt, completion: Completion) -> None:
        self._run.finish(completion)

    async def lost(self) -> Lost:
        self._refuse()

    async def close(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        self._run.differs("step", "the code would record something new")
        self._run.stop()


def _kind(agents: Iterable[Agent], attempt: Attempt) -> TaskType | None:
    for agent in agents:
        if agent.name == attempt.agent and attempt.type in agent.task_types:
            return agent.task_types[attempt.type]
    return None


def _given(steps: Sequence[RecordedStep]) -> dict[str, RecordedStep]:
    """What each step gave, in the order of the record: what it gave in the end; else how it failed; else that it is meant."""
    given: dict[str, RecordedStep] = {}
    for wanted in ("done", "failed", "intent"):
        for step in steps:
            line = step.line
            # Names with # are further tries of a call, which its own line sums up.
            if line.state != wanted or "#" in line.name or (wanted == "failed" and not step.is_last):
                continue
            before = given.get(line.name)
            if before is None or (wanted == "failed" and before.line.state == "failed"):
                given[line.name] = step
    places = {id(step): place for place, step in enumerate(steps)}
    return dict(sorted(given.items(), key=lambda item: places[id(item[1])]))


def _raised(error: str) -> Exception:
    """What a failed step raised, by the name that the record has of it."""
    name, _, message = error.partition(": ")
    found = getattr(builtins, name, None)
    kinds: list[type[Exception]] = [found] if isinstance(found, type) and issubclass(found, Exception) else _named(name)
    kind = kinds[0] if len(kinds) == 1 else RuntimeError
    try:
        made = kind.__new__(kind, message)
    except Exception:  # noqa: BLE001 - a class of the author's may ask for anything
        made = RuntimeError.__new__(RuntimeError, error)
    made.args = (message,) if message else ()
    return made


def _named(name: str) -> list[type[Exception]]:
    """All exceptions there are of a name."""
    found: list[type[Exception]] = []
    kinds: list[type[Exception]] = [Exception]
    seen: set[type[Exception]] = set()
    while kinds:
        for kind in kinds.pop().__subclasses__():
            if kind not in seen:
                seen.add(kind)
                kinds.append(kind)
                if kind.__name__ == name:
                    found.append(kind)
    return found


def _other_effects(recorded: Sequence[Effect], made: Sequence[Effect]) -> str | None:
    """How effects differ from those that were recorded, kind by kind; None where they do not."""
    for kind, name in ((Transfer, "transfer"), (Publish, "event"), (Enqueue, "task")):
        before = [_plain(effect) for effect in recorded if isinstance(effect, kind)]
        now = [(_plain(effect), effect) for effect in made if isinstance(effect, kind)]
        # A task under a key may have been there before, and is then no effect of this one.
        wanted = [
            plain
            for plain, effect in now
            if not (isinstance(effect, Enqueue) and effect.key is not None and _digest(plain) not in map(_digest, before))
        ]
        for place in range(max(len(before), len(wanted))):
            old = before[place] if place < len(before) else None
            new = wanted[place] if place < len(wanted) else None
            if _digest(old) != _digest(new):
                had = "none" if old is None else _shown(old)
                has = "none" if new is None else _shown(new)
                return f"{name} {place + 1} is {has} now, and was {had}"
    return None


def _plain(effect: Effect) -> Any:
    if isinstance(effect, Transfer):
        return {
            "from": effect.from_account,
            "to": effect.to_account,
            "amount": effect.amount,
            "currency": effect.currency,
            "description": effect.description,
        }
    if isinstance(effect, Publish):
        return {"type": effect.type, "payload": effect.payload}
    # When a task is to run may hang on the time at which it was stored.
    return {
        "agent": effect.agent,
        "type": effect.type,
        "payload": effect.payload,
        "priority": effect.priority,
        "order_key": effect.order_key,
    }


def _digest(value: Any) -> bytes:
    return codec.digest(codec.plain(value))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else codec.as_text(codec.plain(value))
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
