"""One function a query of the shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallystick.audit import Items
from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import dumps
from tallystick.memory.model import Event

_queries = Queries(__package__)
_PUBLISH = _queries.bind("publish", Event)
_DIGEST = _queries.bind("digest", bytes)
_PAGE = _queries.bind("page", Event)
_PAGE_OF_AGENT = _queries.bind("page_of_agent", Event)
_FIRST = _queries.bind("first", Event)


async def publish(tx: Tx, *, principal: str, agent: str, type: str, payload: Mapping[str, Any]) -> Event:
    parameters = {"principal": principal, "agent": agent, "type": type, "payload": dumps(dict(payload)).decode()}
    return await tx.single(_PUBLISH, parameters)


async def items(tx: ReadTx, event_id: int) -> Items:
    return Items("event", [event_id], await tx.single(_DIGEST, {"id": event_id}))


async def page(tx: ReadTx, *, agent: str | None, before: int, limit: int) -> list[Event]:
    if agent is None:
        return await tx.all(_PAGE, {"before": before, "limit": limit})
    return await tx.all(_PAGE_OF_AGENT, {"agent": agent, "before": before, "limit": limit})


async def first(tx: ReadTx, *, type: str, match: Mapping[str, Any] | None, since: datetime) -> Event | None:
    contained = None if match is None else dumps(dict(match)).decode()
    return await tx.one(_FIRST, {"type": type, "match": contained, "since": since})
