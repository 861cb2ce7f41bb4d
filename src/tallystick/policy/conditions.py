"""When a rule applies: what its `when` asks of the facts.

A condition names a fact and a value, a list of values, `{not: …}`, or bounds of a number. A text that ends in * stands for all
that begin so. A fact that is a list, as the roles are, is met where one of its elements is. All conditions have to be met. If
one is not, the rule does not apply, whatever is unknown of the others; else what is unknown leaves open whether it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from tallystick.policy.kinds import Limits
from tallystick.policy.model import Facts
from tallystick.policy.spots import Spot

Test = Callable[[Any, Facts], bool]
Condition = tuple[str, Test]

WRONG_SHAPE = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)
"""The errors in which looking at facts ends that are missing or of another shape."""

ABSENT: Any = object()
MONEY = ("amount",)
_FACT = re.compile(r"[a-z][a-z0-9_]{0,49}")
_BOUNDS = ("at_least", "at_most", "more_than", "less_than")
_MAX_VALUES = 1000


def read(spot: Spot) -> tuple[list[Condition], dict[str, frozenset[str]]]:
    """The conditions of a `when`, and the facts that have to be one of some texts, for those who look rules up by them."""
    conditions: list[Condition] = []
    texts: dict[str, frozenset[str]] = {}
    if not isinstance(spot.value, dict) or len(spot.value) > 20:
        spot.wrong("here stand up to 20 facts, each with what it has to be")
        return conditions, texts
    # In the order of the canonical JSON, so that a policy says the same however it was written.
    for fact, wanted in sorted(spot.items()):
        if not _FACT.fullmatch(fact):
            wanted.wrong("this is not the name of a fact")
        elif isinstance(wanted.value, dict):
            conditions += [(fact, test) for test in _tests(fact, wanted)]
        else:
            values = _values(wanted)
            conditions.append((fact, _among(values)))
            if all(isinstance(value, str) and not value.endswith("*") for value in values):
                texts[fact] = frozenset(map(str, values))
    return conditions, texts


def unmet(conditions: Iterable[Condition], facts: Facts) -> str | bool:
    """False where the conditions are met, True where one is not, else the name of a fact that is missing."""
    missing = ""
    for fact, test in conditions:
        value = facts.get(fact, ABSENT)
        if value is ABSENT:
            value = of_principal(fact, facts)
            if value is ABSENT:
                missing = fact
                continue
        try:
            if not test(value, facts):
                return True
        except WRONG_SHAPE as error:
            missing = lacking(error, fact)
    return missing or False


def lacking(error: BaseException, fact: str = "in the right form") -> str:
    """The fact that a rule lacks, where looking at the facts has ended in an error."""
    # The words of other errors differ from one version of Python to the next.
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        return error.args[0]
    return fact


def of_principal(fact: str, facts: Facts) -> Any:
    """What a fact of the principal that was left out is known to be: only agents have an owner, and few act for somebody."""
    if fact in ("behalf", "mandate"):
        return None
    if fact in ("owner", "risk_tier", "version") and facts.get("kind", "agent") != "agent":
        return None
    return ABSENT


def _tests(fact: str, spot: Spot) -> list[Test]:
    if "not" in spot.value:
        spot.mapping(("not",))
        among = _among(_values(spot.at("not")))
        return [lambda value, facts: not among(value, facts)]
    spot.mapping(_BOUNDS)
    if not spot.value:
        spot.wrong(f"one of not, {', '.join(_BOUNDS)} stands here")
    return [
        _money_bound(name, limit) if fact in MONEY else _bound(name, limit) for name, limit in spot.items() if name in _BOUNDS
    ]


def _values(spot: Spot) -> list[Any]:
    values = []
    for one in spot.one_or_more(most=_MAX_VALUES):
        if isinstance(one.value, dict | list):
            one.wrong("a single value stands here")
        elif isinstance(one.value, str) and len(one.value) > 500:
            one.wrong("a text may have 500 characters")
        else:
            values.append(one.value)
    return values


def _among(values: list[Any]) -> Test:
    exact = frozenset(value for value in values if not (isinstance(value, str) and value.endswith("*")))
    beginnings = tuple(value[:-1] for value in values if isinstance(value, str) and value.endswith("*"))

    def one(value: Any) -> bool:
        return value in exact or (bool(beginnings) and isinstance(value, str) and value.startswith(beginnings))

    def test(value: Any, _facts: Facts) -> bool:
        return any(map(one, value)) if isinstance(value, list | tuple) else one(value)

    return test


def _bound(name: str, spot: Spot) -> Test:
    limit = spot.decimal(least=-(10**18))

    def test(value: Any, _facts: Facts) -> bool:
        number = Decimal(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | Decimal):
            raise TypeError("number")
        if isinstance(number, Decimal) and not number.is_finite():
            raise ValueError("number")
        return _compare(name, number, limit)

    return test


def _money_bound(name: str, spot: Spot) -> Test:
    limits = Limits(spot.money())

    def test(value: Any, facts: Facts) -> bool:
        if value is None:
            return False
        asset, scale = facts["asset"], facts["scale"]
        # Minor units are whole: to be above a limit is to be above the last one within it.
        limit = (limits.at_least if name in ("at_least", "less_than") else limits.at_most)(asset, scale)
        if limit is None:
            raise KeyError("asset")
        return _compare(name, value, limit)

    return test


def _compare(name: str, value: Any, limit: Any) -> bool:
    if name == "at_least":
        return bool(value >= limit)
    if name == "at_most":
        return bool(value <= limit)
    if name == "more_than":
        return bool(value > limit)
    return bool(value < limit)
