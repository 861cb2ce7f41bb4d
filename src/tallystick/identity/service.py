"""The verbs of identity."""

from __future__ import annotations

import hashlib
import secrets

from tallystick import audit
from tallystick.db import Queries, ReadTx, Tx
from tallystick.identity.model import KeyInfo, Known, NewKey, Principal
from tallystick.kit import Invalid, NotFound, check_name

_PREFIX = "ts_"
_PREFIX_LENGTH = 10
_RESERVED = frozenset({"bootstrap", "demo", "end-of-day", "settlement-agent", "tallystick", "import", "clock"})
_RESERVED_BEGINNINGS = ("import:", "operator:", "demo:", "cli:", "worker@")

_queries = Queries(__package__)
_ADD_PRINCIPAL = _queries.command("add_principal")
_ADD_KEY = _queries.bind("add_key", int)
_PRINCIPAL_OF_KEY = _queries.bind("principal_of_key", Known)
_KEYS = _queries.bind("keys", KeyInfo)
_REVOKE = _queries.bind("revoke", int)


async def create_key(tx: Tx, name: str, *, kind: str = "service", by: str) -> NewKey:
    """Make a key of 256 random bits for the principal `name`, who is made where there is none. Only its hash is stored.

    Refuses with `Invalid` (`name_malformed`, `name_reserved`).
    """
    check_name(name, "a principal's name")
    if name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS):
        raise Invalid("name_reserved", f"{name} is what a part of Tallystick calls itself")
    secret = _PREFIX + secrets.token_urlsafe(32)
    await tx.run(_ADD_PRINCIPAL, {"name": name, "kind": kind})
    prefix = secret[:_PREFIX_LENGTH]
    key_id = await tx.single(_ADD_KEY, {"name": name, "prefix": prefix, "hash": _hash(secret)})
    await audit.append(
        tx, principal=by, verb="keys.create", subject_kind="api_key", subject_id=key_id, detail={"for": name, "prefix": prefix}
    )
    return NewKey(key_id, name, prefix, secret)


async def authenticate(tx: ReadTx, secret: str) -> Principal | None:
    """Who the key belongs to; `None` where it is unknown or revoked."""
    known = await tx.one(_PRINCIPAL_OF_KEY, {"hash": _hash(secret)})
    return None if known is None else Principal(known.name, known.kind, frozenset({"operator"}))


async def keys(tx: ReadTx) -> list[KeyInfo]:
    """Every key that was ever made, newest first; never their secrets."""
    return await tx.all(_KEYS)


async def revoke_key(tx: Tx, key_id: int, *, by: str) -> None:
    """Make a key useless. Refuses with `NotFound` (`unknown_key`) where no such key is in use."""
    if await tx.one(_REVOKE, {"id": key_id}) is None:
        raise NotFound("unknown_key", f"no key {key_id} is in use")
    await audit.append(tx, principal=by, verb="keys.revoke", subject_kind="api_key", subject_id=key_id)


def _hash(secret: str) -> bytes:
    # A key of 256 random bits cannot be guessed, so its hash needs no salt and no cost.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
