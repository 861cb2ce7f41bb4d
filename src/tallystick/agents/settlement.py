"""The settlement agent: posts queued transfers into the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import actions
from tallystick.agents.payload import whole_number
from tallystick.db import Tx
from tallystick.kit import Invalid
from tallystick.work import Claimed, Finish


class SettlementAgent:
    """Settles `{"transfer_id": n}`. A transfer that cannot be settled is a result like any other, and its task is done."""

    name = actions.SETTLEMENT_AGENT
    types = (actions.SETTLE_TASK,)

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        finishes: list[Finish] = []
        transfer_of: dict[int, int] = {}
        for task in claimed:
            try:
                transfer_of[task.task_id] = whole_number(task.payload, "transfer_id")
            except Invalid as refusal:
                finishes.append(Finish(task.task_id, task.fence, "failed", error=str(refusal)))
        settled = {each.transfer_id: each for each in await actions.settle(tx, sorted(set(transfer_of.values())))}
        for task in claimed:
            if task.task_id in transfer_of:
                answer = settled[transfer_of[task.task_id]]
                result = {"transfer_id": answer.transfer_id, "status": answer.status, "reason": answer.reason}
                finishes.append(Finish(task.task_id, task.fence, "done", result))
        return finishes
