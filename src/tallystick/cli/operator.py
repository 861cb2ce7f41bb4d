"""Who works at the command line: a named operator, whose name no API key can have."""

from __future__ import annotations

import getpass
import re
from typing import Annotated

import typer

from tallystick.kit import Invalid, check_name

_PREFIX = "cli:"
_KEY = re.compile(r"[!-~]{1,150}")

As = Annotated[
    str | None,
    typer.Option("--as", help="Who does it, for the record; by default your name on this machine.", show_default=False),
]
OneKey = Annotated[
    str | None,
    typer.Option("--key", help="An idempotency key: the same command again under it does nothing twice.", show_default=False),
]


def operator(name: str | None) -> str:
    """The principal of an operator: `cli:` and the name. No key of the API can be made for such a name."""
    wanted = name if name is not None else re.sub(r"[^A-Za-z0-9._@-]", "-", getpass.getuser()) or "unknown"
    return check_name(_PREFIX + wanted, "an operator's name")


def check_key(key: str | None) -> str | None:
    """The key, where it can be one; refuses with `Invalid` (`key_malformed`)."""
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("key_malformed", "a key is 1 to 150 visible ASCII characters")
    return key
