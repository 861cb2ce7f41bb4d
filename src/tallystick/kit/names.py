"""Names that people and programs give to things: bounded, and safe in a path, a log line and a query."""

from __future__ import annotations

import re

from tallystick.kit.errors import Invalid

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$"
_NAME = re.compile(NAME_PATTERN)


def check_name(value: str, what: str) -> str:
    """Return `value` if it can name a thing, else refuse with `Invalid` (`name_malformed`)."""
    if not _NAME.fullmatch(value):
        raise Invalid("name_malformed", f"{what} must be 1 to 100 letters, digits or ._:@- and begin with a letter or digit")
    return value


def check_text(value: str, what: str, max_length: int) -> str:
    """Return `value` if PostgreSQL can hold it and it is no longer than `max_length` characters, else refuse."""
    if len(value) > max_length:
        raise Invalid("text_too_long", f"{what} may have {max_length} characters")
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid("text_malformed", f"{what} may not hold U+0000 or a lone surrogate")
    return value
