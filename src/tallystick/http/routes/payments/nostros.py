"""`/v1/nostros`: accounts of ours at other banks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, payments
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import Currency, IdempotencyKey, Name, PathName, Strict

router = APIRouter(route_class=ExactRoute, tags=["external payments"])
_NOSTROS = "nostros"
_NOSTRO_EXAMPLE: JsonDict = {
    "id": "NOSTRO-KB",
    "bank": "KOMBCZPP",
    "their_account": "CZ6508000000192000145399",
    "currency": "CZK",
    "clearing_account": "NOSTRO-KB:clearing",
    "suspense_account": "NOSTRO-KB:suspense",
    "registered_at": "2026-04-21T12:34:56.789012Z",
}


class NostroBody(Strict):
    """An account of ours at another bank, to mirror by an internal account of our books."""

    id: Annotated[Name, Field(max_length=80, examples=["NOSTRO-KB"])]
    bank: str = Field(min_length=1, max_length=100, description="BIC or name.", examples=["KOMBCZPP"])
    their_account: str = Field(min_length=1, max_length=64, examples=["CZ65 0800 0000 1920 0014 5399"])
    currency: Currency = Field(examples=["CZK"])


class NostroAnswer(BaseModel):
    """A nostro account, with its clearing account (sent, not settled) and its suspense account (came in for nobody known)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NOSTRO_EXAMPLE]})

    id: str
    bank: str
    their_account: str
    currency: str
    clearing_account: str
    suspense_account: str
    registered_at: datetime


class NostroPage(BaseModel):
    """Nostro accounts."""

    items: list[NostroAnswer]
    next_cursor: str | None


@router.post("/v1/nostros", status_code=201, response_model=NostroAnswer)
async def register_nostro(body: NostroBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Mirror an account of ours at another bank."""

    async def create(tx: Tx) -> int:
        nostro = await payments.register(
            tx,
            call.principal.name,
            name=body.id,
            bank=body.bank,
            their_account=body.their_account,
            currency=body.currency,
        )
        return nostro.id

    async def read(tx: ReadTx, nostro_id: int) -> payments.Nostro:
        (nostro,) = await payments.nostros(tx, ids=[nostro_id], limit=1)
        return nostro

    nostro = await once(
        call,
        idempotency_key,
        kind="nostro",
        request=body.model_dump(),
        create=create,
        read=read,
        payload=actions.SetUp("nostro", body.id),
    )
    return Json(_nostro(nostro), 201)


@router.get("/v1/nostros", response_model=NostroPage)
async def list_nostros(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Nostro accounts."""
    after = bound_of(cursor, _NOSTROS) or 0
    async with call.database.read() as tx:
        rows = await payments.nostros(tx, after=after, limit=limit + 1)
    return page(rows, limit, _NOSTROS, item=_nostro, bound=lambda row: row.id)


@router.get("/v1/nostros/{nostro_id}", response_model=NostroAnswer)
async def get_nostro(nostro_id: PathName, call: CurrentCall) -> Response:
    """One nostro account."""
    async with call.database.read() as tx:
        return Json(_nostro(await payments.nostro(tx, nostro_id)))


def _nostro(nostro: payments.Nostro) -> dict[str, Any]:
    return {
        "id": nostro.name,
        "bank": nostro.bank,
        "their_account": nostro.their_account,
        "currency": nostro.asset,
        "clearing_account": nostro.clearing,
        "suspense_account": nostro.suspense,
        "registered_at": nostro.registered_at,
    }
