"""The kinds of rules: how each is read, and what it checks.

A check looks at the facts and returns nothing where its limit is kept, else what it observed, the limit, and what would change
it. Where a fact is missing it raises `KeyError`, where one has another shape another error (`TypeError`, `ValueError`), and the
rule holds. A fact that is null is known to be none: an amount of null is no money, and breaks no limit of amounts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from tallystick.kit import Asset, format_minor
from tallystick.policy.model import CounterKey, Facts, Lookup
from tallystick.policy.normal import id_form, name_form, payee_form
from tallystick.policy.spots import DAY_S, Spot, span

Found = tuple[str | None, str | None, str | None]
Check = Callable[[Facts], Found | None]
Counter = Callable[[Facts], CounterKey | None]
Lookups = Callable[[Facts], list[Lookup]]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MAX_KEY = 400
_MAX_KNOWN = 4096
_PER = {
    "account": ("account",),
    "customer": ("customer",),
    "agent": ("principal",),
    "counterparty": ("counterparty",),
    "agent+counterparty": ("principal", "counterparty"),
    "principal": ("principal",),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a rule of a kind does, once it applies: what it checks, what it counts, what it looks up, and by which facts."""

    check: Check
    counter: Counter | None = None
    lookups: Lookups | None = None
    by: frozenset[str] = frozenset()


class Limits:
    """Amounts by asset, as minor units of any scale."""

    def __init__(self, amounts: Mapping[str, Decimal]) -> None:
        self._amounts = dict(amounts)
        self._known: dict[tuple[str, int], tuple[int | None, int | None]] = {}

    def at_most(self, asset: str, scale: int) -> int | None:
        """The largest number of minor units within the limit; `None` where the asset has none."""
        return (self._known.get((asset, scale)) or self._find(asset, scale))[0]

    def at_least(self, asset: str, scale: int) -> int | None:
        """The smallest number of minor units that reaches the limit; `None` where the asset has none."""
        return (self._known.get((asset, scale)) or self._find(asset, scale))[1]

    def _find(self, asset: str, scale: int) -> tuple[int | None, int | None]:
        limit = self._amounts.get(asset)
        if limit is None:
            return None, None
        if not isinstance(scale, int) or not 0 <= scale <= 18:
            raise TypeError("scale")
        exact = Fraction(limit) * 10**scale
        found = exact.__floor__(), exact.__ceil__()
        self._known[asset, scale] = found
        return found


def amount(spot: Spot, _rule: str) -> Kind:
    """`amount`: at least and at most, by asset. An asset that is not named is beyond every limit."""
    spot.mapping(("at_most", "at_least"))
    if not spot.has("at_most") and not spot.has("at_least"):
        spot.wrong("at_most or at_least is missing")
    most = Limits(spot.at("at_most").money()) if spot.has("at_most") else None
    least = Limits(spot.at("at_least").money()) if spot.has("at_least") else None

    def check(facts: Facts) -> Found | None:
        given = facts["amount"]
        if given is None:
            return None
        asset, scale = facts["asset"], facts["scale"]
        if most is not None:
            limit = most.at_most(asset, scale)
            if limit is None:
                return _no_limit(given, asset, scale)
            if given > limit:
                return _over(given, limit, asset, scale)
        if least is not None:
            limit = least.at_least(asset, scale)
            if limit is None:
                return _no_limit(given, asset, scale)
            if given < limit:
                bound = _money(limit, asset, scale)
                return _money(given, asset, scale), f"at least {bound}", f"an amount of at least {bound}"
        return None

    return Kind(check)


def window(spot: Spot, rule: str) -> Kind:
    """`window`: the sum or the count within a sliding window, by whom or what it is for."""
    spot.mapping(("sum", "count", "per", "over"), required=("per", "over"))
    if spot.has("sum") == spot.has("count"):
        spot.wrong("either sum or count stands here")
    per = spot.at("per").choice(tuple(_PER))
    over_s = spot.at("over").duration(60, 366 * DAY_S)
    subject = _subject(per)
    if spot.has("count"):
        within = spot.at("count").mapping(("at_most",), required=("at_most",))
        return _count_window(f"{rule}|{per}|{over_s}|", subject, per, over_s, within.at("at_most").integer(0, 10**9))
    within = spot.at("sum").mapping(("at_most",), required=("at_most",))
    return _sum_window(f"{rule}|{per}|{over_s}|", subject, per, over_s, Limits(within.at("at_most").money()))


