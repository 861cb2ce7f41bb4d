"""`/v1/accounts/{account_id}`: its standing orders and what came of them, and whom it knows as payees."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, customers, ledger
from tallystick.http.exact import ExactRoute
from tallystick.http.paging import Cursor, Limit, bound_of, page, text_bound_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import MoneyAnswer, PathName, money

router = APIRouter(route_class=ExactRoute, tags=["accounts"])
_RUN: JsonDict = {
    "due_on": "2026-04-30",
    "n": 1,
    "outcome": "paid",
    "payment_id": "77",
    "action_id": None,
    "reason": None,
    "at": "2026-04-30T02:30:01.789012Z",
}
_ORDER: JsonDict = {
    "name": "RENT-7",
    "n": 2,
    "status": "active",
    "nostro": "NOSTRO-CZK",
    "payee": {"name": "Eva Nová", "account": "19-2000145399/0800", "bank": "GIBACZPX"},
    "amount": {"amount": "9500.00", "currency": "CZK"},
    "purpose": "rent",
    "first_on": "2026-01-31",
    "every": "month",
    "next_on": "2026-05-31",
    "runs": [_RUN],
}
_PAYEE: JsonDict = {
    "payee": "GIBACZPX/19-2000145399/0800",
    "label": "Eva Nová",
    "since": "2026-04-21T12:34:56.789012Z",
    "by": "payments-agent",
}


class PartyAnswer(BaseModel):
    """Whom a standing order pays."""

    name: str
    account: str
    bank: str | None


class RunAnswer(BaseModel):
    """What became of a day on which the order was due: `n` is which of its changes it was paid by.

    One that is `held` waited for people, who were asked about the action; of one that `failed`, `reason` is the code of why.
    """

    due_on: datetime.date
    n: int
    outcome: Literal["paid", "failed", "held", "denied"]
    payment_id: str | None
    action_id: str | None
    reason: str | None
    at: datetime.datetime


class OrderAnswer(BaseModel):
    """A standing order as it stands, and its last ten runs. `n` counts what it has said, `next_on` is when it is due next."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ORDER]})

    name: str
    n: int
    status: Literal["active", "ended"]
    nostro: str
    payee: PartyAnswer
    amount: MoneyAnswer
    purpose: str | None
    first_on: datetime.date
    every: Literal["once", "week", "month"]
    next_on: datetime.date | None
    runs: list[RunAnswer]


class OrderPage(BaseModel):
    """Standing orders, in the order they were made."""

    items: list[OrderAnswer]
    next_cursor: str | None


class PayeeAnswer(BaseModel):
    """Whom the account knows, by the name that it was first paid under, since when and by whom.

    An account of the bank by its name; one outside as BANK/ACCOUNT, or /ACCOUNT where no bank was named.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_PAYEE]})

    payee: str
    label: str | None
    since: datetime.datetime
    by: str


class PayeePage(BaseModel):
    """Payees, in order."""

    items: list[PayeeAnswer]
    next_cursor: str | None


@router.get("/v1/accounts/{account_id}/standing-orders", response_model=OrderPage)
async def list_standing_orders(account_id: PathName, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """An account's standing orders that say when they are paid."""
    kind = f"standing orders {account_id}"
    after = bound_of(cursor, kind) or 0
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
        rows = await customers.plans(tx, account_id=account.id, after=after, limit=limit + 1)
        runs = await customers.newest_runs(tx, [row.id for row in rows])
    return page(rows, limit, kind, item=lambda row: _order(row, runs[row.id]), bound=lambda row: row.id)


@router.get("/v1/accounts/{account_id}/payees", response_model=PayeePage)
async def list_payees(account_id: PathName, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Whom an account has paid, or was told that it may."""
    kind = f"payees {account_id}"
    after = text_bound_of(cursor, kind) or ""
    async with call.database.read() as tx:
        rows = await actions.payees(tx, account_id, after=after, limit=limit + 1)
    return page(rows, limit, kind, item=_payee, bound=lambda row: row.payee)


def _order(order: customers.Plan, runs: Sequence[customers.Run]) -> dict[str, Any]:
    return {
        "name": order.name,
        "n": order.n,
        "status": order.status,
        "nostro": order.nostro,
        "payee": {"name": order.to_name, "account": order.to_account, "bank": order.to_bank or None},
        "amount": money(order.amount, order.unit),
        "purpose": order.purpose,
        "first_on": order.first_on,
        "every": order.every,
        "next_on": order.due(datetime.date.max),
        "runs": [_run(run) for run in runs],
    }


def _run(run: customers.Run) -> dict[str, Any]:
    return {
        "due_on": run.due_on,
        "n": run.n,
        "outcome": run.outcome,
        "payment_id": None if run.payment_id is None else str(run.payment_id),
        "action_id": None if run.action_id is None else str(run.action_id),
        "reason": run.reason,
        "at": run.at,
    }


def _payee(payee: actions.Payee) -> dict[str, Any]:
    return {"payee": payee.payee, "label": payee.label, "since": payee.since, "by": payee.by}
