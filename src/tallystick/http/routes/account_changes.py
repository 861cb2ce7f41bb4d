"""`/v1/accounts/{account_id}`: freeze, unfreeze and close an account, set its limit, and who did so when."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import Amount, IdempotencyKey, PathName, Strict
from tallystick.kit import Asset, format_minor, plain

router = APIRouter(route_class=ExactRoute, tags=["accounts"])
_KIND = "account changes"
_EXAMPLE: JsonDict = {
    "n": 2,
    "status": "frozen",
    "overdraft_limit": "0.00",
    "actor": "risk",
    "changed_at": "2026-04-21T12:34:56.789012Z",
}


class LimitBody(Strict):
    """How far an account may be overdrawn, in its currency; `null` is without end, which is for the bank's own accounts."""

    overdraft_limit: Amount | None = Field(examples=["100.00"])


class ChangeAnswer(BaseModel):
    """What an account may do from `changed_at` on, and who said so; the first change is its opening."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    n: int
    status: Literal["open", "frozen", "closed"]
    overdraft_limit: str | None
    actor: str
    changed_at: datetime


class ChangePage(BaseModel):
    """Changes, newest first."""

    items: list[ChangeAnswer]
    next_cursor: str | None


@router.post("/v1/accounts/{account_id}/freeze", response_model=ChangeAnswer)
async def freeze(account_id: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Stop an account: it neither gives nor takes, and nothing is set aside on it. What is held on it stays held."""
    return await _become(call, account_id, "frozen", idempotency_key)


@router.post("/v1/accounts/{account_id}/unfreeze", response_model=ChangeAnswer)
async def unfreeze(account_id: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let a frozen account give and take again."""
    return await _become(call, account_id, "open", idempotency_key)


@router.post("/v1/accounts/{account_id}/close", response_model=ChangeAnswer)
async def close(account_id: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Close an account that holds nothing, for good."""
    return await _become(call, account_id, "closed", idempotency_key)


@router.put("/v1/accounts/{account_id}/limit", response_model=ChangeAnswer)
async def set_limit(account_id: PathName, body: LimitBody, call: CurrentCall) -> Response:
    """Set how far an account may be overdrawn. A cut below what it owes takes nothing back; it gives no more until it may."""
    limit = None if body.overdraft_limit is None else plain(body.overdraft_limit)
    change: ledger.AccountChange = await perform(call, actions.ChangeLimit(account_id, limit))
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
    return Json(_answer(change, account.unit))


@router.get("/v1/accounts/{account_id}/changes", response_model=ChangePage)
async def list_changes(account_id: PathName, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Every status and limit that an account had, newest first."""
    kind = f"{_KIND} {account_id}"
    before = bound_of(cursor, kind)
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
        rows = await ledger.account_changes(tx, account.id, before=before, limit=limit + 1)
    return page(rows, limit, kind, item=lambda row: _answer(row, account.unit), bound=lambda row: row.n)


async def _become(call: Call, name: str, status: ledger.AccountStatus, key: str | None) -> Response:
    async def create(tx: Tx) -> int:
        return (await ledger.change_status(tx, name, status, actor=call.principal.name)).n

    async def read(tx: ReadTx, n: int) -> dict[str, Any]:
        account = await ledger.account(tx, name)
        (change,) = await ledger.account_changes(tx, account.id, before=n + 1, limit=1)
        return _answer(change, account.unit)

    payload = actions.ChangeStatus(name, status)
    request = [name, status]
    return Json(await once(call, key, kind="account change", request=request, create=create, read=read, payload=payload))


def _answer(change: ledger.AccountChange, unit: Asset) -> dict[str, Any]:
    return {
        "n": change.n,
        "status": change.status,
        "overdraft_limit": limit_of(change.floor, unit),
        "actor": change.actor,
        "changed_at": change.changed_at,
    }


def limit_of(floor: int | None, unit: Asset) -> str | None:
    """How far an account may be overdrawn, in its asset; `None` is without end."""
    return None if floor is None else format_minor(-floor, unit)