def _count_window(prefix: str, subject: Callable[[Facts], str | None], per: str, over_s: int, limit: int) -> Kind:
    keys = _Keys(over_s)

    def counter(facts: Facts) -> CounterKey | None:
        name = subject(facts)
        return None if name is None else keys.of(prefix + name)

    def check(facts: Facts) -> Found | None:
        name = subject(facts)
        if name is None:
            return None
        before = facts["used"][keys.of(prefix + name)[0]][0]
        after = before + facts.get("count", 1)
        if after <= limit:
            return None
        return (
            f"{after} in {span(over_s)}",
            f"at most {limit} in {span(over_s)} per {per}",
            f"at most {max(limit - before, 0)} more now, or waiting until earlier ones are older than {span(over_s)}",
        )

    return Kind(check, counter, by=frozenset(_PER[per]))


def _sum_window(prefix: str, subject: Callable[[Facts], str | None], per: str, over_s: int, limits: Limits) -> Kind:
    keys = _Keys(over_s)

    def counter(facts: Facts) -> CounterKey | None:
        if facts["amount"] is None:
            return None
        name = subject(facts)
        asset, scale = facts["asset"], facts["scale"]
        if name is None or limits.at_most(asset, scale) is None:
            return None
        return keys.of(f"{prefix}{asset}|{scale}|{name}")

    def check(facts: Facts) -> Found | None:
        given = facts["amount"]
        if given is None:
            return None
        name = subject(facts)
        if name is None:
            return None
        asset, scale = facts["asset"], facts["scale"]
        limit = limits.at_most(asset, scale)
        if limit is None:
            return _no_limit(given, asset, scale)
        before = facts["used"][keys.of(f"{prefix}{asset}|{scale}|{name}")[0]][1]
        if before + given <= limit:
            return None
        left = _money(max(limit - before, 0), asset, scale)
        return (
            f"{_money(before + given, asset, scale)} in {span(over_s)}",
            f"at most {_money(limit, asset, scale)} in {span(over_s)} per {per}",
            f"at most {left} now, or waiting until earlier ones are older than {span(over_s)}",
        )

    return Kind(check, counter, by=frozenset(_PER[per]))


class _Keys:
    """The counters of a rule, by what they are for; those asked for again are not made again."""

    def __init__(self, over_s: int) -> None:
        self._over_s = over_s
        self._known: dict[str, CounterKey] = {}

    def of(self, name: str) -> CounterKey:
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[name] = CounterKey(_bounded(name), self._over_s)
        return found


def payee(spot: Spot, _rule: str) -> Kind:
    """`payee`: one that is new to the account, or has not been known to it for the cooling time."""
    spot.mapping(("cooling",))
    cooling_s = spot.at("cooling").duration(1, 366 * DAY_S) if spot.has("cooling") else 0
    limit = f"known for {span(cooling_s)}" if cooling_s else "known to the account"

    def check(facts: Facts) -> Found | None:
        known_s = facts["payee_known_s"]
        if known_s is None:
            return "a payee that is new to the account", limit, "a payee whom the account has paid before"
        if known_s < cooling_s:
            return f"known for {known_s} s", limit, f"waiting {cooling_s - known_s} s more"
        return None

    return Kind(check)


def named(spot: Spot, _rule: str) -> Kind:
    """`list`: a list of those with whom nothing is done (`deny`), or of the only ones with whom it is (`allow`)."""
    spot.mapping(("name", "by", "mode"), required=("name", "by"))
    name = spot.at("name").word()
    by = tuple(dict.fromkeys(one.word() for one in spot.at("by").one_or_more(most=10)))
    if spot.has("mode") and spot.at("mode").choice(("deny", "allow")) == "allow":
        return _allow_list(name, by)
    return _deny_list(name, by)


def _deny_list(name: str, by: tuple[str, ...]) -> Kind:
    @lru_cache(maxsize=_MAX_KNOWN)
    def lookup(value: str) -> Lookup:
        return Lookup(name, name, value, False)

    def lookups(facts: Facts) -> list[Lookup]:
        return [lookup(value) for fact in by for value in _values(facts.get(fact))]

    def check(facts: Facts) -> Found | None:
        values = [value for fact in by for value in _words_of(facts[fact])]
        if not values:
            return None
        entries = facts["listed"][name]
        if not entries:
            return None
        return f"on the list {name}: {', '.join(map(str, entries[:5]))}", f"nobody on the list {name}", _off(name)

    return Kind(check, lookups=lookups, by=frozenset(by))


