"""`Idempotency-Key` for things that a POST creates: made once, and answered the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tallystick.db import Key, ReadTx, Tx, claim, claim_one, claimed
from tallystick.http.gate import perform
from tallystick.http.services import Call
from tallystick.kit import Conflict, TallystickError, digest

Thing = TypeVar("Thing")


class _TwinWasFaster(Exception):
    """Another call under the same key committed first, so that this one is to be undone."""


async def once(
    call: Call,
    key: str | None,
    *,
    kind: str,
    request: Any,
    create: Callable[[Tx], Awaitable[int | TallystickError]],
    read: Callable[[ReadTx, int], Awaitable[Thing]],
    payload: Any = None,
) -> Thing:
    """Create a thing of `kind` and read it; under a key that has been used for this `request`, only read it.

    `request` is the JSON that tells requests apart. What has an effect is an action, whose `payload` goes through the gate. A
    refusal that `create` gives back is raised after the commit, so that what it left in the record stays; its key is as good as
    new. Refuses with `Invalid` (`key_reused`) a key of another request.
    """

    async def done(work: Callable[[Tx], Awaitable[Thing | TallystickError]]) -> Thing | TallystickError:
        if payload is None:
            return await call.database.retrying(work)
        return await perform(call, payload, work, key=key)

    async def bare(tx: Tx) -> Thing | TallystickError:
        made = await create(tx)
        return made if isinstance(made, TallystickError) else await read(tx, made)

    if key is None:
        return _or_raised(await done(bare))
    wanted = Key(call.principal.name, key, digest([kind, request]))

    async def keyed(tx: Tx) -> Thing | TallystickError:
        earlier = await claimed(tx, wanted, kind=kind)
        if earlier is not None:
            return await read(tx, earlier)
        made = await create(tx)
        if isinstance(made, TallystickError):
            return made
        answer = await claim_one(tx, wanted, kind=kind, ref_id=made)
        if answer.state != "fresh":
            raise _TwinWasFaster
        return await read(tx, made)

    try:
        became = await done(keyed)
    except (_TwinWasFaster, Conflict):
        # The twin has committed by now: either it is found, or the conflict is about something else and comes again.
        became = await done(keyed)
    return _or_raised(became)


def _or_raised(became: Thing | TallystickError) -> Thing:
    if isinstance(became, TallystickError):
        raise became
    return became


async def many_once(
    call: Call, key: str | None, *, kind: str, count: int, request: Any, create: Callable[[Tx], Awaitable[list[int]]]
) -> list[int]:
    """As `once`, of `count` things that are made by one request; their ids, in order."""
    if key is None:
        return await call.database.retrying(create)
    request_hash = digest([kind, count, request])
    # Each thing after the first has a key that no caller can send, as it holds a space.
    stem = hashlib.sha256(key.encode()).hexdigest()
    names = [key, *(f"{kind} {stem} {place}" for place in range(1, count))]
    wanted = [Key(call.principal.name, name, request_hash) for name in names]

    async def attempt(tx: Tx) -> list[int]:
        if await claimed(tx, wanted[0], kind=kind) is None:
            made = await create(tx)
            answers = await claim(tx, wanted, kind=kind, ref_ids=made)
            if any(answer.state != "fresh" for answer in answers):
                raise _TwinWasFaster
            return made
        return [answer.ref_id for answer in await claim(tx, wanted, kind=kind, ref_ids=[0] * count)]

    try:
        return await call.database.retrying(attempt)
    except (_TwinWasFaster, Conflict):
        return await call.database.retrying(attempt)
