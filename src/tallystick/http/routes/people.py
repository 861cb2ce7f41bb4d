"""`/v1/tasks` for people: cancel a task, put one back that was given up, answer what a parked one asks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
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
from tallystick.http.shapes import IdempotencyKey, PathId, Strict
from tallystick.http.task_shapes import Reason, StepName, TaskAnswer, answer
from tallystick.kit import Forbidden

router = APIRouter(route_class=ExactRoute, tags=["tasks: people"])
_QUESTIONS = "questions"
_QUESTION: JsonDict = {
    "task_id": "7",
    "agent": "payments-agent",
    "type": "payment.review",
    "step": "approval",
    "question": {"question": "May this payment go out?", "amount": {"amount": "125000.00", "currency": "CZK"}},
    "since": "2026-04-21T12:34:56.789012Z",
    "wake_at": None,
}


class CancelBody(Strict):
    """Why a task is not to be done any more."""

    reason: Reason = Field(default="cancelled", examples=["the customer has withdrawn the request"])


class AnswerBody(Strict):
    """A person's answer to what a task asks in one of its steps."""

    step: StepName = Field(examples=["approval"])
    approved: bool = Field(strict=True)
    comment: str | None = Field(default=None, max_length=2000)


class QuestionAnswer(BaseModel):
    """What a parked task asks people, since when, and until when it waits."""

    model_config = ConfigDict(json_schema_extra={"examples": [_QUESTION]})

    task_id: str
    agent: str
    type: str
    step: str
    question: Any
    since: datetime
    wake_at: datetime | None


class QuestionPage(BaseModel):
    """Questions, those of the oldest tasks first."""

    items: list[QuestionAnswer]
    next_cursor: str | None


@router.post("/v1/tasks/{task_id}/cancel", response_model=TaskAnswer)
async def cancel_task(task_id: PathId, body: CancelBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """End a task that has not ended, wherever it is. An attempt of it that runs has lost its fence."""

    async def create(tx: Tx) -> int:
        check_not_reserved((await work.get(tx, task_id)).agent)
        return (await work.cancel(tx, task_id, call.principal.name, reason=body.reason)).id

    task = await once(call, idempotency_key, kind="task_cancel", request=[task_id, body.reason], create=create, read=work.get)
    call.services.bell.ring()
    return Json(answer(task))


@router.post("/v1/tasks/{task_id}/retry", response_model=TaskAnswer)
async def retry_task(task_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Try a task that is `dead` again, with all its attempts. What its steps gave is kept."""

    async def create(tx: Tx) -> int:
        return (await work.put_back(tx, task_id, call.principal.name)).id

    task = await once(call, idempotency_key, kind="task_retry", request=[task_id], create=create, read=work.get)
    call.services.bell.ring()
    return Json(answer(task))


@router.post("/v1/tasks/{task_id}/answers", response_model=TaskAnswer)
async def answer_task(task_id: PathId, body: AnswerBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer what a task asks, which goes on with that. Agents do not answer."""
    if call.principal.kind == "agent":
        raise Forbidden("people_only", "what a task asks people is not for an agent to answer")

    async def create(tx: Tx) -> int:
        task = await work.answer(tx, task_id, body.step, call.principal.name, approved=body.approved, comment=body.comment)
        return task.id

    request = [task_id, body.step, body.approved, body.comment]
    task = await once(call, idempotency_key, kind="task_answer", request=request, create=create, read=work.get)
    call.services.bell.ring()
    return Json(answer(task))


@router.get("/v1/work/questions", response_model=QuestionPage)
async def list_questions(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """What tasks ask people, and wait for."""
    after = bound_of(cursor, _QUESTIONS) or 0
    async with call.database.read() as tx:
        rows = await work.questions(tx, after=after, limit=limit + 1)
    return page(rows, limit, _QUESTIONS, item=_question, bound=lambda row: row.task_id)


def _question(asked: work.Question) -> dict[str, Any]:
    return {
        "task_id": str(asked.task_id),
        "agent": asked.agent,
        "type": asked.type,
        "step": asked.step,
        "question": asked.question,
        "since": asked.since,
        "wake_at": asked.wake_at,
    }
