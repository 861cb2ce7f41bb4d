"""What a statement's file may hold, and how its fields are read: exactly, or refused with the line."""

from __future__ import annotations

import re
from datetime import date

from tallystick.kit import Invalid

MAX_BYTES = 64 * 1024 * 1024
MAX_LINES = 250_000
MAX_TEXT = 2000
"""Characters of one field; a longer one is cut where it is free text and refused where it is a reference."""

_MAX_MINOR = 9 * 10**18
_PLAIN = re.compile(r"([+-]?)([0-9]{1,20})(?:\.([0-9]{0,20}))?")
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T[0-9:.,]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})?")


def check_size(data: bytes) -> None:
    """Refuse a file that is too large to be read in one go."""
    if len(data) > MAX_BYTES:
        raise Invalid("statement_too_large", f"a statement's file may have {MAX_BYTES} bytes")


def check_count(lines: int, at: int) -> None:
    """Refuse a file with too many lines."""
    if lines > MAX_LINES:
        raise Invalid("statement_too_large", f"line {at}: a statement's file may have {MAX_LINES} entries")


def malformed(line: int, what: str) -> Invalid:
    """The refusal of a file that cannot be read, with the line where that was seen."""
    return Invalid("statement_malformed", f"line {line}: {what}")


def minor_units(text: str, scale: int, line: int) -> int:
    """A plain decimal number, signed, as minor units; zeros beyond the minor unit are no part of it."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise malformed(line, "an amount is not a plain decimal number such as 12.50")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    if fraction[scale:].strip("0"):
        raise malformed(line, f"an amount has more than {scale} decimals")
    minor = int(whole + fraction[:scale].ljust(scale, "0"))
    if minor > _MAX_MINOR:
        raise malformed(line, "an amount is too large")
    return -minor if sign == "-" else minor


def day(text: str, line: int) -> date:
    """The day of a date or of a time with any offset, as it was written: the other bank's own day."""
    found = _DAY.fullmatch(text)
    try:
        if found is not None:
            return date.fromisoformat(found[1])
    except ValueError:
        pass
    raise malformed(line, "a date is not a day such as 2026-11-21")


def reference(text: str, line: int) -> str | None:
    """A reference: blank is none, and one that is too long is no reference."""
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise malformed(line, f"a reference has more than {MAX_TEXT} characters")
    return text or None


def free_text(text: str) -> str | None:
    """Free text, cut where it is very long: nothing is decided by it."""
    return text[:MAX_TEXT] if text.strip() else None
