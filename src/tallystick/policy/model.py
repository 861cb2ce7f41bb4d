"""What the policy room says, as values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from tallystick.kit import dumps

OUTCOMES = ("allow", "hold", "deny")

Facts = dict[str, Any]
"""What a decision looks at: a flat JSON object. What is absent is unknown; what is null is known to be none."""

Approvers = tuple[tuple[str, int], ...]
"""How many people of which role have to agree, in the order of the roles."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule said: the value it observed, its limit, and what would change it, in words."""

    rule: str
    kind: str
    outcome: str
    observed: str | None
    limit: str | None
    change: str | None


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whom to ask in place of those asked first, when nobody has answered for `after_s` seconds."""

    after_s: int
    approve: Approvers


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of an action. `approve`, `expires_s` and `escalate` are there where the outcome is `hold`.

    `text` is the canonical JSON of all of it: the same facts under the same policy give the same bytes.
    """

    outcome: str
    reasons: tuple[Reason, ...]
    approve: Approvers
    expires_s: int | None
    escalate: Escalation | None
    text: str


class CounterKey(NamedTuple):
    """What a rule adds up: the name of the counter, and its window in seconds; 0 is for ever."""

    key: str
    window_s: int


class Lookup(NamedTuple):
    """A value that is looked for on a list. `place` is where the answer goes among the fact `listed`.

    With `each`, a value that is not on the list leaves a null there.
    """

    place: str
    list: str
    value: str
    each: bool


class NewDecision(NamedTuple):
    """A decision to keep. `digest` is that of the action's payload; `facts` and `verdict` are the texts as evaluated.

    The outcome is the verdict's, or `allow` where the people whom it asks for have agreed (`approval_id`). The salt, of
    16 bytes, goes with the texts when they are erased; without one, a decision is given one when it is kept.
    """

    principal: str
    on_behalf_of: str | None
    action: str
    digest: bytes
    policy: str
    facts: str
    verdict: str
    outcome: str
    task_id: int | None = None
    approval_id: int | None = None
    salt: bytes | None = None

    @property
    def sha256(self) -> bytes:
        """What the record holds of it: the digest of three lines, as `policy.decision_texts` makes them of what is kept.

        There is a salt.
        """
        assert self.salt is not None, "what the record holds is salted"
        head = (
            f'{{"action":{_quoted(self.action)}'
            + (f',"approval":"{self.approval_id}"' if self.approval_id is not None else "")
            + f',"digest":"{self.digest.hex()}"'
            + (f',"for":{_quoted(self.on_behalf_of)}' if self.on_behalf_of is not None else "")
            + f',"outcome":"{self.outcome}","policy":"{self.policy}","principal":{_quoted(self.principal)}'
            + (f',"task":"{self.task_id}"}}' if self.task_id is not None else "}")
        )
        return sha256(self.salt + f"{head}\n{self.facts}\n{self.verdict}".encode()).digest()


def salts(count: int) -> list[bytes]:
    """As many salts, of 16 random bytes each."""
    drawn = os.urandom(16 * count)
    return [drawn[place : place + 16] for place in range(0, 16 * count, 16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision as it is kept. `consumed` says that its effect was carried out. Facts and reasons may have been erased."""

    id: int
    at: datetime
    principal: str
    on_behalf_of: str | None
    action: str
    digest: bytes
    policy: str
    facts: str
    verdict: str
    outcome: str
    task_id: int | None
    approval_id: int | None
    consumed: bool
    erased_by: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A policy that was applied. Among those whose time has come, the one with the latest `effective_from` is in force."""

    id: int
    digest: str
    name: str
    effective_from: datetime
    applied_by: str
    applied_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ListInfo:
    """A list of names or ids, as it was imported last."""

    name: str
    kind: str
    version: int
    entries: int
    source: str
    imported_by: str
    imported_at: datetime


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An entry of a list; one that has several names is found by each."""

    list: str
    entry_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What every rule of a policy that applies to the facts says: those that spoke, and those whose limits were kept."""

    verdict: Verdict
    kept: tuple[str, ...]


Document = Mapping[str, Any]


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return dumps(name).decode()
