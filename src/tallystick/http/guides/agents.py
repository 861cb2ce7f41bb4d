"""The guide on agents in investment banking: tasks, and the events by which a worker outside reports them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import work
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.reach import tasks_of
from tallystick.http.reserved import check_not_reserved
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Lenient, Name, PathNumber

router = APIRouter(route_class=ExactRoute, tags=["guide: investment banking, agents"])
_TASK: JsonDict = {
    "id": 1,
    "agent_name": "trade-review-agent",
    "task_type": "position_check",
    "status": "done",
    "payload": {"symbol": "AAPL", "quantity": 250},
    "result": {"symbol": "AAPL", "quantity": 250, "status": "processed", "notional_estimate": 25062.5},
    "error": None,
}

Status = Literal["queued", "waiting", "running", "done", "failed", "cancelled", "dead"]


class TaskIn(Lenient):
    """Work for an agent."""

    agent_name: Name = Field(examples=["trade-review-agent"])
    task_type: Name = Field(examples=["position_check"])
    payload: dict[str, Any] = Field(examples=[{"symbol": "AAPL", "quantity": 250}])


class TaskEvent(Lenient):
    """What a worker outside says of a task: `completed` ends it with `result`, `failed` with `error`.

    Any other event is recorded in the audit trail and leaves the task as it is.
    """

    event: Name = Field(examples=["completed"])
    result: dict[str, Any] | None = None
    error: str | None = Field(default=None, min_length=1, max_length=2000)


class Queued(BaseModel):
    """The number of a task that is queued."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": 1, "status": "queued"}]})

    id: int
    status: str


class TaskOut(BaseModel):
    """A task as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TASK]})

    id: int
    agent_name: str
    task_type: str
    status: Status
    payload: dict[str, Any]
    result: Any
    error: str | None


class Ok(BaseModel):
    """The report was taken."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ok": True}]})

    ok: bool


@router.post("/tasks", response_model=Queued)
async def create_task(body: TaskIn, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Store a task and queue it."""
    check_not_reserved(body.agent_name)

    async def create(tx: Tx) -> int:
        new = work.NewTask(body.agent_name, body.task_type, body.payload)
        (task_id,) = await work.enqueue(tx, call.principal.name, [new])
        return task_id

    request = [body.agent_name, body.task_type, body.payload]
    task = await once(call, idempotency_key, kind="task", request=request, create=create, read=work.get)
    call.services.bell.ring()
    return Json({"id": task.id, "status": "queued"})


@router.get("/tasks", response_model=list[TaskOut])
async def list_tasks(
    *,
    call: CurrentCall,
    status: Status = "queued",
    agent_name: Annotated[Name | None, Query()] = None,
    task_type: Annotated[Name | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 10,
) -> Response:
    """Tasks: queued ones oldest first, as they are claimed; others newest first."""
    agent_name = tasks_of(call.principal, agent_name)
    async with call.database.read() as tx:
        if status == "queued":
            tasks = await work.pending(tx, agent=agent_name, type=task_type, limit=limit)
        else:
            tasks = await work.page(tx, agent=agent_name, type=task_type, status=status, limit=limit)
    return Json([_answer(task) for task in tasks])


@router.get("/tasks/{task_id}", response_model=TaskOut)
async def get_task(task_id: PathNumber, call: CurrentCall) -> Response:
    """One task."""
    async with call.database.read() as tx:
        return Json(_answer(await work.get(tx, task_id)))


@router.post("/tasks/{task_id}/events", response_model=Ok)
async def append_event(
    task_id: PathNumber, body: TaskEvent, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Report the end of a task, or how it goes on. The same end again is fine, another one is a conflict."""
    error = (body.error or "the worker reported a failure") if body.event == "failed" else None

    async def create(tx: Tx) -> int:
        check_not_reserved((await work.get(tx, task_id)).agent)
        if body.event not in ("completed", "failed"):
            detail = {"result": body.result, "error": body.error}
            return (await work.note(tx, task_id, call.principal.name, event=body.event, detail=detail)).id
        return (await work.complete_from_outside(tx, task_id, call.principal.name, body.result, error=error)).id

    request = [task_id, body.event, body.result, error]
    await once(call, idempotency_key, kind="task_report", request=request, create=create, read=work.get)
    call.services.bell.ring()
    return Json({"ok": True})


def _answer(task: work.Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "agent_name": task.agent,
        "task_type": task.type,
        "status": task.status,
        "payload": task.payload,
        "result": task.result,
        "error": task.error,
    }
