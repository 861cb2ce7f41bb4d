"""Tasks and what becomes of them, as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Status = Literal["queued", "running", "done", "failed", "cancelled", "dead"]
FinishState = Literal["done", "failed"]

CHANNEL = "tallystick_work"
"""The channel that is rung after tasks were committed."""

STATUSES = frozenset({"queued", "running", "done", "failed", "cancelled", "dead"})
MAX_ATTEMPTS = 5
"""A task whose attempts came to nothing this often is `dead`."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """Work to be stored for `agent`; `payload` is a JSON object with exact numbers."""

    agent: str
    type: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. `error` says why it is `failed` or `dead`; `started_at` is that of the latest attempt."""

    id: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    status: str
    result: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def as_enqueued(self) -> Task:
        """The task as the call that enqueued it was told of it, whatever has become of it since."""
        return dataclasses.replace(self, status="queued", result=None, error=None, started_at=None, finished_at=None)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that the caller holds: `fence` is what finishes the task, at the latest by `deadline_at`.

    `attempts` counts this one.
    """

    task_id: int
    fence: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    attempts: int
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of an attempt: `done` with its `result`, any JSON, or `failed` with its `error` and perhaps a result."""

    task_id: int
    fence: int
    state: FinishState
    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task is, and whether its outcome is the one that was asked about."""

    status: str
    same: bool
