"""One place where people's words on a question are taken, whatever door they come by."""

from __future__ import annotations

from typing import Literal

from tallystick import actions, approvals, identity
from tallystick.db import Tx
from tallystick.kit import TallystickError


async def vote(
    tx: Tx,
    approval_id: int,
    principal: identity.Principal,
    said: str,
    *,
    digest: bytes,
    reason: str | None = None,
) -> approvals.Approval | TallystickError:
    """Take down `approve`, `reject` or `break_glass`. A refusal is given back, so that it is committed before it is raised."""
    if said == "break_glass":
        return await actions.break_glass(tx, approval_id, principal, seen=digest, reason=reason or "")
    word: Literal["approve", "reject"] = "approve" if said == "approve" else "reject"
    return await actions.vote(tx, approval_id, principal, word, seen=digest, reason=reason)
