"""Principals, versions, keys and mandates, as values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tallystick.kit import MAX_MINOR, Invalid, check_name, check_text

ROLES = ("agent", "operator", "approver", "auditor", "admin")
KINDS = ("agent", "person", "service")
RISK_TIERS = ("low", "medium", "high")
MAX_REACH = 10_000
"""Accounts, and customers, that a principal may be given one by one."""

_RESERVED = frozenset(
    {"bootstrap", "demo", "end-of-day", "settlement-agent", "standing-orders", "tallystick", "import", "clock"}
)
_RESERVED_BEGINNINGS = ("import:", "operator:", "demo:", "cli:", "worker@")
_OPERATION = re.compile(r"\*|[a-z][a-z0-9_.-]{0,99}")
_ASSET = re.compile(r"[A-Z0-9][A-Z0-9.]{0,11}")
_MAX_OPERATIONS = 100
_MAX_NAMED = 1000
_OF_KIND = {"agent": frozenset({"agent"}), "person": frozenset(ROLES) - {"agent"}, "service": frozenset(ROLES) - {"approver"}}
_AT_FIRST = {"agent": ("agent",), "person": (), "service": ("operator",)}


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
    """What is known of a key; `prefix` is its beginning, for people to tell keys apart.

    With `scopes` it has those of its principal's roles alone. `used_at` is right to a minute or so.
    """

    id: int
    principal: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
    scopes: list[str] | None
    expires_at: datetime | None
    version: str | None
    mandate_id: int | None
    follows: int | None
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PrincipalInfo:
    """A principal as it is kept. `accounts` and `customers` are all of them where they are `None`."""

    id: int
    name: str
    kind: str
    roles: list[str]
    owner: str | None
    risk_tier: str | None
    accounts: list[str] | None
    customers: list[int] | None
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """What an agent was made of; the digests are SHA-256 of its prompt and its tools, as its author takes them."""

    id: int
    agent: str
    version: str
    model: str
    prompt_digest: bytes
    tools_digest: bytes
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Login:
    """An account elsewhere by which a principal is known: the subject that an issuer of OpenID Connect calls it by."""

    id: int
    principal: str
    issuer: str
    subject: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewSession:
    """A person has signed in. `secret` is for their cookie and kept nowhere."""

    id: int
    principal: str
    secret: str


@dataclass(frozen=True, slots=True)
class MandateInfo:
    """A mandate as it was granted, and whether it was revoked."""

    id: int
    person: str
    agent: str
    operations: list[str]
    accounts: list[str] | None
    max_amount: Mapping[str, int] | None
    total: Mapping[str, int] | None
    payees: list[str] | None
    until: datetime
    beyond: str
    granted_by: str
    granted_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewMandate:
    """A mandate to grant."""

    person: str
    agent: str
    operations: Sequence[str]
    until: datetime
    accounts: Sequence[str] | None = None
    max_amount: Mapping[str, int] | None = None
    total: Mapping[str, int] | None = None
    payees: Sequence[str] | None = None
    beyond: str = "deny"

    def check(self) -> None:
        """Refuse what has no meaning, with `Invalid` (`mandate_malformed`)."""
        if not 1 <= len(self.operations) <= _MAX_OPERATIONS or not all(map(_OPERATION.fullmatch, self.operations)):
            raise _malformed("a mandate names 1 to 100 types of actions, or * for all")
        if self.beyond not in ("deny", "ask"):
            raise _malformed("beyond a mandate is refused (deny), or people are asked (ask)")
        if self.until.tzinfo is None:
            raise _malformed("a mandate ends at a time with its offset")
        for named in (self.accounts, self.payees):
            if named is not None and len(named) > _MAX_NAMED:
                raise _malformed(f"a mandate names at most {_MAX_NAMED} accounts, and as many payees")
        for account in self.accounts or ():
            check_name(account, "an account's name")
        for payee in self.payees or ():
            check_text(payee, "a payee", 200)
        for amounts in (self.max_amount, self.total):
            if not all(_ASSET.fullmatch(asset) and 0 < minor <= MAX_MINOR for asset, minor in (amounts or {}).items()):
                raise _malformed(f"amounts of a mandate are above zero and at most {MAX_MINOR} minor units of an asset")


def check_principal(name: str, kind: str, roles: Collection[str] | None, risk_tier: str | None) -> list[str]:
    """The roles, in order, of a principal that can be; those of its kind where none are given.

    Refuses with `Invalid`: `name_malformed`, `name_reserved`, `kind_unknown`, `unknown_role`, `role_not_for_kind`,
    `risk_tier_unknown`.
    """
    check_name(name, "a principal's name")
    if name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS):
        raise Invalid("name_reserved", f"{name} is what a part of Tallystick calls itself")
    if kind not in KINDS:
        raise Invalid("kind_unknown", "a principal is an agent, a person or a service")
    if risk_tier is not None and (risk_tier not in RISK_TIERS or kind != "agent"):
        raise Invalid("risk_tier_unknown", "an agent's risk tier is low, medium or high, and nobody else has one")
    return check_roles(_AT_FIRST[kind] if roles is None else roles, kind)


def check_roles(roles: Collection[str], kind: str | None = None) -> list[str]:
    """The roles, each once and in order. Refuses with `Invalid` (`unknown_role`, `role_not_for_kind`)."""
    unknown = set(roles) - set(ROLES)
    if unknown:
        raise Invalid("unknown_role", f"roles are {', '.join(ROLES)}")
    if kind is not None and set(roles) - _OF_KIND[kind]:
        allowed = ", ".join(role for role in ROLES if role in _OF_KIND[kind])
        raise Invalid("role_not_for_kind", f"roles of a principal of kind {kind} are: {allowed}")
    return [role for role in ROLES if role in roles]


def may_touch(principal: Principal, *accounts: str) -> bool:
    """Whether all of the accounts are among those that the principal may see and touch."""
    return principal.accounts is None or principal.accounts.issuperset(accounts)


def may_touch_customer(principal: Principal, customer_id: int) -> bool:
    """Whether the customer is among those that the principal may see and touch."""
    return principal.customers is None or customer_id in principal.customers


def sees_all(principal: Principal) -> bool:
    """Whether neither accounts nor customers are kept from the principal."""
    return principal.accounts is None and principal.customers is None


def _malformed(detail: str) -> Invalid:
    return Invalid("mandate_malformed", detail)
