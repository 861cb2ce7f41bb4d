"""Shapes that many routes share: names, ids, money, free text, JSON objects."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Header, Path
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

from tallystick.kit import NAME_PATTERN, Asset, format_minor

MAX_ID = 2**63 - 1
IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,200}$"
_MAX_DIGITS = 60
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2}))?"
)
_NO_INSTANT = "not a time of RFC 3339, such as 2026-11-21T00:00:00Z, or a day, which begins at midnight UTC"
_ID = re.compile(r"[1-9][0-9]{0,18}")

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=100)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100)]
"""A name of a kind of thing, chosen by the caller: free in its characters, bounded in length."""

PathName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=100)]


def _id(text: Any) -> int:
    if not isinstance(text, str) or not _ID.fullmatch(text) or (number := int(text)) > MAX_ID:
        raise ValueError("an id is a string of digits, with at most 63 bits")
    return number


def _amount(value: Any) -> Decimal | int | str:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("an amount is a decimal string or a number")
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        raise ValueError("an amount has fewer digits")
    return value


StringId = Annotated[
    int,
    PlainValidator(_id),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,18}$", "examples": ["1"]}),
]
"""An id in `/v1`: a string outside, an integer of 63 bits inside."""

PathId = Annotated[StringId, Path()]
PathNumber = Annotated[
    int, PlainValidator(_id), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_ID, "examples": [1]}), Path()
]
"""An id in the guides, which have integers."""

Amount = Annotated[
    Decimal | int | str,
    PlainValidator(_amount),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": r"^[0-9]{1,16}(\.[0-9]{1,9})?$"}, {"type": "number", "exclusiveMinimum": 0}]}
    ),
]
"""A decimal string, or a JSON number, which is read digit by digit."""

SignedAmount = Annotated[
    Decimal | int | str,
    PlainValidator(_amount),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^-?[0-9]{1,16}(\.[0-9]{1,9})?$"}, {"type": "number"}]}),
]
"""As `Amount`, and below zero for what is taken."""

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9][A-Z0-9.]{0,11}$")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="The same request again under the same key is carried out once and answered as the first time.",
    ),
]

RequiredKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="The same request again under the same key is carried out once and answered as the first time. "
        "What moves money is refused without one.",
    ),
]
"""The key of a request that moves money. Without it: 400 `idempotency_key_required`, as the draft of the header says
(draft-ietf-httpapi-idempotency-key-header-07, error handling)."""


def _instant(text: Any) -> datetime:
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        raise ValueError(_NO_INSTANT)
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(_NO_INSTANT) from None
    try:
        moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        moment = None
    if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"a time is between the years {_FIRST_YEAR} and {_LAST_YEAR}, in UTC")
    return moment


Instant = Annotated[
    datetime,
    PlainValidator(_instant),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}],
            "examples": ["2026-11-21T00:00:00Z"],
        }
    ),
]
"""A time with its offset, or a day, which begins at midnight UTC; inside, a time in UTC."""


class Strict(BaseModel):
    """A body that has the declared fields and no others."""

    model_config = ConfigDict(extra="forbid")


class Lenient(BaseModel):
    """A body of the guides: what is not declared is ignored."""

    model_config = ConfigDict(extra="ignore")


class Money(Strict):
    """An exact amount in one currency."""

    amount: Amount = Field(examples=["12.50"])
    currency: Currency = Field(examples=["CZK"])


class MoneyAnswer(BaseModel):
    """An exact amount in one currency, with all decimals of that currency."""

    amount: str = Field(examples=["12.50"])
    currency: str = Field(examples=["CZK"])


def money(minor: int, asset: Asset) -> dict[str, str]:
    """Minor units as `{"amount": "12.50", "currency": "CZK"}`."""
    return {"amount": format_minor(minor, asset), "currency": asset.code}
