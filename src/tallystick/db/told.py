"""What the database tells beside the answers of statements: the events that a transaction has left in the record.

`audit.append` and `audit.write` raise a message for them (SQLSTATE `TS100`), so that nobody has to ask: neither the verbs, from
which other functions of the database may have called them, nor with a statement of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

MAX_TOLD = 50
"""Of one transaction, and for one listener, as many events are kept; there may be more."""

_SQLSTATE = "TS100"
_by_connection: WeakKeyDictionary[psycopg.AsyncConnection[Any], list[Told]] = WeakKeyDictionary()
_listener: ContextVar[list[Told] | None] = ContextVar("tallystick.told", default=None)


@dataclass(frozen=True, slots=True)
class Told:
    """An event of the record: its id and the hash of its leaf, in hexadecimal."""

    event: str
    leaf: str


def listen_for_events(connection: psycopg.AsyncConnection[Any]) -> None:
    """From now on, what is told on this connection is kept."""
    told = _by_connection.setdefault(connection, [])

    def hear(said: psycopg.errors.Diagnostic) -> None:
        if said.sqlstate == _SQLSTATE and said.message_primary and len(told) < MAX_TOLD:
            for one in said.message_primary.split(","):
                event, _, leaf = one.partition(" ")
                told.append(Told(event, leaf))

    connection.add_notice_handler(hear)


def told_on(connection: psycopg.AsyncConnection[Any]) -> list[Told]:
    """The list of what is told on a connection, empty as of now."""
    told = _by_connection.setdefault(connection, [])
    told.clear()
    return told


def hear_of_events() -> list[Told]:
    """Where the events of the transactions that this task of asyncio commits will be listed, from here on."""
    listening: list[Told] = []
    _listener.set(listening)
    return listening


def listener() -> list[Told] | None:
    """Who listens to this task of asyncio."""
    return _listener.get()


def pass_on(told: Iterable[Told], to: list[Told] | None) -> None:
    """Tell of events that are committed."""
    if to is not None:
        to.extend(told)
        del to[MAX_TOLD:]
