"""The verbs of principals: who they are, what they may do, and what they may see."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.identity import store
from tallystick.identity.model import (
    MAX_REACH,
    AgentVersion,
    Principal,
    PrincipalInfo,
    check_principal,
    check_roles,
)
from tallystick.kit import Conflict, Forbidden, Invalid, NotFound, check_name, check_text

_LISTED = 100
_DIGEST_BYTES = 32


async def add_principal(
    tx: Tx,
    name: str,
    *,
    kind: str,
    by: str,
    roles: Collection[str] | None = None,
    owner: str | None = None,
    risk_tier: str | None = None,
) -> PrincipalInfo:
    """Make a principal known. Without `roles` a service is an operator, an agent has its one role, and a person none.

    An agent sees no account and no customer until `set_reach` gives it some; others see all. `owner` is who answers
    for an agent, a person. Refuses with `Invalid` (`name_malformed`, `name_reserved`, `kind_unknown`, `unknown_role`,
    `role_not_for_kind`, `risk_tier_unknown`, `owner_not_a_person`), `NotFound` (`unknown_principal`: the owner) and `Conflict`
    (`principal_exists`).
    """
    made = await ensure(tx, name, kind=kind, by=by, roles=roles, owner=owner, risk_tier=risk_tier)
    if made is None:
        raise Conflict("principal_exists", f"there is a principal {name} already")
    return made


async def ensure(
    tx: Tx, name: str, *, kind: str, by: str, roles: Collection[str] | None, owner: str | None, risk_tier: str | None
) -> PrincipalInfo | None:
    """As `add_principal`; `None` where there is a principal of that name."""
    given = check_principal(name, kind, roles, risk_tier)
    owner_id = None if owner is None else await _owner(tx, owner, kind)
    nothing: list[Any] | None = [] if kind == "agent" else None
    made = await store.add_principal(
        tx, name=name, kind=kind, roles=given, owner_id=owner_id, risk_tier=risk_tier, accounts=nothing, customers=nothing
    )
    if made is None:
        return None
    detail = {"name": name, "kind": kind, "roles": given, "owner": owner, "risk_tier": risk_tier}
    await _tell(tx, by, "add", made, {key: value for key, value in detail.items() if value is not None})
    return await get(tx, name)


Maker = tuple[str, str | None, int | None]
"""Who acted: by name, in which version, and under which mandate."""


async def get(tx: ReadTx, name: str) -> PrincipalInfo:
    """The principal of that name; refuses with `NotFound` (`unknown_principal`)."""
    found = await store.principal(tx, name)
    if found is None:
        raise _unknown(name)
    return found


async def principals(tx: ReadTx, *, kind: str | None = None, after: int = 0, limit: int = 50) -> list[PrincipalInfo]:
    """A page of principals in id order, beginning after the id `after`."""
    return await store.principals(tx, kind=kind, after=after, limit=limit)


async def acting(tx: ReadTx, name: str, *, version: str | None = None, mandate_id: int | None = None) -> Principal | None:
    """A principal as it acts where no key is asked for, as in a worker; `None` where there is none, or it is disabled.

    With `version` or `mandate_id`, `None` also where it has no such version, or the mandate is not its own or not in force.
    """
    known = await store.principal_by_name(tx, name, version=version, mandate_id=mandate_id)
    return None if known is None else known.principal()


async def as_of_now(tx: ReadTx, makers: Collection[Maker]) -> dict[Maker, Principal | None]:
    """Who once acted, as they would act now, all in one read; `None` as of `acting`. A part of the house is not among them."""
    wanted = list(makers)
    found = await store.as_of_now(tx, wanted) if wanted else []
    return {wanted[one.place - 1]: one.principal() if one.acts else None for one in found}


async def set_roles(tx: Tx, name: str, roles: Collection[str], *, by: str) -> PrincipalInfo:
    """Give a principal these roles and no others. Those who have them already leave no event.

    Refuses with `Invalid` (`unknown_role`, `role_not_for_kind`), `NotFound` (`unknown_principal`) and `Forbidden`
    (`own_authority`): nobody changes their own.
    """
    found = await _locked(tx, name, by)
    given = check_roles(roles, found.kind)
    if given != found.roles:
        await store.set_roles(tx, found.id, given)
        await _tell(tx, by, "set_roles", found.id, {"roles": given, "before": found.roles})
    return await get(tx, name)


async def set_reach(
    tx: Tx, name: str, *, accounts: Sequence[str] | None, customers: Sequence[int] | None, by: str
) -> PrincipalInfo:
    """Let a principal see and touch these accounts (by name) and customers (by id) and no others; `None` is all of them.

    Refuses with `Invalid` (`reach_too_large`, `name_malformed`), `NotFound` (`unknown_principal`) and `Forbidden`
    (`own_authority`).
    """
    for account in accounts or ():
        check_name(account, "an account's name")
    if len(accounts or ()) > MAX_REACH or len(customers or ()) > MAX_REACH:
        raise Invalid("reach_too_large", f"at most {MAX_REACH} accounts are given one by one, and as many customers")
    found = await _locked(tx, name, by)
    wanted = (None if accounts is None else sorted(set(accounts)), None if customers is None else sorted(set(customers)))
    if wanted != (found.accounts, found.customers):
        await store.set_reach(tx, found.id, accounts=wanted[0], customers=wanted[1])
        detail = {"accounts": _told(wanted[0]), "customers": _told(None if wanted[1] is None else [*map(str, wanted[1])])}
        await _tell(tx, by, "set_reach", found.id, detail)
    return await get(tx, name)


async def set_owner(tx: Tx, name: str, owner: str, *, by: str, risk_tier: str | None = None) -> PrincipalInfo:
    """Have another person answer for an agent; with `risk_tier`, hold it to be as risky as that from now on.

    Refuses with `Invalid` (`not_an_agent`, `owner_not_a_person`, `risk_tier_unknown`), `NotFound` (`unknown_principal`) and
    `Forbidden` (`own_authority`).
    """
    found = await _locked(tx, name, by)
    if found.kind != "agent":
        raise Invalid("not_an_agent", f"{name} is no agent")
    check_principal(name, "agent", None, risk_tier)
    owner_id = await _owner(tx, owner, "agent")
    tier = risk_tier or found.risk_tier
    if (owner, tier) != (found.owner, found.risk_tier):
        await store.set_agent(tx, found.id, owner_id=owner_id, risk_tier=tier)
        await _tell(tx, by, "set_owner", found.id, {"owner": owner, "before": found.owner, "risk_tier": tier})
    return await get(tx, name)


async def disable(tx: Tx, name: str, *, by: str) -> PrincipalInfo:
    """Have no key and no session let a principal in; nor, where it is a person, agents that it owns or that act for it.

    Refuses with `NotFound` (`unknown_principal`).
    """
    return await _set_disabled(tx, name, by, disabled=True)


async def enable(tx: Tx, name: str, *, by: str) -> PrincipalInfo:
    """Let a principal act again. Refuses with `NotFound` (`unknown_principal`) and `Forbidden` (`own_authority`)."""
    return await _set_disabled(tx, name, by, disabled=False)


async def add_version(
    tx: Tx, agent: str, version: str, *, model: str, prompt_digest: bytes, tools_digest: bytes, by: str
) -> AgentVersion:
    """Keep what a version of an agent is made of, for good; the same again adds nothing.

    Refuses with `Invalid` (`name_malformed`, `text_too_long`, `digest_malformed`, `not_an_agent`), `NotFound`
    (`unknown_principal`) and `Conflict` (`version_exists`) where the version is made of something else.
    """
    check_name(version, "a version's name")
    if not len(check_text(model, "a model's name", 200)) >= 1:
        raise Invalid("text_too_long", "a model's name has 1 to 200 characters")
    if {len(prompt_digest), len(tools_digest)} != {_DIGEST_BYTES}:
        raise Invalid("digest_malformed", "a digest is SHA-256: 64 hexadecimal digits")
    found = await get(tx, agent)
    if found.kind != "agent":
        raise Invalid("not_an_agent", f"{agent} is no agent")
    made = await store.add_version(
        tx, found.id, version=version, model=model, prompt_digest=prompt_digest, tools_digest=tools_digest, created_by=by
    )
    kept = await store.version(tx, agent=agent, version=version)
    assert kept is not None
    if made is not None:
        detail = {"version": version, "model": model, "prompt": prompt_digest.hex(), "tools": tools_digest.hex()}
        await _tell(tx, by, "add_version", found.id, detail)
    elif (kept.model, kept.prompt_digest, kept.tools_digest) != (model, prompt_digest, tools_digest):
        raise Conflict("version_exists", f"{agent} has a version {version} that is made of something else")
    return kept


async def versions(tx: ReadTx, agent: str, *, before: int | None = None, limit: int = 50) -> list[AgentVersion]:
    """A page of an agent's versions, newest first, below the id `before`. Refuses with `NotFound` (`unknown_principal`)."""
    await get(tx, agent)
    return await store.versions(tx, agent, before=before, limit=limit)


