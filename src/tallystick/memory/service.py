"""The verbs of the shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import check_name
from tallystick.memory import store
from tallystick.memory.model import Event

_NEWEST = 2**63 - 1


async def publish(tx: Tx, principal: str, *, agent: str, type: str, payload: Mapping[str, Any]) -> Event:
    """Leave a fact for other agents; it is never changed. Refuses with `Invalid` (`name_malformed`)."""
    check_name(agent, "an agent's name")
    check_name(type, "an event's type")
    event = await store.publish(tx, principal=principal, agent=agent, type=type, payload=payload)
    await audit.append(tx, principal=principal, verb="events.publish", subject_kind="event", subject_id=event.id)
    return event


async def recent(tx: ReadTx, agent: str, limit: int = 20) -> list[Event]:
    """The newest events of one agent, newest first; empty where it has none."""
    return await store.page(tx, agent=agent, before=_NEWEST, limit=limit)


async def page(tx: ReadTx, *, agent: str | None = None, before: int | None = None, limit: int = 50) -> list[Event]:
    """A page of events below the id `before`, newest first; those of one agent where it is named."""
    return await store.page(tx, agent=agent, before=_NEWEST if before is None else before, limit=limit)
