"""Processing a request: its agent's answer and the record of it, in the transaction of the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tallystick import cases
from tallystick.agents.answer import Answer, a_person_decides
from tallystick.agents.trade_case import review_trade
from tallystick.db import ReadTx, Tx

_AGENTS: Mapping[str, Callable[[ReadTx, Mapping[str, Any]], Awaitable[Answer]]] = {"trade_review": review_trade}


async def process_case(tx: Tx, principal: str, case_id: int) -> cases.Case:
    """Let the agent of its type answer a request, and record the answer; the case with its `result`.

    A request is processed once: later calls, and one that came at the same moment, are given what is recorded. `result` holds
    `client_id`, `request_type`, `decision`, `confidence`, `summary` and the facts that the agent saw. Refuses with `NotFound`
    (`unknown_case`).
    """
    case = await cases.lock(tx, case_id, "request")
    if case.result is not None:
        return case
    answer = await _answer(tx, case)
    result = {
        **answer.facts,
        "client_id": case.customer,
        "request_type": case.type,
        "decision": answer.decision,
        "confidence": answer.confidence,
        "summary": answer.summary,
    }
    return await cases.record_result(tx, principal, case_id, result)


async def _answer(tx: ReadTx, case: cases.Case) -> Answer:
    agent = _AGENTS.get(case.type)
    if agent is None:
        return a_person_decides("No agent knows this type of request.")
    return await agent(tx, case.payload or {})
