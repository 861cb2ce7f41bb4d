"""The verbs of the policy room that write and read policies and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.identity import Mandate, Principal
from tallystick.kit import Invalid, NotFound, dumps, loads_stored
from tallystick.policy import counting, store
from tallystick.policy.model import OUTCOMES, Applied, Decision, Facts, NewDecision
from tallystick.policy.parsing import canonical, parse
from tallystick.policy.rules import EMPTY, Policy, evaluate

_NEWEST = 2**63 - 1


async def apply(
    tx: Tx, document: str | bytes | Mapping[str, Any] | Policy, *, by: str, effective_from: datetime | None = None
) -> Applied:
    """Have a policy be in force from `effective_from` on, else from when it says itself, else from now; never from the past.

    Refuses with `Invalid` (`policy_malformed`).
    """
    policy = document if isinstance(document, Policy) else parse(document)
    applied = await store.apply(
        tx,
        digest=policy.digest,
        name=policy.name,
        body=canonical(policy),
        effective_from=effective_from or policy.effective_from,
        by=by,
    )
    await audit.append(
        tx,
        principal=by,
        verb="policy.apply",
        subject_kind="policy",
        subject_id=applied.id,
        detail={
            "digest": applied.digest,
            "name": applied.name,
            "effective_from": applied.effective_from.isoformat(),
            "rules": len(policy.rules),
        },
    )
    return applied


async def keep(tx: Tx, decisions: Sequence[NewDecision], usage: counting.Usage | None = None) -> list[int]:
    """Write decisions, whose ids come back in order, and with them what was added to `usage`: one statement."""
    if not decisions:
        if usage is not None:
            await counting.reserve(tx, usage)
        return []
    return await store.keep(tx, decisions, [] if usage is None else usage.taken())


def kept_with(decisions: Sequence[NewDecision], usage: counting.Usage) -> dict[str, Any]:
    """What a statement of another room keeps decisions with, as `keep` does: those of one principal, under one policy.

    What was added to `usage` goes with them, and is told once.
    """
    return store.kept(decisions, usage.taken())


async def consume(tx: Tx, ids: Sequence[int]) -> None:
    """Use decisions up, as their effects are carried out in this transaction.

    Refuses with `Conflict`: `decision_needed` where one is not there or does not allow, `decision_consumed` where one was used.
    """
    if ids:
        await store.consume(tx, ids)


async def decision(tx: ReadTx, decision_id: int) -> Decision:
    """A decision as it is kept; refuses with `NotFound` (`unknown_decision`)."""
    found = await store.decision(tx, decision_id)
    if found is None:
        raise NotFound("unknown_decision", f"there is no decision {decision_id}")
    return found


async def decisions(
    tx: ReadTx,
    *,
    principal: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Decision]:
    """A page of decisions below the id `before`, newest first. Refuses with `Invalid` (`unknown_outcome`)."""
    if outcome is not None and outcome not in OUTCOMES:
        raise Invalid("unknown_outcome", f"an outcome is {', '.join(OUTCOMES)}")
    return await store.decisions(
        tx,
        principal=principal,
        action=action,
        outcome=outcome,
        since=since,
        before=_NEWEST if before is None else before,
        limit=limit,
    )


async def policies(tx: ReadTx, *, before: int | None = None, limit: int = 50) -> list[Applied]:
    """A page of the policies that were applied, below the id `before`, newest first."""
    return await store.applied(tx, before=_NEWEST if before is None else before, limit=limit)


async def get(tx: ReadTx, digest: str) -> Policy:
    """A policy that was ever applied; refuses with `NotFound` (`unknown_policy`)."""
    policy = EMPTY if digest == EMPTY.digest else await counting.by_digest(tx, digest)
    if policy is None:
        raise NotFound("unknown_policy", "no policy with this digest was ever applied")
    return policy


async def in_force_since(tx: ReadTx) -> Applied | None:
    """Since when the policy in force is in force, and who applied it; `None` where none is.

    Where the same document was applied again in the meantime, it is the first time that counts.
    """
    return await store.in_force_since(tx)


async def coming(tx: ReadTx, *, limit: int = 100) -> list[Applied]:
    """What was applied and is not in force yet, in the order of time."""
    return await store.coming(tx, limit=limit)


async def applied_last(tx: ReadTx, digest: str) -> Applied | None:
    """Of the policy in force, since when it is; of another, when it was applied last; `None` where it never was."""
    since = await store.in_force_since(tx)
    return since if since is not None and since.digest == digest else await store.applied_last(tx, digest)


def facts_text(facts: Facts) -> str:
    """Facts as they are kept."""
    return dumps(facts).decode()


def facts_of(decision: Decision) -> Facts:
    """The facts that a decision has seen."""
    facts = loads_stored(decision.facts)
    assert isinstance(facts, dict), "facts are written by `facts_text`"
    return facts


def replayed(decision: Decision, policy: Policy) -> bool:
    """Whether the policy says of the facts of a decision what it said then, byte by byte."""
    return evaluate(policy, facts_of(decision)).text == decision.verdict


def principal_facts(principal: Principal) -> Facts:
    """What facts say of who acts."""
    facts: Facts = {"principal": principal.name, "kind": principal.kind, "roles": sorted(principal.roles)}
    for name in ("owner", "risk_tier", "version"):
        value = getattr(principal, name)
        if value is not None:
            facts[name] = value
    if principal.mandate is not None:
        facts["behalf"] = principal.mandate.person
        facts["mandate"] = mandate_terms(principal.mandate)
    return facts


def mandate_terms(mandate: Mandate) -> dict[str, Any]:
    """The terms of a mandate, as facts hold them."""
    return {
        "id": mandate.id,
        "person": mandate.person,
        "operations": list(mandate.operations),
        "accounts": None if mandate.accounts is None else list(mandate.accounts),
        "max_amount": None if mandate.max_amount is None else dict(mandate.max_amount),
        "total": None if mandate.total is None else dict(mandate.total),
        "payees": None if mandate.payees is None else list(mandate.payees),
        "until": mandate.until.isoformat().replace("+00:00", "Z"),
        "beyond": mandate.beyond,
    }
