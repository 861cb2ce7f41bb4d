"""Calls to the outside world, which may have happened even though nobody has heard their answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from tallystick.sdk import codec
from tallystick.sdk.backend import StepRecord, Wait
from tallystick.sdk.errors import InDoubt, NotDone
from tallystick.sdk.steps import Steps, Stopwatch, input_of, read_as, run, told


class _NotDone(Enum):
    NOT_DONE = "not done"


NOT_DONE: Final = _NotDone.NOT_DONE
"""What a lookup answers where the call has not had its effect."""

OnDoubt: TypeAlias = Literal["retry", "ask"] | Callable[[str], Any]


async def call(
    steps: Steps,
    name: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    key: str | None,
    on_doubt: OnDoubt,
) -> Any:
    """Call `fn` with `key=…` once; its intent is durable before it is called. What it gave, now or back then.

    A call that was meant and has no result is in doubt: it may have had its effect. One that raised `NotDone` is not, and goes
    out again as a new one.
    """
    key = f"{steps.hold.attempt.task_id}:{name}" if key is None else key
    one = _Call(steps, name, key, input_of(name, args, {**kwargs, "key": key}))
    await steps.begin(name)
    line = steps.recorded(name, "call", one.given)
    if line is None:
        sending = await one.sending(on_doubt)
        async with steps.hold.gate().step():
            line = await one.looked_up(on_doubt) if callable(on_doubt) and not sending.is_new else None
            if line is None:
                line = await one.go_out(sending, partial(fn, *args, key=key, **kwargs))
    return read_as(fn, name, line.output)


@dataclass(frozen=True, slots=True)
class _Sending:
    """Under which name a call goes out, and whether it is the first to go out under that one."""

    name: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class _Call:
    steps: Steps
    name: str
    key: str
    given: bytes

    async def sending(self, on_doubt: OnDoubt) -> _Sending:
        """How the call may go out. With `ask`, people say whether one in doubt may go out again."""
        number = 1
        while self.steps.lines(self._numbered(number)):
            number += 1
        if number == 1:
            return _Sending(self.name, is_new=True)
        last = self._numbered(number - 1)
        line = self.steps.lines(last)[-1]
        is_in_doubt = line.state != "failed" or not (line.detail or {}).get("not_done")
        if is_in_doubt and on_doubt != "ask":
            return _Sending(last, is_new=False)
        if is_in_doubt:
            await self._ask(last)
        return _Sending(self._numbered(number), is_new=True)

    async def looked_up(self, lookup: Callable[[str], Any]) -> StepRecord | None:
        """What a call in doubt gave, as a lookup by its key says; None where it has not had its effect."""
        watch = Stopwatch()
        found = await run(partial(lookup, self.key))
        if found is NOT_DONE:
            return None
        output = codec.keep(found, f"what the lookup of call {self.name!r} gave")
        detail = {"key": self.key, "looked_up": True}
        return await self.steps.record(
            StepRecord(self.name, "call", "done", self.given, output=output, detail=detail, took_ms=watch.ms)
        )

    async def go_out(self, sending: _Sending, outside: Callable[[], Any]) -> StepRecord:
        """Make the call, its intent first."""
        if sending.is_new:
            await self.steps.record(StepRecord(sending.name, "call", "intent", self.given, detail={"key": self.key}))
        watch = Stopwatch()
        try:
            value = await run(outside)
        except Exception as error:
            # Of one that went out before under this name, nobody knows what became of that one.
            detail = {"key": self.key, "not_done": sending.is_new and isinstance(error, NotDone)}
            await self.steps.record(
                StepRecord(sending.name, "call", "failed", self.given, error=told(error), detail=detail, took_ms=watch.ms)
            )
            raise
        took_ms = watch.ms
        output = codec.keep(value, f"what call {self.name!r} gave")
        detail = {"key": self.key}
        return await self.steps.record(
            StepRecord(self.name, "call", "done", self.given, output=output, detail=detail, took_ms=took_ms)
        )

    async def _ask(self, sent: str) -> None:
        task_id = self.steps.hold.attempt.task_id
        question = {
            "question": f"Call {self.name!r} of task {task_id} may or may not have had its effect. Send it again?",
            "key": self.key,
        }
        answer = await self.steps.wait(Wait("approval", f"{sent}#ask", self.given, question=question), ours=True)
        if not answer.get("approved"):
            raise InDoubt(f"call {self.name!r} with key {self.key!r} may have had its effect, and is not to be sent again")

    def _numbered(self, number: int) -> str:
        return self.name if number == 1 else f"{self.name}#{number}"
