"""Whom a rule asks, and what many rules ask as one question."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tallystick.policy.model import Approvers, Escalation


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom a rule has asked, for how long, and whom when they do not answer."""

    approve: Approvers
    expires_s: int
    escalate: Escalation | None


def merged(asked: Iterable[Asking]) -> Asking:
    """All that is asked for, as one question: of each role the most, until the first time is over."""
    every = list(asked)
    escalations = [one.escalate for one in every if one.escalate is not None]
    escalate = None
    if escalations:
        escalate = Escalation(min(one.after_s for one in escalations), _most(one.approve for one in escalations))
    return Asking(_most(one.approve for one in every), min(one.expires_s for one in every), escalate)


def _most(several: Iterable[Approvers]) -> Approvers:
    found: dict[str, int] = {}
    for approve in several:
        for role, people in approve:
            found[role] = max(people, found.get(role, 0))
    return tuple(sorted(found.items()))
