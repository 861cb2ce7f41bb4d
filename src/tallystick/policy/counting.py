"""What rules have used up and what is on lists: read at once for all actions of a call, and written at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tallystick.db import ReadTx, Tx
from tallystick.kit import Invalid
from tallystick.policy import store
from tallystick.policy.kinds import OF_MANDATE
from tallystick.policy.model import CounterKey, Facts, Lookup
from tallystick.policy.parsing import parse_stored
from tallystick.policy.rules import EMPTY, Policy

MAX_BATCH = 8192
_MAX_KNOWN = 16
_TRIES = 4
_known: dict[str, Policy] = {EMPTY.digest: EMPTY}
_newest = EMPTY.digest


class Usage:
    """What the counters say under lock, and what was added since. `digest` is that of the policy in force, if there is one."""

    __slots__ = ("_added", "_asked", "_found", "_ids", "_iso", "_used", "at", "digest", "policy")

    def __init__(
        self,
        policy: Policy,
        gathered: store.Gathered,
        asked: dict[int, _Asked],
        keys: Sequence[CounterKey],
        found: dict[tuple[str, str], list[str] | None],
    ) -> None:
        self.policy = policy
        self.at: datetime = gathered.at
        self.digest = gathered.digest
        self._iso = gathered.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        self._asked = asked
        self._found = found
        self._ids = {key.key: counter for key, counter in zip(keys, gathered.ids, strict=True)}
        self._used = {key.key: [count, total] for key, count, total in zip(keys, gathered.counts, gathered.sums, strict=True)}
        self._added: dict[str, list[int]] = {}

    @property
    def in_force(self) -> bool:
        """Whether the policy that asked is the one in force."""
        return (self.digest or EMPTY.digest) == self.policy.digest

    def fill(self, facts: Facts) -> None:
        """Give facts, which were gathered for, the time, and what their rules have `used` and found `listed`."""
        _, keys, lookups = self._asked[id(facts)]
        facts["at"] = self._iso
        facts["used"] = {key: list(self._used[key]) for key, _ in keys}
        listed: dict[str, list[str | None]] = {}
        for place, name, value, each in lookups:
            entries = self._found[name, value]
            if entries is None:
                # There is no such list, so nothing is known.
                continue
            if each:
                listed.setdefault(place, []).append(entries[0] if entries else None)
            else:
                listed.setdefault(place, []).extend(entries)
        facts["listed"] = listed

    def add(self, facts: Facts) -> None:
        """Count an action that is carried out, so that those after it see it. Its facts are the ones that were gathered for."""
        _, keys, _ = self._asked[id(facts)]
        if not keys:
            return
        count = facts.get("count", 1)
        amount = facts.get("amount") or 0
        if count < 0 or amount < 0:
            raise ValueError("what was used up never becomes less")
        later = facts.get("paid_later") is True
        for key, _ in keys:
            if later and key.startswith(OF_MANDATE):
                # What it orders is counted against the mandate when it is paid.
                continue
            used = self._used[key]
            used[0] += count
            used[1] += amount
            added = self._added.setdefault(key, [0, 0])
            added[0] += count
            added[1] += amount

    def taken(self) -> list[tuple[int, int, int]]:
        """What was added: counters with their counts and sums. It is told once."""
        added, self._added = self._added, {}
        return [(self._ids[key], count, total) for key, (count, total) in added.items()]


_Asked = tuple[Facts, tuple[CounterKey, ...], tuple[Lookup, ...]]


async def current(tx: ReadTx) -> Policy:
    """The policy in force; `EMPTY`, which denies everything, where none is."""
    found = await store.in_force(tx, _newest)
    return EMPTY if found is None else _policy_of(found.digest, found.body)


async def by_digest(tx: ReadTx, digest: str) -> Policy | None:
    """A policy that was ever applied."""
    if digest in _known:
        return _known[digest]
    body = await store.body(tx, digest)
    return None if body is None else _remember(digest, body)


class Wanted:
    """What a policy's rules ask the database about some actions: counters, which are locked in this order, and look-ups."""

    __slots__ = ("_asked", "_keys", "_places", "_searched", "policy")

    def __init__(self, policy: Policy, facts_list: Sequence[Facts]) -> None:
        """Refuses with `Invalid` (`batch_too_large`) more than `MAX_BATCH` actions."""
        if len(facts_list) > MAX_BATCH:
            raise Invalid("batch_too_large", f"a call decides {MAX_BATCH} actions at most")
        self.policy = policy
        self._asked: dict[int, _Asked] = {}
        windows: dict[str, int] = {}
        places: dict[tuple[str, str], Lookup] = {}
        for facts in facts_list:
            keys, lookups = policy.searches(facts)
            self._asked[id(facts)] = facts, keys, lookups
            for key, window_s in keys:
                windows[key] = window_s
            for lookup in lookups:
                places[lookup[1:3]] = lookup
        self._keys = [CounterKey(key, windows[key]) for key in sorted(windows)]
        self._searched = list(places.values())
        self._places = list(places)

    def parameters(self) -> dict[str, Any]:
        """What `policy.gather` of the database is asked with."""
        return store.wanted(self._keys, self._searched, self.policy.digest)

    def usage(self, gathered: store.Gathered) -> Usage:
        """What the answer of the database comes to."""
        unlisted = set(gathered.unlisted)
        found: dict[tuple[str, str], list[str] | None] = {place: None if place[0] in unlisted else [] for place in self._places}
        for place, entry in sorted(set(zip(gathered.places, gathered.entries, strict=True))):
            entries = found[self._places[place - 1]]
            if entries is not None:
                entries.append(entry)
        if gathered.body is not None and gathered.digest is not None:
            _policy_of(gathered.digest, gathered.body)
        return Usage(self.policy, gathered, self._asked, self._keys, found)


