"""Steps: what is done once, recorded, and read again when the task goes on somewhere else."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tallystick.sdk import codec
from tallystick.sdk.backend import StepKind, StepRecord, Wait
from tallystick.sdk.errors import NotJson, Parked, RetryLater, StepChanged, StepMisused, TaskFailed
from tallystick.sdk.hold import Hold, delay_s

MAX_ERROR = 2000
_MAX_RETRIES = 100
_MAX_BACKOFF_S = 60.0
# What follows a # in a name is ours: further tries of a call, and what people are asked about it.
_NAME = re.compile(r"[^\x00-\x1f#\x7f\ud800-\udfff]{1,180}")


class Steps:
    """The steps of one attempt, and what earlier attempts have recorded of them."""

    __slots__ = ("_lines", "_loading", "_used", "hold")

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self._used: set[str] = set()
        self._lines: dict[str, list[StepRecord]] | None = {} if hold.attempt.fresh else None
        self._loading = asyncio.Lock()

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        retries: int,
        backoff_s: float,
    ) -> Any:
        """Call `fn` once; what it gave, now or back then, as the type that its annotation declares."""

        def kept(value: Any, _: int) -> tuple[Any, None]:
            return codec.keep(value, f"what step {name!r} gave"), None

        line = await self.once(
            name, "step", input_of(name, args, kwargs), partial(fn, *args, **kwargs), kept, retries=retries, backoff_s=backoff_s
        )
        return read_as(fn, name, line.output)

    async def once(
        self,
        name: str,
        kind: StepKind,
        input_hash: bytes,
        call: Callable[[], Any],
        kept: Callable[[Any, int], tuple[Any, Mapping[str, Any] | None]],
        *,
        retries: int,
        backoff_s: float,
        detail: Mapping[str, Any] | None = None,
    ) -> StepRecord:
        """The line that says what a step gave. Where there is none, make it: call, and up to `retries` times again if it fails.

        `kept` makes of what was given, and of the milliseconds that took, the output and the detail of the line; `detail` goes
        with a try that failed.
        """
        if not 0 <= retries <= _MAX_RETRIES:
            raise StepMisused(f"step {name!r} may have 0 to {_MAX_RETRIES} retries")
        await self.begin(name)
        found = self.recorded(name, kind, input_hash)
        if found is not None:
            return found
        try_no = 1
        async with self.hold.gate().step():
            while True:
                watch = Stopwatch()
                try:
                    value = await run(call)
                except Exception as error:
                    why = None if detail is None else {**detail, "error.type": type(error).__name__}
                    line = StepRecord(name, kind, "failed", input_hash, try_no, None, told(error), why, watch.ms)
                    await self.record(line)
                    if try_no > retries or isinstance(error, TaskFailed | RetryLater):
                        raise
                else:
                    took_ms = watch.ms
                    output, given = kept(value, took_ms)
                    line = StepRecord(name, kind, "done", input_hash, try_no, output, detail=given, took_ms=took_ms)
                    return await self.record(line)
                await asyncio.sleep(delay_s(try_no, first_s=backoff_s, most_s=_MAX_BACKOFF_S))
                try_no += 1

    async def wait(self, wait: Wait, *, ours: bool = False) -> Any:
        """What the wait gave, if it is over; else park the task, and raise `Parked`. `ours`: no author has given its name."""
        await self.begin(wait.step, ours=ours)
        found = self.recorded(wait.step, wait.kind, wait.input_hash)
        if found is not None:
            return found.output
        async with self.hold.gate().alone():
            await self.hold.ask(lambda: self.hold.backend.park(self.hold.attempt, wait))
            self.hold.end(parked := Parked(f"the task waits: {wait.kind} {wait.step!r}"))
            raise parked

    async def begin(self, name: str, *, ours: bool = False) -> None:
        """Take the name of a step, which an attempt may do once, and read what is recorded."""
        self.hold.gate().refuse_inside()
        self.hold.check()
        if not ours:
            if not _NAME.fullmatch(name):
                raise StepMisused(
                    f"a step's name has 1 to 180 characters, none of them # or a control character: {name[:200]!r}"
                )
            if name in self._used:
                raise StepMisused(f"step {name!r} is there twice; give each its own name, such as {name + ':2'!r}")
            self._used.add(name)
        if self._lines is None:
            async with self._loading:
                if self._lines is None:
                    self._lines = await self._read()

    def recorded(self, name: str, kind: StepKind, input_hash: bytes) -> StepRecord | None:
        """The line that says what the step gave, or None; raises `StepChanged` where it was another step back then."""
        done = None
        for line in self.lines(name):
            if line.state == "failed":
                continue
            if line.kind != kind:
                raise StepChanged(f"step {name!r} was recorded as a {line.kind}, and is a {kind} now")
            if line.input_hash != input_hash:
                raise StepChanged(f"the input of step {name!r} is another one than the one that was recorded")
            if line.state == "done":
                done = line
        return done

    def lines(self, name: str) -> list[StepRecord]:
        """What is recorded of a step, oldest first."""
        return (self._lines or {}).get(name, [])

    async def record(self, line: StepRecord) -> StepRecord:
        """Keep a line of the record, for good."""
        backend, attempt = self.hold.backend, self.hold.attempt
        keep = backend.intend if line.state == "intent" else backend.record
        await self.hold.ask(lambda: keep(attempt, line))
        if self._lines is not None:
            self._lines.setdefault(line.name, []).append(line)
        return line

    async def _read(self) -> dict[str, list[StepRecord]]:
        lines: dict[str, list[StepRecord]] = {}
        for line in await self.hold.ask(lambda: self.hold.backend.steps(self.hold.attempt)):
            lines.setdefault(line.name, []).append(line)
        return lines


class Stopwatch:
    """How long something takes."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def ms(self) -> int:
        """The milliseconds that have passed."""
        return round((time.perf_counter() - self._began) * 1000)


async def run(call: Callable[[], Any]) -> Any:
    """Call a function, be it asynchronous or not."""
    try:
        value = call()
        return await value if inspect.isawaitable(value) else value
    except SystemExit as error:
        # Raised in a task of asyncio, it would end the worker.
        raise RuntimeError(f"a step function asked the process to exit ({error})") from error


def data_of(name: str, *data: Any) -> bytes:
    """The digest by which what a wait is for is known again."""
    return input_of(name, data, {})


def input_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """The digest by which the input of a step is known again."""
    try:
        return codec.digest(codec.plain({"args": args, "kwargs": kwargs}))
    except NotJson as error:
        raise StepMisused(
            f"an argument of step {name!r} {error}; what is no data, such as a client, belongs into a functools.partial"
        ) from None


def read_as(fn: Callable[..., Any], name: str, output: Any) -> Any:
    """What a step gave, as the type that the annotation of its function declares."""
    shape = codec.returned_by(fn)
    if shape is None:
        return output
    try:
        return shape.read(output)
    except NotJson as error:
        raise StepMisused(f"what step {name!r} gave is not what its annotation says: {error}") from None


def told(error: BaseException) -> str:
    """An error as the record keeps it: `kind: message`, of 2000 characters at most, as text that can be kept."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    message = str(error)
    return clean(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def clean(message: str) -> str:
    """A message of 2000 characters at most, as text that can be kept."""
    return message[:MAX_ERROR].replace("\x00", "?").encode(errors="replace").decode()
