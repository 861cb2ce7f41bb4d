"""Principals and keys, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Mandate:
    """What an agent may do for a person, until when. What it leaves open (`None`) it does not bound.

    `operations` are types of actions (`*` is all), `payees` names of counterparties; amounts are in minor units by asset, of
    one action and of all under the mandate. What lies beyond it is refused (`deny`), or put to people (`ask`).
    """

    id: int
    person: str
    agent: str
    operations: tuple[str, ...]
    accounts: tuple[str, ...] | None
    max_amount: Mapping[str, int] | None
    total: Mapping[str, int] | None
    payees: tuple[str, ...] | None
    until: datetime
    beyond: str = "deny"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, and what they may do with the key in use: an `agent`, a `person` or a `service`.

    `roles` are those of the key; `owner` is the person who answers for an agent, `risk_tier` and `version` are an agent's.
    Under a `mandate` it acts for a person. `accounts` and `customers` are the only ones it may see and touch; `None` is all.
    """

    name: str
    kind: str
    roles: frozenset[str] = frozenset()
    owner: str | None = None
    risk_tier: str | None = None
    version: str | None = None
    mandate: Mandate | None = None
    accounts: frozenset[str] | None = None
    customers: frozenset[int] | None = None

    @property
    def on_behalf_of(self) -> str | None:
        """The person it acts for."""
        return self.mandate.person if self.mandate is not None else None


def house(name: str) -> Principal:
    """A part of Tallystick itself, or an operator at the command line."""
    return Principal(name, "service", frozenset({"operator"}))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is shown once and kept nowhere."""

    id: int
    principal: str
    prefix: str
    secret: str


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a key; `prefix` is its beginning, for people to tell keys apart."""

    id: int
    principal: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """Whose key it is."""

    name: str
    kind: str
