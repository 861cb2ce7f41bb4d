"""What may be asked for together with the end of a task, as the sdk calls it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from tallystick import sdk
from tallystick.http.shapes import Money, Name, Strict
from tallystick.http.task_shapes import TaskBody
from tallystick.kit import Invalid

MAX_EFFECTS = 1000
_PLAIN = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")


class TransferEffect(Strict):
    """Move money with the end of the task."""

    effect: Literal["transfer"]
    from_account: Name = Field(examples=["ACC123"])
    to_account: Name = Field(examples=["ACC999"])
    amount: Money
    description: str | None = Field(default=None, max_length=500, examples=["fee"])

    def as_effect(self) -> sdk.Transfer:
        """Refuses with `Invalid` (`amount_malformed`)."""
        amount = self.amount.amount
        if isinstance(amount, str) and not _PLAIN.fullmatch(amount):
            raise Invalid("amount_malformed", "the amount is not a plain decimal number")
        return sdk.Transfer(self.from_account, self.to_account, Decimal(amount), self.amount.currency, self.description)


class EventEffect(Strict):
    """Leave a fact for other agents, with the end of the task."""

    effect: Literal["event"]
    type: Name = Field(examples=["risk_score"])
    payload: dict[str, Any] = Field(examples=[{"customer_id": "CUST-1042", "score": 82}])

    def as_effect(self) -> sdk.Publish:
        return sdk.Publish(self.type, self.payload)


class TaskEffect(TaskBody):
    """Store another task, which is there if and only if this one is done."""

    effect: Literal["task"]

    def as_effect(self) -> sdk.Enqueue:
        """Refuses with `Forbidden` (`reserved_agent`)."""
        new = self.as_new()
        return sdk.Enqueue(
            new.agent,
            new.type,
            new.payload,
            priority=new.priority,
            run_at=new.run_at,
            deadline_at=new.deadline_at,
            key=new.key,
            order_key=new.order_key,
            after=tuple(new.after),
            max_attempts=new.max_attempts,
        )


Effects = Annotated[
    list[Annotated[TransferEffect | EventEffect | TaskEffect, Field(discriminator="effect")]],
    Field(max_length=MAX_EFFECTS),
]
"""All of them happen with the end of the task, in one transaction, or none."""
