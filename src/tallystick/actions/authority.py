"""The rules themselves: a policy that is applied, and lists that it looks into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick import policy
from tallystick.actions.registry import ActionType, register
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal


@dataclass(frozen=True, slots=True)
class ApplyPolicy:
    """A policy to be in force, as its canonical JSON, from a time on; without one from when it says itself, or from now."""

    document: str
    effective_from: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImportList:
    """Names or ids to be on a list from now on, in place of those before."""

    name: str
    kind: str
    source: str


async def _policy_facts(tx: ReadTx, payload: ApplyPolicy) -> Mapping[str, Any]:
    new, old = policy.parse(payload.document), await policy.current(tx)
    return {"policy": new.digest, "rules": len(new.rules), "policy_before": old.digest, "amount": None, "account": None}


async def _apply(tx: Tx, by: Principal, payload: ApplyPolicy) -> policy.Applied:
    return await policy.apply(tx, payload.document, by=by.name, effective_from=payload.effective_from)


async def _list_facts(_: ReadTx, payload: ImportList) -> Mapping[str, Any]:
    return {"list": payload.name, "source": payload.source, "amount": None, "account": None}


register(
    ActionType(
        "policy.apply",
        ApplyPolicy,
        _policy_facts,
        _apply,
        lambda applied: {"digest": applied.digest, "policy": str(applied.id)},
        roles=frozenset({"admin"}),
    )
)
register(ActionType("list.import", ImportList, _list_facts, None, proposable=False))
