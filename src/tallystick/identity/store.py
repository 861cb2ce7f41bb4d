"""One function a query of identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallystick.db import Queries, ReadTx, Tx
from tallystick.identity.model import AgentVersion, KeyInfo, Login, Mandate, MandateInfo, NewMandate, Principal, PrincipalInfo
from tallystick.kit import dumps

_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Known:
    """Who acts with a credential, as the database has it."""

    name: str
    kind: str
    roles: list[str]
    scopes: list[str] | None
    owner: str | None
    risk_tier: str | None
    version: str | None
    accounts: list[str] | None
    customers: list[int] | None
    credential_id: int | None
    mandate_id: int | None
    person: str | None
    person_accounts: list[str] | None
    person_customers: list[int] | None
    operations: list[str] | None
    mandate_accounts: list[str] | None
    max_amount: Mapping[str, int] | None
    total: Mapping[str, int] | None
    payees: list[str] | None
    until: datetime | None
    beyond: str | None

    def principal(self) -> Principal:
        """Who it is: with the roles that the credential has too, and within the reach of everybody who stands behind it."""
        roles = frozenset(self.roles) if self.scopes is None else frozenset(self.roles) & frozenset(self.scopes)
        return Principal(
            self.name,
            self.kind,
            roles,
            self.owner,
            self.risk_tier,
            self.version,
            self._mandate(),
            _common(self.accounts, self.mandate_accounts, self.person_accounts),
            _common(self.customers, self.person_customers),
        )

    def _mandate(self) -> Mandate | None:
        if self.mandate_id is None or self.person is None or self.until is None:
            return None
        return Mandate(
            self.mandate_id,
            self.person,
            self.name,
            tuple(self.operations or ()),
            None if self.mandate_accounts is None else tuple(self.mandate_accounts),
            self.max_amount,
            self.total,
            None if self.payees is None else tuple(self.payees),
            self.until,
            self.beyond or "deny",
        )


@dataclass(frozen=True, slots=True)
class Found(Known):
    """A principal that there is, by its place among those who were asked for, and whether it acts."""

    place: int
    acts: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that was ended, and whose it was."""

    id: int
    principal: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How many requests a principal has made today, and how many seconds are left of the day."""

    principal: str
    requests: int
    left_s: float


_queries = Queries(__package__)
_ADD_PRINCIPAL = _queries.bind("add_principal", int)
_PRINCIPALS = _queries.bind("principals", PrincipalInfo)
_PRINCIPAL = _queries.bind("principal", PrincipalInfo)
_LOCK_PRINCIPAL = _queries.bind("lock_principal", PrincipalInfo)
_SET_ROLES = _queries.command("set_roles")
_SET_REACH = _queries.command("set_reach")
_SET_AGENT = _queries.command("set_agent")
_SET_DISABLED = _queries.bind("set_disabled", int)
_ONE_AT_A_TIME = _queries.command("one_at_a_time")
_COUNT_ADMINS = _queries.bind("count_admins", int)
_ADD_VERSION = _queries.bind("add_version", int)
_VERSIONS = _queries.bind("versions", AgentVersion)
_VERSION = _queries.bind("version", AgentVersion)
_ADD_KEY = _queries.bind("add_key", int)
_KEYS_IN_USE = _queries.bind("keys_in_use", int)
_ANY_KEY = _queries.bind("any_key", bool)
_KEYS = _queries.bind("keys", KeyInfo)
_KEY = _queries.bind("key", KeyInfo)
_END_KEY = _queries.bind("end_key", int)
_REVOKE = _queries.bind("revoke", int)
_MARK_USED = _queries.command("mark_used")
_PRINCIPAL_OF_KEY = _queries.bind("principal_of_key", Known)
_PRINCIPAL_BY_NAME = _queries.bind("principal_by_name", Known)
_AS_OF_NOW = _queries.bind("as_of_now", Found)
_PRINCIPAL_OF_LOGIN = _queries.bind("principal_of_login", Known)
_PRINCIPAL_OF_SESSION = _queries.bind("principal_of_session", Known)
_ADD_LOGIN = _queries.bind("add_login", int)
_LOGINS = _queries.bind("logins", Login)
_REMOVE_LOGIN = _queries.bind("remove_login", int)
_END_SESSIONS = _queries.command("end_sessions")
_FORGET_SESSIONS = _queries.command("forget_sessions")
_ADD_SESSION = _queries.bind("add_session", int)
_END_SESSION = _queries.bind("end_session", Ended)
_COUNT_REQUESTS = _queries.bind("count_requests", Usage)
_FORGET_USAGE = _queries.command("forget_usage")
_ADD_MANDATE = _queries.bind("add_mandate", int)
_MANDATES = _queries.bind("mandates", MandateInfo)
_MANDATE = _queries.bind("mandate", MandateInfo)
_END_MANDATE = _queries.bind("end_mandate", int)


async def add_principal(
    tx: Tx,
    *,
    name: str,
    kind: str,
    roles: Sequence[str],
    owner_id: int | None,
    risk_tier: str | None,
    accounts: Sequence[str] | None,
    customers: Sequence[int] | None,
) -> int | None:
    return await tx.one(
        _ADD_PRINCIPAL,
        {
            "name": name,
            "kind": kind,
            "roles": list(roles),
            "owner_id": owner_id,
            "risk_tier": risk_tier,
            "accounts": _listed(accounts),
            "customers": _listed(customers),
        },
    )


async def principals(tx: ReadTx, *, kind: str | None, after: int, limit: int) -> list[PrincipalInfo]:
    return await tx.all(_PRINCIPALS, {"kind": kind, "after": after, "limit": limit})


async def principal(tx: ReadTx, name: str) -> PrincipalInfo | None:
    return await tx.one(_PRINCIPAL, {"name": name})


async def lock_principal(tx: Tx, name: str) -> PrincipalInfo | None:
    return await tx.one(_LOCK_PRINCIPAL, {"name": name})


async def set_roles(tx: Tx, id: int, roles: Sequence[str]) -> None:
    await tx.run(_SET_ROLES, {"id": id, "roles": list(roles)})


async def set_reach(tx: Tx, id: int, *, accounts: Sequence[str] | None, customers: Sequence[int] | None) -> None:
    await tx.run(_SET_REACH, {"id": id, "accounts": _listed(accounts), "customers": _listed(customers)})


async def set_agent(tx: Tx, id: int, *, owner_id: int | None, risk_tier: str | None) -> None:
    await tx.run(_SET_AGENT, {"id": id, "owner_id": owner_id, "risk_tier": risk_tier})


async def set_disabled(tx: Tx, id: int, *, disabled: bool) -> bool:
    return await tx.one(_SET_DISABLED, {"id": id, "disabled": disabled}) is not None


async def one_at_a_time(tx: Tx) -> None:
    await tx.run(_ONE_AT_A_TIME)


async def count_admins(tx: ReadTx) -> int:
    return await tx.single(_COUNT_ADMINS)


async def add_version(
    tx: Tx, principal_id: int, *, version: str, model: str, prompt_digest: bytes, tools_digest: bytes, created_by: str
) -> int | None:
    return await tx.one(
        _ADD_VERSION,
        {
            "principal_id": principal_id,
            "version": version,
            "model": model,
            "prompt_digest": prompt_digest,
            "tools_digest": tools_digest,
            "created_by": created_by,
        },
    )


async def versions(tx: ReadTx, agent: str, *, before: int | None, limit: int) -> list[AgentVersion]:
    return await tx.all(_VERSIONS, {"agent": agent, "before": _LAST if before is None else before, "limit": limit})


async def version(tx: ReadTx, *, agent: str, version: str) -> AgentVersion | None:
    return await tx.one(_VERSION, {"agent": agent, "version": version})


async def add_key(
    tx: Tx,
    principal_id: int,
    *,
    prefix: str,
    hash: bytes,
    scopes: Sequence[str] | None,
    expires_in_s: float | None,
    version_id: int | None,
    mandate_id: int | None,
    follows: int | None,
) -> int:
    return await tx.single(
        _ADD_KEY,
        {
            "principal_id": principal_id,
            "prefix": prefix,
            "hash": hash,
            "scopes": _listed(scopes),
            "expires_in_s": expires_in_s,
            "version_id": version_id,
            "mandate_id": mandate_id,
            "follows": follows,
        },
    )


async def keys_in_use(tx: ReadTx, principal_id: int) -> int:
    return await tx.single(_KEYS_IN_USE, {"principal_id": principal_id})


async def any_key(tx: ReadTx) -> bool:
    return await tx.single(_ANY_KEY)


async def keys(tx: ReadTx, *, principal: str | None, before: int | None, limit: int) -> list[KeyInfo]:
    return await tx.all(_KEYS, {"principal": principal, "before": _LAST if before is None else before, "limit": limit})


async def key(tx: ReadTx, id: int) -> KeyInfo | None:
    return await tx.one(_KEY, {"id": id})


async def end_key(tx: Tx, id: int, *, in_s: float) -> bool:
    return await tx.one(_END_KEY, {"id": id, "in_s": in_s}) is not None


async def revoke(tx: Tx, id: int) -> bool:
    return await tx.one(_REVOKE, {"id": id}) is not None


async def mark_used(tx: Tx, key_ids: Sequence[int]) -> None:
    await tx.run(_MARK_USED, {"key_ids": list(key_ids)})


async def principal_of_key(tx: ReadTx, hash: bytes) -> Known | None:
    return await tx.one(_PRINCIPAL_OF_KEY, {"hash": hash})


async def principal_by_name(tx: ReadTx, name: str, *, version: str | None, mandate_id: int | None) -> Known | None:
    return await tx.one(_PRINCIPAL_BY_NAME, {"name": name, "version": version, "mandate_id": mandate_id})


async def as_of_now(tx: ReadTx, makers: Sequence[tuple[str, str | None, int | None]]) -> list[Found]:
    names, versions, mandates = zip(*makers, strict=True)
    return await tx.all(_AS_OF_NOW, {"names": list(names), "versions": list(versions), "mandates": list(mandates)})


async def add_mandate(tx: Tx, new: NewMandate, *, person_id: int, agent_id: int, granted_by: str) -> int:
    return await tx.single(
        _ADD_MANDATE,
        {
            "person_id": person_id,
            "agent_id": agent_id,
            "operations": list(new.operations),
            "accounts": _listed(new.accounts),
            "max_amount": _json(new.max_amount),
            "total": _json(new.total),
            "payees": _listed(new.payees),
            "until": new.until,
            "beyond": new.beyond,
            "granted_by": granted_by,
        },
    )


async def mandates(
    tx: ReadTx, *, person: str | None, agent: str | None, in_force: bool, before: int | None, limit: int
) -> list[MandateInfo]:
    return await tx.all(
        _MANDATES,
        {
            "person": person,
            "agent": agent,
            "in_force": in_force,
            "before": _LAST if before is None else before,
            "limit": limit,
        },
    )


async def mandate(tx: ReadTx, id: int) -> MandateInfo | None:
    return await tx.one(_MANDATE, {"id": id})


async def end_mandate(tx: Tx, id: int, *, revoked_by: str) -> bool:
    return await tx.one(_END_MANDATE, {"id": id, "revoked_by": revoked_by}) is not None


async def principal_of_login(tx: ReadTx, *, issuer: str, subject: str) -> Known | None:
    return await tx.one(_PRINCIPAL_OF_LOGIN, {"issuer": issuer, "subject": subject})


async def principal_of_session(tx: ReadTx, hash: bytes) -> Known | None:
    return await tx.one(_PRINCIPAL_OF_SESSION, {"hash": hash})


async def add_login(tx: Tx, principal_id: int, *, issuer: str, subject: str) -> int | None:
    return await tx.one(_ADD_LOGIN, {"principal_id": principal_id, "issuer": issuer, "subject": subject})


async def logins(tx: ReadTx, principal: str, *, limit: int) -> list[Login]:
    return await tx.all(_LOGINS, {"principal": principal, "limit": limit})


async def remove_login(tx: Tx, *, principal_id: int, id: int) -> bool:
    return await tx.one(_REMOVE_LOGIN, {"principal_id": principal_id, "id": id}) is not None


async def end_sessions(tx: Tx, principal_id: int) -> int:
    return await tx.run(_END_SESSIONS, {"principal_id": principal_id})


async def forget_sessions(tx: Tx, principal_id: int, *, keep: int) -> None:
    await tx.run(_FORGET_SESSIONS, {"principal_id": principal_id, "keep": keep})


async def add_session(tx: Tx, principal_id: int, *, hash: bytes, scopes: Sequence[str] | None, lasts_s: float) -> int:
    return await tx.single(
        _ADD_SESSION, {"principal_id": principal_id, "hash": hash, "scopes": _listed(scopes), "lasts_s": lasts_s}
    )


async def end_session(tx: Tx, hash: bytes) -> Ended | None:
    return await tx.one(_END_SESSION, {"hash": hash})


async def count_requests(tx: Tx, requests: Mapping[str, int]) -> list[Usage]:
    named = sorted(requests)
    return await tx.all(_COUNT_REQUESTS, {"principals": named, "requests": [requests[name] for name in named]})


async def forget_usage(tx: Tx) -> None:
    await tx.run(_FORGET_USAGE)


def _listed(values: Sequence[object] | None) -> list[object] | None:
    return None if values is None else list(values)


def _json(amounts: Mapping[str, int] | None) -> str | None:
    return None if amounts is None else dumps(dict(amounts)).decode()


def _common(*reaches: Sequence[str] | Sequence[int] | None) -> frozenset[Any] | None:
    """What lies in all of them; `None` is all there is."""
    bounded = [frozenset(reach) for reach in reaches if reach is not None]
    return frozenset.intersection(*bounded) if bounded else None
