"""What is done with a case, as actions: moved on, or decided by the agent of its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick import actions, cases, customers
from tallystick.agents.process import process_case
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import NotFound


@dataclass(frozen=True, slots=True)
class MoveCase:
    """A case to bring to another status."""

    case: str
    status: str


@dataclass(frozen=True, slots=True)
class DecideCase:
    """A request to have decided by the agent of its type."""

    case: str


async def _facts(tx: ReadTx, payload: MoveCase | DecideCase) -> Mapping[str, Any]:
    case = await cases.get(tx, actions.number_of(payload.case, "case"))
    facts: dict[str, Any] = {
        "case": payload.case,
        "case_type": case.type,
        "case_status": case.status,
        "account": None,
        "counterparty": None,
        "amount": None,
    }
    try:
        facts["customer"] = str((await customers.get(tx, case.customer)).id)
    except NotFound:
        facts["customer"] = None
    if isinstance(payload, MoveCase):
        facts["status"] = payload.status
    return facts


async def _move(tx: Tx, by: Principal, payload: MoveCase) -> cases.Case:
    return await cases.set_status(tx, by.name, actions.number_of(payload.case, "case"), payload.status)


async def _decide(tx: Tx, by: Principal, payload: DecideCase) -> cases.Case:
    return await process_case(tx, by.name, actions.number_of(payload.case, "case"))


def _tell(case: cases.Case) -> Mapping[str, Any]:
    return {"case": str(case.id), "status": case.status}


actions.register(actions.ActionType("case.status", MoveCase, _facts, _move, _tell))
actions.register(actions.ActionType("case.process", DecideCase, _facts, _decide, _tell))
