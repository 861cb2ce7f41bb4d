"""The retail banking guide: balances, transfers, history. Amounts are JSON numbers, read and written digit by digit."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, ledger
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import Amount, IdempotencyKey, Lenient
from tallystick.kit import format_minor

router = APIRouter(route_class=ExactRoute, tags=["guide: retail banking"])
_KIND = "transactions"
_TRANSACTION: JsonDict = {
    "id": 1842,
    "from_account": "ACC123",
    "to_account": "ACC999",
    "amount": 50.0,
    "status": "posted",
    "reason": None,
    "created_at": "2026-04-21T12:34:56.789012Z",
}


class TransferRequest(Lenient):
    """A transfer in the currency of the account it comes from."""

    from_account: str = Field(max_length=100, examples=["ACC123"])
    to_account: str = Field(max_length=100, examples=["ACC999"])
    amount: Amount = Field(examples=[50.0])


class Balance(BaseModel):
    """What an account holds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"account_id": "ACC123", "balance": 1250.75}]})

    account_id: str
    balance: float


class Echo(BaseModel):
    """A transfer that is queued."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "queued", "from_account": "ACC123", "to_account": "ACC999", "amount": 50.0}]}
    )

    status: str
    from_account: str
    to_account: str
    amount: float


class Persisted(BaseModel):
    """The number of a transfer that is queued."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"transaction_id": 1842, "status": "queued"}]})

    transaction_id: int
    status: str


class Transaction(BaseModel):
    """A transfer from or to an account."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRANSACTION]})

    id: int
    from_account: str
    to_account: str
    amount: float
    status: str
    reason: str | None
    created_at: datetime


class Transactions(BaseModel):
    """The history of an account, newest first."""

    items: list[Transaction]
    next_cursor: str | None


@router.get("/accounts/{account_id}/balance", response_model=Balance)
async def get_balance(account_id: str, call: CurrentCall) -> Response:
    """What the account holds, as an exact number."""
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
    return Json({"account_id": account.name, "balance": Decimal(format_minor(account.posted, account.unit))})


@router.post("/transfers", response_model=Echo)
async def create_transfer(body: TransferRequest, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Queue a transfer for the settlement agent."""
    transfer = await _queue(call, body, idempotency_key)
    return Json(
        {
            "status": "queued",
            "from_account": transfer.from_account,
            "to_account": transfer.to_account,
            "amount": _number(transfer),
        }
    )


@router.post("/transfers/persisted", response_model=Persisted)
async def create_persisted_transfer(
    body: TransferRequest, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Queue a transfer for the settlement agent, and tell its number."""
    transfer = await _queue(call, body, idempotency_key)
    return Json({"transaction_id": transfer.id, "status": "queued"})


@router.get("/accounts/{account_id}/transactions", response_model=Transactions)
async def list_transactions(account_id: str, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The transfers from and to the account, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
        rows = await actions.page(tx, account=account.name, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_transaction, bound=lambda row: row.id)


async def _queue(call: Call, body: TransferRequest, key: str | None) -> actions.Transfer:
    new = actions.NewTransfer(body.from_account, body.to_account, body.amount, None, "queued", None, key)
    return await call.services.transfers.submit(call.principal, new.key, new)


def _number(transfer: actions.Transfer) -> Decimal:
    return Decimal(format_minor(transfer.amount, transfer.unit))


def _transaction(transfer: actions.Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "from_account": transfer.from_account,
        "to_account": transfer.to_account,
        "amount": _number(transfer),
        "status": transfer.status,
        "reason": transfer.reason,
        "created_at": transfer.created_at,
    }
