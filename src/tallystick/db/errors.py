"""From SQLSTATE to our errors. The code is the contract; the text of a database error is never matched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool

from tallystick.kit import Conflict, Invalid, TallystickError, Unavailable

RETRYABLE = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock timeout: the same transaction may succeed when it is run again."""

# 25P03 and 25P04: the server has ended the session, as its transaction was idle or open for too long.
_AWAY = ("08", "57P", "53", "25P03", "25P04")
_INVALID = {
    "22003": ("number_out_of_range", "a number is too large to be stored"),
    "22P05": ("text_malformed", "text may not hold U+0000"),
    "54001": ("json_too_deep", "the JSON nests too deep"),
}
_DECISIONS = {
    "TS008": ("decision_needed", "an effect needs a decision that allows it"),
    "TS009": ("decision_consumed", "the decision was used for an effect already"),
}


def translate(error: psycopg.Error) -> TallystickError | None:
    """The error a caller should see for a database error; `None` where it is a bug of ours and should surface as such."""
    state = error.sqlstate
    if state is None:
        # libpq gives no SQLSTATE when it has no connection to get one from.
        return Unavailable("database_unavailable", "the database cannot be reached") if is_away(error) else None
    if state.startswith(_AWAY):
        return Unavailable("database_unavailable", "the database cannot be reached or is short of resources")
    if state in RETRYABLE:
        return Unavailable("contention", "the rows are in use; try again")
    if state == "57014":
        return Unavailable("timeout", "the database took too long")
    if state in _INVALID:
        return Invalid(*_INVALID[state])
    if state == "TS004":
        return Conflict("lease_lost", "the lease of this worker is over")
    if state in _DECISIONS:
        return Conflict(*_DECISIONS[state])
    if state == "23505":
        return Conflict("already_exists", "a thing with this name already exists")
    return None


def is_away(error: BaseException) -> bool:
    """Whether `error` says that the connection or the server is gone, rather than that a statement was wrong."""
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests | psycopg_pool.PoolClosed):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(_AWAY)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our errors in place of the database's, where we have one."""
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests | psycopg_pool.PoolClosed):
            raise Unavailable("database_busy", "no database connection became free in time") from error
        known = translate(error)
        if known is None:
            raise
        raise known from error
