"""What a task waits for, for people who look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.db import Queries, ReadTx
from tallystick.work.model import Wait


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a task waits for: a time (`run_at`, `backoff`, `sleep`), its `turn`, other `tasks`, an `event` or an `approval`.

    It goes on at `wake_at` in any case. A parked task waits in its step `step`. `after` are tasks that are to be done first,
    `behind` those before it under its order key; of each, the first hundred.
    """

    kind: str
    since: datetime
    wake_at: datetime | None
    step: str | None
    event_type: str | None
    match: Mapping[str, Any] | None
    question: Any
    after: list[int]
    behind: list[int]

    @property
    def is_for_votes(self) -> bool:
        """Whether votes on approvals end it, and no answer."""
        asks = self.question
        return (
            self.step is not None and self.step.startswith(_FOR_VOTES) and isinstance(asks, Mapping) and asks.keys() == {_ASKED}
        )


_FOR_VOTES = "approval "
_ASKED = "approvals"
_QUERY = Queries(__package__, "waits.sql").bind("waiting", Waiting)


async def waiting(tx: ReadTx, task_id: int) -> Waiting | None:
    """What a task waits for; `None` where it does not wait."""
    return await tx.one(_QUERY, {"task_id": task_id})


def for_votes(approvals: Sequence[int], fence: int) -> Wait:
    """A wait for votes, in a step of its own for each attempt."""
    asked = [str(approval) for approval in approvals]
    return Wait("approval", f"{_FOR_VOTES}{'-'.join(asked)}"[:75] + f" of {fence}", bytes(32), question={_ASKED: asked})