def _off(name: str) -> str:
    return f"another counterparty, or a correction of the list {name} where the match is false"


def _allow_list(name: str, by: tuple[str, ...]) -> Kind:
    places = {fact: f"allow:{name}:{fact}" for fact in by}

    def lookups(facts: Facts) -> list[Lookup]:
        return [Lookup(places[fact], name, value, True) for fact in by for value in _values(facts.get(fact))]

    def check(facts: Facts) -> Found | None:
        for fact in by:
            values = _words_of(facts[fact])
            if not values:
                return f"no {fact}", f"on the list {name}", f"one that is on the list {name}"
            found = facts["listed"][places[fact]]
            missing = sum(entry is None for entry in found)
            if missing:
                return (
                    f"{missing} of {len(values)} not on the list {name}",
                    f"on the list {name}",
                    f"one that is on the list {name}",
                )
        return None

    return Kind(check, lookups=lookups, by=frozenset(by))


def hours(spot: Spot, _rule: str) -> Kind:
    """`hours`: days of the week and hours in a time zone, no holidays. Hours that end before they begin end the next day."""
    spot.mapping(("zone", "days", "from", "to", "holidays"), required=("zone",))
    zone = spot.at("zone").zone()
    days = (
        frozenset(_DAYS.index(one.choice(_DAYS)) for one in spot.at("days").each(most=7))
        if spot.has("days")
        else frozenset(range(7))
    )
    begin = spot.at("from").clock() if spot.has("from") else time.min
    end = spot.at("to").clock() if spot.has("to") else time.max
    holidays = frozenset(one.day() for one in spot.at("holidays").each(most=2000)) if spot.has("holidays") else frozenset()
    shown = ",".join(_DAYS[day] for day in sorted(days)), f"{begin:%H:%M}-{'24:00' if end == time.max else f'{end:%H:%M}'}"

    @lru_cache(maxsize=16)
    def at(text: str) -> Found | None:
        local = datetime.fromisoformat(text).astimezone(zone)
        if _within(local, days, begin, end, holidays):
            return None
        when = f"{local:%Y-%m-%d %H:%M} ({_DAYS[local.weekday()]}) in {zone.key}"
        return when, f"{shown[0]} {shown[1]} in {zone.key}, no holidays", "waiting for the hours"

    # The actions of a call are decided at one time.
    return Kind(lambda facts: at(facts["at"]))


def _within(local: datetime, days: frozenset[int], begin: time, end: time, holidays: frozenset[Any]) -> bool:
    clock, day = local.time(), local.date()
    if begin < end:
        return begin <= clock <= end and (clock < end or end == time.max) and day.weekday() in days and day not in holidays
    if clock < end:
        # These hours began the day before.
        day -= timedelta(days=1)
    elif clock < begin:
        return False
    return day.weekday() in days and day not in holidays


def order(spot: Spot, _rule: str) -> Kind:
    """`order`: the quantity, the value and what it makes of the portfolio; exact numbers, in whole units of the currency."""
    spot.mapping(("max_quantity", "max_notional", "max_concentration", "short"))
    if not spot.value:
        spot.wrong("a limit is missing")
    quantity = spot.at("max_quantity").decimal() if spot.has("max_quantity") else None
    notional = spot.at("max_notional").money() if spot.has("max_notional") else None
    share = spot.at("max_concentration").decimal() if spot.has("max_concentration") else None
    no_short = spot.has("short") and not spot.at("short").flag()

    def check(facts: Facts) -> Found | None:
        if quantity is not None and (given := _number(facts["quantity"])) > quantity:
            return str(given), f"a quantity of at most {quantity}", f"a quantity of at most {quantity}"
        if notional is not None:
            found = _notional(facts, notional)
            if found is not None:
                return found
        if no_short:
            if not isinstance(facts["short"], bool):
                raise TypeError("short")
            if facts["short"]:
                return "a short position", "no short positions", "an order within the position"
        return None if share is None else _concentration(facts, share)

    return Kind(check)


def _notional(facts: Facts, limits: Mapping[str, Decimal]) -> Found | None:
    given, asset = _number(facts["notional"]), facts["asset"]
    limit = limits.get(asset)
    if limit is None:
        return f"{given} {asset}", f"no limit is set for {asset}", f"a limit for {asset}"
    if given > limit:
        return f"{given} {asset}", f"a value of at most {limit} {asset}", f"a value of at most {limit} {asset}"
    return None


