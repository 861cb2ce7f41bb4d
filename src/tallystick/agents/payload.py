"""What agents read from payloads that anyone may have written."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tallystick.kit import Invalid

_MAX_NUMBER = 10**12
_MAX_DECIMALS = 9


def whole_number(payload: Mapping[str, Any], name: str) -> int:
    """The whole number called `name`; refuses with `Invalid` (`payload_malformed`)."""
    value = payload.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _malformed(f"{name} must be a whole number")
    return value


def positive_number(payload: Mapping[str, Any], name: str) -> Decimal | int:
    """The number called `name`, above zero, up to 10**12 and of 9 decimals; refuses with `Invalid` (`payload_malformed`).

    The bounds keep its product with a price within the digits that JSON may have here.
    """
    value = payload.get(name)
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise _malformed(f"{name} must be a number")
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if not 0 < number <= _MAX_NUMBER or not isinstance(exponent, int) or -exponent > _MAX_DECIMALS:
        raise _malformed(f"{name} must be above 0, at most {_MAX_NUMBER}, and have at most {_MAX_DECIMALS} decimals")
    return value


def text(payload: Mapping[str, Any], name: str) -> str:
    """The text called `name`, not empty; refuses with `Invalid` (`payload_malformed`)."""
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise _malformed(f"{name} must be a text")
    return value


def _malformed(detail: str) -> Invalid:
    return Invalid("payload_malformed", detail)
