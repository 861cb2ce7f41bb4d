"""`/v1/tasks`: durable work for agents, stored one by one or in bulk, and looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import work
from tallystick.db import Tx
from tallystick.http.exact import BulkRoute, ExactRoute, Json
from tallystick.http.idempotency import many_once, once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import tasks_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, Strict
from tallystick.http.task_shapes import Status, TaskAnswer, TaskBody, answer

MAX_BATCH = 8192

router = APIRouter(route_class=ExactRoute, tags=["tasks"])
bulk = APIRouter(route_class=BulkRoute, tags=["tasks"])
_NEWEST_FIRST = "tasks"
_OLDEST_FIRST = "tasks queued"
_MAX_ATTEMPTS_SHOWN = 200
_ENDED_EXAMPLE: JsonDict = {
    "fence": "19",
    "ended": "error",
    "error": "ReadTimeout: the model did not answer",
    "worker": "risk-desk",
    "started_at": "2026-04-21T12:34:56.790012Z",
    "ended_at": "2026-04-21T12:35:26.790012Z",
}


class TasksBody(Strict):
    """Tasks to store, all of them or none."""

    tasks: list[TaskBody] = Field(min_length=1, max_length=MAX_BATCH)


class TaskIds(BaseModel):
    """The ids of the tasks, in the order of the request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": ["7", "8"]}]})

    ids: list[str]


class TaskPage(BaseModel):
    """Tasks."""

    items: list[TaskAnswer]
    next_cursor: str | None


class EndedAnswer(BaseModel):
    """An attempt that came to nothing, and why: an `error`, a `timeout`, the `crash` of its worker, or it was `returned`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENDED_EXAMPLE]})

    fence: str
    ended: Literal["error", "timeout", "crash", "returned"]
    error: str
    worker: str
    started_at: datetime
    ended_at: datetime


class EndedAttempts(BaseModel):
    """Attempts that came to nothing, oldest first; the first 200."""

    items: list[EndedAnswer]


@router.post("/v1/tasks", status_code=201, response_model=TaskAnswer)
async def create_task(body: TaskBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a task and queue it, or let it wait for its time, its turn or the tasks before it."""
    new = body.as_new()

    last: Tx | None = None

    async def create(tx: Tx) -> int:
        nonlocal last
        last = tx
        (task_id,) = await work.enqueue(tx, call.principal.name, [new])
        return task_id

    task = await once(call, idempotency_key, kind="task", request=body.as_request(), create=create, read=work.get)
    call.services.bell.ring(last)
    return Json(answer(task.as_enqueued()), 201)


@bulk.post("/v1/tasks/batch", status_code=201, response_model=TaskIds)
async def create_tasks(body: TasksBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Store up to 8,192 tasks in one transaction."""
    new = [task.as_new() for task in body.tasks]

    async def create(tx: Tx) -> list[int]:
        return await work.enqueue(tx, call.principal.name, new)

    request = [task.as_request() for task in body.tasks]
    ids = await many_once(call, idempotency_key, kind="task batch", count=len(new), request=request, create=create)
    call.services.bell.ring()
    return Json({"ids": [str(task_id) for task_id in ids]}, 201)


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
    """Tasks, newest first; with `status=queued` oldest first."""
    kind = _OLDEST_FIRST if status == "queued" else _NEWEST_FIRST
    bound = bound_of(cursor, kind)
    agent = tasks_of(call.principal, agent)
    async with call.database.read() as tx:
        if status == "queued":
            rows = await work.pending(tx, agent=agent, type=type_, after=bound or 0, limit=limit + 1)
        else:
            rows = await work.page(tx, agent=agent, type=type_, status=status, before=bound, limit=limit + 1)
    return page(rows, limit, kind, item=answer, bound=lambda row: row.id)


@router.get("/v1/tasks/{task_id}", response_model=TaskAnswer)
async def get_task(task_id: PathId, call: CurrentCall) -> Response:
    """One task."""
    async with call.database.read() as tx:
        return Json(answer(await work.get(tx, task_id)))


@router.get("/v1/tasks/{task_id}/attempts", response_model=EndedAttempts)
async def list_attempts(task_id: PathId, call: CurrentCall) -> Response:
    """The attempts of a task that came to nothing."""
    async with call.database.read() as tx:
        await work.get(tx, task_id)
        rows = await work.attempts(tx, task_id, limit=_MAX_ATTEMPTS_SHOWN)
    return Json({"items": [_ended(row) for row in rows]})


def _ended(attempt: work.Attempt) -> dict[str, Any]:
    return {
        "fence": str(attempt.fence),
        "ended": attempt.ended,
        "error": attempt.error,
        "worker": attempt.worker,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
    }
