"""What people expect of a policy: cases of facts and outcomes, run without a database."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tallystick.kit import Invalid
from tallystick.policy.model import OUTCOMES, Facts, Verdict
from tallystick.policy.parsing import Malformed
from tallystick.policy.reading import read
from tallystick.policy.rules import Policy, evaluate
from tallystick.policy.spots import Spot

MAX_CASES = 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """Facts, the outcome that is expected of them and, where given, the rules that are to speak."""

    name: str
    facts: Facts
    outcome: str
    rules: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a case."""

    case: Case
    verdict: Verdict
    ok: bool


def read_cases(source: str | bytes | Mapping[str, Any], name: str = "") -> list[Case]:
    """Cases of a YAML or JSON document: `facts` for all, and `cases`, each with `facts` of its own, `outcome` and `rules`.

    What rules have used is given by their names, `used: {rule: {count: 3, sum: "100.00"}}`, and is nothing where it is left
    out; so is what is on lists. Refuses with `Invalid` (`policy_malformed`).
    """
    prefix = f"{name}: " if name else ""
    try:
        data = read(source)
    except Invalid as error:
        raise Malformed((prefix + error.detail,)) from None
    spot = Spot(data, "")
    spot.mapping(("facts", "cases"), required=("cases",))
    shared = _facts(spot.at("facts")) if spot.has("facts") else {}
    found = []
    for one in spot.at("cases").each(most=MAX_CASES):
        one.mapping(("name", "facts", "outcome", "rules"), required=("outcome",))
        title = one.at("name").text() if one.has("name") else one.place
        facts = shared | (_facts(one.at("facts")) if one.has("facts") else {})
        rules = frozenset(rule.text() for rule in one.at("rules").each(most=100)) if one.has("rules") else None
        outcome = one.at("outcome").choice(OUTCOMES)
        # A fact that is given as `unknown` is left out.
        found.append(Case(title, {key: value for key, value in facts.items() if value != "unknown"}, outcome, rules))
    if spot.problems:
        raise Malformed(tuple(prefix + problem for problem in spot.problems))
    return found


def try_case(policy: Policy, case: Case) -> Tried:
    """Evaluate a case, and compare."""
    facts = copy.deepcopy(case.facts)
    scale = facts.get("scale", 2)
    facts.setdefault("scale", scale)
    if isinstance(facts.get("amount"), str):
        facts["amount"] = _minor(facts["amount"], scale)
    used = facts.get("used") or {}
    facts["used"] = {
        key.key: _used(used.get(key.key.split("|", 1)[0]), scale) for key in policy.counters({**facts, "used": {}})
    }
    listed: dict[str, list[Any]] = facts.get("listed") or {}
    facts["listed"] = {lookup.place: listed.get(lookup.place, listed.get(lookup.list, [])) for lookup in policy.lookups(facts)}
    verdict = evaluate(policy, facts)
    spoke = {reason.rule for reason in verdict.reasons if reason.outcome == verdict.outcome}
    return Tried(case, verdict, verdict.outcome == case.outcome and (case.rules is None or case.rules == spoke))


def _facts(spot: Spot) -> Facts:
    if not isinstance(spot.value, dict):
        spot.wrong("facts stand here, by their names")
        return {}
    return dict(spot.value)


def _used(given: Any, scale: int) -> list[int]:
    if not isinstance(given, Mapping):
        return [0, 0]
    total = given.get("sum", 0)
    return [int(given.get("count", 0)), _minor(str(total), scale)]


def _minor(text: str, scale: int) -> int:
    exact = Fraction(Decimal(text)) * 10**scale
    if exact.denominator != 1:
        raise Invalid("policy_malformed", f"{text} has more than {scale} decimals")
    return int(exact)
