"""What a task leaves behind: effects are collected while the agent works, and carried out in one transaction with its end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any

from tallystick.sdk import codec
from tallystick.sdk.backend import Completion, Effect, Enqueue, Publish, Transfer
from tallystick.sdk.errors import Finished, FinishMisused
from tallystick.sdk.hold import Hold, Turnstile

MAX_EFFECTS = 1000


class Effects:
    """Collects what is to happen with the end of the task. Nothing happens before the `async with` block is left."""

    __slots__ = ("_collected", "_is_closed", "_result", "_shape")

    def __init__(self, shape: codec.Shape | None) -> None:
        self._shape = shape
        self._collected: list[Effect] = []
        self._result: list[Any] = []
        self._is_closed = False

    def propose(self, transfer: Transfer) -> None:
        """Move money. `amount` is above zero, and exact: a float is refused with `TypeError`, as it is not."""
        self._collect(
            Transfer(
                transfer.from_account, transfer.to_account, _amount(transfer.amount), transfer.currency, transfer.description
            )
        )

    def event(self, type: str, payload: Any) -> None:
        """Leave a fact for other agents."""
        self._collect(Publish(type, codec.keep(payload, f"the payload of event {type!r}")))

    def enqueue(
        self,
        agent: str,
        type: str,
        payload: Any,
        *,
        priority: int = 0,
        run_at: datetime | None = None,
        deadline_at: datetime | None = None,
        key: str | None = None,
        order_key: str | None = None,
        after: Sequence[int] = (),
        max_attempts: int | None = None,
    ) -> None:
        """Store a task for an agent. It is there if and only if this one is done."""
        kept = codec.keep(payload, f"the payload of task {type!r}")
        if not isinstance(kept, dict):
            raise FinishMisused(f"the payload of task {type!r} is to be a JSON object")
        self._collect(Enqueue(agent, type, kept, priority, run_at, deadline_at, key, order_key, tuple(after), max_attempts))

    def complete(self, result: Any) -> None:
        """Say what the task gave, once; without it the result is null."""
        self._check()
        if self._result:
            raise FinishMisused("a task has one result; complete() was called before")
        self._result.append(written(result, self._shape))

    def completion(self) -> Completion:
        """All that was collected; nothing more is collected from now on."""
        self._check()
        self._is_closed = True
        return Completion(tuple(self._collected), self._result[0] if self._result else None)

    def close(self) -> None:
        """Collect nothing more."""
        self._is_closed = True

    def _collect(self, effect: Effect) -> None:
        self._check()
        if len(self._collected) >= MAX_EFFECTS:
            raise FinishMisused(f"a task may have {MAX_EFFECTS} effects")
        self._collected.append(effect)

    def _check(self) -> None:
        if self._is_closed:
            raise FinishMisused("these effects are closed: finish() was left")


class Finish:
    """`async with task.finish() as effects`: leaving the block well carries all of it out and ends the task, or does nothing.

    An exception inside of it commits nothing. `EffectRefused` leaves the attempt as it was, so another finish() is possible.
    """

    __slots__ = ("_effects", "_hold", "_turnstile")

    def __init__(self, hold: Hold, turnstile: Turnstile, shape: codec.Shape | None) -> None:
        self._hold = hold
        self._turnstile = turnstile
        self._effects = Effects(shape)

    async def __aenter__(self) -> Effects:
        self._turnstile.refuse_inside()
        self._hold.check()
        return self._effects

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._effects.close()
            return
        completion = self._effects.completion()
        hold = self._hold
        async with self._turnstile.alone():
            await hold.ask(lambda: hold.backend.finish(hold.attempt, completion))
            hold.end(Finished("the task was finished"))


def written(result: Any, shape: codec.Shape | None) -> Any:
    """A result as plain JSON; refuses with `NotJson` one that is not what its handler declares."""
    if result is None:
        return None
    return codec.keep(result, "the result") if shape is None else shape.write(result, "the result")


def _amount(amount: Any) -> Decimal:
    if isinstance(amount, float) or not isinstance(amount, Decimal | int | str):
        raise TypeError(f"an amount is a Decimal, an int or a text such as '12.50', not a {type(amount).__name__}")
    try:
        number = Decimal(amount)
    except InvalidOperation:
        raise ValueError("the amount is not a number") from None
    if not number.is_finite() or number <= 0:
        raise ValueError("an amount is a finite number above zero")
    return number
