"""What rules say of facts: each kind, what is unknown, and what holds for any policy and any facts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import policy
from tallystick.kit import loads_stored

TRANSFER: dict[str, Any] = {
    "action": "transfer",
    "at": "2026-04-21T12:00:00.000000Z",
    "principal": "bot",
    "kind": "agent",
    "roles": ["agent"],
    "owner": "ann",
    "risk_tier": "low",
    "account": "ACC1",
    "counterparty": "ACC2",
    "counterparty_kind": "customer",
    "counterparty_name": "Bob Brown",
    "payee_known_s": 90_000,
    "amount": 10_000,
    "asset": "CZK",
    "scale": 2,
}
ALLOW = {"id": "allowed", "allow": True}


def _policy(*rules: dict[str, Any], **top: Any) -> policy.Policy:
    return policy.parse({"name": "test", "rules": [*rules, ALLOW], **top})


def _outcome(rule: dict[str, Any], **facts: Any) -> str:
    return policy.evaluate(_policy({"id": "r", **rule}), TRANSFER | facts).outcome


def _without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in TRANSFER.items() if name not in names}


def test_what_no_rule_allows_is_denied_and_says_so() -> None:
    verdict = policy.evaluate(
        policy.parse({"name": "p", "rules": [{"id": "a", "when": {"action": "order"}, "allow": True}]}), TRANSFER
    )
    assert (verdict.outcome, verdict.reasons[0].rule) == ("deny", "default")


def test_without_a_policy_everything_is_denied() -> None:
    verdict = policy.evaluate(policy.EMPTY, TRANSFER)
    assert (verdict.outcome, verdict.reasons[0].rule) == ("deny", "no_policy")


def test_deny_is_stronger_than_hold_and_hold_than_allow() -> None:
    deny, hold = {"id": "d", "deny": True}, {"id": "h", "hold": True}
    assert policy.evaluate(_policy(), TRANSFER).outcome == "allow"
    assert policy.evaluate(_policy(hold), TRANSFER).outcome == "hold"
    verdict = policy.evaluate(_policy(hold, deny), TRANSFER)
    assert verdict.outcome == "deny"
    assert [reason.rule for reason in verdict.reasons] == ["d", "h", "allowed"]
    assert verdict.approve == ()


def test_the_text_of_an_allowed_action_is_short_and_canonical() -> None:
    text = policy.evaluate(_policy(), TRANSFER).text
    assert text == '{"outcome":"allow","reasons":[{"kind":"allow","outcome":"allow","rule":"allowed"}]}'


@pytest.mark.parametrize(
    ("limit", "amount", "scale", "outcome"),
    [
        ("100.00", 10_000, 2, "allow"),
        ("100.00", 10_001, 2, "hold"),
        ("100", 10_001, 2, "hold"),
        ("0.1", 10, 2, "allow"),
        ("0.1", 11, 2, "hold"),
        ("100.005", 10_000, 2, "allow"),
        ("100.005", 10_001, 2, "hold"),
        ("100", 100, 0, "allow"),
        ("100.9", 101, 0, "hold"),
    ],
)
def test_amounts_are_compared_exactly(limit: str, amount: int, scale: int, outcome: str) -> None:
    assert _outcome({"amount": {"at_most": {"CZK": limit}}}, amount=amount, scale=scale) == outcome


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 4))
def test_an_amount_is_within_a_limit_as_decimals_say(limit: int, amount: int, scale: int) -> None:
    exact = Decimal(limit) / 100
    expected = "allow" if Decimal(amount).scaleb(-scale) <= exact else "hold"
    assert _outcome({"amount": {"at_most": {"CZK": format(exact, "f")}}}, amount=amount, scale=scale) == expected


def test_an_asset_that_a_limit_does_not_name_is_beyond_it() -> None:
    assert _outcome({"amount": {"at_most": {"EUR": "1000000"}}}) == "hold"
    window = {"window": {"sum": {"at_most": {"EUR": "1000000"}}, "per": "account", "over": "24h"}}
    assert _outcome(window, used={}) == "hold"


def test_an_amount_of_null_is_no_money() -> None:
    assert _outcome({"amount": {"at_most": {"CZK": "1"}}}, amount=None) == "allow"


@pytest.mark.parametrize("fact", ["amount", "asset", "scale"])
def test_a_limit_whose_fact_is_missing_holds_even_where_it_would_deny(fact: str) -> None:
    rule = {"id": "r", "amount": {"at_most": {"CZK": "1000"}}, "otherwise": "deny"}
    verdict = policy.evaluate(_policy(rule), _without(fact))
    assert (verdict.outcome, verdict.reasons[0].observed) == ("hold", "unknown")


def test_a_condition_whose_fact_is_missing_holds_unless_another_is_not_met() -> None:
    rule = {"id": "r", "when": {"counterparty_kind": "external", "action": "transfer"}, "deny": True}
    assert policy.evaluate(_policy(rule), TRANSFER).outcome == "allow"
    assert policy.evaluate(_policy(rule), _without("counterparty_kind")).outcome == "hold"
    assert policy.evaluate(_policy(rule), _without("counterparty_kind") | {"action": "order"}).outcome == "allow"


def test_a_rule_that_may_allow_holds_only_where_no_other_allows() -> None:
    unsure = {"id": "a", "when": {"counterparty_kind": "internal"}, "allow": True}
    facts = _without("counterparty_kind")
    assert policy.evaluate(policy.parse({"name": "p", "rules": [unsure]}), facts).outcome == "hold"
    assert policy.evaluate(_policy(unsure), facts).outcome == "allow"


def test_only_agents_have_an_unknown_risk_tier() -> None:
    rule = {"when": {"risk_tier": {"not": "low"}}, "deny": True}
    assert _outcome(rule) == "allow"
    assert policy.evaluate(_policy({"id": "r", **rule}), _without("risk_tier")).outcome == "hold"
    rule = {"when": {"risk_tier": "low"}, "deny": True}
    assert policy.evaluate(_policy({"id": "r", **rule}), _without("risk_tier") | {"kind": "person"}).outcome == "allow"


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ({"action": "transfer"}, True),
        ({"action": ["order", "transfer"]}, True),
        ({"action": "trans*"}, True),
        ({"action": {"not": "trans*"}}, False),
        ({"roles": "agent"}, True),
        ({"roles": ["operator", "admin"]}, False),
        ({"roles": {"not": "agent"}}, False),
        ({"amount": {"at_least": {"CZK": "100.00"}}}, True),
        ({"amount": {"more_than": {"CZK": "100.00"}}}, False),
        ({"amount": {"less_than": {"CZK": "100.001"}}}, True),
        ({"payee_known_s": {"at_most": 90_000}}, True),
        ({"behalf": None}, True),
        ({"behalf": {"not": None}}, False),
    ],
)
def test_when_a_rule_applies(when: dict[str, Any], applies: bool) -> None:
    assert _outcome({"when": when, "deny": True}) == ("deny" if applies else "allow")


def test_a_window_counts_what_was_used_with_this_action() -> None:
    rule = {"window": {"count": {"at_most": 3}, "per": "agent", "over": "1h"}}
    (key,) = _policy({"id": "r", **rule}).counters(TRANSFER)
    assert key == ("r|agent|3600|bot", 3600)
    assert _outcome(rule, used={key.key: [2, 0]}) == "allow"
    assert _outcome(rule, used={key.key: [3, 0]}) == "hold"
    assert _outcome(rule, used={key.key: [1, 0]}, count=3) == "hold"
    assert _outcome(rule) == "hold", "what was used is unknown"
    assert _outcome(rule, kind="person") == "allow"


def test_a_window_of_a_counterparty_is_not_escaped_by_spelling() -> None:
    rule = {"id": "r", "window": {"sum": {"at_most": {"CZK": "1"}}, "per": "agent+counterparty", "over": "30d"}}
    first, second = (_policy(rule).counters(TRANSFER | {"counterparty": text}) for text in ("CZ65 0800", "cz650800"))
    assert first == second


def test_a_new_payee_asks_and_so_does_one_that_is_not_known_long_enough() -> None:
    assert _outcome({"payee": {}}, payee_known_s=None) == "hold"
    assert _outcome({"payee": {}}, payee_known_s=0) == "allow"
    assert _outcome({"payee": {"cooling": "24h"}}, payee_known_s=86_399) == "hold"
    assert _outcome({"payee": {"cooling": "24h"}}, payee_known_s=86_400) == "allow"


def test_lists_deny_those_who_are_on_them_or_all_others() -> None:
    deny = {"list": {"name": "sanctions", "by": "counterparty_name"}}
    assert _outcome(deny, listed={"sanctions": []}) == "allow"
    assert _outcome(deny, listed={"sanctions": ["7"]}) == "deny"
    assert _outcome(deny, listed={}) == "hold"
    assert _outcome(deny, listed={}, counterparty_name=None) == "allow"
    assert _outcome(deny, listed={"sanctions": []}, counterparty_name="???") == "hold"
    allow = {"list": {"name": "partners", "by": "counterparty", "mode": "allow"}}
    assert _outcome(allow, listed={"allow:partners:counterparty": ["7"]}) == "allow"
    assert _outcome(allow, listed={"allow:partners:counterparty": [None]}) == "deny"
    assert _outcome(allow, listed={}, counterparty=None) == "deny"


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        ("2026-04-21T06:00:00Z", "allow"),  # 08:00 in Prague, a Tuesday
        ("2026-04-21T05:59:59Z", "hold"),
        ("2026-04-21T15:59:59Z", "allow"),
        ("2026-04-21T16:00:00Z", "hold"),
        ("2026-04-19T10:00:00Z", "hold"),  # a Sunday
        ("2026-05-01T10:00:00Z", "hold"),  # a holiday
        ("2026-01-20T06:30:00Z", "hold"),  # 07:30, as it is winter
    ],
)
def test_hours_are_those_of_the_place(at: str, outcome: str) -> None:
    days = ["mon", "tue", "wed", "thu", "fri"]
    hours = {"zone": "Europe/Prague", "days": days, "from": "08:00", "to": "18:00", "holidays": ["2026-05-01"]}
    assert _outcome({"hours": hours}, at=at) == outcome


def test_hours_over_midnight_belong_to_the_day_they_began() -> None:
    hours = {"zone": "UTC", "days": ["fri"], "from": "22:00", "to": "06:00"}
    assert _outcome({"hours": hours}, at="2026-04-24T23:00:00Z") == "allow"
    assert _outcome({"hours": hours}, at="2026-04-25T05:00:00Z") == "allow"
    assert _outcome({"hours": hours}, at="2026-04-24T05:00:00Z") == "hold"


ORDER = {"side": "buy", "quantity": 10, "price": "2.5", "notional": 25, "position": 0, "portfolio": 1000, "short": False}


def test_orders_have_limits() -> None:
    assert _outcome({"order": {"max_quantity": 10}}, **ORDER) == "allow"
    assert _outcome({"order": {"max_quantity": "9.99"}}, **ORDER) == "hold"
    assert _outcome({"order": {"max_notional": {"CZK": "24.99"}}}, **ORDER) == "hold"
    assert _outcome({"order": {"max_concentration": "0.025"}}, **ORDER) == "allow"
    assert _outcome({"order": {"max_concentration": "0.0249"}}, **ORDER) == "hold"
    assert _outcome({"order": {"max_concentration": "0.01"}}, **ORDER | {"position": 500, "side": "sell"}) == "allow"
    assert _outcome({"order": {"short": False}}, **ORDER) == "allow"
    assert _outcome({"order": {"short": False}}, **ORDER | {"short": True}) == "hold"


def test_risk_evidence_and_batches() -> None:
    assert _outcome({"risk": {"at_most": "0.7"}}, case_risk=Decimal("0.7")) == "allow"
    assert _outcome({"risk": {"at_most": "0.7"}}, case_risk=Decimal("0.71")) == "hold"
    assert _outcome({"risk": {"at_most": "0.7"}}, case_risk=None) == "hold"
    rule = {"evidence": {"agent": "screening", "events": ["cleared"]}}
    assert _outcome(rule, evidence={"screening": ["seen", "cleared"]}) == "allow"
    assert _outcome(rule, evidence={"other": ["cleared"]}) == "hold"
    assert _outcome(rule) == "hold"
    assert _outcome({"batch": {"size": 2}}) == "allow"
    assert _outcome({"batch": {"size": 2}}, count=3) == "hold"
    assert _outcome({"batch": {"total": {"CZK": "99"}}}) == "hold"


MANDATE: dict[str, Any] = {
    "id": 4,
    "person": "ann",
    "operations": ["transfer"],
    "accounts": ["ACC1"],
    "max_amount": {"CZK": 10_000},
    "total": {"CZK": 15_000},
    "payees": ["acc 2"],
    "until": "2026-04-22T00:00:00Z",
    "beyond": "deny",
}
USED = {"mandate|4|CZK|2": [1, 5_000]}


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({}, "allow"),
        ({"action": "order"}, "deny"),
        ({"account": "ACC9"}, "deny"),
        ({"counterparty": "ACC9"}, "deny"),
        ({"payees": ["ACC2", "ACC9"]}, "deny"),
        ({"amount": 10_001}, "deny"),
        ({"asset": "EUR"}, "deny"),
        ({"used": {"mandate|4|CZK|2": [1, 5_001]}}, "deny"),
        ({"used": {}}, "hold"),
        ({"at": "2026-04-22T00:00:00.000000Z"}, "deny"),
        ({"mandate": {}}, "hold"),
        ({"mandate": MANDATE | {"operations": ["*"]}, "action": "order"}, "allow"),
        ({"mandate": MANDATE | {"beyond": "ask"}, "amount": 10_001}, "hold"),
    ],
)
def test_what_lies_beyond_a_mandate_is_denied_or_asked(facts: dict[str, Any], outcome: str) -> None:
    verdict = policy.evaluate(_policy(), TRANSFER | {"mandate": MANDATE, "used": USED} | facts)
    assert verdict.outcome == outcome
    assert verdict.outcome == "allow" or verdict.reasons[0].rule == "mandate"


def test_all_that_is_asked_for_becomes_one_question() -> None:
    first = {"id": "a", "hold": True, "approve": [{"role": "approver", "people": 2}], "expires": "2h"}
    later = {"after": "1h", "approve": [{"role": "admin", "people": 1}]}
    second = {
        "id": "b",
        "hold": True,
        "approve": [{"role": "admin", "people": 1}, {"role": "approver", "people": 1}],
        "escalate": later,
    }
    verdict = policy.evaluate(_policy(first, second, expires="4h"), TRANSFER)
    assert verdict.approve == (("admin", 1), ("approver", 2))
    assert verdict.expires_s == 7200
    assert verdict.escalate == policy.Escalation(3600, (("admin", 1),))


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({}, "rules[0]: a rule has a kind"),
        ({"allow": True, "deny": True}, "rules[0]: a rule has one kind"),
        ({"allow": False}, "rules[0].allow: here stands yes"),
        ({"amount": {"at_most": {"CZK": "1e3"}}}, "rules[0].amount.at_most.CZK: "),
        ({"amount": {"at_most": {"CZK": "-1"}}}, "rules[0].amount.at_most.CZK: "),
        ({"amount": {"at_most": {"czk": "1"}}}, "rules[0].amount.at_most.czk: "),
        ({"amount": {"below": {"CZK": "1"}}}, "rules[0].amount.below: unknown"),
        ({"window": {"per": "account", "over": "1h"}}, "rules[0].window: either sum or count"),
        ({"hours": {"zone": "Mars/Base"}}, "rules[0].hours.zone: "),
        ({"hold": True, "approve": [{"role": "agent", "people": 1}]}, "rules[0].approve[0].role: one of"),
        ({"hold": True, "otherwise": "deny"}, "rules[0].otherwise: "),
        ({"allow": True, "approve": [{"role": "admin", "people": 1}]}, "rules[0]: a rule that allows asks nobody"),
        ({"when": {"Kind": "agent"}, "allow": True}, "rules[0].when.Kind: "),
        ({"when": {"kind": {"no": 1}}, "allow": True}, "rules[0].when.kind.no: unknown"),
        ({"surprise": 1, "allow": True}, "rules[0].surprise: unknown"),
        ({"id": "mandate", "allow": True}, "rules[0].id: mandate is taken"),
    ],
)
def test_every_problem_is_named_by_its_place(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(policy.Malformed) as caught:
        _policy({"id": "r", **rule})
    assert any(one.startswith(problem) for one in caught.value.problems)
    assert caught.value.code == "policy_malformed"


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nname: b",
        "a: &x [1]\nb: *x",
        "a: !!python/object:os.system x",
        "--- {a: 1}\n--- {b: 1}",
        "[" * 40 + "]" * 40,
        "a: [",
        "a: 'x\x00'",
        '{"a": 1, "a": 2}',
        "? {a: 1}\n: b",
        "",
        "just a text",
    ],
)
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(policy.Malformed):
        policy.parse(text)


def test_yaml_numbers_with_a_fraction_and_times_stay_text() -> None:
    rule = "name: p\neffective_from: 2026-01-01\nrules:\n  - {id: r, amount: {at_most: {CZK: 100.10}}, about: 08:30}\n"
    parsed = policy.parse(rule)
    assert parsed.document["rules"][0] == {"id": "r", "amount": {"at_most": {"CZK": "100.10"}}, "about": "08:30"}


def test_the_same_document_in_yaml_and_json_has_one_digest() -> None:
    text = "name: p\nrules:\n  - {id: r, deny: yes}\n"
    assert policy.parse(text).digest == policy.parse('{"rules": [{"deny": true, "id": "r"}], "name": "p"}').digest


# Any policy, any facts.

_TEXTS = st.sampled_from(["transfer", "order", "agent", "person", "ACC1", "ACC2", "low", "high", "x"])
_FACTS = st.sampled_from(["action", "kind", "account", "risk_tier", "roles", "counterparty_kind", "version"])
_CONDITION = _TEXTS | st.lists(_TEXTS, min_size=1, max_size=3) | st.builds(lambda value: {"not": value}, _TEXTS) | st.none()
_LIMIT = st.sampled_from(
    [
        {"allow": True},
        {"deny": True},
        {"hold": True},
        {"amount": {"at_most": {"CZK": "50"}}},
        {"amount": {"at_least": {"CZK": "50"}}, "otherwise": "deny"},
        {"window": {"sum": {"at_most": {"CZK": "50"}}, "per": "account", "over": "1h"}},
        {"window": {"count": {"at_most": 2}, "per": "agent+counterparty", "over": "24h"}, "otherwise": "deny"},
        {"payee": {"cooling": "1h"}},
        {"list": {"name": "sanctions", "by": ["counterparty", "counterparty_name"]}},
        {"hours": {"zone": "Europe/Prague", "from": "08:00", "to": "12:00"}},
        {"order": {"max_quantity": 5, "max_concentration": "0.1", "short": False}},
        {"risk": {"at_most": "0.5"}},
        {"evidence": {"agent": "screening", "events": ["cleared"]}},
        {"batch": {"size": 2}},
    ]
)
_RULE = st.builds(lambda limit, when: limit | {"when": when}, _LIMIT, st.dictionaries(_FACTS, _CONDITION, max_size=3))
_RULES = st.lists(_RULE, min_size=1, max_size=30)
_OBJECTS = st.dictionaries(_TEXTS, st.integers(-(10**18), 10**18), max_size=2)
_VALUES = st.none() | st.booleans() | st.integers(-5, 20_000) | _TEXTS | st.lists(_TEXTS, max_size=3) | _OBJECTS
_MORE = ("used", "listed", "mandate", "evidence", "case_risk", "count", "payees", "version")
_NAMES = st.sampled_from([*TRANSFER, *ORDER, *_MORE])
_ANY_FACTS = st.builds(
    lambda more, left: {
        name: value for name, value in {**TRANSFER, "used": {}, "listed": {"sanctions": []}, **more}.items() if name not in left
    },
    st.dictionaries(_NAMES, _VALUES, max_size=8),
    st.sets(_NAMES, max_size=3),
)
_STRENGTH = {"allow": 0, "hold": 1, "deny": 2}


def _numbered(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": f"r{n}", **rule} for n, rule in enumerate(rules)]


@given(_RULES, _ANY_FACTS)
@settings(max_examples=300)
def test_evaluation_is_pure_and_its_replay_gives_the_same_bytes(rules: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    parsed = policy.parse({"name": "p", "rules": _numbered(rules)})
    stored = policy.facts_text(facts)
    verdict = policy.evaluate(parsed, facts)
    assert policy.facts_text(facts) == stored
    again = policy.parse(loads_stored(policy.canonical(parsed)))
    assert again.digest == parsed.digest
    assert policy.evaluate(again, loads_stored(stored)) == verdict
    assert policy.facts_text(loads_stored(verdict.text)) == verdict.text


@given(_RULES, _ANY_FACTS, st.randoms(use_true_random=False))
@settings(max_examples=300)
def test_the_order_of_the_rules_means_nothing(rules: list[dict[str, Any]], facts: dict[str, Any], random: Any) -> None:
    numbered = _numbered(rules)
    shuffled = random.sample(numbered, len(numbered))
    first, second = (policy.parse({"name": "p", "rules": some}) for some in (numbered, shuffled))
    assert policy.evaluate(first, facts) == policy.evaluate(second, facts)


@given(_RULES, _ANY_FACTS, st.dictionaries(_FACTS, _CONDITION, max_size=2), st.sampled_from(["deny", "hold"]))
@settings(max_examples=300)
def test_another_deny_or_hold_never_makes_an_outcome_weaker(
    rules: list[dict[str, Any]], facts: dict[str, Any], when: dict[str, Any], kind: str
) -> None:
    numbered = _numbered(rules)
    before = policy.evaluate(policy.parse({"name": "p", "rules": numbered}), facts)
    after = policy.evaluate(policy.parse({"name": "p", "rules": [*numbered, {"id": "more", "when": when, kind: True}]}), facts)
    weaker = _STRENGTH[after.outcome] < _STRENGTH[before.outcome]
    # What nobody allows is denied; where people may be asked instead, that is what the rule says.
    assert not weaker or ([reason.rule for reason in before.reasons] == ["default"] and after.outcome == "hold")
    assert kind == "hold" or not weaker or "more" in {reason.rule for reason in after.reasons if reason.outcome == "hold"}


@given(_RULES, _ANY_FACTS)
@settings(max_examples=300)
def test_many_rules_say_what_each_says_alone(rules: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    numbered = _numbered(rules * 3)
    spoke = {reason.rule for reason in policy.evaluate(policy.parse({"name": "p", "rules": numbered}), facts).reasons}
    alone = set()
    for rule in numbered:
        said = policy.evaluate(policy.parse({"name": "p", "rules": [rule]}), facts)
        alone |= {reason.rule for reason in said.reasons if not (rule.get("allow") and reason.outcome == "hold")}

    assert {rule for rule in spoke if rule not in ("default",)} >= alone - {"default"}
