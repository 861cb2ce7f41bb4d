"""The guide on production in investment banking: requests, their processing, and the trace of it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import agents, audit, cases
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Lenient, Name, PathNumber
from tallystick.kit import dumps

router = APIRouter(route_class=ExactRoute, tags=["guide: investment banking, production"])
_ACTION = "processed"
_RESULT: JsonDict = {
    "client_id": "CUST-1042",
    "request_type": "trade_review",
    "decision": "approved",
    "confidence": 0.94,
    "summary": "Processed trade_review for CUST-1042",
}


class BankingRequest(Lenient):
    """A request of a client."""

    client_id: Name = Field(examples=["CUST-1042"])
    request_type: Name = Field(examples=["trade_review"])
    payload: dict[str, Any] = Field(examples=[{"symbol": "AAPL", "notional": 2500000}])


class Received(BaseModel):
    """The number of a request that was taken in."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"request_id": 1, "status": "received"}]})

    request_id: int
    status: str


class Processed(BaseModel):
    """What the agent decided."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"request_id": 1, "result": _RESULT}]})

    request_id: int
    result: dict[str, Any]


class Trace(BaseModel):
    """A request as a row `[id, client_id, request_type, payload as text, status]`, and its newest audit entry as a row
    `[action, result as text, created_at as text]`, `null` before it was processed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request": [1, "CUST-1042", "trade_review", '{"notional":2500000,"symbol":"AAPL"}', "processed"],
                    "latest_audit": ["processed", '{"client_id":"CUST-1042"}', "2026-04-21 12:34:56.789012+00:00"],
                }
            ]
        }
    )

    request: list[int | str]
    latest_audit: list[str] | None


@router.post("/requests", response_model=Received)
async def create_request(body: BankingRequest, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Take in a request of a client."""

    async def create(tx: Tx) -> int:
        case = await cases.open_request(
            tx, call.principal.name, customer=body.client_id, type=body.request_type, payload=body.payload
        )
        return case.id

    request = ["request", body.client_id, body.request_type, body.payload]
    case = await once(call, idempotency_key, kind="case", request=request, create=create, read=_read)
    return Json({"request_id": case.id, "status": "received"})


@router.post("/requests/{request_id}/process", response_model=Processed)
async def process_request(request_id: PathNumber, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Have the agent of the request decide it. Processed again, it answers the same."""

    async def create(tx: Tx) -> int:
        await _read(tx, request_id)
        return (await agents.process_case(tx, call.principal.name, request_id)).id

    payload = agents.DecideCase(str(request_id))
    case = await once(
        call, idempotency_key, kind="case_process", request=request_id, create=create, read=_read, payload=payload
    )
    return Json({"request_id": case.id, "result": case.result})


@router.get("/requests/{request_id}", response_model=Trace)
async def get_request(request_id: PathNumber, call: CurrentCall) -> Response:
    """A request and the newest entry of its trail."""
    async with call.database.snapshot() as tx:
        case = await _read(tx, request_id)
        entry = await audit.latest(tx, subject_kind="case", subject_id=case.id, verb=_ACTION)
    return Json({"request": _row(case), "latest_audit": None if entry is None else _audit_row(entry)})


async def _read(tx: ReadTx, case_id: int) -> cases.Case:
    return await cases.get(tx, case_id, "request")


def _row(case: cases.Case) -> list[int | str]:
    return [case.id, case.customer, case.type, _text(case.payload), case.status]


def _audit_row(entry: audit.RecordedEvent) -> list[str]:
    return [entry.verb, _text(entry.payload), entry.at.isoformat(" ")]


def _text(value: Any) -> str:
    return dumps(value).decode()
