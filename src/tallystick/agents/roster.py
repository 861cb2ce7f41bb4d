"""What a built-in agent is, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tallystick.agents.review import TradeReviewAgent
from tallystick.agents.settlement import SettlementAgent
from tallystick.agents.standing import StandingOrderAgent
from tallystick.db import Tx
from tallystick.work import Claimed, Finish


class BuiltInAgent(Protocol):
    """An agent whose whole work is in the database: claim, effects and finish are one transaction.

    A worker that is killed in the middle has done nothing, and the tasks are still queued.
    """

    @property
    def name(self) -> str:
        """The agent that tasks are for."""
        ...

    @property
    def types(self) -> tuple[str, ...]:
        """The types of task it knows."""
        ...

    async def run(self, tx: Tx, claimed: Sequence[Claimed]) -> list[Finish]:
        """Carry out a batch of tasks; how each ended, in any order. A raise means that none of it happened."""
        ...


def built_in() -> tuple[BuiltInAgent, ...]:
    """Every agent that a worker runs."""
    return (SettlementAgent(), StandingOrderAgent(), TradeReviewAgent())
