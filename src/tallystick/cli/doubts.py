"""What in a policy that can be read is probably not meant: a rule that never applies denies nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from tallystick import identity

_FACTS = (
    "account", "account_kind", "action", "amount", "asset", "at", "behalf", "case", "case_risk", "count",
    "counterparty", "counterparty_kind", "counterparty_name", "customer", "evidence", "instrument", "kind",
    "mandate", "notional", "owner", "payee", "payee_known_s", "portfolio", "position", "price", "principal",
    "quantity", "risk_tier", "roles", "scale", "settle", "short", "side",
)  # fmt: skip
"""Those that are told of most actions; a type may tell others."""

_WORDS: Mapping[str, Collection[str]] = {
    "kind": identity.KINDS,
    "roles": identity.ROLES,
    "risk_tier": identity.RISK_TIERS,
    "account_kind": ("customer", "internal"),
    "counterparty_kind": ("customer", "internal", "external"),
    "settle": ("now", "queued"),
    "side": ("buy", "sell"),
}


def doubts(document: Mapping[str, Any], types: Collection[str]) -> list[str]:
    """What looks like a slip of the hand in the conditions of a policy's rules, where `types` are those of actions."""
    words = {**_WORDS, "action": types}
    found: list[str] = []
    for rule in document.get("rules", ()):
        for fact, wanted in rule.get("when", {}).items():
            if fact not in _FACTS and (close := get_close_matches(fact, _FACTS, 1, 0.75)):
                found.append(f"rule {rule['id']}: is {close[0]} meant by {fact}?")
            for word in _texts(wanted):
                if fact in words and not _is_one(word, words[fact]):
                    close = get_close_matches(word, words[fact], 1)
                    meant = f"; is {close[0]} meant?" if close else ""
                    found.append(f"rule {rule['id']}: {fact} is never {word}{meant}")
    return found


def _texts(wanted: Any) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        wanted = wanted.get("not", ())
    values: Iterable[Any] = wanted if isinstance(wanted, list | tuple) else [wanted]
    return (value for value in values if isinstance(value, str))


def _is_one(word: str, words: Collection[str]) -> bool:
    return any(one.startswith(word[:-1]) for one in words) if word.endswith("*") else word in words
