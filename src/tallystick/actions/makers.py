"""Who proposed something, as they are by now: what is carried out later is carried out with no more than they have by then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from tallystick import identity
from tallystick.db import Tx
from tallystick.identity import Principal
from tallystick.kit import NotFound

AUTHORITY_GONE: Final = "authority_gone"
"""Why nothing is done any more in the name of somebody who is disabled, or whose mandate is over."""


async def as_of_now(tx: Tx, maker: Principal) -> Principal | None:
    """Who proposed it, with no more than they had then and no more than they have now; `None` where that is gone.

    What is disabled, and a mandate that was revoked or is over, leaves nothing. A part of the house is always there.
    """
    if not await is_known(tx, maker.name):
        return maker
    mandate_id = None if maker.mandate is None else maker.mandate.id
    now = await still(tx, maker.name, maker.roles, version=maker.version, mandate_id=mandate_id)
    if now is None:
        return None
    return replace(now, accounts=_both(now.accounts, maker.accounts), customers=_both(now.customers, maker.customers))


async def still(tx: Tx, name: str, roles: Collection[str], *, version: str | None, mandate_id: int | None) -> Principal | None:
    """A principal as it is now, with those of some roles that it still has; `None` where it, or its mandate, is gone."""
    now = await identity.acting(tx, name, version=version, mandate_id=mandate_id)
    return None if now is None else replace(now, roles=now.roles & frozenset(roles))


async def is_known(tx: Tx, name: str) -> bool:
    """Whether a name is that of a principal, and not of a part of the house."""
    try:
        await identity.get(tx, name)
    except NotFound:
        return False
    return True


def _both(now: frozenset[Any] | None, then: frozenset[Any] | None) -> frozenset[Any] | None:
    if now is None or then is None:
        return then if now is None else now
    return now & then
