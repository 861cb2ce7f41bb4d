"""What becomes of a held action: votes, and its execution when the last needed one was given.

The approval's row is locked first, so of votes, expiry, withdrawal and execution one comes out. At execution nothing is taken
on trust: the digest is recomputed from what is stored, the facts are read anew, and the current policy is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tallystick import approvals, audit, identity, ledger, policy, work
from tallystick.actions import held as store
from tallystick.actions import registry
from tallystick.actions.gate import DENIED, ask, decide_one, denied, shown_of, touched
from tallystick.actions.makers import AUTHORITY_GONE, as_of_now
from tallystick.actions.model import Action, Denied
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Conflict, Forbidden, NotFound, TallystickError, Unavailable, digest

_NEWEST = 2**63 - 1


async def vote(
    tx: Tx,
    approval_id: int,
    by: Principal,
    said: Literal["approve", "reject"],
    *,
    seen: bytes,
    reason: str | None = None,
) -> approvals.Approval | TallystickError:
    """Vote on a held action, as `approvals.vote`; the last vote that was needed carries it out.

    Whatever then stops it (policy has changed, the money is gone) is written down as the action's end. A refusal of the vote is
    given back, as it is on the record. For a person, what is out of their reach is not there: `NotFound` (`unknown_approval`).
    """
    await _check_voter(tx, approval_id, by)
    return await _settled(tx, approval_id, await approvals.vote(tx, approval_id, by, said, seen, reason=reason))


async def break_glass(
    tx: Tx, approval_id: int, by: Principal, *, seen: bytes, reason: str
) -> approvals.Approval | TallystickError:
    """Break the glass on a held action, as `approvals.break_glass`; the second person's word carries it out. See `vote`."""
    await _check_voter(tx, approval_id, by)
    return await _settled(tx, approval_id, await approvals.break_glass(tx, approval_id, by, seen, reason=reason))


async def reach_of(tx: ReadTx, by: Principal) -> approvals.Reach:
    """The accounts and customers of whose questions a principal may know."""
    accounts = None
    if by.accounts is not None:
        accounts = frozenset(found.id for found in (await ledger.references(tx, by.accounts)).values())
    return approvals.Reach(accounts, by.customers)


async def check_seen(tx: ReadTx, approval_id: int, by: Principal) -> None:
    """Refuse with `NotFound` (`unknown_approval`) a question out of reach, to who neither made it nor stands behind it."""
    if identity.sees_all(by):
        return
    found = await approvals.get(tx, approval_id)
    if by.name != found.maker and by.name not in found.excluded and not (await reach_of(tx, by)).holds(found):
        raise approvals.refused("unknown_approval")


async def _check_voter(tx: ReadTx, approval_id: int, by: Principal) -> None:
    # An agent is told that agents do not vote, of whatever it asks.
    if by.kind != "agent":
        await check_seen(tx, approval_id, by)


async def _settled(
    tx: Tx, approval_id: int, answer: approvals.Approval | TallystickError
) -> approvals.Approval | TallystickError:
    if not isinstance(answer, TallystickError):
        return await settle(tx, answer)
    if answer.code == "approval_closed":
        # The clock may have ended it at this very vote; then its action ends, too.
        await settle(tx, await approvals.get(tx, approval_id))
    return answer


async def withdraw(tx: Tx, approval_id: int, by: Principal) -> approvals.Approval:
    """Take a held action back, as `approvals.withdraw`."""
    return await settle(tx, await approvals.withdraw(tx, approval_id, by))


