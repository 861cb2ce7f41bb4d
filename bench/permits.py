"""For benchmarks of what lies below the gate: each transaction allows itself what it posts."""

from __future__ import annotations

from tallystick import policy
from tallystick.db import Database, Tx

ALL_ALLOWED = {"name": "bench", "rules": [{"id": "all", "allow": True}]}
"""A policy that lets everything pass."""

_RULES = policy.parse(ALL_ALLOWED)


async def permit(tx: Tx) -> None:
    """Write a decision that allows what the transaction posts."""
    facts = {"action": "bench", "principal": "bench"}
    verdict = policy.evaluate(_RULES, facts)
    new = policy.NewDecision(
        "bench", None, "bench", bytes(32), _RULES.digest, policy.facts_text(facts), verdict.text, verdict.outcome
    )
    (tx.decision,) = await policy.keep(tx, [new])


def permitted(database: Database) -> Database:
    """The database, each of whose write transactions has allowed itself what it posts."""
    return database.begun(permit)


async def allow_all(database: Database) -> None:
    """Put a policy in force that lets everything pass."""
    async with database.write() as tx:
        await policy.apply(tx, _RULES, by="bench")
