"""A policy, compiled: its rules found by what they apply to, and what they say of an action.

deny > hold > allow, and what nobody allows is denied. A rule that needs a fact which is missing holds; a rule that would allow
does so only where no other allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.kit import digest, dumps
from tallystick.policy.asking import Asking, merged
from tallystick.policy.conditions import ABSENT, WRONG_SHAPE, Condition, lacking, of_principal, unmet
from tallystick.policy.kinds import Kind, beyond_mandate, mandate_counter
from tallystick.policy.model import (
    Approvers,
    CounterKey,
    Document,
    Explained,
    Facts,
    Lookup,
    Reason,
    Verdict,
)
from tallystick.policy.parts import said_of_parts

_MAX_BUNDLES = 2048
_ALIKE = ("action", "kind", "risk_tier", "account_kind", "counterparty_kind", "settle")
_MAX_ALLOWS = 2048
_FEW = 12
_ALLOWS = Reason("", "allow", "allow", None, None, None)
_UNSURE = Reason("", "allow", "hold", None, None, None)
_NO_POLICY = Reason("no_policy", "default", "deny", None, "what no policy allows", "a policy that is in force")
_CHANGES = {
    "allow": None,
    "hold": "the consent of the people who are asked",
    "deny": "another policy; nobody can agree to this",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `otherwise` is what it says when it speaks; `limit` is there where that depends on a limit."""

    id: str
    about: str | None
    kind: str
    otherwise: str
    conditions: tuple[Condition, ...]
    texts: dict[str, frozenset[str]]
    limit: Kind | None
    asking: Asking


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the rules have said so far."""

    unsure: list[Rule]
    reasons: list[Reason]
    asked: list[Asking]

    def add(self, reason: Reason, asking: Asking) -> None:
        self.reasons.append(reason)
        if reason.outcome == "hold":
            self.asked.append(asking)


class Policy:
    """Rules that were read from a document, ready to be evaluated. `digest` is that of the document's canonical JSON."""

    __slots__ = (
        "_allows",
        "_bundles",
        "_whole",
        "asking",
        "digest",
        "document",
        "effective_from",
        "mandate_asking",
        "name",
        "rules",
    )

    def __init__(
        self,
        *,
        name: str,
        digest: str,
        document: Document,
        rules: tuple[Rule, ...],
        asking: Asking,
        mandate_asking: Asking,
        effective_from: datetime | None = None,
    ) -> None:
        self.name = name
        self.digest = digest
        self.document = document
        self.rules = rules
        self.asking = asking
        self.mandate_asking = mandate_asking
        self.effective_from = effective_from
        self._whole = _Bundle(rules)
        self._bundles: dict[tuple[Any, ...], _Bundle] = {}
        self._allows: dict[tuple[str, ...], Verdict] = {}

    def counters(self, facts: Facts) -> tuple[CounterKey, ...]:
        """What rules that apply add up, for `used`."""
        return self.searches(facts)[0]

    def lookups(self, facts: Facts) -> tuple[Lookup, ...]:
        """What rules that apply look for on lists, for `listed`."""
        return self.searches(facts)[1]

    def searches(self, facts: Facts) -> tuple[tuple[CounterKey, ...], tuple[Lookup, ...]]:
        """What rules that apply add up, and what they look for on lists."""
        bundle = self.bundle(facts)
        keys: list[CounterKey | None] = []
        lookups: list[Lookup] = []
        for rule in bundle.searching.candidates(facts):
            assert rule.limit is not None
            try:
                if rule.conditions and unmet(rule.conditions, facts) is not False:
                    continue
                if rule.limit.counter is not None:
                    keys.append(rule.limit.counter(facts))
                if rule.limit.lookups is not None:
                    lookups += rule.limit.lookups(facts)
            except WRONG_SHAPE:
                continue
        if facts.get("mandate") is not None:
            with suppress(*WRONG_SHAPE):
                keys.append(mandate_counter(facts))
        return tuple([key for key in keys if key is not None]), tuple(lookups)

    def searches_by(self, facts: Facts) -> frozenset[str]:
        """The facts on which it depends what rules that may apply add up and look for, beside those every action has."""
        return self.bundle(facts).searches_by

    def bundle(self, facts: Facts) -> _Bundle:
        """The rules that may apply to actions that are alike in the few facts by which most rules are chosen."""
        alike = tuple(map(facts.get, _ALIKE))
        try:
            bundle = self._bundles.get(alike)
        except TypeError:
            # A fact of another shape than texts have.
            return self._whole
        if bundle is None:
            if len(self._bundles) >= _MAX_BUNDLES:
                self._bundles.clear()
            known = {fact: value for fact, value in zip(_ALIKE, alike, strict=True) if isinstance(value, str)}
            bundle = self._bundles[alike] = _Bundle(_narrowed(self.rules, known))
        return bundle

    def allowed(self, rules: tuple[Rule, ...]) -> Verdict:
        """The verdict where these rules allow and no other speaks; made once for the same rules."""
        ids = tuple([rule.id for rule in rules])
        verdict = self._allows.get(ids)
        if verdict is None:
            if len(self._allows) >= _MAX_ALLOWS:
                self._allows.clear()
            verdict = self._allows[ids] = _verdict("allow", [_plain(rule) for rule in rules], None)
        return verdict