def _concentration(facts: Facts, share: Decimal) -> Found | None:
    before = Fraction(_number(facts["position"]))
    change = Fraction(_number(facts["quantity"]))
    if facts["side"] not in ("buy", "sell"):
        raise TypeError("side")
    after = abs(before + change if facts["side"] == "buy" else before - change)
    value = after * Fraction(_number(facts["price"]))
    portfolio = Fraction(_number(facts["portfolio"]))
    if after <= abs(before) or value <= Fraction(share) * portfolio:
        return None
    shown = f"{float(100 * value / portfolio):.2f} %" if portfolio > 0 else "all"
    limit = f"at most {100 * share:f} % of the portfolio"
    return f"{shown} of the portfolio", limit, f"an order after which the position is {limit}"


def risk(spot: Spot, _rule: str) -> Kind:
    """`risk`: the risk score of the case, from 0 to 1."""
    spot.mapping(("at_most",), required=("at_most",))
    most = spot.at("at_most").decimal()

    def check(facts: Facts) -> Found | None:
        given = _number(facts["case_risk"])
        if given <= most:
            return None
        return str(given), f"a risk of at most {most}", "a case of lower risk"

    return Kind(check)


def evidence(spot: Spot, _rule: str) -> Kind:
    """`evidence`: an agent has left an event of one of these types."""
    spot.mapping(("agent", "events"), required=("agent", "events"))
    agent = spot.at("agent").text(most=100)
    events = frozenset(one.text(most=100) for one in spot.at("events").one_or_more(most=50))
    wanted = f"{' or '.join(sorted(events))} by {agent}"

    def check(facts: Facts) -> Found | None:
        left = facts["evidence"].get(agent) or ()
        if isinstance(left, str):
            raise TypeError("evidence")
        if not events.isdisjoint(left):
            return None
        return ", ".join(sorted(left)[:10]) or f"no event by {agent}", wanted, f"an event {wanted}"

    return Kind(check)


def batch(spot: Spot, _rule: str) -> Kind:
    """`batch`: how many items one action may have, and their total. An action without a count is one item."""
    spot.mapping(("size", "total"))
    if not spot.value:
        spot.wrong("size or total is missing")
    size = spot.at("size").integer(1, 10**6) if spot.has("size") else None
    total = Limits(spot.at("total").money()) if spot.has("total") else None

    def check(facts: Facts) -> Found | None:
        count = facts.get("count", 1)
        if size is not None and count > size:
            return f"{count} items", f"at most {size} items", f"at most {size} items"
        if total is None or facts["amount"] is None:
            return None
        asset, scale = facts["asset"], facts["scale"]
        limit = total.at_most(asset, scale)
        if limit is None:
            return _no_limit(facts["amount"], asset, scale)
        return _over(facts["amount"], limit, asset, scale) if facts["amount"] > limit else None

    return Kind(check)


KINDS: Mapping[str, Callable[[Spot, str], Kind]] = {
    "amount": amount,
    "window": window,
    "payee": payee,
    "list": named,
    "hours": hours,
    "order": order,
    "risk": risk,
    "evidence": evidence,
    "batch": batch,
}
"""The kinds that have a limit. Beside them stand `allow`, `deny` and `hold`, which have none, and `mandate`."""
OF_MANDATE = "mandate|"
"""How the names of counters begin that add up the amounts under mandates."""


def beyond_mandate(facts: Facts) -> Iterator[Found]:
    """What of the action lies beyond the mandate that it is done under."""
    terms = facts["mandate"]
    operations, accounts, payees = terms["operations"], terms["accounts"], terms["payees"]
    if facts["action"] not in operations and "*" not in operations:
        yield facts["action"], f"the operations {', '.join(operations)}", "a mandate for this operation"
    if datetime.fromisoformat(facts["at"]) >= datetime.fromisoformat(terms["until"]):
        yield facts["at"], f"until {terms['until']}", "a mandate that has not ended"
    if accounts is not None and facts["account"] is not None and facts["account"] not in accounts:
        yield facts["account"], f"the accounts {', '.join(accounts)}", "a mandate for this account"
    if payees is not None:
        form = _squeezed if _was_by_number_alone(facts) else payee_form
        known = set(map(form, payees))
        strangers = [one for one in _paid(facts) if form(one) not in known]
        if strangers:
            yield ", ".join(strangers[:5]), f"the payees {', '.join(payees[:20])}", "a mandate that names this payee"
    if (terms["max_amount"] is not None or terms["total"] is not None) and facts["amount"] is not None:
        yield from _beyond_amounts(facts, terms)


