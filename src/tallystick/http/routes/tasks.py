"""`/v1/tasks`: durable work for agents. A worker claims tasks, each with a fence, and finishes them with it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import work
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reserved import check_not_reserved
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, Strict, StringId
from tallystick.kit import Conflict

router = APIRouter(route_class=ExactRoute, tags=["tasks"])
_NEWEST_FIRST = "tasks"
_OLDEST_FIRST = "tasks queued"
_EXAMPLE: JsonDict = {
    "id": "7",
    "agent": "trade-review-agent",
    "type": "position_check",
    "payload": {"symbol": "AAPL", "quantity": 250},
    "status": "done",
    "result": {"notional_estimate": 25062.5},
    "error": None,
    "created_at": "2026-04-21T12:34:56.789012Z",
    "started_at": "2026-04-21T12:34:56.790012Z",
    "finished_at": "2026-04-21T12:34:56.791012Z",
}
_ATTEMPT_EXAMPLE: JsonDict = {
    "id": "7",
    "fence": "19",
    "agent": "trade-review-agent",
    "type": "position_check",
    "payload": {"symbol": "AAPL", "quantity": 250},
    "attempts": 1,
    "deadline_at": "2026-04-21T12:35:56.790012Z",
}

Status = Literal["queued", "running", "done", "failed", "cancelled", "dead"]


class TaskBody(Strict):
    """Work for an agent."""

    agent: Name = Field(examples=["trade-review-agent"])
    type: Name = Field(examples=["position_check"])
    payload: dict[str, Any] = Field(examples=[{"symbol": "AAPL", "quantity": 250}])


class ClaimBody(Strict):
    """Which tasks a worker would take, and for how long."""

    agents: list[Name] = Field(min_length=1, max_length=50, examples=[["trade-review-agent"]])
    types: list[Name] | None = Field(default=None, min_length=1, max_length=50)
    limit: int = Field(default=1, ge=1, le=100, strict=True)
    lease_s: int = Field(default=60, ge=1, le=3600, strict=True)


class FinishBody(Strict):
    """How an attempt ended."""

    fence: StringId = Field(examples=["19"])
    state: Literal["done", "failed"] = "done"
    result: Any = Field(default=None, examples=[{"notional_estimate": 25062.5}])
    error: str | None = Field(default=None, min_length=1, max_length=2000)


class TaskAnswer(BaseModel):
    """A task as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    agent: str
    type: str
    payload: dict[str, Any]
    status: Status
    result: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskPage(BaseModel):
    """Tasks."""

    items: list[TaskAnswer]
    next_cursor: str | None


class AttemptAnswer(BaseModel):
    """A task that the caller holds until `deadline_at`; `fence` is what finishes it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ATTEMPT_EXAMPLE]})

    id: str
    fence: str
    agent: str
    type: str
    payload: dict[str, Any]
    attempts: int
    deadline_at: datetime


class Attempts(BaseModel):
    """The tasks that a claim got, oldest first."""

    items: list[AttemptAnswer]


@router.post("/v1/tasks", status_code=201, response_model=TaskAnswer)
async def create_task(body: TaskBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a task and queue it."""
    check_not_reserved(body.agent)

    async def create(tx: Tx) -> int:
        (task_id,) = await work.enqueue(tx, call.principal.name, [work.NewTask(body.agent, body.type, body.payload)])
        return task_id

    request = [body.agent, body.type, body.payload]
    task = await once(call, idempotency_key, kind="task", request=request, create=create, read=work.get)
    call.services.bell.ring()
    return Json(_answer(task.as_enqueued()), 201)


@router.get("/v1/tasks", response_model=TaskPage)
async def list_tasks(
    *,
    call: CurrentCall,
    agent: Annotated[Name | None, Query(description="Only those of this agent.")] = None,
    type_: Annotated[Name | None, Query(alias="type", description="Only those of this type.")] = None,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Tasks, newest first; with `status=queued` oldest first, which is the order they are claimed in."""
    kind = _OLDEST_FIRST if status == "queued" else _NEWEST_FIRST
    bound = bound_of(cursor, kind)
    async with call.database.read() as tx:
        if status == "queued":
            rows = await work.pending(tx, agent=agent, type=type_, after=bound or 0, limit=limit + 1)
        else:
            rows = await work.page(tx, agent=agent, type=type_, status=status, before=bound, limit=limit + 1)
    return page(rows, limit, kind, item=_answer, bound=lambda row: row.id)


@router.get("/v1/tasks/{task_id}", response_model=TaskAnswer)
async def get_task(task_id: PathId, call: CurrentCall) -> Response:
    """One task."""
    async with call.database.read() as tx:
        return Json(_answer(await work.get(tx, task_id)))


@router.post("/v1/tasks/claim", response_model=Attempts)
async def claim_tasks(body: ClaimBody, call: CurrentCall) -> Response:
    """Take queued tasks, oldest first. A claim whose answer is lost needs no key: its tasks come back after the lease."""
    for agent in body.agents:
        check_not_reserved(agent)
    async with call.database.write() as tx:
        claimed = await work.claim(
            tx, agents=body.agents, types=body.types, worker=call.principal.name, limit=body.limit, lease_s=body.lease_s
        )
    return Json({"items": [_attempt(one) for one in claimed]})


@router.post("/v1/tasks/{task_id}/finish", response_model=TaskAnswer)
async def finish_task(task_id: PathId, body: FinishBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """End an attempt, with its fence. The same end again is fine, another one is a conflict."""

    async def create(tx: Tx) -> int:
        finish = work.Finish(task_id, body.fence, body.state, body.result, body.error)
        (held,) = await work.finish(tx, [finish], call.principal.name)
        if not held:
            task = await work.get(tx, task_id)
            if (task.status, task.result, task.error) != (body.state, body.result, body.error):
                raise Conflict("fence_lost", f"this fence does not hold task {task_id}")
        return task_id

    request = [task_id, body.fence, body.state, body.result, body.error]
    task = await once(call, idempotency_key, kind="task_finish", request=request, create=create, read=work.get)
    return Json(_answer(task))


def _answer(task: work.Task) -> dict[str, Any]:
    return {
        "id": str(task.id),
        "agent": task.agent,
        "type": task.type,
        "payload": task.payload,
        "status": task.status,
        "result": task.result,
        "error": task.error,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
    }


def _attempt(claimed: work.Claimed) -> dict[str, Any]:
    return {
        "id": str(claimed.task_id),
        "fence": str(claimed.fence),
        "agent": claimed.agent,
        "type": claimed.type,
        "payload": claimed.payload,
        "attempts": claimed.attempts,
        "deadline_at": claimed.deadline_at,
    }