def wanted_early(facts_list: Sequence[Facts], later: frozenset[str]) -> Wanted | None:
    """What the policy that was in force last asks about actions some facts of which are only known `later`.

    `None` where it depends on one of these. Whether the policy still is in force is for the answer to say: `Usage.in_force`.
    """
    policy = _known[_newest]
    if any(not policy.searches_by(facts).isdisjoint(later) for facts in facts_list):
        return None
    return Wanted(policy, facts_list)


async def gather(tx: Tx, wanted: Wanted) -> Usage:
    """Lock what the rules count for some actions, and read it, with what they look for on lists: one statement.

    The locks are held to the end of the transaction, which gathers once.
    """
    return wanted.usage(await store.gather(tx, wanted.parameters()))


async def gather_current(tx: Tx, facts_list: Sequence[Facts]) -> tuple[Policy, Usage]:
    """The policy in force, and what `gather` says under it: one statement, or two where the policy has just changed."""
    policy = _known[_newest]
    for _ in range(_TRIES):
        usage = await gather(tx, Wanted(policy, facts_list))
        if usage.in_force:
            return policy, usage
        policy = _known.get(usage.digest or EMPTY.digest) or await current(tx)
    raise AssertionError("a policy stays in force for longer than a few statements")


async def reserve(tx: Tx, usage: Usage) -> None:
    """Write what was added to the counters."""
    if taken := usage.taken():
        await store.reserve(tx, taken)


def _policy_of(digest: str, body: str | None) -> Policy:
    global _newest  # noqa: PLW0603 - which of the known ones to ask about first
    policy = _known.get(digest)
    if policy is None:
        assert body is not None, "a text is left out only where it is known"
        policy = _remember(digest, body)
    _newest = digest
    return policy


def _remember(digest: str, body: str) -> Policy:
    policy = parse_stored(body)
    assert policy.digest == digest, "the database checks the digest of each text"
    while len(_known) >= _MAX_KNOWN:
        del _known[next(one for one in _known if one not in (EMPTY.digest, _newest))]
    _known[digest] = policy
    return policy
