"""`Idempotency-Key` for things that a POST creates: made once, and answered the same each time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tallystick.db import Key, ReadTx, Tx, claim_one, claimed
from tallystick.http.services import Call
from tallystick.kit import Conflict, digest

Thing = TypeVar("Thing")


class _TwinWasFaster(Exception):
    """Another call under the same key committed first, so that this one is to be undone."""


async def once(
    call: Call,
    key: str | None,
    *,
    kind: str,
    request: Any,
    create: Callable[[Tx], Awaitable[int]],
    read: Callable[[ReadTx, int], Awaitable[Thing]],
) -> Thing:
    """Create a thing of `kind` and read it; under a key that has been used for this `request`, only read it.

    `request` is the JSON that tells requests apart. Refuses with `Invalid` (`key_reused`) a key of another request.
    """
    if key is None:
        async with call.database.write() as tx:
            return await read(tx, await create(tx))
    wanted = Key(call.principal.name, key, digest([kind, request]))
    try:
        return await _attempt(call, wanted, kind, create, read)
    except (_TwinWasFaster, Conflict):
        # The twin has committed by now: either it is found, or the conflict is about something else and comes again.
        return await _attempt(call, wanted, kind, create, read)


async def _attempt(
    call: Call,
    wanted: Key,
    kind: str,
    create: Callable[[Tx], Awaitable[int]],
    read: Callable[[ReadTx, int], Awaitable[Thing]],
) -> Thing:
    async with call.database.write() as tx:
        earlier = await claimed(tx, wanted, kind=kind)
        if earlier is not None:
            return await read(tx, earlier)
        made = await create(tx)
        answer = await claim_one(tx, wanted, kind=kind, ref_id=made)
        if answer.state != "fresh":
            raise _TwinWasFaster
        return await read(tx, made)
