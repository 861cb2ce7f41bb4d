"""`/v1/calendars`, `/v1/business-days` and what hangs on them: closing balances and rates of interest of accounts."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import closing, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, MoneyAnswer, Name, PathName, RequiredKey, Strict, money
from tallystick.kit import Invalid

router = APIRouter(route_class=ExactRoute, tags=["closing"])
_CALENDARS = "calendars"
_DAYS = "business days"
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_RATE = re.compile(r"-?[0-9]{1,2}(\.[0-9]{1,12})?")

_CALENDAR_EXAMPLE: JsonDict = {
    "id": "1",
    "name": "CZ",
    "valid_from": "2026-01-01",
    "valid_until": "2026-12-31",
    "time_zone": "Europe/Prague",
    "cut_off": "17:00",
    "weekend": ["saturday", "sunday"],
    "holidays": [{"date": "2026-01-01", "name": "New Year"}],
    "created_by": "ops",
    "created_at": "2026-01-02T08:00:00.000000Z",
}
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
_RATE_EXAMPLE: JsonDict = {
    "id": "1",
    "account_id": "ACC123",
    "rate": "0.035",
    "day_count": "ACT/365",
    "from_date": "2026-11-23",
    "paid_from": "INTEREST-PAID",
    "created_by": "ops",
    "created_at": "2026-11-21T08:00:00.000000Z",
}


def _date(text: Any) -> date:
    if not isinstance(text, str) or not _ISO.fullmatch(text):
        raise ValueError("a date is written as 2026-11-20")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such day") from None


def _rate(value: Any) -> Decimal:
    text = str(value) if isinstance(value, str | Decimal | int) and not isinstance(value, bool) else ""
    if not _RATE.fullmatch(text):
        raise ValueError("a rate is a decimal number such as 0.035, with up to 12 decimals")
    return Decimal(text)


Day = Annotated[date, PlainValidator(_date), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-20"]})]
"""A date, written as 2026-11-20 and in no other way."""

PathDay = Annotated[Day, Path()]
Rate = Annotated[
    Decimal,
    PlainValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]{1,2}(\.[0-9]{1,12})?$", "examples": ["0.035"]}),
]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DayCount = Literal["ACT/365", "ACT/360", "30E/360"]


class Holiday(Strict):
    """A day on which the bank does no business."""

    date: Day = Field(examples=["2026-01-01"])
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(examples=["New Year"])


class CalendarBody(Strict):
    """What a calendar is to say of a stretch of days. A calendar that is there is added to: the newest word counts."""

    name: Name = Field(examples=["CZ"])
    valid_from: Day = Field(examples=["2026-01-01"])
    valid_until: Day = Field(examples=["2026-12-31"])
    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(examples=["Europe/Prague"])
    cut_off: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-4]):[0-5][0-9]$")] = Field(
        description="The local time at which a business day ends, from 00:01 to 24:00.", examples=["17:00"]
    )
    weekend: list[Weekday] = Field(default=["saturday", "sunday"], max_length=6)
    holidays: list[Holiday] = Field(max_length=1000)


class CalendarAnswer(BaseModel):
    """What a calendar says of a stretch of days, unless something newer of the same name does."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CALENDAR_EXAMPLE]})

    id: str
    name: str
    valid_from: date
    valid_until: date
    time_zone: str
    cut_off: str
    weekend: list[Weekday]
    holidays: list[Holiday]
    created_by: str
    created_at: datetime


class CalendarPage(BaseModel):
    """All that was added to calendars, in that order."""

    items: list[CalendarAnswer]
    next_cursor: str | None


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


class RateBody(Strict):
    """The interest that accrues on an account from a date on: 0.035 is 3.5 % a year, zero ends it."""

    rate: Rate = Field(examples=["0.035"])
    day_count: DayCount = Field(examples=["ACT/365"])
    from_date: Day = Field(examples=["2026-11-23"])
    paid_from: Name = Field(description="The bank's own account that pays it.", examples=["INTEREST-PAID"])


class RateAnswer(BaseModel):
    """Interest on an account from a date until its next rate begins."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RATE_EXAMPLE]})

    id: str
    account_id: str
    rate: str
    day_count: DayCount
    from_date: date
    paid_from: str
    created_by: str
    created_at: datetime


@router.post("/v1/calendars", status_code=201, response_model=CalendarAnswer)
async def add_calendar(body: CalendarBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Add a calendar, or add to one. Days that the bank has closed by it stay as they were."""
    spec = _spec(body)

    async def create(tx: Tx) -> int:
        return (await closing.add_calendar(tx, call.principal.name, spec)).id

    request = body.model_dump()
    rules = await once(call, idempotency_key, kind="calendar", request=request, create=create, read=closing.calendar_rules)
    return Json(_calendar(rules), 201)


@router.get("/v1/calendars", response_model=CalendarPage)
async def list_calendars(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """All that was added to calendars, in that order."""
    after = bound_of(cursor, _CALENDARS) or 0
    async with call.database.read() as tx:
        rows = await closing.calendars(tx, after=after, limit=limit + 1)
    return page(rows, limit, _CALENDARS, item=_calendar, bound=lambda row: row.id)


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
    day = await once(call, idempotency_key, kind="business_day", request=request, create=create, read=read)
    return Json(_day(await closing.finish(call.database, day, actor=actor)))


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


@router.post("/v1/accounts/{account_id}/interest-rates", status_code=201, response_model=RateAnswer)
async def set_interest_rate(
    account_id: PathName, body: RateBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Set the interest that accrues on an account from a date on, at the end of each business day."""

    async def create(tx: Tx) -> int:
        rate = await closing.set_interest_rate(
            tx,
            call.principal.name,
            account=account_id,
            paid_from=body.paid_from,
            rate=body.rate,
            day_count=body.day_count,
            from_date=body.from_date,
        )
        return rate.id

    request = [account_id, str(body.rate), body.day_count, body.from_date.isoformat(), body.paid_from]
    made = await once(call, idempotency_key, kind="interest_rate", request=request, create=create, read=closing.interest_rate)
    answer = {
        "id": str(made.id),
        "account_id": account_id,
        "rate": f"{made.rate:f}",
        "day_count": made.day_count,
        "from_date": made.from_date,
        "paid_from": body.paid_from,
        "created_by": made.created_by,
        "created_at": made.created_at,
    }
    return Json(answer, 201)


def _spec(body: CalendarBody) -> closing.CalendarSpec:
    holidays = {holiday.date: holiday.name for holiday in body.holidays}
    if len(holidays) != len(body.holidays):
        raise Invalid("calendar_malformed", "two holidays fall on one day")
    return closing.CalendarSpec(
        name=body.name,
        valid_from=body.valid_from,
        valid_until=body.valid_until,
        time_zone=body.time_zone,
        cut_off_min=closing.parse_cut_off(body.cut_off),
        weekend=[closing.WEEKDAYS.index(day) + 1 for day in body.weekend],
        holidays=holidays,
    )


def _calendar(rules: closing.CalendarRules) -> dict[str, Any]:
    return {
        "id": str(rules.id),
        "name": rules.name,
        "valid_from": rules.valid_from,
        "valid_until": rules.valid_until,
        "time_zone": rules.time_zone,
        "cut_off": closing.format_cut_off(rules.cut_off_min),
        "weekend": [closing.WEEKDAYS[day - 1] for day in rules.weekend],
        "holidays": [{"date": day, "name": name} for day, name in rules.holidays.items()],
        "created_by": rules.created_by,
        "created_at": rules.created_at,
    }


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
