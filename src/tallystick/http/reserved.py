"""Tasks that are nobody's business outside: a queued transfer is settled by its own agent, or its money would never move."""

from __future__ import annotations

from tallystick import actions, approvals
from tallystick.kit import Forbidden

_RESERVED = frozenset({actions.SETTLEMENT_AGENT, approvals.NOTIFIER})


def check_not_reserved(agent: str) -> None:
    """Refuse with `Forbidden` (`reserved_agent`) an agent whose tasks are worked off inside alone."""
    if agent in _RESERVED:
        raise Forbidden("reserved_agent", f"the tasks of {agent} are worked off inside")
