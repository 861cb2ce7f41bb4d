"""JSON whose decimals are kept digit by digit: `Decimal` in Python, a number in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def loads(text: str) -> Any:
    """Read JSON; numbers with a fraction or an exponent become `Decimal`."""
    return json.loads(text, parse_float=Decimal)


def dumps(value: Any) -> str:
    """Write JSON. Refuses with `TypeError` what has no JSON form, and with `ValueError` what is no finite number."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} has no JSON form")
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_name(key)}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(dumps(item) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError("the names in a JSON object are strings")
    return json.dumps(key)
