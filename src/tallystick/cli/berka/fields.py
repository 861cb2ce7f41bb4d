"""One field of the source at a time: what it must look like, and what it becomes. `ValueError` says what is wrong with it."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from tallystick.cli.berka.model import FIRST_DAY
from tallystick.customers import Sex
from tallystick.kit import MAX_MINOR

_MONEY = re.compile(r"(-?)([0-9]{1,14})(?:\.([0-9]+))?")
_BANK = re.compile(r"[A-Z]{2}")
_DIGITS = re.compile(r"[0-9]{1,20}")
MAX_ACCOUNT_ID = 10**9 - 1
MAX_ID = 10**18 - 1


def identity(text: str, what: str, largest: int = MAX_ID) -> int:
    """A number that names something: digits, above zero."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not 0 < (number := int(text)) <= largest:
        raise ValueError(f"{what} {text[:40]!r} is not a number from 1 to {largest}")
    return number


def money(text: str, what: str) -> int:
    """An amount in haler: digits, and at most two decimals after a point."""
    match = _MONEY.fullmatch(text)
    if match is None:
        raise ValueError(f"{what} {text[:40]!r} is not an amount such as 12.50")
    minus, whole, decimals = match.groups("")
    if len(decimals) > 2:
        raise ValueError(f"{what} {text[:40]!r} has more than two decimals")
    haler = int(whole + decimals.ljust(2, "0"))
    if haler > MAX_MINOR:
        raise ValueError(f"{what} {text[:40]!r} is too large")
    return -haler if minus else haler


def positive(text: str, what: str) -> int:
    """An amount in haler that is not negative; its direction is said elsewhere."""
    haler = money(text, what)
    if text.startswith("-"):
        raise ValueError(f"{what} {text[:40]!r} is negative")
    return haler


def calendar_date(text: str) -> date:
    """A date YYMMDD of the twentieth century."""
    if not (len(text) == 6 and text.isascii() and text.isdigit()):
        raise ValueError(f"date {text[:40]!r} is not YYMMDD")
    try:
        return date(1900 + int(text[:2]), int(text[2:4]), int(text[4:]))
    except ValueError:
        raise ValueError(f"date {text!r} is not in the calendar") from None


@lru_cache(maxsize=40_000)
def day(text: str) -> int:
    """A date YYMMDD as the number of the day."""
    return (calendar_date(text) - FIRST_DAY).days


def birth(text: str) -> tuple[date, Sex]:
    """A birth number YYMMDD, which has 50 added to the month for women."""
    if not (len(text) == 6 and text.isascii() and text.isdigit()):
        raise ValueError("the birth number is not YYMMDD")
    female = int(text[2:4]) > 50
    month = int(text[2:4]) - (50 if female else 0)
    try:
        return date(1900 + int(text[:2]), month, int(text[4:])), "F" if female else "M"
    except ValueError:
        # The number itself is personal data, so it is not shown.
        raise ValueError("the birth number is no date") from None


def bank(text: str) -> str:
    """The code of another bank: two capital letters, or nothing."""
    if text and not _BANK.fullmatch(text):
        raise ValueError(f"bank {text[:40]!r} is not two capital letters")
    return text


def digits(text: str) -> str:
    """An account at another bank: digits, or nothing."""
    if text and not _DIGITS.fullmatch(text):
        raise ValueError("the account at the other bank is not a number")
    return text
