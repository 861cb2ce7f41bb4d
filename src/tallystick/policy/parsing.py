"""From a document to a policy: every rule is read, and every problem is named by its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.kit import Invalid, digest, dumps, loads_stored
from tallystick.policy import conditions
from tallystick.policy.asking import Asking
from tallystick.policy.kinds import KINDS, Kind
from tallystick.policy.model import Escalation
from tallystick.policy.reading import read
from tallystick.policy.rules import Policy, Rule
from tallystick.policy.spots import DAY_S, Spot

MAX_RULES = 5000
_PLAIN = ("allow", "deny", "hold")
_ASKING = ("approve", "expires", "escalate")
_TOP = ("name", "about", "effective_from", "rules", *_ASKING)
_RULE = ("id", "about", "when", "otherwise", *_ASKING, *_PLAIN, "mandate", *KINDS)
_RESERVED = ("mandate", "default", "no_policy")
_DEFAULT = Asking((("approver", 1),), DAY_S, None)


class Malformed(Invalid):
    """A document is no policy. `problems` are all that was found, each with its place."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("policy_malformed", "; ".join(problems))
        self.problems = problems


def parse(document: str | bytes | Mapping[str, Any], source: str = "") -> Policy:
    """Read a policy: a mapping, or the text of one in YAML or JSON. `source` is named before each problem, where given.

    Refuses with `Invalid` (`policy_malformed`), and names all problems, each by its place: `rules[3].amount.at_most: …`.
    """
    prefix = f"{source}: " if source else ""
    try:
        data = read(document)
    except Invalid as error:
        raise Malformed((prefix + error.detail,)) from None
    spot = Spot(data, "")
    policy = _policy(spot)
    if spot.problems:
        raise Malformed(tuple(prefix + problem for problem in spot.problems))
    return policy


def canonical(policy: Policy) -> str:
    """The canonical JSON of a policy's document, of which its digest is made."""
    return dumps(dict(policy.document)).decode()


def parse_stored(text: str) -> Policy:
    """The policy of a text that `canonical` has made."""
    return parse(loads_stored(text))


def _policy(spot: Spot) -> Policy:
    spot.mapping(_TOP, required=("name", "rules"))
    name = spot.at("name").word()
    if spot.has("about"):
        spot.at("about").text(most=2000)
    effective_from = spot.at("effective_from").moment() if spot.has("effective_from") else None
    asking = _asking(spot, _DEFAULT)
    rules: list[Rule] = []
    mandate = asking
    ids: set[str] = set()
    for one in spot.at("rules").each(most=MAX_RULES):
        one.mapping(_RULE, required=("id",))
        rule_id = one.at("id").word() if one.has("id") else "x"
        if one.has("id") and (rule_id in ids or rule_id in _RESERVED):
            one.at("id").wrong(f"{rule_id} is taken")
        ids.add(rule_id)
        if one.has("mandate"):
            if mandate is not asking:
                one.at("mandate").wrong("there is one such rule already")
            mandate = _mandate(one, asking)
        else:
            rules.append(_rule(one, rule_id, asking))
    document = spot.value if isinstance(spot.value, dict) else {}
    return Policy(
        name=name,
        digest=digest(document).hex(),
        document=document,
        # The order of the rules means nothing; what was said is shown in the order of their names.
        rules=tuple(sorted(rules, key=lambda rule: rule.id)),
        asking=asking,
        mandate_asking=mandate,
        effective_from=effective_from,
    )


def _rule(spot: Spot, rule_id: str, default: Asking) -> Rule:
    about = spot.at("about").text() if spot.has("about") else None
    met, texts = conditions.read(spot.at("when")) if spot.has("when") else ([], {})
    kinds = [key for key in (*_PLAIN, *KINDS) if spot.has(key)]
    if len(kinds) != 1:
        problem = f"a rule has one kind, not {' and '.join(kinds)}" if kinds else "a rule has a kind: one of "
        spot.wrong(problem if kinds else problem + ", ".join((*_PLAIN, *KINDS, "mandate")))
    asking = _asking(spot, default)
    kind = kinds[0] if kinds else "deny"
    limit: Kind | None = None
    for name in kinds:
        if name in _PLAIN:
            spot.at(name).yes()
        else:
            limit = KINDS[name](spot.at(name), rule_id)
    if kind in _PLAIN:
        if spot.has("otherwise"):
            spot.at("otherwise").wrong(f"{kind} has no otherwise")
        otherwise = kind
    else:
        otherwise = _otherwise(spot, kind)
    if otherwise == "allow" and any(spot.has(key) for key in _ASKING):
        spot.wrong("a rule that allows asks nobody")
    return Rule(rule_id, about, kind, otherwise, tuple(met), texts, limit, asking)


def _otherwise(spot: Spot, kind: str) -> str:
    if spot.has("otherwise"):
        return spot.at("otherwise").choice(("hold", "deny"))
    return "deny" if kind == "list" else "hold"


def _mandate(spot: Spot, default: Asking) -> Asking:
    spot.at("mandate").yes()
    for key in ("when", "otherwise", *_PLAIN, *KINDS):
        if spot.has(key):
            spot.at(key).wrong("the rule of mandates says whom to ask beyond them, and nothing else")
    if spot.has("about"):
        spot.at("about").text()
    return _asking(spot, default)


def _asking(spot: Spot, default: Asking) -> Asking:
    approve = spot.at("approve").approvers() if spot.has("approve") else default.approve
    expires_s = spot.at("expires").duration(60, 90 * DAY_S) if spot.has("expires") else default.expires_s
    escalate = default.escalate
    if spot.has("escalate"):
        one = spot.at("escalate").mapping(("after", "approve"), required=("after", "approve"))
        escalate = Escalation(one.at("after").duration(60, 90 * DAY_S), one.at("approve").approvers())
        if escalate.after_s >= expires_s:
            one.at("after").wrong("this is after the question has expired")
    return Asking(approve, expires_s, escalate)
