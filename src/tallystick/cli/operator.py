"""Who works at the command line: a named operator, whose name no API key can have."""

from __future__ import annotations

import getpass
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import typer

from tallystick import actions
from tallystick.db import Database, Tx
from tallystick.identity import house
from tallystick.kit import Conflict, Invalid, TallystickError, check_name

Result = TypeVar("Result")

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


async def perform(
    database: Database,
    operator: str,
    payload: Any,
    work: Callable[[Tx], Awaitable[Result]] | None = None,
    *,
    key: str | None = None,
    dry_run: bool = False,
    roles: Collection[str] = ("operator",),
) -> Result:
    """Have an action of an operator decided, and carried out where it may be; see `actions.perform`.

    Refuses with `Forbidden` (`denied`), and with `Conflict` (`held`) where people are asked.
    """
    by = replace(house(operator), roles=frozenset(roles))
    outcome = await actions.perform(database, by, payload, work, key=key, dry_run=dry_run)
    if (refused := refusal(outcome)) is not None:
        raise refused
    assert not isinstance(outcome, actions.Denied | actions.Held)
    return outcome


def refusal(outcome: object) -> TallystickError | None:
    """Why an action was not carried out now; `None` where it was, or may be."""
    if isinstance(outcome, actions.Denied):
        return actions.denied(outcome)
    if isinstance(outcome, actions.Held):
        asked = "; ".join(f"{one.rule}: {one.change}" for one in outcome.reasons if one.outcome == "hold")
        return Conflict("held", f"people are asked by approval {outcome.approval_id}: {asked}")
    return outcome if isinstance(outcome, TallystickError) else None


def check_key(key: str | None) -> str | None:
    """The key, where it can be one; refuses with `Invalid` (`key_malformed`)."""
    if key is not None and not _KEY.fullmatch(key):
        raise Invalid("key_malformed", "a key is 1 to 150 visible ASCII characters")
    return key