async def amend(tx: Tx, action_id: int, by: Principal, payload: Mapping[str, Any]) -> Action:
    """Let a held action be about something else of the same type: decided anew, all votes void, its editor no voter.

    Refuses with `NotFound` (`unknown_action`), `Conflict` (`action_ended`), `Forbidden` (`not_the_maker`, and `denied` where
    policy denies the new payload), and as the type and `approvals.amend` do.
    """
    found = await get(tx, action_id)
    if found.approval_id is None:
        raise unknown_action(action_id)
    # The question comes before its action, as when people vote.
    await approvals.lock(tx, found.approval_id)
    action = await store.lock(tx, action_id)
    assert action is not None, "an action is there for good"
    if action.status != "held":
        raise Conflict("action_ended", f"the action is {action.status}")
    maker = store.principal(action.maker)
    if by.name not in {maker.name, maker.owner, maker.on_behalf_of} and "operator" not in by.roles:
        raise Forbidden("not_the_maker", "who proposed it changes it, who stands behind them, or an operator")
    kind = registry.named(action.type)
    read = kind.read(payload)
    written = kind.write(read)
    if kind.resume is not None:
        raise Conflict("not_amendable", f"a held {kind.name} is withdrawn and proposed again")
    asked = await ask(tx, maker, read, digest([kind.name, written]))
    # It waits for people whatever policy says, and is decided again when they have agreed.
    decided = await decide_one(tx, maker, read, asked, task_id=action.task_id, counts=False)
    if decided.outcome == "deny":
        raise denied(Denied(decided.id, decided.verdict.reasons))
    shown = shown_of(asked, written, decided)
    await approvals.amend(tx, found.approval_id, asked.digest, shown, by, touches=await touched(tx, asked.facts))
    await store.amend(tx, action.id, payload=written, digest=asked.digest, decision_id=decided.id)
    await audit.append(
        tx, principal=by.name, on_behalf_of=by.on_behalf_of, verb="actions.amend", subject_kind="action", subject_id=action.id,
        detail={"type": kind.name}, decision_id=decided.id,
        approval_id=found.approval_id,
    )  # fmt: skip
    return await get(tx, action_id)


async def expire_due(tx: Tx, *, limit: int = approvals.MAX_AT_ONCE) -> int:
    """Let the clock have its say over approvals, and end the actions of those that are over; how many it moved."""
    moved = await approvals.expire_due(tx, limit=limit)
    for one in moved:
        await settle(tx, await approvals.get(tx, one.approval_id))
    return len(moved)


async def settle(tx: Tx, approval: approvals.Approval) -> approvals.Approval:
    """Bring the action of an approval to where the approval stands: carried out, or at its end."""
    action = await store.by_approval(tx, approval.id)
    if action is None or action.status != "held":
        return approval
    if approval.status == "approved" and action.task_id is None:
        await _execute(tx, action, approval)
        return await approvals.get(tx, approval.id)
    if approval.status not in ("open", "approved"):
        await store.end(tx, action.id, approval.status, reason=approval.status)
        await _ended(tx, action, approval.status, approval.status)
    if approval.status != "open" and action.task_id is not None and not await store.asked_for(tx, action.task_id):
        # The task that proposed it runs again, and finds what people have said.
        await work.wake(tx, action.task_id, {"approval": str(approval.id), "status": approval.status})
    return approval


async def get(tx: ReadTx, action_id: int) -> Action:
    """One held action; refuses with `NotFound` (`unknown_action`)."""
    found = await store.action(tx, action_id)
    if found is None:
        raise unknown_action(action_id)
    return found


async def put_to_people(tx: ReadTx, approval_id: int) -> Action | None:
    """The action that an approval is about, where it is about one."""
    return await store.of_approval(tx, approval_id)


async def approval_action(tx: ReadTx, approval_id: int) -> Action:
    """The action that an approval is about; refuses with `NotFound` (`unknown_approval`)."""
    found = await put_to_people(tx, approval_id)
    if found is None:
        raise NotFound("unknown_approval", f"no action is put to people by approval {approval_id}")
    return found


def unknown_action(action_id: int) -> NotFound:
    """The refusal of an id that no action has."""
    return NotFound("unknown_action", f"there is no action {action_id}")


async def page(
    tx: ReadTx,
    *,
    type: str | None = None,
    status: str | None = None,
    principal: str | None = None,
    task_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Action]:
    """A page of held actions and what became of them, newest first."""
    return await store.page(
        tx, type=type, status=status, principal=principal, task_id=task_id, before=before or _NEWEST, limit=limit
    )


