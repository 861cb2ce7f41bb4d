"""One function a query of held actions, of the keys that stand for them, and of what is locked before they are decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.actions.model import Action
from tallystick.db import Key, Queries, ReadTx, Tx, claim_one
from tallystick.identity import Mandate, Principal
from tallystick.kit import dumps
from tallystick.policy import mandate_terms


@dataclass(frozen=True, slots=True)
class Use:
    """What a key stands for."""

    key: str
    kind: str
    hash: bytes
    ref_id: int


@dataclass(frozen=True, slots=True)
class Kept(Action):
    """An action with who proposed it, as they were then."""

    maker: Mapping[str, Any]


_queries = Queries(__package__, "held.sql")
_LOCK_KEYS = _queries.bind("lock_keys", bool)
_LOCK_ACCOUNTS = _queries.bind("lock_accounts", bool)
_USES = _queries.bind("uses", Use)
_INSERT = _queries.bind("insert_action", int)
_SET_APPROVAL = _queries.command("set_approval")
_BY_APPROVAL = _queries.bind("by_approval", Kept)
_LOCK = _queries.bind("lock", Kept)
_AMEND = _queries.command("amend")
_ASKED_FOR = _queries.bind("asked_for", int)
_END = _queries.command("end_action")
_ACTION = _queries.bind("action", Action)
_OF_APPROVAL = _queries.bind("of_approval", Action)
_ACTIONS = _queries.bind("actions", Action)
_OF_TASK = _queries.bind("of_task", Action)


async def uses(tx: Tx, scope: str, keys: Sequence[str]) -> dict[str, Use]:
    """What keys stand for already. From here on, this transaction alone looks at them."""
    await tx.all(_LOCK_KEYS, {"scope": scope, "keys": list(keys)})
    return {use.key: use for use in await tx.all(_USES, {"scope": scope, "keys": list(keys)})}


async def lock_accounts(tx: Tx, names: Iterable[str]) -> None:
    await tx.single(_LOCK_ACCOUNTS, {"names": list(names)})


async def claim_key(tx: Tx, scope: str, key: str, hash: bytes, *, kind: str, ref_id: int) -> None:
    await claim_one(tx, Key(scope, key, hash), kind=kind, ref_id=ref_id)


async def insert_action(
    tx: Tx,
    *,
    type: str,
    by: Principal,
    payload: Mapping[str, Any],
    digest: bytes,
    decision_id: int,
    task_id: int | None,
) -> int:
    return await tx.single(
        _INSERT,
        {
            "type": type,
            "principal": by.name,
            "on_behalf_of": by.on_behalf_of,
            "maker": dumps(as_json(by)).decode(),
            "payload": dumps(dict(payload)).decode(),
            "digest": digest,
            "decision_id": decision_id,
            "task_id": task_id,
        },
    )


async def set_approval(tx: Tx, action_id: int, approval_id: int) -> None:
    await tx.run(_SET_APPROVAL, {"id": action_id, "approval_id": approval_id})


async def by_approval(tx: Tx, approval_id: int) -> Kept | None:
    """Locks the action."""
    return await tx.one(_BY_APPROVAL, {"approval_id": approval_id})


async def lock(tx: Tx, action_id: int) -> Kept | None:
    return await tx.one(_LOCK, {"id": action_id})


async def amend(tx: Tx, action_id: int, *, payload: Mapping[str, Any], digest: bytes, decision_id: int) -> None:
    values = {"id": action_id, "payload": dumps(dict(payload)).decode(), "digest": digest, "decision_id": decision_id}
    await tx.run(_AMEND, values)


async def asked_for(tx: Tx, task_id: int) -> int:
    """How many actions of a task people have not decided yet."""
    return await tx.single(_ASKED_FOR, {"task_id": task_id})


async def end(
    tx: Tx, action_id: int, status: str, *, reason: str | None = None, result: Any = None, executed_by: int | None = None
) -> bool:
    values = {
        "id": action_id,
        "status": status,
        "reason": reason,
        "result": None if result is None else dumps(result).decode(),
        "executed_by": executed_by,
    }
    return await tx.run(_END, values) == 1


async def action(tx: ReadTx, action_id: int) -> Action | None:
    return await tx.one(_ACTION, {"id": action_id})


async def of_approval(tx: ReadTx, approval_id: int) -> Action | None:
    return await tx.one(_OF_APPROVAL, {"approval_id": approval_id})


async def page(
    tx: ReadTx,
    *,
    type: str | None,
    status: str | None,
    principal: str | None,
    task_id: int | None,
    before: int,
    limit: int,
) -> list[Action]:
    return await tx.all(
        _ACTIONS,
        {"type": type, "status": status, "principal": principal, "task_id": task_id, "before": before, "limit": limit},
    )


async def of_task(tx: ReadTx, task_id: int, *, limit: int) -> list[Action]:
    return await tx.all(_OF_TASK, {"task_id": task_id, "limit": limit})


def as_json(by: Principal) -> dict[str, Any]:
    """A principal, as JSON, to be read again by `principal`."""
    return {
        "name": by.name,
        "kind": by.kind,
        "roles": sorted(by.roles),
        "owner": by.owner,
        "risk_tier": by.risk_tier,
        "version": by.version,
        "mandate": None if by.mandate is None else mandate_terms(by.mandate) | {"agent": by.mandate.agent},
        "accounts": None if by.accounts is None else sorted(by.accounts),
        "customers": None if by.customers is None else sorted(by.customers),
    }


def principal(stored: Mapping[str, Any]) -> Principal:
    """Who proposed an action, as they were then."""
    about = dict(stored)
    mandate = about.pop("mandate")
    return Principal(
        **about
        | {
            "roles": frozenset(about["roles"]),
            "accounts": None if about["accounts"] is None else frozenset(about["accounts"]),
            "customers": None if about["customers"] is None else frozenset(about["customers"]),
            "mandate": None if mandate is None else _mandate(mandate),
        }
    )


def _mandate(stored: Mapping[str, Any]) -> Mandate:
    about: dict[str, Any] = {"accounts": None, "max_amount": None, "total": None, "payees": None} | dict(stored)
    for name in ("operations", "accounts", "payees"):
        if about[name] is not None:
            about[name] = tuple(about[name])
    return Mandate(**about | {"until": datetime.fromisoformat(about["until"])})
