"""Past decisions, evaluated again: by their own policies, which say the same bytes, or by a candidate, to see what differs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tallystick.db import ReadTx
from tallystick.policy import store
from tallystick.policy.model import CounterKey, Decision, Facts, Verdict
from tallystick.policy.rules import Policy, evaluate
from tallystick.policy.service import facts_of, get

_PAGE = 1000
_MAX_LISTED = 10_000
_MAX_SUBJECTS = 200_000
_BUCKETS = 48
_COUNTED = 100_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision of which another thing is said now; `rules` are those that make the new outcome."""

    id: int
    at: datetime
    principal: str
    action: str
    before: str
    after: str
    rules: tuple[str, ...]


@dataclass(slots=True)
class Replayed:
    """What a replay found: `changes` counts outcomes before and after; of the differences the first ten thousand are listed.

    `decisions` were evaluated again; of those that were `erased` nobody can tell any more.
    """

    decisions: int = 0
    erased: int = 0
    differing: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    tell: Callable[[Difference], None] = lambda _: None


async def count_since(tx: ReadTx, since: datetime | None = None) -> int:
    """How many decisions a replay will look at."""
    first = 1 if since is None else await store.first_decision(tx, since)
    return 0 if first is None else await store.count_decisions(tx, after=first - 1, limit=_COUNTED)


async def replay(
    tx: ReadTx,
    *,
    candidate: Policy | None = None,
    since: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
    tell: Callable[[Difference], None] = lambda _: None,
) -> Replayed:
    """Evaluate every decision again, oldest first. Each difference is told to `tell` as it is found, however many there are.

    Without a candidate each is evaluated by its own policy, and any other byte is a difference. With one, another outcome is.
    What a candidate counts and was not counted then is added up on the way, from what was allowed since the beginning of the
    replay; what it looks for on lists, and was not looked for then, is unknown, and holds.
    """
    found = Replayed(tell=tell)
    counted = _Counted()
    after = 0
    if since is not None:
        first = await store.first_decision(tx, since)
        if first is None:
            return found
        after = first - 1
    while page := await store.decisions_onward(tx, after=after, since=since, limit=_PAGE):
        for decision in page:
            if decision.erased_by is not None:
                found.erased += 1
                continue
            found.decisions += 1
            if candidate is None:
                _compare_bytes(found, decision, evaluate(await get(tx, decision.policy), facts_of(decision)))
            else:
                _compare_outcomes(found, decision, _by_candidate(candidate, decision, counted))
        after = page[-1].id
        progress(len(page))
    return found


def _compare_bytes(found: Replayed, decision: Decision, verdict: Verdict) -> None:
    if verdict.text != decision.verdict:
        _differs(found, decision, _outcome_of(decision), verdict)


def _compare_outcomes(found: Replayed, decision: Decision, verdict: Verdict) -> None:
    before = _outcome_of(decision)
    if verdict.outcome != before:
        _differs(found, decision, before, verdict)


def _differs(found: Replayed, decision: Decision, before: str, verdict: Verdict) -> None:
    found.differing += 1
    found.changes[before, verdict.outcome] += 1
    rules = tuple(reason.rule for reason in verdict.reasons if reason.outcome == verdict.outcome)
    one = Difference(decision.id, decision.at, decision.principal, decision.action, before, verdict.outcome, rules)
    found.tell(one)
    if len(found.differences) < _MAX_LISTED:
        found.differences.append(one)


def _outcome_of(decision: Decision) -> str:
    # What people agreed to was held by the rules.
    return "hold" if decision.outcome == "allow" and decision.verdict.startswith('{"approve":') else decision.outcome


def _by_candidate(candidate: Policy, decision: Decision, counted: _Counted) -> Verdict:
    facts = facts_of(decision)
    used = dict(facts.get("used") or {})
    keys = [key for key in candidate.counters(facts) if key.key not in used]
    for key in keys:
        used[key.key] = counted.used(key, decision.at)
    facts["used"] = used
    verdict = evaluate(candidate, facts)
    # What was carried out then is what has been used up, whatever the candidate says of it.
    if decision.outcome == "allow":
        for key in keys:
            counted.add(key, decision.at, facts)
    return verdict


class _Counted:
    """Sums and counts per window, kept as the counters of the database are; of the counters that were used last."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[CounterKey, dict[int, list[int]]] = OrderedDict()

    def used(self, key: CounterKey, at: datetime) -> list[int]:
        buckets, now = self._at(key, at)
        for n in [n for n in buckets if n < now - _BUCKETS]:
            del buckets[n]
        return [sum(count for count, _ in buckets.values()), sum(total for _, total in buckets.values())]

    def add(self, key: CounterKey, at: datetime, facts: Facts) -> None:
        buckets, now = self._at(key, at)
        bucket = buckets.setdefault(now, [0, 0])
        bucket[0] += facts.get("count", 1)
        bucket[1] += facts.get("amount") or 0

    def _at(self, key: CounterKey, at: datetime) -> tuple[dict[int, list[int]], int]:
        width_us = -(-key.window_s * 1_000_000 // _BUCKETS)
        buckets = self._buckets.setdefault(key, {})
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_SUBJECTS:
            self._buckets.popitem(last=False)
        return buckets, 0 if width_us == 0 else int(at.timestamp() * 1_000_000) // width_us
