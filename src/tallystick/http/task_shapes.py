"""Shapes of durable work that the routes of tasks, attempts and people share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from tallystick import work
from tallystick.http.reserved import check_not_reserved
from tallystick.http.shapes import Instant, Name, Strict, StringId

MAX_ERROR = 2000
MAX_WAIT_S = 10 * 366 * 86_400

Status = Literal["queued", "waiting", "running", "done", "failed", "cancelled", "dead"]
Key = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(min_length=1, max_length=MAX_ERROR)]
StepName = Annotated[str, Field(min_length=1, max_length=200, examples=["score"])]
Seconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False, examples=[60])]
LeaseSeconds = Annotated[int, Field(ge=1, le=work.MAX_LEASE_S, strict=True)]

_EXAMPLE: JsonDict = {
    "id": "7",
    "agent": "trade-review-agent",
    "type": "position_check",
    "payload": {"symbol": "AAPL", "quantity": 250},
    "status": "done",
    "result": {"notional_estimate": 25062.5},
    "error": None,
    "created_by": "desk",
    "created_at": "2026-04-21T12:34:56.789012Z",
    "started_at": "2026-04-21T12:34:56.790012Z",
    "finished_at": "2026-04-21T12:34:56.791012Z",
    "priority": 0,
    "attempts": 1,
    "crashes": 0,
    "waiting_for": None,
    "wake_at": None,
    "deadline_at": None,
    "order_key": None,
    "worker": "trade-review-agent",
}


class TaskBody(Strict):
    """Work for an agent, now or later. Higher priorities go first; `after` are tasks that are to be done before it.

    Tasks of an agent with one `order_key` run one at a time, in order. What is not finished by `deadline_at` fails. The same
    task again under one `key` of the caller is the first one.
    """

    agent: Name = Field(examples=["trade-review-agent"])
    type: Name = Field(examples=["position_check"])
    payload: dict[str, Any] = Field(examples=[{"symbol": "AAPL", "quantity": 250}])
    priority: int = Field(default=0, ge=-1000, le=1000, strict=True)
    run_at: Instant | None = None
    deadline_at: Instant | None = None
    key: Key | None = None
    order_key: Key | None = None
    after: list[StringId] = Field(default_factory=list, max_length=1000)
    max_attempts: int | None = Field(default=None, ge=1, le=1000, strict=True)

    def as_new(self) -> work.NewTask:
        """As the work takes it. Refuses with `Forbidden` (`reserved_agent`)."""
        check_not_reserved(self.agent)
        return work.NewTask(
            self.agent,
            self.type,
            self.payload,
            priority=self.priority,
            run_at=self.run_at,
            deadline_at=self.deadline_at,
            key=self.key,
            order_key=self.order_key,
            after=tuple(self.after),
            max_attempts=self.max_attempts,
        )

    def as_request(self) -> list[Any]:
        """The JSON that tells this body from others."""
        told = [self.agent, self.type, self.payload]
        more = [self.priority, self.run_at, self.deadline_at, self.key, self.order_key, sorted(self.after), self.max_attempts]
        return told if more == [0, None, None, None, None, [], None] else [*told, *more]


class TaskAnswer(BaseModel):
    """A task as it stands. `error` says why it is not `done`; `attempts` were begun, `crashes` of workers are counted apart.

    `waiting_for` says what one that is `waiting` waits for, and `wake_at` when it goes on in any case: `run_at`, `backoff`,
    `sleep`, its `turn` under its `order_key`, the `tasks` before it, an `event`, an `approval`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    agent: str
    type: str
    payload: dict[str, Any]
    status: Status
    result: Any
    error: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    priority: int
    attempts: int
    crashes: int
    waiting_for: str | None
    wake_at: datetime | None
    deadline_at: datetime | None
    order_key: str | None
    worker: str | None


def answer(task: work.Task) -> dict[str, Any]:
    """The JSON of a task."""
    return {
        "id": str(task.id),
        "agent": task.agent,
        "type": task.type,
        "payload": task.payload,
        "status": task.status,
        "result": task.result,
        "error": task.error,
        "created_by": task.created_by,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "priority": task.priority,
        "attempts": task.attempts,
        "crashes": task.crashes,
        "waiting_for": task.waiting_for,
        "wake_at": task.wake_at,
        "deadline_at": task.deadline_at,
        "order_key": task.order_key,
        "worker": task.worker,
    }
