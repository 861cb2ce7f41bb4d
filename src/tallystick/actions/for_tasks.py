"""What a task proposes when it ends. Where policy holds any of it, nothing is carried out: the task waits for people, runs
again, and what they have agreed to passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick import approvals
from tallystick.actions import gate
from tallystick.actions import held as store
from tallystick.actions.model import Action, Asked
from tallystick.db import Tx
from tallystick.identity import Principal
from tallystick.kit import Conflict, TallystickError, Unavailable

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Item:
    """An action that policy holds, with its payload as JSON."""

    asked: Asked
    written: Mapping[str, Any]


class NeedsPeople(Exception):
    """Policy holds some of what a task proposes; the transaction's work is to be undone, and people are to be asked."""

    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__(f"{len(items)} actions are held")
        self.items = tuple(items)


class Agreed:
    """What people have said so far of what a task proposes. Each agreement is used once."""

    def __init__(self, by_digest: Mapping[bytes, list[Action]]) -> None:
        self._by_digest = by_digest

    @classmethod
    async def of(cls, tx: Tx, task_id: int) -> Agreed:
        """All that was asked for a task, the newest first: what was asked anew comes before what is not enough any more."""
        found: dict[bytes, list[Action]] = defaultdict(list)
        for action in await store.of_task(tx, task_id, limit=_MOST):
            if action.status != "executed":
                found[action.digest].append(action)
        return cls(found)

    async def take(self, tx: Tx, digest: bytes, by: Principal) -> tuple[Action, approvals.Approval] | TallystickError | None:
        """What people have agreed to of an action with this digest, used up; their refusal; or none where nothing was said."""
        if not (asked := self._by_digest.get(digest)):
            return None
        action = asked.pop(0)
        if action.status != "held":
            return Conflict(action.reason or action.status, f"people were asked by approval {action.approval_id}")
        assert action.approval_id is not None
        approval = await approvals.get(tx, action.approval_id)
        if approval.status == "open":
            return None
        refusal = await approvals.consume(tx, approval.id, digest, by=by.name)
        return refusal if refusal is not None else (action, approval)


async def ask_for_task(tx: Tx, by: Principal, items: Sequence[Item], *, task_id: int) -> list[int]:
    """Ask people about what a task proposes; the ids of the approvals. What is open already is not asked again.

    What they have agreed to is, as it was used up by another effect like it, or is not enough any more. Questions that are
    open are locked, so that a vote which ends one comes after the task waits for it.
    """
    asked_before = defaultdict(list)
    for action in reversed(await store.of_task(tx, task_id, limit=_MOST)):
        if action.status == "held" and action.approval_id is not None:
            await approvals.lock(tx, action.approval_id)
            if (await approvals.get(tx, action.approval_id)).status == "open":
                asked_before[action.digest].append(action.approval_id)
    waiting: list[int] = []
    new: list[Item] = []
    for item in items:
        if asked_before[item.asked.digest]:
            waiting.append(asked_before[item.asked.digest].pop(0))
        else:
            new.append(item)
    decided = await gate.decide(tx, by, [item.asked for item in new], task_id=task_id) if new else []
    for item, one in zip(new, decided, strict=True):
        if one.outcome == "hold":
            held = await gate.hold(tx, by, item.asked, item.written, one, task_id=task_id)
            waiting.append(held.approval_id)
    if not waiting:
        raise Unavailable("contention", "policy has just changed; try again")
    return sorted(waiting)