async def _execute(tx: Tx, action: store.Kept, approval: approvals.Approval) -> None:
    reason: str | None = None
    if not digest([action.type, dict(action.payload)]) == action.digest == approval.digest:
        reason = "payload_changed"
    else:
        refusal = await approvals.consume(tx, approval.id, action.digest, by=action.principal)
        reason = None if refusal is None else refusal.code
    if reason is not None:
        await _fail(tx, action, reason)
        return
    by = await as_of_now(tx, store.principal(action.maker))
    if by is None:
        await _fail(tx, action, AUTHORITY_GONE)
        return
    kind = registry.named(action.type)
    try:
        payload = kind.read(action.payload)
        asked = await ask(tx, by, payload, action.digest)
        stale = await _stale(tx, kind, approval, asked.facts)
        if stale is not None:
            await _fail(tx, action, stale)
            return
        decided = await decide_one(tx, by, payload, asked, task_id=action.task_id, agreed=approval)
    except TallystickError as error:
        await _stop(tx, action, error)
        return
    if decided.outcome != "allow":
        await _fail(tx, action, DENIED if decided.outcome == "deny" else "approval_outgrown", decided.id)
        return
    await policy.consume(tx, [decided.id])
    tx.decision, tx.approval = decided.id, approval.id
    try:
        async with tx.part():
            result = await _run(kind, tx, by, payload, action.id)
    except TallystickError as error:
        await _stop(tx, action, error, decided.id)
        return
    if isinstance(result, TallystickError):
        await _stop(tx, action, result, decided.id)
        return
    told: Mapping[str, Any] = kind.tell(result)
    refused = kind.refused(result)
    if refused is not None:
        await _fail(tx, action, refused, decided.id, told)
        return
    await store.end(tx, action.id, "executed", result=told, executed_by=decided.id)
    await audit.append(
        tx, principal=action.principal, on_behalf_of=action.on_behalf_of, verb="actions.execute", subject_kind="action",
        subject_id=action.id, detail={"type": action.type}, task_id=action.task_id,
        decision_id=decided.id, approval_id=approval.id,
    )  # fmt: skip


async def _stale(tx: Tx, kind: registry.ActionType[Any], approval: approvals.Approval, facts: Mapping[str, Any]) -> str | None:
    """The code by which an action fails that is about something else by now than what people were shown."""
    if not kind.bound:
        return None
    shown = (await approvals.shown(tx, approval)).shown.get("facts", {})
    return next((code for fact, code in kind.bound.items() if shown.get(fact) != facts.get(fact)), None)


async def _run(kind: registry.ActionType[Any], tx: Tx, by: Principal, payload: Any, action_id: int) -> Any:
    if kind.resume is not None:
        return await kind.resume(tx, by, payload, action_id)
    assert kind.run is not None, "what cannot wait is not held"
    return await kind.run(tx, by, payload)


async def _stop(tx: Tx, action: store.Kept, error: TallystickError, decision_id: int | None = None) -> None:
    if isinstance(error, Unavailable):
        raise error
    await _fail(tx, action, error.code, decision_id)


async def _fail(
    tx: Tx, action: store.Kept, reason: str, decision_id: int | None = None, told: Mapping[str, Any] | None = None
) -> None:
    await store.end(tx, action.id, "failed", reason=reason, result=told, executed_by=decision_id)
    await _ended(tx, action, "failed", reason, decision_id)


async def _ended(tx: Tx, action: store.Kept, status: str, reason: str, decision_id: int | None = None) -> None:
    kind = registry.named(action.type)
    if kind.ended is not None:
        await kind.ended(tx, action.id, reason)
    await audit.append(
        tx, principal=action.principal, on_behalf_of=action.on_behalf_of, verb="actions.end", subject_kind="action",
        subject_id=action.id, task_id=action.task_id, approval_id=action.approval_id,
        detail={
            "type": action.type, "status": status, "reason": reason,
            "under": None if decision_id is None else str(decision_id),
        },
    )  # fmt: skip
