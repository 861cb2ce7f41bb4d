"""Pages: `?limit=&cursor=` in, `{"items": […], "next_cursor": …}` out. A cursor is opaque and belongs to one kind of list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from tallystick.http.exact import Json
from tallystick.kit import Invalid, TallystickError, check_text, dumps, loads

MAX_LIMIT = 200
_VERSION = 1
_MAX_CURSOR = 2000
_MAX_TEXT = 200
_MAX_BOUND = 2**63 - 1

Row = TypeVar("Row")

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items a page may hold.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before; without it, the first page.")]


def bound_of(cursor: str | None, kind: str) -> int | None:
    """Where the page begins; `None` for the first. Refuses with `Invalid` (`cursor_malformed`) what no list of `kind` gave."""
    bounds = bounds_of(cursor, kind, 1)
    return None if bounds is None else bounds[0]


def bounds_of(cursor: str | None, kind: str, count: int) -> list[int] | None:
    """As `bound_of`, of a list whose pages begin where `count` numbers say."""
    if cursor is None:
        return None
    bounds = _read(cursor, kind, count)
    if not all(type(bound) is int and 0 <= bound <= _MAX_BOUND for bound in bounds):
        raise _malformed()
    return bounds


def text_bound_of(cursor: str | None, kind: str) -> str | None:
    """As `bound_of`, of a list whose pages begin after a text."""
    if cursor is None:
        return None
    (bound,) = _read(cursor, kind, 1)
    if not isinstance(bound, str):
        raise _malformed()
    try:
        return check_text(bound, "a bound", _MAX_TEXT)
    except Invalid:
        raise _malformed() from None


def _read(cursor: str, kind: str, count: int) -> list[Any]:
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        version, of_kind, *bounds = loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, TallystickError):
        raise _malformed() from None
    if (version, of_kind, len(bounds)) != (_VERSION, kind, count):
        raise _malformed()
    return list(bounds)


def page(
    rows: Sequence[Row],
    limit: int,
    kind: str,
    *,
    item: Callable[[Row], Any],
    bound: Callable[[Row], int | str],
    more: Mapping[str, Any] | None = None,
) -> Json:
    """The page of `rows`, of which one more than `limit` was asked for, so that we know whether a page follows.

    `more` is what the page says besides.
    """
    shown = rows[:limit]
    following = cursor_of(kind, bound(shown[-1])) if len(rows) > limit else None
    return Json({"items": [item(row) for row in shown], "next_cursor": following, **(more or {})})


def cursor_of(kind: str, *bounds: int | str) -> str:
    """The cursor that `bounds_of` and `text_bound_of` read."""
    return base64.urlsafe_b64encode(dumps([_VERSION, kind, *bounds])).decode("ascii")


def _malformed() -> Invalid:
    return Invalid("cursor_malformed", "this cursor was not given by this list")
