"""The verbs of mandates: what a person lets an agent do for them."""

from __future__ import annotations

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.identity import store
from tallystick.identity.model import MandateInfo, NewMandate
from tallystick.identity.service import get
from tallystick.kit import Conflict, Invalid, NotFound


async def grant_mandate(tx: Tx, new: NewMandate, *, by: str) -> MandateInfo:
    """Let an agent act for a person, as the mandate says. It is of use with a key that names it.

    Refuses with `Invalid` (`mandate_malformed`, `name_malformed`, `text_too_long`, `text_malformed`, `not_a_person`,
    `not_an_agent`), `NotFound` (`unknown_principal`) and `Conflict` (`principal_disabled`).
    """
    new.check()
    person, agent = await get(tx, new.person), await get(tx, new.agent)
    if person.kind != "person":
        raise Invalid("not_a_person", f"{new.person} is no person")
    if agent.kind != "agent":
        raise Invalid("not_an_agent", f"{new.agent} is no agent")
    for each in (person, agent):
        if each.disabled_at is not None:
            raise Conflict("principal_disabled", f"{each.name} is disabled")
    mandate_id = await store.add_mandate(tx, new, person_id=person.id, agent_id=agent.id, granted_by=by)
    # Payees may be people's names; they stay in the mandate.
    detail = {
        "person": new.person,
        "agent": new.agent,
        "operations": list(new.operations),
        "accounts": None if new.accounts is None else len(new.accounts),
        "max_amount": None if new.max_amount is None else {asset: str(minor) for asset, minor in new.max_amount.items()},
        "total": None if new.total is None else {asset: str(minor) for asset, minor in new.total.items()},
        "payees": None if new.payees is None else len(new.payees),
        "until": new.until.isoformat(),
        "beyond": new.beyond,
    }
    told = {name: value for name, value in detail.items() if value is not None}
    await audit.append(
        tx,
        principal=by,
        on_behalf_of=None if by == new.person else new.person,
        verb="mandates.grant",
        subject_kind="mandate",
        subject_id=mandate_id,
        detail=told,
    )
    return await mandate(tx, mandate_id)


async def revoke_mandate(tx: Tx, mandate_id: int, *, by: str) -> MandateInfo:
    """End a mandate; keys that name it let nobody in from then on. One that was revoked stays so.

    Refuses with `NotFound` (`unknown_mandate`).
    """
    found = await mandate(tx, mandate_id)
    if not await store.end_mandate(tx, mandate_id, revoked_by=by):
        return await mandate(tx, mandate_id)
    await audit.append(
        tx,
        principal=by,
        on_behalf_of=None if by == found.person else found.person,
        verb="mandates.revoke",
        subject_kind="mandate",
        subject_id=mandate_id,
        detail={"person": found.person, "agent": found.agent},
    )
    return await mandate(tx, mandate_id)


async def mandate(tx: ReadTx, mandate_id: int) -> MandateInfo:
    """One mandate; refuses with `NotFound` (`unknown_mandate`)."""
    found = await store.mandate(tx, mandate_id)
    if found is None:
        raise NotFound("unknown_mandate", f"there is no mandate {mandate_id}")
    return found


async def mandates(
    tx: ReadTx,
    *,
    person: str | None = None,
    agent: str | None = None,
    in_force: bool = False,
    before: int | None = None,
    limit: int = 50,
) -> list[MandateInfo]:
    """A page of mandates, newest first, below the id `before`; with `in_force`, those that are neither over nor revoked."""
    return await store.mandates(tx, person=person, agent=agent, in_force=in_force, before=before, limit=limit)
