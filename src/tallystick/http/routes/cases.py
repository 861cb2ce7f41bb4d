"""`/v1/cases`: requests and events of customers, and their lifecycle."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import agents, cases
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import customers_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, Strict
from tallystick.kit import Conflict

router = APIRouter(route_class=ExactRoute, tags=["cases"])
_KIND = "cases"
_EXAMPLE: JsonDict = {
    "id": "11",
    "door": "request",
    "customer_id": "CUST-1042",
    "type": "trade_review",
    "payload": {"symbol": "AAPL", "notional": 2500000},
    "status": "processed",
    "result": {"decision": "review", "confidence": 0.9, "summary": "over the limit of one person"},
    "created_at": "2026-04-21T12:34:56.789012Z",
    "changed_at": "2026-04-21T12:34:57.123456Z",
}

Door = Literal["request", "event"]
Status = Literal["received", "processed", "queued", "processing", "approved", "rejected", "completed", "failed"]
EventStatus = Literal["queued", "processing", "approved", "rejected", "completed", "failed"]


class CaseBody(Strict):
    """A case to open: a `request` carries a JSON object and is processed by its agent, an `event` carries text."""

    customer_id: Name = Field(examples=["CUST-1042"])
    type: Name = Field(examples=["trade_review"])
    door: Door = "request"
    payload: dict[str, Any] | str = Field(examples=[{"symbol": "AAPL", "notional": 2500000}])

    @model_validator(mode="after")
    def _payload_fits_the_door(self) -> CaseBody:
        if isinstance(self.payload, str) != (self.door == "event"):
            raise ValueError("a request carries an object, an event carries text")
        return self


class StatusBody(Strict):
    """What an event becomes."""

    status: EventStatus = Field(examples=["processing"])


class CaseAnswer(BaseModel):
    """A case as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    door: Door
    customer_id: str
    type: str
    payload: dict[str, Any] | str
    status: Status
    result: dict[str, Any] | None
    created_at: datetime
    changed_at: datetime


class CasePage(BaseModel):
    """Cases, newest first."""

    items: list[CaseAnswer]
    next_cursor: str | None


@router.post("/v1/cases", status_code=201, response_model=CaseAnswer)
async def open_case(body: CaseBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Take in a request or an event of a customer."""
    principal = call.principal.name

    async def create(tx: Tx) -> int:
        if isinstance(body.payload, str):
            case = await cases.open_event(tx, principal, customer=body.customer_id, type=body.type, payload_text=body.payload)
        else:
            case = await cases.open_request(tx, principal, customer=body.customer_id, type=body.type, payload=body.payload)
        return case.id

    request = [body.door, body.customer_id, body.type, body.payload]
    case = await once(call, idempotency_key, kind="case", request=request, create=create, read=cases.get)
    return Json(_answer(case.as_opened()), 201)


@router.get("/v1/cases", response_model=CasePage)
async def list_cases(
    *,
    call: CurrentCall,
    customer_id: Annotated[Name | None, Query(description="Only those of this customer.")] = None,
    door: Annotated[Door | None, Query(description="Only those that came in by this door.")] = None,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Cases, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        among = await customers_of(tx, call.principal)
        rows = await cases.page(tx, customer=customer_id, among=among, door=door, status=status, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/cases/{case_id}", response_model=CaseAnswer)
async def get_case(case_id: PathId, call: CurrentCall) -> Response:
    """One case."""
    async with call.database.read() as tx:
        return Json(_answer(await cases.get(tx, case_id)))


@router.patch("/v1/cases/{case_id}/status", response_model=CaseAnswer)
async def set_status(case_id: PathId, body: StatusBody, call: CurrentCall) -> Response:
    """Move an event forward; a step back is a conflict."""

    async def work(tx: Tx) -> cases.Case:
        if (await cases.get(tx, case_id)).door == "request":
            raise Conflict("impossible_transition", "a request moves by being processed")
        return await cases.set_status(tx, call.principal.name, case_id, body.status)

    return Json(_answer(await perform(call, agents.MoveCase(str(case_id), body.status), work)))


@router.post("/v1/cases/{case_id}/process", response_model=CaseAnswer)
async def process_case(case_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Have the agent of a request decide it. A request that was processed keeps its result."""

    async def create(tx: Tx) -> int:
        if (await cases.get(tx, case_id)).door == "event":
            raise Conflict("impossible_transition", "an event moves by its status")
        return (await agents.process_case(tx, call.principal.name, case_id)).id

    payload = agents.DecideCase(str(case_id))
    case = await once(
        call, idempotency_key, kind="case_process", request=case_id, create=create, read=cases.get, payload=payload
    )
    return Json(_answer(case))


def _answer(case: cases.Case) -> dict[str, Any]:
    return {
        "id": str(case.id),
        "door": case.door,
        "customer_id": case.customer,
        "type": case.type,
        "payload": case.payload_text if case.payload is None else case.payload,
        "status": case.status,
        "result": case.result,
        "created_at": case.created_at,
        "changed_at": case.changed_at,
    }
