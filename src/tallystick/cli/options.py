"""Options that several commands take."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tallystick.kit import Invalid, NotFound

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


def check_output(path: Path) -> Path:
    """The path, where a file can be written; else refuses with `Invalid` (`file_not_written`), before any work."""
    if path.is_dir():
        raise Invalid("file_not_written", f"{path} is a folder: name the file in it that is to be written")
    if path.exists() and not path.is_file():
        raise Invalid("file_not_written", f"{path} is no regular file")
    if not path.parent.is_dir():
        raise Invalid("file_not_written", f"{path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Invalid("file_not_written", f"{path}: nothing may be written into {path.parent}")
    return path


def read_moment(text: str) -> datetime:
    """A day (00:00 UTC), or a time with its offset; refuses with `Invalid` (`time_malformed`)."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("time_malformed", "a time is written as 2026-11-20 or 2026-11-20T17:00:00+01:00") from None
    if found.tzinfo is None and len(text) > len("2026-11-20"):
        raise Invalid("time_malformed", "a time needs its offset, such as Z or +01:00")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
