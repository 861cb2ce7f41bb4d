"""The banking guide: events of customers, and their lifecycle."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tallystick import agents, cases
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.idempotency import once
from tallystick.http.reach import customers_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import MAX_ID, IdempotencyKey, Lenient, Name, PathNumber

router = APIRouter(route_class=ExactRoute, tags=["guide: banking"])
_MAX_PENDING = 1000
_PAYLOAD = '{"amount": 25000, "risk_score": 0.72}'

EventStatus = Literal["queued", "processing", "approved", "rejected", "completed", "failed"]


class TransactionRequest(Lenient):
    """An event of a customer; its payload is text."""

    customer_id: Name = Field(examples=["CUST-10021"])
    event_type: Name = Field(examples=["loan_review"])
    payload: str = Field(max_length=65_536, examples=[_PAYLOAD])


class Queued(BaseModel):
    """An event that is queued."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": 1, "customer_id": "CUST-10021", "status": "queued", "created_at": "2026-04-21T12:34:56.789012Z"}
            ]
        }
    )

    id: int
    customer_id: str
    status: str
    created_at: datetime


class Pending(BaseModel):
    """An event that nobody has begun to work on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": 1, "customer_id": "CUST-10021", "event_type": "loan_review", "payload": _PAYLOAD, "status": "queued"}
            ]
        }
    )

    id: int
    customer_id: str
    event_type: str
    payload: str
    status: str


class Moved(BaseModel):
    """What an event has become."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": 1, "status": "processing", "customer_id": "CUST-10021"}]})

    id: int
    status: EventStatus
    customer_id: str


@router.post("/events", response_model=Queued)
async def create_event(body: TransactionRequest, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Take in an event of a customer; it stays `queued` until it is moved."""

    async def create(tx: Tx) -> int:
        case = await cases.open_event(
            tx, call.principal.name, customer=body.customer_id, type=body.event_type, payload_text=body.payload
        )
        return case.id

    request = ["event", body.customer_id, body.event_type, body.payload]
    case = await once(call, idempotency_key, kind="case", request=request, create=create, read=_read)
    return Json({"id": case.id, "customer_id": case.customer, "status": "queued", "created_at": case.created_at})


@router.get("/events/pending", response_model=list[Pending])
async def list_pending_events(
    call: CurrentCall,
    limit: Annotated[int, Query(ge=1, le=_MAX_PENDING)] = _MAX_PENDING,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="Only those with a higher id.")] = 0,
) -> Response:
    """Queued events, oldest first."""
    async with call.database.read() as tx:
        events = await cases.pending_events(tx, limit, after, among=await customers_of(tx, call.principal))
    return Json([_pending(event) for event in events])


@router.patch("/events/{event_id}/status", response_model=Moved)
async def update_event_status(event_id: PathNumber, status: EventStatus, call: CurrentCall) -> Response:
    """Move an event forward; a step back is a conflict."""

    async def work(tx: Tx) -> cases.Case:
        return await cases.set_status(tx, call.principal.name, event_id, status)

    case: cases.Case = await perform(call, agents.MoveCase(str(event_id), status), work)
    return Json({"id": case.id, "status": case.status, "customer_id": case.customer})


async def _read(tx: ReadTx, case_id: int) -> cases.Case:
    return await cases.get(tx, case_id, "event")


def _pending(case: cases.Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "customer_id": case.customer,
        "event_type": case.type,
        "payload": case.payload_text,
        "status": case.status,
    }
