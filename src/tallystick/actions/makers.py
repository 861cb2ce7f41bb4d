"""Who proposed something, as they are by now: what is carried out later is carried out with no more than they have by then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tallystick import identity
from tallystick.db import Tx
from tallystick.identity import Principal

AUTHORITY_GONE: Final = "authority_gone"
"""Why nothing is done any more in the name of somebody who is disabled, or whose mandate is over."""


async def as_of_now(tx: Tx, maker: Principal) -> Principal | None:
    """Who proposed it, with no more than they had then and no more than they have now; `None` where that is gone.

    What is disabled, and a mandate that was revoked or is over, leaves nothing. A part of the house is always there.
    """
    who = maker.name, maker.version, None if maker.mandate is None else maker.mandate.id
    found = await identity.as_of_now(tx, [who])
    if who not in found:
        return maker
    now = found[who]
    if now is None:
        return None
    return replace(
        now,
        roles=now.roles & maker.roles,
        accounts=_both(now.accounts, maker.accounts),
        customers=_both(now.customers, maker.customers),
    )


def _both(now: frozenset[Any] | None, then: frozenset[Any] | None) -> frozenset[Any] | None:
    if now is None or then is None:
        return then if now is None else now
    return now & then
