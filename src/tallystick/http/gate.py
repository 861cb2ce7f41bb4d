"""Whatever has an effect goes through the gate: done, put to people (202), or denied (403)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from tallystick import actions, policy
from tallystick.db import Tx
from tallystick.http.exact import Json
from tallystick.http.services import Call

Result = TypeVar("Result")


class ReasonAnswer(BaseModel):
    """What one rule of the policy said, and what would change it."""

    rule: str
    kind: str
    outcome: Literal["allow", "hold", "deny"]
    observed: str | None
    limit: str | None
    change: str | None


class HeldAnswer(BaseModel):
    """The action is kept, and people are asked; `GET /v1/actions/{action_id}` tells what becomes of it."""

    status: Literal["held"]
    action_id: str
    approval_id: str
    decision_id: str
    reasons: list[ReasonAnswer]


class AreHeld(Exception):
    """What was asked for waits for people."""

    def __init__(self, held: actions.Held) -> None:
        super().__init__(held)
        self.held = held


async def perform(
    call: Call,
    payload: Any,
    work: Callable[[Tx], Awaitable[Result]] | None = None,
    *,
    key: str | None = None,
    dry_run: bool = False,
) -> Result:
    """Have an action of the caller decided, and carried out where it may be; see `actions.perform`.

    Raises `AreHeld`, which is answered with 202, and `Forbidden` (`denied`).
    """
    return settled(await actions.perform(call.database, call.principal, payload, work, key=key, dry_run=dry_run))


def settled(outcome: Result | actions.Held | actions.Denied) -> Result:
    """What came of an action that was carried out. Raises `AreHeld`, and `Forbidden` (`denied`)."""
    if isinstance(outcome, actions.Held):
        raise AreHeld(outcome)
    if isinstance(outcome, actions.Denied):
        raise actions.denied(outcome)
    return outcome


async def on_held(_: Request, error: Exception) -> Response:
    """Answer that people are asked."""
    assert isinstance(error, AreHeld)
    held = error.held
    return Json(
        {
            "status": "held",
            "action_id": str(held.action_id),
            "approval_id": str(held.approval_id),
            "decision_id": str(held.decision_id),
            "reasons": reasons(held.reasons),
        },
        202,
    )


def reasons(spoken: Sequence[policy.Reason]) -> list[dict[str, Any]]:
    """What rules said, as JSON."""
    return [
        {
            "rule": one.rule,
            "kind": one.kind,
            "outcome": one.outcome,
            "observed": one.observed,
            "limit": one.limit,
            "change": one.change,
        }
        for one in spoken
    ]