async def version(tx: ReadTx, agent: str, version: str) -> AgentVersion:
    """One version of an agent; refuses with `NotFound` (`unknown_agent_version`)."""
    found = await store.version(tx, agent=agent, version=version)
    if found is None:
        raise NotFound("unknown_agent_version", f"{agent} has no version {version}")
    return found


async def _set_disabled(tx: Tx, name: str, by: str, *, disabled: bool) -> PrincipalInfo:
    # Whoever suspects their own keys may stop them.
    found = await (get(tx, name) if disabled else _locked(tx, name, by))
    if disabled:
        await store.end_sessions(tx, found.id)
    if await store.set_disabled(tx, found.id, disabled=disabled):
        await _tell(tx, by, "disable" if disabled else "enable", found.id, {"name": name})
    return await get(tx, name)


async def _locked(tx: Tx, name: str, by: str) -> PrincipalInfo:
    if name == by:
        raise Forbidden("own_authority", "nobody changes their own authority")
    found = await store.lock_principal(tx, name)
    if found is None:
        raise _unknown(name)
    return found


async def _owner(tx: ReadTx, owner: str, kind: str) -> int:
    if kind != "agent":
        raise Invalid("owner_not_a_person", "only an agent has an owner")
    found = await get(tx, owner)
    if found.kind != "person":
        raise Invalid("owner_not_a_person", f"{owner} is no person, and an agent's owner is one")
    return found.id


async def _tell(tx: Tx, by: str, verb: str, id: int, detail: dict[str, Any]) -> None:
    await audit.append(tx, principal=by, verb=f"principals.{verb}", subject_kind="principal", subject_id=id, detail=detail)


def _told(reach: Sequence[str] | None) -> dict[str, Any] | str:
    return "all" if reach is None else {"count": len(reach), "first": list(reach[:_LISTED])}


def _unknown(name: str) -> NotFound:
    return NotFound("unknown_principal", f"there is no principal {name}")
