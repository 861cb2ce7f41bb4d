"""`/v1/events`: facts that one agent leaves for others."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import memory
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import events_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, Strict

router = APIRouter(route_class=ExactRoute, tags=["events"])
_KIND = "events"
_EXAMPLE: JsonDict = {
    "id": "1",
    "agent": "risk-agent",
    "type": "risk_score",
    "payload": {"customer_id": "CUST-1042", "score": 82},
    "created_at": "2026-04-21T12:34:56.789012Z",
}


class EventBody(Strict):
    """A fact to leave."""

    agent: Name = Field(examples=["risk-agent"])
    type: Name = Field(examples=["risk_score"])
    payload: dict[str, Any] = Field(examples=[{"customer_id": "CUST-1042", "score": 82}])


class EventAnswer(BaseModel):
    """A fact that was left; it never changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    agent: str
    type: str
    payload: dict[str, Any]
    created_at: datetime


class EventPage(BaseModel):
    """Events, newest first."""

    items: list[EventAnswer]
    next_cursor: str | None


@router.post("/v1/events", status_code=201, response_model=EventAnswer)
async def publish_event(body: EventBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Leave a fact for other agents. Tasks that wait for it go on."""

    async def create(tx: Tx) -> int:
        event = await memory.publish(tx, call.principal.name, agent=body.agent, type=body.type, payload=body.payload)
        return event.id

    request = [body.agent, body.type, body.payload]
    event = await once(call, idempotency_key, kind="event", request=request, create=create, read=_read)
    call.services.bell.ring()
    return Json(_answer(event), 201)


@router.get("/v1/events", response_model=EventPage)
async def list_events(
    call: CurrentCall,
    agent: Annotated[Name | None, Query(description="Only those of this agent.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Events, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        whose = events_of(call.principal, agent)
        rows = await memory.page(tx, agent=whose, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


async def _read(tx: ReadTx, event_id: int) -> memory.Event:
    (event,) = await memory.page(tx, before=event_id + 1, limit=1)
    return event


def _answer(event: memory.Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "agent": event.agent,
        "type": event.type,
        "payload": event.payload,
        "created_at": event.created_at,
    }
