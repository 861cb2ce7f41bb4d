"""Tasks that are nobody's business outside: what moves the bank's money is done by its own agents, or it would never move."""

from __future__ import annotations

from tallystick import actions, approvals
from tallystick.kit import Forbidden

_RESERVED = frozenset({actions.SETTLEMENT_AGENT, actions.STANDING_ORDERS, approvals.NOTIFIER})


def check_not_reserved(agent: str, *, scheduled: bool = False) -> None:
    """Refuse with `Forbidden` (`reserved_agent`) an agent whose tasks are worked off inside alone. Some may be `scheduled`."""
    if agent in _RESERVED and not (scheduled and agent == actions.STANDING_ORDERS):
        raise Forbidden("reserved_agent", f"the tasks of {agent} are worked off inside")