def evaluate(policy: Policy, facts: Facts) -> Verdict:
    """What the policy says of an action with these facts. Nothing else is looked at: the same facts give the same bytes."""
    bundle = policy.bundle(facts)
    if bundle.checks is not None and _all_kept(bundle.checks, facts):
        return policy.allowed(bundle.allows)
    return _asked(policy, bundle, facts)


def _all_kept(checks: tuple[Callable[[Facts], object | None], ...], facts: Facts) -> bool:
    """Whether some limits are kept, and there is nothing else to say."""
    if facts.get("mandate") is not None or facts.get("parts") is not None:
        return False
    try:
        for check in checks:
            if check(facts) is not None:
                return False
    except WRONG_SHAPE:
        return False
    return True


def _asked(policy: Policy, bundle: _Bundle, facts: Facts) -> Verdict:
    """What the rules say, one by one."""
    allows, heard = bundle.allows, None
    for rule in bundle.others.candidates(facts):
        if rule.limit is not None and not rule.conditions:
            # Most rules, most of the time: they apply, and their limit is kept.
            try:
                if rule.limit.check(facts) is None:
                    continue
            except WRONG_SHAPE:
                pass
        said = _said(rule, facts)
        if said is None:
            continue
        if said is _ALLOWS:
            allows = (*allows, rule)
            continue
        heard = heard or _Heard([], [], [])
        if said is _UNSURE:
            heard.unsure.append(rule)
        else:
            heard.add(said, rule.asking)
    if facts.get("mandate") is not None or facts.get("parts") is not None:
        for reason, asking in _built_in(policy, facts):
            heard = heard or _Heard([], [], [])
            heard.add(reason, asking)
    if allows and (heard is None or not heard.reasons):
        return policy.allowed(allows)
    return _concluded(policy, facts, allows, heard or _Heard([], [], []))


def _built_in(policy: Policy, facts: Facts) -> Iterator[tuple[Reason, Asking]]:
    """What no rule has to say: what lies beyond a mandate, and what is said against parts."""
    if facts.get("mandate") is not None:
        for reason in _mandate(facts):
            yield reason, policy.mandate_asking
    if facts.get("parts") is not None:
        yield from said_of_parts(facts["parts"], policy.asking)


def _said(rule: Rule, facts: Facts) -> Reason | None:
    try:
        missing = unmet(rule.conditions, facts)
        if missing is True:
            return None
        if missing is False:
            if rule.limit is None:
                return _ALLOWS if rule.otherwise == "allow" else _plain(rule)
            found = rule.limit.check(facts)
            return None if found is None else Reason(rule.id, rule.kind, rule.otherwise, *found)
    except WRONG_SHAPE as error:
        missing = lacking(error)
    return _UNSURE if rule.otherwise == "allow" else _unknown(rule, missing)


