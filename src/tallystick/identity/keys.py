"""The verbs of API keys: made, taken the place of, revoked; and who calls with one."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.identity import store
from tallystick.identity.model import KeyInfo, NewKey, Principal, PrincipalInfo, check_roles
from tallystick.identity.service import add_principal, ensure, get
from tallystick.identity.service import version as version_of
from tallystick.kit import Conflict, Invalid, NotFound

PREFIX_LENGTH = 10
MAX_LIFE_S = 10 * 366 * 86_400
_PREFIX = "ts_"
_MAX_KEYS = 100
_KEY = re.compile(r"ts_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Recognized:
    """Who calls with a key, and which key it is."""

    key_id: int
    principal: Principal


async def create_key(
    tx: Tx,
    name: str,
    *,
    kind: str = "service",
    by: str,
    roles: Collection[str] | None = None,
    owner: str | None = None,
    risk_tier: str | None = None,
    scopes: Collection[str] | None = None,
    expires_in_s: float | None = None,
    version: str | None = None,
    mandate_id: int | None = None,
) -> NewKey:
    """Make a key of 256 random bits for the principal `name`, who is made where there is none. Only its hash is stored.

    `kind`, `roles`, `owner` and `risk_tier` are for a new principal, as of `add_principal`; one who is known stays as they are.
    The key has the `scopes` among its principal's roles, or all of them; it may end by itself, be of one `version` of an agent,
    and have the agent act under a mandate. Refuses as `add_principal` does, and with `Invalid` (`expiry_out_of_range`),
    `NotFound` (`unknown_agent_version`, `unknown_mandate`) and `Conflict` (`principal_exists`, where `roles` are given to one
    who has others; `principal_disabled`; `too_many_keys`).
    """
    narrowed = None if scopes is None else check_roles(scopes)
    if expires_in_s is not None and not 1 <= expires_in_s <= MAX_LIFE_S:
        raise Invalid("expiry_out_of_range", "a key lasts a second to ten years")
    made = await ensure(tx, name, kind=kind, by=by, roles=roles, owner=owner, risk_tier=risk_tier)
    found = made or await get(tx, name)
    if made is None and roles is not None and sorted(set(roles)) != sorted(found.roles):
        raise Conflict("principal_exists", f"{name} has other roles; they are changed by themselves")
    version_id = None if version is None else (await version_of(tx, name, version)).id
    if mandate_id is not None:
        await _check_mandate(tx, mandate_id, name)
    return await _make(
        tx, found, by, scopes=narrowed, expires_in_s=expires_in_s, version=version, version_id=version_id, mandate_id=mandate_id
    )


async def first_admin(tx: Tx, name: str, *, by: str) -> NewKey:
    """Make the first person who may give authority to others, and a key. Refuses with `Conflict` (`admin_exists`)."""
    await store.one_at_a_time(tx)
    if await store.count_admins(tx):
        raise Conflict("admin_exists", "there is an admin already, who may make others")
    await add_principal(tx, name, kind="person", by=by, roles=["admin"])
    return await create_key(tx, name, by=by)


async def rotate_key(tx: Tx, key_id: int, *, by: str, overlap_s: float = 0, expires_in_s: float | None = None) -> NewKey:
    """Make a key that takes the place of another, with all it has; the old one ends after `overlap_s` seconds.

    The new one lasts as long as the old one was made to last, or `expires_in_s`. Refuses with `NotFound` (`unknown_key`) where
    no such key is in use, and `Invalid` (`expiry_out_of_range`).
    """
    if not 0 <= overlap_s <= MAX_LIFE_S or not (expires_in_s is None or 1 <= expires_in_s <= MAX_LIFE_S):
        raise Invalid("expiry_out_of_range", "a key lasts a second to ten years")
    old = await store.key(tx, key_id)
    if old is None or not await store.end_key(tx, key_id, in_s=overlap_s):
        raise _unknown(key_id)
    lasts_s = expires_in_s
    if lasts_s is None and old.expires_at is not None:
        lasts_s = max(1.0, (old.expires_at - old.created_at).total_seconds())
    found = await get(tx, old.principal)
    version_id = None if old.version is None else (await version_of(tx, old.principal, old.version)).id
    return await _make(
        tx,
        found,
        by,
        scopes=old.scopes,
        expires_in_s=lasts_s,
        version=old.version,
        version_id=version_id,
        mandate_id=old.mandate_id,
        follows=key_id,
        overlap_s=overlap_s,
    )


async def authenticate(tx: ReadTx, secret: str) -> Principal | None:
    """Who the key belongs to; `None` where it is unknown or of no use any more."""
    known = await recognize(tx, secret)
    return None if known is None else known.principal


async def recognize(tx: ReadTx, secret: str) -> Recognized | None:
    """As `authenticate`, with the key that it was."""
    known = await store.principal_of_key(tx, _hash(secret))
    if known is None or known.credential_id is None:
        return None
    return Recognized(known.credential_id, known.principal())


async def mark_used(tx: Tx, key_ids: Sequence[int]) -> None:
    """Note that keys are in use. It is no event, and written once a minute for each at most."""
    if key_ids:
        await store.mark_used(tx, sorted(set(key_ids)))


async def keys(tx: ReadTx, *, principal: str | None = None, before: int | None = None, limit: int = 200) -> list[KeyInfo]:
    """A page of the keys that were ever made, newest first, below the id `before`; never their secrets."""
    return await store.keys(tx, principal=principal, before=before, limit=limit)


async def key(tx: ReadTx, key_id: int) -> KeyInfo:
    """One key; refuses with `NotFound` (`unknown_key`)."""
    found = await store.key(tx, key_id)
    if found is None:
        raise _unknown(key_id)
    return found


async def any_key(tx: ReadTx) -> bool:
    """Whether there is a key that is in use."""
    return await store.any_key(tx)


async def revoke_key(tx: Tx, key_id: int, *, by: str) -> None:
    """Make a key useless. Refuses with `NotFound` (`unknown_key`) where no such key is in use."""
    if not await store.revoke(tx, key_id):
        raise _unknown(key_id)
    await audit.append(tx, principal=by, verb="keys.revoke", subject_kind="api_key", subject_id=key_id)


def prefix_of(secret: str) -> str | None:
    """The beginning that keys are told apart by, of what has the form of a key of ours; `None` of all else.

    What somebody sent may be a secret of another house, of which nothing is to be kept.
    """
    return secret[:PREFIX_LENGTH] if _KEY.fullmatch(secret) else None


async def _make(
    tx: Tx,
    principal: PrincipalInfo,
    by: str,
    *,
    scopes: Sequence[str] | None,
    expires_in_s: float | None,
    version: str | None,
    version_id: int | None,
    mandate_id: int | None,
    follows: int | None = None,
    overlap_s: float | None = None,
) -> NewKey:
    # Two calls that make keys of one principal are counted one after the other.
    await store.lock_principal(tx, principal.name)
    if principal.disabled_at is not None:
        raise Conflict("principal_disabled", f"{principal.name} is disabled")
    if await store.keys_in_use(tx, principal.id) >= _MAX_KEYS:
        raise Conflict("too_many_keys", f"{principal.name} has {_MAX_KEYS} keys in use")
    secret = _PREFIX + secrets.token_urlsafe(32)
    prefix = secret[:PREFIX_LENGTH]
    key_id = await store.add_key(
        tx,
        principal.id,
        prefix=prefix,
        hash=_hash(secret),
        scopes=scopes,
        expires_in_s=expires_in_s,
        version_id=version_id,
        mandate_id=mandate_id,
        follows=follows,
    )
    detail: dict[str, Any] = {
        "for": principal.name,
        "prefix": prefix,
        "scopes": scopes,
        "expires_in_s": None if expires_in_s is None else round(expires_in_s),
        "version": version,
        "mandate": None if mandate_id is None else str(mandate_id),
        "follows": None if follows is None else str(follows),
        "overlap_s": None if overlap_s is None else round(overlap_s),
    }
    verb = "keys.create" if follows is None else "keys.rotate"
    told = {name: value for name, value in detail.items() if value is not None}
    await audit.append(tx, principal=by, verb=verb, subject_kind="api_key", subject_id=key_id, detail=told)
    return NewKey(key_id, principal.name, prefix, secret)


async def _check_mandate(tx: ReadTx, mandate_id: int, agent: str) -> None:
    found = await store.mandate(tx, mandate_id)
    if found is None or found.agent != agent or found.revoked_at is not None:
        raise NotFound("unknown_mandate", f"{agent} has no mandate {mandate_id} that is in force")


def _hash(secret: str) -> bytes:
    # A key of 256 random bits cannot be guessed, so its hash needs no salt and no cost.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _unknown(key_id: int) -> NotFound:
    return NotFound("unknown_key", f"no key {key_id} is in use")
