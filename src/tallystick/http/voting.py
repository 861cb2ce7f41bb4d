"""One place where people's words on a question are taken, whatever door they come by."""

from __future__ import annotations

from tallystick import approvals, identity
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
        return await approvals.break_glass(tx, approval_id, principal, digest, reason=reason or "")
    return await approvals.vote(tx, approval_id, principal, "approve" if said == "approve" else "reject", digest, reason=reason)