def _beyond_amounts(facts: Facts, terms: Mapping[str, Any]) -> Iterator[Found]:
    given, asset, scale = facts["amount"], facts["asset"], facts["scale"]
    if terms["max_amount"] is not None:
        limit = terms["max_amount"].get(asset)
        if limit is None:
            yield _no_limit(given, asset, scale)
        elif given > limit:
            yield _over(given, limit, asset, scale)
    if terms["total"] is not None:
        limit = terms["total"].get(asset)
        if limit is None:
            yield _no_limit(given, asset, scale)
            return
        key = mandate_counter(facts)
        assert key is not None, "there is a total"
        before = facts["used"][key.key][1]
        if before + given > limit:
            left = _money(max(limit - before, 0), asset, scale)
            yield _money(before + given, asset, scale), f"a total of {_money(limit, asset, scale)}", f"at most {left}"


def mandate_counter(facts: Facts) -> CounterKey | None:
    """What adds up the amounts under a mandate that has a total."""
    terms = facts["mandate"]
    if terms["total"] is None or facts["amount"] is None:
        return None
    return CounterKey(f"{OF_MANDATE}{int(terms['id'])}|{facts['asset']}|{facts['scale']}", 0)


def _subject(per: str) -> Callable[[Facts], str | None]:
    names = _PER[per]
    only_agents = per.startswith("agent")

    def subject(facts: Facts) -> str | None:
        if only_agents and facts["kind"] != "agent":
            return None
        found = []
        for name in names:
            value = facts[name]
            if value is None:
                return None
            if not isinstance(value, str | int):
                raise TypeError(name)
            found.append(_one_counter(facts, str(value)) if name == "counterparty" else str(value))
        return "|".join(found)

    if len(names) == 1 and names[0] != "counterparty" and not only_agents:
        return _plain_subject(names[0])
    return subject


def _plain_subject(name: str) -> Callable[[Facts], str | None]:
    def subject(facts: Facts) -> str | None:
        value = facts[name]
        if value is None or isinstance(value, str):
            return value
        if not isinstance(value, int):
            raise TypeError(name)
        return str(value)

    return subject


def _bounded(key: str) -> str:
    if len(key) <= _MAX_KEY:
        return key
    return f"{key[:100]}#{hashlib.sha256(key.encode()).hexdigest()}"


def _one_counter(facts: Facts, counterparty: str) -> str:
    """One account of the world, which is written in several ways, as counters are named: at whatever bank it is said to be."""
    if facts.get("counterparty_kind") != "external" or _was_by_number_alone(facts):
        return _squeezed(counterparty)
    # In capitals, as the counters of most were named before.
    return id_form(counterparty).upper()


def _was_by_number_alone(facts: Facts) -> bool:
    # Facts of decisions that were kept before `payee` was one of them, which are to give the same bytes again.
    return facts.get("counterparty_kind") == "external" and "payee" not in facts


def _paid(facts: Facts) -> list[str]:
    several = facts.get("payees")
    if isinstance(several, list):
        return several
    # Of somebody outside `payee` says the bank, too.
    one = facts["payee"] if "payee" in facts else facts["counterparty"]
    return [] if one is None else [one]


def _values(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [one for one in value if isinstance(one, str)]


def _words_of(value: Any) -> list[str]:
    values: list[str] = [] if value is None else [value] if isinstance(value, str) else list(value)
    for one in values:
        # A name without a letter or digit is on no list, whoever bears it.
        if not isinstance(one, str) or not _is_a_name(one):
            raise ValueError("name")
    return values


@lru_cache(maxsize=4096)
def _is_a_name(text: str) -> bool:
    return id_form(text) != ""


def _squeezed(text: object) -> str:
    return "".join(str(text).split()).upper()


def _number(value: Any) -> int | Decimal:
    if isinstance(value, str):
        value = Decimal(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("number")
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("number")
    return value


def _money(minor: int, asset: str, scale: int) -> str:
    return f"{format_minor(minor, Asset(asset, scale))} {asset}"


def _over(given: int, limit: int, asset: str, scale: int) -> Found:
    bound = _money(limit, asset, scale)
    return _money(given, asset, scale), f"at most {bound}", f"an amount of at most {bound}"


def _no_limit(given: int, asset: str, scale: int) -> Found:
    return _money(given, asset, scale), f"no limit is set for {asset}", f"a limit for {asset}"


def forms(value: str) -> tuple[str, str]:
    """A value as lists of names and lists of ids are searched for it."""
    return name_form(value), id_form(value)
