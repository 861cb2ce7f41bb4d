"""`/v1/accounts/{account_id}/interest-rates`: what accrues on an account at the end of each business day."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, closing
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.routes.closing.dates import Day
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathName, Strict
from tallystick.kit import plain

router = APIRouter(route_class=ExactRoute, tags=["closing"])
_RATE = re.compile(r"-?[0-9]{1,2}(\.[0-9]{1,12})?")
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


def _rate(value: Any) -> Decimal:
    text = str(value) if isinstance(value, str | Decimal | int) and not isinstance(value, bool) else ""
    if not _RATE.fullmatch(text):
        raise ValueError("a rate is a decimal number such as 0.035, with up to 12 decimals")
    return Decimal(text)


Rate = Annotated[
    Decimal,
    PlainValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]{1,2}(\.[0-9]{1,12})?$", "examples": ["0.035"]}),
]
DayCount = Literal["ACT/365", "ACT/360", "30E/360"]


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

    request = [account_id, plain(body.rate), body.day_count, body.from_date.isoformat(), body.paid_from]
    made = await once(
        call,
        idempotency_key,
        kind="interest_rate",
        request=request,
        create=create,
        read=closing.interest_rate,
        payload=actions.SetUp("interest_rate", account_id),
    )
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