def explain(policy: Policy, facts: Facts) -> Explained:
    """The verdict, and the rules that apply and whose limits are kept."""
    verdict = evaluate(policy, facts)
    spoke = {reason.rule for reason in verdict.reasons}
    kept = []
    for rule in policy.rules:
        if rule.limit is None or rule.id in spoke:
            continue
        if unmet(rule.conditions, facts) is False:
            kept.append(rule.id)
    return Explained(verdict, tuple(sorted(kept)))


def _concluded(policy: Policy, facts: Facts, allows: tuple[Rule, ...], heard: _Heard) -> Verdict:
    if not policy.rules:
        return _verdict("deny", [_NO_POLICY], None)
    if not allows:
        for rule in heard.unsure:
            heard.add(_unknown(rule, str(unmet(rule.conditions, facts))), rule.asking)
    reasons = heard.reasons + [_plain(rule) for rule in allows]
    outcomes = {reason.outcome for reason in reasons}
    if "deny" in outcomes:
        return _verdict("deny", reasons, None)
    if "hold" in outcomes:
        return _verdict("hold", reasons, merged(heard.asked))
    action = facts.get("action")
    shown = action if isinstance(action, str) else None
    return _verdict("deny", [Reason("default", "default", "deny", shown, "what no rule allows", "a rule that allows it")], None)


_ORDER = {"deny": 0, "hold": 1, "allow": 2}


def _verdict(outcome: str, reasons: list[Reason], asking: Asking | None) -> Verdict:
    ordered = tuple(sorted(reasons, key=lambda reason: (_ORDER[reason.outcome], reason.rule, reason.limit or "")))
    said: dict[str, Any] = {"outcome": outcome, "reasons": [_reason_json(reason) for reason in ordered]}
    if asking is None:
        return Verdict(outcome, ordered, (), None, None, dumps(said).decode())
    said["approve"] = _approve_json(asking.approve)
    said["expires_s"] = asking.expires_s
    if asking.escalate is not None:
        said["escalate"] = {"after_s": asking.escalate.after_s, "approve": _approve_json(asking.escalate.approve)}
    return Verdict(outcome, ordered, asking.approve, asking.expires_s, asking.escalate, dumps(said).decode())


def _approve_json(approve: Approvers) -> list[dict[str, Any]]:
    return [{"people": people, "role": role} for role, people in approve]


def _reason_json(reason: Reason) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": reason.kind, "outcome": reason.outcome, "rule": reason.rule}
    if reason.observed is not None:
        said["observed"] = reason.observed
    if reason.limit is not None:
        said["limit"] = reason.limit
    if reason.change is not None:
        said["change"] = reason.change
    return said


def _plain(rule: Rule) -> Reason:
    change = {
        "allow": None,
        "hold": "the consent of the people who are asked",
        "deny": "another rule; nobody can agree to this one",
    }
    return Reason(rule.id, rule.kind, rule.otherwise, None, rule.about, change[rule.otherwise])


def _unknown(rule: Rule, fact: str) -> Reason:
    return _lacking(rule.id, rule.kind, fact)


def _lacking(rule: str, kind: str, fact: str) -> Reason:
    return Reason(rule, kind, "hold", "unknown", f"needs the fact {fact}", f"the fact {fact}, or the consent of people")


def _mandate(facts: Facts) -> Iterator[Reason]:
    mandate = facts["mandate"]
    outcome = "hold" if isinstance(mandate, dict) and mandate.get("beyond") == "ask" else "deny"
    try:
        for observed, limit, change in beyond_mandate(facts):
            yield Reason("mandate", "mandate", outcome, str(observed), limit, change)
    except WRONG_SHAPE as error:
        fact = lacking(error)
        yield Reason(
            "mandate", "mandate", "hold", "unknown", f"needs the fact {fact}", f"the fact {fact}, or the consent of people"
        )


