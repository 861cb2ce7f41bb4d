"""`/v1/transfers`: move money, now or by the settlement agent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions
from tallystick.db import Tx
from tallystick.http.bodies import Mode
from tallystick.http.direct import DirectRoute
from tallystick.http.exact import BulkRoute, ExactRoute, Json
from tallystick.http.gate import HeldAnswer, ReasonAnswer, reasons, settled
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import Money, MoneyAnswer, Name, PathId, RequiredKey, Strict, money

router = APIRouter(route_class=ExactRoute, tags=["transfers"])
busy = APIRouter(route_class=DirectRoute, tags=["transfers"])
bulk = APIRouter(route_class=BulkRoute, tags=["transfers"])
_KIND = "transfers"
_EXAMPLE: JsonDict = {
    "id": "42",
    "status": "posted",
    "reason": None,
    "from_account": "ACC123",
    "to_account": "ACC999",
    "amount": {"amount": "12.50", "currency": "CZK"},
    "settle": "now",
    "description": "rent",
    "created_at": "2026-04-21T12:34:56.789012Z",
    "settled_at": "2026-04-21T12:34:56.789012Z",
    "journal_id": "77",
    "decision_id": "91",
    "approval_id": None,
    "reasons": [],
}


class TransferBody(Strict):
    """A transfer to make."""

    from_account: Name = Field(examples=["ACC123"])
    to_account: Name = Field(examples=["ACC999"])
    amount: Money
    settle: Literal["now", "queued"] = "now"
    description: str | None = Field(default=None, max_length=500, examples=["rent"])


class TransferAnswer(BaseModel):
    """A transfer as it stands: `queued`, `held` (people are asked), `posted`, or `failed` with a `reason`.

    `decision_id` is what policy said of it; where it did not let it pass, `reasons` are why.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    status: Literal["queued", "held", "posted", "failed"]
    reason: str | None
    from_account: str
    to_account: str
    amount: MoneyAnswer
    settle: Literal["now", "queued"]
    description: str | None
    created_at: datetime
    settled_at: datetime | None
    journal_id: str | None
    decision_id: str | None
    approval_id: str | None
    reasons: list[ReasonAnswer]


class TransfersBody(Strict):
    """Transfers to make, in this order: each by itself, or all of them or none. `atomic`, they are one question to policy and
    people, and are settled at once.
    """

    mode: Mode = "independent"
    transfers: list[TransferBody] = Field(min_length=1, max_length=actions.MAX_TRANSFERS)


class TransfersAnswer(BaseModel):
    """What became of each transfer, in order. Those of an `atomic` batch are one action: all `posted`, or all `failed`."""

    action_id: str | None
    results: list[TransferAnswer]


class TransferPage(BaseModel):
    """Transfers, newest first."""

    items: list[TransferAnswer]
    next_cursor: str | None


@busy.post(
    "/v1/transfers",
    status_code=201,
    response_model=TransferAnswer,
    response_description="Carried out: `posted`, or `failed` with the reason of the business.",
    responses={
        202: {"model": TransferAnswer, "description": "`queued` for the settlement agent, or `held` until people agree."}
    },
)
async def create_transfer(body: TransferBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Move money from one account to another. A refusal of policy or the business is an answer, remembered under the key."""
    transfer = await call.services.transfers.submit(
        call.principal,
        idempotency_key,
        actions.NewTransfer(
            body.from_account,
            body.to_account,
            body.amount.amount,
            body.amount.currency,
            body.settle,
            body.description,
            idempotency_key,
        ),
    )
    return Json(_answer(transfer), 202 if transfer.status in ("queued", "held") else 201)


@bulk.post(
    "/v1/transfers/batch",
    status_code=201,
    response_model=TransfersAnswer,
    response_description="Carried out; each transfer has its own answer.",
    responses={202: {"model": HeldAnswer, "description": "An `atomic` batch that is kept until people agree to all of it."}},
)
async def create_transfers(body: TransfersBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Make up to 1,000 transfers in one transaction. One that cannot be read refuses the call."""
    new = [_new(transfer) for transfer in body.transfers]

    async def together(tx: Tx) -> actions.Batch | actions.Held | actions.Denied:
        return await actions.propose_batch(tx, call.principal, new, key=idempotency_key)

    async def each(tx: Tx) -> list[actions.Transfer]:
        return await actions.propose_each(tx, call.principal, new, key=idempotency_key)

    if body.mode == "atomic":
        batch = settled(await call.database.retrying(together))
        return Json({"action_id": str(batch.action_id), "results": [_answer(one) for one in batch.transfers]}, 201)
    made = await call.database.retrying(each)
    if any(transfer.status == "queued" for transfer in made):
        call.services.bell.ring()
    return Json({"action_id": None, "results": [_answer(one) for one in made]}, 201)


def _new(body: TransferBody) -> actions.NewTransfer:
    return actions.NewTransfer(
        body.from_account, body.to_account, body.amount.amount, body.amount.currency, body.settle, body.description
    )


@router.get("/v1/transfers", response_model=TransferPage)
async def list_transfers(
    call: CurrentCall,
    account: Annotated[Name | None, Query(description="Only those from or to this account.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Transfers, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        among = await accounts_of(tx, call.principal)
        rows = await actions.page(tx, account=account, among=among, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/transfers/{transfer_id}", response_model=TransferAnswer)
async def get_transfer(transfer_id: PathId, call: CurrentCall) -> Response:
    """One transfer."""
    async with call.database.read() as tx:
        return Json(_answer(await actions.get(tx, transfer_id)))


def _answer(transfer: actions.Transfer) -> dict[str, Any]:
    return {
        "id": str(transfer.id),
        "status": transfer.status,
        "reason": transfer.reason,
        "from_account": transfer.from_account,
        "to_account": transfer.to_account,
        "amount": money(transfer.amount, transfer.unit),
        "settle": transfer.settle,
        "description": transfer.description,
        "created_at": transfer.created_at,
        "settled_at": transfer.settled_at,
        "journal_id": None if transfer.journal_id is None else str(transfer.journal_id),
        "decision_id": None if transfer.decision_id is None else str(transfer.decision_id),
        "approval_id": None if transfer.approval_id is None else str(transfer.approval_id),
        "reasons": reasons(transfer.reasons) if transfer.reasons else [],
    }
