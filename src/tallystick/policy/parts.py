"""An action that is made of others: each part is asked about by itself, and the strictest word counts for the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tallystick.policy.asking import Asking, merged
from tallystick.policy.conditions import WRONG_SHAPE
from tallystick.policy.model import Approvers, Escalation, Reason, Verdict

_SHOWN = 20
_RULES = 3


def parts_fact(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The fact `parts` of a whole: how many there are, and what is said against which of them, with whom that asks."""
    found: dict[str, Any] = {"count": len(verdicts)}
    for outcome in ("deny", "hold"):
        against = [(place, verdict) for place, verdict in enumerate(verdicts) if verdict.outcome == outcome]
        if against:
            found[outcome] = {"count": len(against), "why": [_why(place, verdict) for place, verdict in against[:_SHOWN]]}
    if "hold" in found:
        found["asking"] = _written(merged(_asking(verdict) for verdict in verdicts if verdict.outcome == "hold"))
    return found


def said_of_parts(parts: Any, otherwise: Asking) -> Iterator[tuple[Reason, Asking]]:
    """What the parts say of the whole: one that is denied denies it, and one that is held holds it, with all whom parts ask.

    Of parts that cannot be read nothing is known, which holds.
    """
    try:
        said = list(_said(parts, otherwise))
    except WRONG_SHAPE:
        change = "the fact parts, or the consent of people"
        said = [(Reason("parts", "parts", "hold", "unknown", "needs the fact parts", change), otherwise)]
    yield from said


def _said(parts: Mapping[str, Any], otherwise: Asking) -> Iterator[tuple[Reason, Asking]]:
    if "deny" in parts:
        yield _reason("deny", parts, "the whole without them, or what would let each of them pass"), otherwise
    if "hold" in parts:
        reason = _reason("hold", parts, "the consent of the people who are asked, or what would let each of them pass")
        yield reason, _read(parts["asking"])


def _reason(outcome: str, parts: Mapping[str, Any], change: str) -> Reason:
    against = parts[outcome]
    observed = f"{int(against['count'])} of {int(parts['count'])}: {'; '.join(against['why'])}"
    return Reason("parts", "parts", outcome, observed, "each part may pass by itself", change)


def _why(place: int, verdict: Verdict) -> str:
    spoke = [reason for reason in verdict.reasons if reason.outcome == verdict.outcome]
    return f"number {place}, by {' and '.join(map(_rule, spoke[:_RULES]))}"


def _rule(reason: Reason) -> str:
    told = ", ".join(one for one in (reason.observed, reason.limit) if one is not None)
    return f"{reason.rule} ({told})" if told else reason.rule


def _asking(verdict: Verdict) -> Asking:
    assert verdict.expires_s is not None, "what is held is asked for some time"
    return Asking(verdict.approve, verdict.expires_s, verdict.escalate)


def _written(asking: Asking) -> dict[str, Any]:
    written: dict[str, Any] = {"approve": [list(each) for each in asking.approve], "expires_s": asking.expires_s}
    if asking.escalate is not None:
        approve = [list(each) for each in asking.escalate.approve]
        written["escalate"] = {"after_s": asking.escalate.after_s, "approve": approve}
    return written


def _read(written: Mapping[str, Any]) -> Asking:
    later = written.get("escalate")
    escalate = None if later is None else Escalation(int(later["after_s"]), _approvers(later["approve"]))
    return Asking(_approvers(written["approve"]), int(written["expires_s"]), escalate)


def _approvers(written: Any) -> Approvers:
    return tuple((str(role), int(people)) for role, people in written)