class _Index:
    """Rules, looked up by a fact that has to be one of some texts, so that many rules of which few apply cost little."""

    __slots__ = ("_always", "_by")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._always: tuple[Rule, ...] = rules
        self._by: list[tuple[str, dict[str, tuple[Rule, ...]], tuple[Rule, ...]]] = []
        if len(rules) > _FEW:
            self._sort_in(rules)

    def candidates(self, facts: Facts) -> Iterable[Rule]:
        """Every rule that may apply, and few others."""
        if not self._by:
            return self._always
        found = list(self._always)
        for fact, by_text, every in self._by:
            value = facts.get(fact, ABSENT)
            if isinstance(value, str):
                found += by_text.get(value, ())
            elif value is ABSENT or isinstance(value, list | tuple | dict):
                found += every if value is not ABSENT or of_principal(fact, facts) is ABSENT else ()
        return found

    def _sort_in(self, rules: tuple[Rule, ...]) -> None:
        distinct: dict[str, set[str]] = {}
        for rule in rules:
            for fact, wanted in rule.texts.items():
                # A list, as the roles are, is no text to look up by.
                if fact != "roles":
                    distinct.setdefault(fact, set()).update(wanted)
        ranked = sorted(distinct, key=lambda fact: (-len(distinct[fact]), fact))
        chosen: dict[str, list[Rule]] = {}
        for rule in rules:
            chosen.setdefault(next((fact for fact in ranked if fact in rule.texts), ""), []).append(rule)
        self._always = tuple(chosen.pop("", ()))
        for fact, some in sorted(chosen.items()):
            by_text: dict[str, list[Rule]] = {}
            for rule in some:
                for text in rule.texts[fact]:
                    by_text.setdefault(text, []).append(rule)
            self._by.append((fact, {text: tuple(those) for text, those in by_text.items()}, tuple(some)))


class _Bundle:
    """Rules that may apply: those that always allow, the others, and of these the ones that count or look into lists.

    `checks` are the limits of the others, where there are few, all of them apply and something always allows.
    """

    __slots__ = ("allows", "checks", "others", "searches_by", "searching")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.allows = tuple(rule for rule in rules if _always_allows(rule))
        others = tuple(rule for rule in rules if not _always_allows(rule))
        self.others = _Index(others)
        limits = [rule.limit.check for rule in others if rule.limit is not None and not rule.conditions]
        self.checks = tuple(limits) if self.allows and len(limits) == len(others) <= _FEW else None
        limited = [(rule, rule.limit) for rule in rules if rule.limit is not None]
        searching = [(rule, limit) for rule, limit in limited if limit.counter is not None or limit.lookups is not None]
        self.searching = _Index(tuple(rule for rule, _ in searching))
        self.searches_by = frozenset(fact for rule, _ in searching for fact, _ in rule.conditions).union(
            *(limit.by for _, limit in searching)
        )


def _always_allows(rule: Rule) -> bool:
    return rule.otherwise == "allow" and rule.limit is None and not rule.conditions


def _narrowed(rules: tuple[Rule, ...], known: Facts) -> tuple[Rule, ...]:
    """The rules that may apply to these facts, without the conditions that are met."""
    found = []
    for rule in rules:
        rest = []
        for condition in rule.conditions:
            said = unmet((condition,), known) if condition[0] in known else ""
            if said is True:
                break
            if said is not False:
                rest.append(condition)
        else:
            texts = {fact: texts for fact, texts in rule.texts.items() if fact not in known}
            found.append(Rule(rule.id, rule.about, rule.kind, rule.otherwise, tuple(rest), texts, rule.limit, rule.asking))
    return tuple(found)


_NOBODY_ELSE = Asking((("approver", 1),), 86_400, None)
EMPTY = Policy(name="none", digest=digest({}).hex(), document={}, rules=(), asking=_NOBODY_ELSE, mandate_asking=_NOBODY_ELSE)
"""What is in force where no policy was applied: it denies everything."""
