"""What a task waits for, for people who look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.db import Queries, ReadTx


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


_QUERY = Queries(__package__, "waits.sql").bind("waiting", Waiting)


async def waiting(tx: ReadTx, task_id: int) -> Waiting | None:
    """What a task waits for; `None` where it does not wait."""
    return await tx.one(_QUERY, {"task_id": task_id})
