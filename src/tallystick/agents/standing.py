"""The agent of standing orders: pays those that are due."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import actions, customers, schedules, work
from tallystick.agents.payload import text, whole_number
from tallystick.db import Tx
from tallystick.kit import Invalid
from tallystick.work import Claimed, Finish


class StandingOrderAgent:
    """Pays what is due today by the clock of a place, `{"time_zone": "Europe/Prague"}`; without it, by UTC.

    A task pays a part of them. Where there are more, it leaves a task that goes on after them.
    """

    name = actions.STANDING_ORDERS
    types = ("pay_due",)

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        return [await self._pay(tx, task) for task in claimed]

    async def _pay(self, tx: Tx, task: Claimed) -> Finish:
        try:
            zone = text(task.payload, "time_zone") if "time_zone" in task.payload else "UTC"
            today = await customers.today(tx, schedules.zone_of(zone).key)
            after = whole_number(task.payload, "after") if "after" in task.payload else 0
        except Invalid as refusal:
            return Finish(task.task_id, task.fence, "failed", error=str(refusal))
        paid = await actions.pay_due_page(tx, today, after=after)
        if paid.after is not None:
            rest = {"time_zone": zone, "after": paid.after}
            await work.enqueue(tx, self.name, [work.NewTask(self.name, self.types[0], rest)])
        result = {"day": today.isoformat(), **paid.counts, "more": paid.after is not None}
        return Finish(task.task_id, task.fence, "done", result)
