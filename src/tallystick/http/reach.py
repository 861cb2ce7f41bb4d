"""What a caller sees of the lists: what lies outside its reach is left out, in the query, so that pages stay right."""

from __future__ import annotations

from tallystick import customers, identity, ledger
from tallystick.db import ReadTx

_NOBODY = ""
"""A name that no agent can have."""


async def accounts_of(tx: ReadTx, principal: identity.Principal) -> list[int] | None:
    """The ids of the accounts that the principal sees; `None` is all."""
    if principal.accounts is None:
        return None
    return sorted(found.id for found in (await ledger.references(tx, principal.accounts)).values())


async def customers_of(tx: ReadTx, principal: identity.Principal) -> list[str] | None:
    """The names of the customers that the principal sees; `None` is all."""
    if principal.customers is None:
        return None
    ids = sorted(principal.customers)
    return [customer.name for customer in await customers.page(tx, ids=ids, limit=len(ids))]


def tasks_of(principal: identity.Principal, agent: str | None) -> str | None:
    """Whose tasks to list where those of `agent` are asked for (`None`: of all): an agent sees its own alone."""
    if principal.kind != "agent":
        return agent
    return principal.name if agent in (None, principal.name) else _NOBODY


def events_of(principal: identity.Principal, agent: str | None) -> str | None:
    """Likewise of events that agents left: who does not see all business sees its own alone."""
    if identity.sees_all(principal):
        return agent
    return principal.name if agent in (None, principal.name) else _NOBODY
