"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tallystick.kit import NotFound

_LAST = 2**63 - 1

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data folder of the embedded server; the default is the platform's user data folder.", show_default=False
    ),
]
Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


def known_number(number: int, code: str) -> int:
    """The number, where a thing can have it; else refuses with `NotFound` and the code."""
    if number > _LAST:
        raise NotFound(code, f"nothing has the number {number}")
    return number
