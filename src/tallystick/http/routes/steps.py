"""`/v1/tasks/{task_id}/steps`: what the parts of a task gave. A task that goes on reads them, and does not repeat them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import work
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bound_of, cursor_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import PathId, Strict, StringId
from tallystick.http.task_shapes import Reason, StepName
from tallystick.kit import Conflict, Invalid, digest

router = APIRouter(route_class=ExactRoute, tags=["attempts"])
_KIND = "steps"
_MAX_TRIES = 10_000
_MAX_TOOK_MS = 366 * 86_400_000
_EXAMPLE: JsonDict = {
    "name": "score",
    "kind": "step",
    "state": "done",
    "fence": "19",
    "try": 1,
    "input_hash": digest(None).hex(),
    "output": {"score": 82},
    "error": None,
    "detail": None,
    "started_at": "2026-04-21T12:34:56.790012Z",
    "ended_at": "2026-04-21T12:34:57.790012Z",
}


class StepBody(Strict):
    """What a step gave (`done`), a try of it that `failed`, or that a call to the outside is about to be made (`intent`).

    `input_hash` is the SHA-256 of what went into the step, by which one that is asked for again with another input is noticed.
    """

    fence: StringId = Field(examples=["19"])
    name: StepName
    kind: Literal["step", "call", "model"] = "step"
    state: Literal["intent", "failed", "done"] = "done"
    try_: int = Field(default=1, alias="try", ge=1, le=_MAX_TRIES, strict=True)
    input_hash: str = Field(default=digest(None).hex(), pattern=r"^[0-9a-f]{64}$")
    output: Any = Field(default=None, examples=[{"score": 82}])
    error: Reason | None = None
    detail: dict[str, Any] | None = None
    took_ms: int = Field(default=0, ge=0, le=_MAX_TOOK_MS, strict=True)


class StepAnswer(BaseModel):
    """One line of the record of a task's steps: what was meant, failed or done under a name.

    Waits are steps too: a `sleep`, an `event` that was waited for, an `approval`, with what the wait gave as `output`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    kind: Literal["step", "call", "model", "sleep", "event", "approval"]
    state: Literal["intent", "failed", "done"]
    fence: str
    try_: int = Field(alias="try")
    input_hash: str
    output: Any
    error: str | None
    detail: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime


class StepPage(BaseModel):
    """Lines of the record, in the order in which they were written."""

    items: list[StepAnswer]
    next_cursor: str | None


@router.get("/v1/tasks/{task_id}/steps", response_model=StepPage)
async def list_steps(task_id: PathId, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """All that is recorded of the steps of a task."""
    skip = bound_of(cursor, _KIND) or 0
    async with call.database.read() as tx:
        await work.get(tx, task_id)
        rows = await work.steps_page(tx, task_id, skip=skip, limit=limit + 1)
    more = len(rows) > limit
    return Json(
        {"items": [_answer(row) for row in rows[:limit]], "next_cursor": cursor_of(_KIND, skip + limit) if more else None}
    )


@router.post("/v1/tasks/{task_id}/steps", status_code=201, response_model=StepAnswer)
async def record_step(task_id: PathId, body: StepBody, call: CurrentCall) -> Response:
    """Record a line, once: the same line under the same fence again is fine. A step is done once, whatever its fence."""
    if (body.state == "failed") != (body.error is not None):
        raise Invalid("outcome_malformed", "a try that failed has an error, and nothing else has one")
    step = work.NewStep(
        body.name,
        body.kind,
        body.state,
        bytes.fromhex(body.input_hash),
        body.try_,
        body.output,
        body.error,
        body.detail,
        body.took_ms,
    )

    async def record(tx: Tx) -> work.Step | None:
        if await work.held_by_others(tx, [work.Fence(task_id, body.fence)], call.principal.name):
            raise work.fence_lost(task_id)
        await work.record_step(tx, task_id, body.fence, step)
        return await _line(tx, task_id, body)

    try:
        line = await call.database.retrying(record)
    except Conflict as refusal:
        async with call.database.read() as tx:
            await work.get(tx, task_id)
            line = await _line(tx, task_id, body)
        if refusal.code != "already_exists" or line is None or not _is_same(line, step):
            raise
    assert line is not None, "what was recorded is there"
    return Json(_answer(line), 201)


async def _line(tx: ReadTx, task_id: int, body: StepBody) -> work.Step | None:
    wanted = (body.state, body.fence, body.try_)
    lines = await work.lines_of_step(tx, task_id, body.name)
    return next((line for line in lines if (line.state, line.fence, line.attempt) == wanted), None)


def _is_same(line: work.Step, step: work.NewStep) -> bool:
    return (line.kind, line.input_hash, line.output, line.error, line.detail) == (
        step.kind,
        step.input_hash,
        step.output,
        step.error,
        step.detail,
    )


def _answer(step: work.Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "kind": step.kind,
        "state": step.state,
        "fence": str(step.fence),
        "try": step.attempt,
        "input_hash": step.input_hash.hex(),
        "output": step.output,
        "error": step.error,
        "detail": step.detail,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
    }
