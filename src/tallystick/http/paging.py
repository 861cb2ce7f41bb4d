"""Pages: `?limit=&cursor=` in, `{"items": […], "next_cursor": …}` out. A cursor is opaque and belongs to one kind of list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from tallystick.http.exact import Json
from tallystick.kit import Invalid, TallystickError, dumps, loads

MAX_LIMIT = 200
_VERSION = 1
_MAX_CURSOR = 200
_MAX_BOUND = 2**63 - 1

Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items a page may hold.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before; without it, the first page.")]


def bound_of(cursor: str | None, kind: str) -> int | None:
    """Where the page begins; `None` for the first. Refuses with `Invalid` (`cursor_malformed`) what no list of `kind` gave."""
    if cursor is None:
        return None
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        version, of_kind, bound = loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, TallystickError):
        raise _malformed() from None
    if (version, of_kind) != (_VERSION, kind) or type(bound) is not int or not 0 <= bound <= _MAX_BOUND:
        raise _malformed()
    return bound


def page(rows: Sequence[Row], limit: int, kind: str, *, item: Callable[[Row], Any], bound: Callable[[Row], int]) -> Json:
    """The page of `rows`, of which one more than `limit` was asked for, so that we know whether a page follows."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Json({"items": [item(row) for row in shown], "next_cursor": _cursor(kind, bound(shown[-1])) if more else None})


def _cursor(kind: str, bound: int) -> str:
    return base64.urlsafe_b64encode(dumps([_VERSION, kind, bound])).decode("ascii")


def _malformed() -> Invalid:
    return Invalid("cursor_malformed", "this cursor was not given by this list")
