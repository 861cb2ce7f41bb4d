"""`/v1/accounts`: open accounts, read balances and statements."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, customers, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.routes.account_changes import limit_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import Currency, IdempotencyKey, Name, PathName, Strict
from tallystick.kit import format_minor

router = APIRouter(route_class=ExactRoute, tags=["accounts"])
_KIND = "accounts"
_ENTRIES = "entries"
_EXAMPLE: JsonDict = {
    "id": "ACC123",
    "customer_id": "CUST-1042",
    "currency": "CZK",
    "kind": "customer",
    "status": "open",
    "posted": "1250.75",
    "held": "0.00",
    "available": "1250.75",
    "overdraft_limit": "0.00",
    "seq": 3,
}
_ENTRY_EXAMPLE: JsonDict = {
    "seq": 3,
    "journal_id": "77",
    "kind": "transfer",
    "amount": "-12.50",
    "balance_after": "1238.25",
    "effective_at": "2026-04-21T12:34:56.789012Z",
    "posted_at": "2026-04-21T12:34:56.789012Z",
    "meta": None,
}


class AccountBody(Strict):
    """An account to open. Accounts of the bank itself (`internal`) may go below zero."""

    id: Name = Field(examples=["ACC123"])
    currency: Currency = Field(examples=["CZK"])
    customer_id: Name | None = Field(default=None, description="The customer who owns it.", examples=["CUST-1042"])
    kind: Literal["customer", "internal"] = "customer"


class AccountAnswer(BaseModel):
    """An account as it stands; amounts are decimal strings in `currency`.

    `available` may not be taken below minus `overdraft_limit`, which is `null` where there is no limit; `seq` is how many
    entries the account has.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    customer_id: str | None
    currency: str
    kind: Literal["customer", "internal"]
    status: Literal["open", "frozen", "closed"]
    posted: str
    held: str
    available: str
    overdraft_limit: str | None
    seq: int


class AccountPage(BaseModel):
    """Accounts, in the order they were opened."""

    items: list[AccountAnswer]
    next_cursor: str | None


class EntryAnswer(BaseModel):
    """One line of a statement; `balance_after` is what it left."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY_EXAMPLE]})

    seq: int
    journal_id: str
    kind: str
    amount: str
    balance_after: str
    effective_at: datetime
    posted_at: datetime
    meta: dict[str, Any] | None


class EntryPage(BaseModel):
    """Lines of a statement."""

    items: list[EntryAnswer]
    next_cursor: str | None


@router.post("/v1/accounts", status_code=201, response_model=AccountAnswer)
async def open_account(body: AccountBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Open an account."""

    payload = actions.OpenAccount(body.id, body.currency, body.kind, body.customer_id)

    async def create(tx: Tx) -> int:
        return await actions.open_account(tx, call.principal, payload)

    async def read(tx: ReadTx, account_id: int) -> list[dict[str, Any]]:
        (first,) = await ledger.account_changes(tx, account_id, before=2, limit=1)
        (account,) = await ledger.accounts(tx, ids=[account_id], limit=1)
        return await _answers(tx, [account.as_opened(first.floor)])

    request = body.model_dump()
    (answer,) = await once(call, idempotency_key, kind="account", request=request, create=create, read=read, payload=payload)
    return Json(answer, 201)


@router.get("/v1/accounts", response_model=AccountPage)
async def list_accounts(
    call: CurrentCall,
    customer_id: Annotated[Name | None, Query(description="Only those this customer may use.")] = None,
    kind: Annotated[Literal["customer", "internal"] | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Accounts, in the order they were opened."""
    after = bound_of(cursor, _KIND) or 0
    async with call.database.read() as tx:
        ids = None
        if customer_id is not None:
            ids = await customers.accounts_of(tx, (await customers.get(tx, customer_id)).id)
        among = await accounts_of(tx, call.principal)
        if among is not None:
            ids = among if ids is None else sorted(set(ids) & set(among))
        rows = await ledger.accounts(tx, after=after, limit=limit + 1, kind=kind, ids=ids)
        answers = {row.id: answer for row, answer in zip(rows, await _answers(tx, rows), strict=True)}
    return page(rows, limit, _KIND, item=lambda row: answers[row.id], bound=lambda row: row.id)


@router.get("/v1/accounts/{account_id}", response_model=AccountAnswer)
async def get_account(account_id: PathName, call: CurrentCall) -> Response:
    """One account with its balance."""
    async with call.database.read() as tx:
        (answer,) = await _answers(tx, [await ledger.account(tx, account_id)])
    return Json(answer)


@router.get("/v1/accounts/{account_id}/entries", response_model=EntryPage)
async def list_entries(
    account_id: PathName,
    call: CurrentCall,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc` begins with the newest.")] = "desc",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """An account's statement."""
    kind = f"{_ENTRIES} {order} {account_id}"
    bound = bound_of(cursor, kind)
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
        rows = await ledger.entries(tx, account.id, order=order, bound=bound, limit=limit + 1)
    return page(rows, limit, kind, item=lambda entry: _entry(account, entry), bound=lambda entry: entry.seq)


async def _answers(tx: ReadTx, accounts: list[ledger.Account]) -> list[dict[str, Any]]:
    owners = await customers.owner_names(tx, [account.id for account in accounts])
    return [
        {
            "id": account.name,
            "customer_id": owners.get(account.id),
            "currency": account.asset,
            "kind": account.kind,
            "status": account.status,
            "posted": format_minor(account.posted, account.unit),
            "held": format_minor(account.held, account.unit),
            "available": format_minor(account.available, account.unit),
            "overdraft_limit": limit_of(account.floor, account.unit),
            "seq": account.seq,
        }
        for account in accounts
    ]


def _entry(account: ledger.Account, entry: ledger.Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "journal_id": str(entry.journal_id),
        "kind": entry.kind,
        "amount": format_minor(entry.amount, account.unit),
        "balance_after": format_minor(entry.balance_after, account.unit),
        "effective_at": entry.effective_at,
        "posted_at": entry.posted_at,
        "meta": entry.meta,
    }
