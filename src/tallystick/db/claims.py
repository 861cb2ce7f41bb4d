"""Idempotency keys: the same request under the same key is carried out once, and answered the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tallystick.db.pool import ReadTx, Tx
from tallystick.db.queries import Queries
from tallystick.kit import Invalid

State = Literal["fresh", "replay", "reused"]

_queries = Queries("tallystick.db")


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key and the request it stands for. `scope` is the principal who chose the key; `hash` is SHA-256."""

    scope: str
    key: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of one key: `fresh` (carry the request out), `replay` (it became `ref_id`) or `reused` (refuse)."""

    ord: int
    state: State
    ref_id: int


@dataclass(frozen=True, slots=True)
class _Use:
    kind: str
    hash: bytes
    ref_id: int


_CLAIM = _queries.bind("claim", Claimed)
_CLAIMED = _queries.bind("claimed", _Use)


async def claim(tx: Tx, keys: Sequence[Key], *, kind: str, ref_ids: Sequence[int]) -> list[Claimed]:
    """Take `keys` for things of `kind` that will have the ids `ref_ids`; one answer per key, in order.

    Waits for a transaction that holds one of the keys. In the lock order of the house, claims come before balances.
    """
    if not keys:
        return []
    return await tx.all(
        _CLAIM,
        {
            "scopes": [key.scope for key in keys],
            "keys": [key.key for key in keys],
            "hashes": [key.hash for key in keys],
            "kinds": [kind] * len(keys),
            "ref_ids": list(ref_ids),
        },
    )


async def claim_one(tx: Tx, key: Key, *, kind: str, ref_id: int) -> Claimed:
    """Take one key; refuses with `Invalid` (`key_reused`) where it stands for another request."""
    (claimed,) = await claim(tx, [key], kind=kind, ref_ids=[ref_id])
    if claimed.state == "reused":
        raise key_reused()
    return claimed


async def claimed(tx: ReadTx, key: Key, *, kind: str) -> int | None:
    """The id of the thing of `kind` that `key` already stands for, `None` where the key is free.

    Refuses with `Invalid` (`key_reused`) where it stands for another request. A free key may be taken by another call before
    this one claims it.
    """
    use = await tx.one(_CLAIMED, {"scope": key.scope, "key": key.key})
    if use is None:
        return None
    if (use.kind, use.hash) != (kind, key.hash):
        raise key_reused()
    return use.ref_id


def key_reused() -> Invalid:
    """The refusal of a key that was used for another request."""
    return Invalid("key_reused", "this Idempotency-Key was used for another request")
