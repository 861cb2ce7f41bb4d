"""The fintech guide: the shared memory of agents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import memory
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.reach import events_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Lenient, Name

router = APIRouter(route_class=ExactRoute, tags=["guide: fintech"])
_NEWEST = 20
_EVENT: JsonDict = {
    "id": 1,
    "agent_name": "fraud_agent",
    "event_type": "flag_transaction",
    "payload": {"transaction_id": "tx_987", "reason": "velocity_threshold_exceeded"},
    "created_at": "2026-04-21T12:34:56.789012Z",
}


class AgentEvent(Lenient):
    """A fact to leave."""

    agent_name: Name = Field(examples=["fraud_agent"])
    event_type: Name = Field(examples=["flag_transaction"])
    payload: dict[str, Any] = Field(examples=[_EVENT["payload"]])


class Stored(BaseModel):
    """The number of a fact that is stored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": 1, "created_at": "2026-04-21T12:34:56.789012Z", "status": "stored"}]}
    )

    id: int
    created_at: datetime
    status: str


class StoredEvent(BaseModel):
    """A fact that was left."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})

    id: int
    agent_name: str
    event_type: str
    payload: dict[str, Any]
    created_at: datetime


@router.post("/agent-events", response_model=Stored)
async def create_agent_event(body: AgentEvent, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Leave a fact for other agents."""

    async def create(tx: Tx) -> int:
        event = await memory.publish(tx, call.principal.name, agent=body.agent_name, type=body.event_type, payload=body.payload)
        return event.id

    request = [body.agent_name, body.event_type, body.payload]
    event = await once(call, idempotency_key, kind="event", request=request, create=create, read=_read)
    call.services.bell.ring()
    return Json({"id": event.id, "created_at": event.created_at, "status": "stored"})


@router.get("/agent-events/{agent_name}", response_model=list[StoredEvent])
async def list_agent_events(agent_name: str, call: CurrentCall) -> Response:
    """The twenty newest facts of an agent, newest first."""
    async with call.database.read() as tx:
        events = await memory.recent(tx, events_of(call.principal, agent_name) or "", limit=_NEWEST)
    return Json([_answer(event) for event in events])


async def _read(tx: ReadTx, event_id: int) -> memory.Event:
    (event,) = await memory.page(tx, before=event_id + 1, limit=1)
    return event


def _answer(event: memory.Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "agent_name": event.agent,
        "event_type": event.type,
        "payload": event.payload,
        "created_at": event.created_at,
    }
