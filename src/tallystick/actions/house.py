"""What the bank's own jobs do to the books: closing a day, taking in books and statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.actions import gate
from tallystick.actions.model import Denied, Held
from tallystick.actions.registry import ActionType, register
from tallystick.db import Database, ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Conflict

_NOTHING: Mapping[str, Any] = {"amount": None, "account": None, "counterparty": None}
"""What a job is known not to have."""


@dataclass(frozen=True, slots=True)
class CloseDay:
    """A business day to close by a calendar: its accruals are posted, its balances written, its period closed."""

    date: str
    calendar: str


@dataclass(frozen=True, slots=True)
class ImportBooks:
    """Books of another system to take in, from a `source`."""

    source: str


@dataclass(frozen=True, slots=True)
class SetUp:
    """Something of the bank itself to set up: `what` is a customer, nostro, calendar, interest_rate or schedule."""

    what: str
    name: str


@dataclass(frozen=True, slots=True)
class ImportStatement:
    """Another bank's statement to hold against a nostro account; with `settle`, what it shows is booked."""

    nostro: str
    settle: bool = False


async def opened(database: Database, by: Principal, payload: Any) -> Database:
    """The database for a job of several transactions, each of which is decided by itself as this action.

    The action is decided before any of them, so that a refusal stops the job and is kept. Raises `Forbidden` (`denied`), and
    `Conflict` (`not_held`) where policy would put the job to people, as a job does not wait.
    """

    async def nothing(_: Tx) -> None:
        return None

    passed(await gate.perform(database, by, payload, nothing))

    async def begin(tx: Tx) -> None:
        passed(await gate.enter(tx, by, payload))

    return database.begun(begin)


def passed(outcome: Any) -> None:
    """Let an action of the house go on. Raises `Forbidden` (`denied`) and `Conflict` (`not_held`)."""
    if isinstance(outcome, Denied):
        raise gate.denied(outcome)
    if isinstance(outcome, Held):
        raise Conflict("not_held", f"people are asked by approval {outcome.approval_id}, and a job does not wait for them")


async def _set_up_facts(_: ReadTx, payload: SetUp) -> Mapping[str, Any]:
    return {"what": payload.what, "name": payload.name, **_NOTHING}


async def _facts(_: ReadTx, payload: CloseDay | ImportBooks | ImportStatement) -> Mapping[str, Any]:
    if isinstance(payload, CloseDay):
        return {"business_date": payload.date, "calendar": payload.calendar, **_NOTHING}
    if isinstance(payload, ImportBooks):
        return {"source": payload.source, **_NOTHING}
    return {"nostro": payload.nostro, "settle": payload.settle, **_NOTHING}


register(ActionType("day.close", CloseDay, _facts, None, proposable=False))
register(ActionType("books.import", ImportBooks, _facts, None, proposable=False))
register(ActionType("statement.import", ImportStatement, _facts, None, proposable=False))
register(ActionType("bank.set_up", SetUp, _set_up_facts, None, proposable=False))
