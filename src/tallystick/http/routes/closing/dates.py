"""Dates, as they are written."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from fastapi import Path
from pydantic import PlainValidator, WithJsonSchema

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _date(text: Any) -> date:
    if not isinstance(text, str) or not _ISO.fullmatch(text):
        raise ValueError("a date is written as 2026-11-20")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("there is no such day") from None


Day = Annotated[date, PlainValidator(_date), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-20"]})]
"""A date, written as 2026-11-20 and in no other way."""

PathDay = Annotated[Day, Path()]
