"""`/v1/business-days`, and the closing balances that they leave on accounts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, closing, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.routes.closing.dates import Day, PathDay
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import MoneyAnswer, Name, PathName, RequiredKey, Strict, money
from tallystick.kit import Invalid

router = APIRouter(route_class=ExactRoute, tags=["closing"])
_DAYS = "business days"
_DAY_EXAMPLE: JsonDict = {
    "business_date": "2026-11-20",
    "previous_date": "2026-11-19",
    "calendar": "CZ",
    "cut_off_at": "2026-11-20T16:00:00.000000Z",
    "status": "closed",
    "accounts_moved": 1000,
    "started_by": "ops",
    "started_at": "2026-11-20T16:00:03.000000Z",
    "closed_at": "2026-11-20T16:00:05.000000Z",
}
_BALANCE_EXAMPLE: JsonDict = {
    "business_date": "2026-11-20",
    "balance": {"amount": "1238.25", "currency": "CZK"},
    "entries": 3,
}


class CloseBody(Strict):
    """By which calendar the day is closed; the bank has one book, so it is the same for all its days."""

    calendar: Name = Field(examples=["CZ"])


class DayAnswer(BaseModel):
    """A business day that is closed, or being closed; `accounts_moved` had entries on it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DAY_EXAMPLE]})

    business_date: date
    previous_date: date | None
    calendar: str
    cut_off_at: datetime
    status: Literal["closing", "closed"]
    accounts_moved: int | None
    started_by: str
    started_at: datetime
    closed_at: datetime | None


class DayPage(BaseModel):
    """Business days, newest first."""

    items: list[DayAnswer]
    next_cursor: str | None


class ClosingBalanceAnswer(BaseModel):
    """An account's balance at the cut-off of a business day on which it moved; `entries` it had by then."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BALANCE_EXAMPLE]})

    business_date: date
    balance: MoneyAnswer
    entries: int


class ClosingBalancePage(BaseModel):
    """Closing balances, newest first, of the days on which the account moved; in between they stay as they are."""

    items: list[ClosingBalanceAnswer]
    next_cursor: str | None


@router.post("/v1/business-days/{business_date}/close", response_model=DayAnswer)
async def close_day(business_date: PathDay, body: CloseBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Close a business day: accrue, write the closing balances, close the period. A day that is closed is answered as it was.

    Where this takes longer than a request may, ask again: the close goes on where it stopped.
    """
    actor = call.principal.name

    async def create(tx: Tx) -> int:
        return (await closing.begin(tx, business_date, calendar=body.calendar, actor=actor)).id

    async def read(tx: ReadTx, day_id: int) -> closing.BusinessDay:
        (found,) = await closing.days(tx, before=day_id + 1, limit=1)
        return found

    request = [business_date.isoformat(), body.calendar]
    payload = actions.CloseDay(business_date.isoformat(), body.calendar)
    day = await once(call, idempotency_key, kind="business_day", request=request, create=create, read=read, payload=payload)
    if day.closed_at is not None:
        return Json(_day(day))

    async def begin(tx: Tx) -> None:
        actions.passed(await actions.enter(tx, call.principal, payload))

    return Json(_day(await closing.finish(call.database.begun(begin), day, actor=actor)))


@router.get("/v1/business-days", response_model=DayPage)
async def list_days(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Business days that are closed or being closed, newest first."""
    before = bound_of(cursor, _DAYS)
    async with call.database.read() as tx:
        rows = await closing.days(tx, before=before, limit=limit + 1)
    return page(rows, limit, _DAYS, item=_day, bound=lambda row: row.id)


@router.get("/v1/accounts/{account_id}/closing-balances", response_model=ClosingBalancePage)
async def list_closing_balances(
    account_id: PathName,
    call: CurrentCall,
    until: Annotated[Day | None, Query(description="The first item then is the closing balance of this day.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """An account's closing balances, newest first, on the days it moved."""
    kind = f"closing balances {account_id}"
    bound = bound_of(cursor, kind)
    # The bound is the last date that was shown; the page begins on the day before.
    if bound is not None:
        if not 1 < bound <= date.max.toordinal():
            raise Invalid("cursor_malformed", "this cursor was not given by this list")
        until = date.fromordinal(bound - 1)
    async with call.database.read() as tx:
        account = await ledger.account(tx, account_id)
        rows = await closing.closing_balances(tx, account.id, until=until, limit=limit + 1)

    def item(row: closing.ClosingBalance) -> dict[str, Any]:
        return {
            "business_date": row.business_date,
            "balance": money(row.balance, account.unit),
            "entries": row.entries,
        }

    return page(rows, limit, kind, item=item, bound=lambda row: row.business_date.toordinal())


def _day(day: closing.BusinessDay) -> dict[str, Any]:
    return {
        "business_date": day.business_date,
        "previous_date": day.previous_date,
        "calendar": day.calendar,
        "cut_off_at": day.cut_off_at,
        "status": "closing" if day.closed_at is None else "closed",
        "accounts_moved": day.moved,
        "started_by": day.started_by,
        "started_at": day.started_at,
        "closed_at": day.closed_at,
    }
