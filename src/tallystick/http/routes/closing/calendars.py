"""`/v1/calendars`: which days are business days, and when they end."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, closing
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.routes.closing.dates import Day
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, Strict
from tallystick.kit import Invalid

router = APIRouter(route_class=ExactRoute, tags=["closing"])
_CALENDARS = "calendars"
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

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


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


@router.post("/v1/calendars", status_code=201, response_model=CalendarAnswer)
async def add_calendar(body: CalendarBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Add a calendar, or add to one. Days that the bank has closed by it stay as they were."""
    spec = _spec(body)

    async def create(tx: Tx) -> int:
        return (await closing.add_calendar(tx, call.principal.name, spec)).id

    request = body.model_dump()
    rules = await once(
        call,
        idempotency_key,
        kind="calendar",
        request=request,
        create=create,
        read=closing.calendar_rules,
        payload=actions.SetUp("calendar", body.name),
    )
    return Json(_calendar(rules), 201)


@router.get("/v1/calendars", response_model=CalendarPage)
async def list_calendars(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """All that was added to calendars, in that order."""
    after = bound_of(cursor, _CALENDARS) or 0
    async with call.database.read() as tx:
        rows = await closing.calendars(tx, after=after, limit=limit + 1)
    return page(rows, limit, _CALENDARS, item=_calendar, bound=lambda row: row.id)


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
