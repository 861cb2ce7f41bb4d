"""Money: an integer in the asset's minor unit inside, a decimal string outside. Nothing here rounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from tallystick.kit.errors import Invalid

MAX_MINOR = 10**15
"""The largest amount of one entry, in minor units: ten trillion of a currency with cents."""

_POWERS: list[int] = [int(10**scale) for scale in range(40)]
_MAX_DIGITS = len(str(MAX_MINOR))
_PLAIN = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?")


@dataclass(frozen=True, slots=True)
class Asset:
    """What an account holds. `scale` is the number of decimals of its minor unit: 2 for CZK, 0 for JPY (ISO 4217)."""

    code: str
    scale: int


def parse_minor(amount: Decimal | int | str, asset: Asset) -> int:
    """Convert a decimal amount, above zero, to minor units of `asset`, exactly.

    Refuses with `Invalid`: what is no finite number (`amount_malformed`), zero or less (`amount_not_positive`), a part of a
    minor unit (`amount_too_fine`), more than `MAX_MINOR` (`amount_too_large`).
    """
    number = _decimal(amount)
    if not number.is_finite():
        raise Invalid("amount_malformed", "the amount is not a finite number")
    if number <= 0:
        raise Invalid("amount_not_positive", "the amount must be more than zero")
    if number.adjusted() + asset.scale > _MAX_DIGITS:
        raise Invalid("amount_too_large", f"the amount is over {format_minor(MAX_MINOR, asset)} {asset.code}")
    numerator, denominator = number.as_integer_ratio()
    minor, rest = divmod(numerator * _POWERS[asset.scale], denominator)
    if rest:
        raise Invalid("amount_too_fine", f"{asset.code} has {asset.scale} decimals")
    if minor > MAX_MINOR:
        raise Invalid("amount_too_large", f"the amount is over {format_minor(MAX_MINOR, asset)} {asset.code}")
    return minor


def parse_signed_minor(amount: Decimal | int | str, asset: Asset) -> int:
    """Convert a decimal amount to minor units of `asset`, exactly: above zero gives, below zero takes.

    Refuses as `parse_minor` does, and zero with `Invalid` (`amount_is_zero`).
    """
    number = _decimal(amount)
    if number.is_zero():
        raise Invalid("amount_is_zero", "the amount must not be zero")
    return -parse_minor(number.copy_abs(), asset) if number.is_signed() else parse_minor(number, asset)


def format_minor(minor: int, asset: Asset) -> str:
    """Write minor units as a decimal string with all decimals of the asset: 1250 CZK-haler is `12.50`."""
    if asset.scale == 0:
        return str(minor)
    digits = str(abs(minor)).rjust(asset.scale + 1, "0")
    sign = "-" if minor < 0 else ""
    return f"{sign}{digits[: -asset.scale]}.{digits[-asset.scale :]}"


def plain(amount: Decimal | int | str) -> str:
    """A number as it is read again, without an exponent: `Decimal("5E+4")` is `50000`. Texts stay as they are."""
    return format(amount, "f") if isinstance(amount, Decimal) else str(amount)


def _decimal(amount: Decimal | int | str) -> Decimal:
    if isinstance(amount, str) and not _PLAIN.fullmatch(amount):
        raise Invalid("amount_malformed", "the amount is not a plain decimal number such as 12.50")
    return Decimal(amount)
