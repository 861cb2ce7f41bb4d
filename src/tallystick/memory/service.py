"""The verbs of the shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick import audit, work
from tallystick.db import ReadTx, Tx
from tallystick.kit import check_name
from tallystick.memory import store
from tallystick.memory.model import Event

_NEWEST = 2**63 - 1


async def publish(
    tx: Tx, principal: str, *, agent: str, type: str, payload: Mapping[str, Any], task_id: int | None = None
) -> Event:
    """Leave a fact for other agents; it is never changed. Tasks that wait for it go on: ring `work.CHANNEL` afterwards.

    `task_id` is the task that it is an effect of, where it is one.
    Refuses with `Invalid` (`name_malformed`).
    """
    check_name(agent, "an agent's name")
    check_name(type, "an event's type")
    event = await store.publish(tx, principal=principal, agent=agent, type=type, payload=payload)
    items = await store.items(tx, event.id)
    await audit.append(
        tx,
        principal=principal,
        verb="events.publish",
        subject_kind="event",
        subject_id=event.id,
        task_id=task_id,
        items=items,
    )
    await work.wake_for_event(tx, type, event.payload, event.as_json())
    return event


async def wait_for(tx: Tx, task_id: int, fence: int, wait: work.Wait) -> None:
    """Park a task until there is an event such as `wait` says; the first one since the task was created may be there already.

    An event that comes at the same moment is not missed. Refuses as `work.park` does.
    """
    assert wait.event_type is not None, "who waits for an event says of what type"
    await work.lock_event(tx, wait.event_type)
    await work.park(tx, task_id, fence, wait)
    task = await work.get(tx, task_id)
    event = await store.first(tx, type=wait.event_type, match=wait.match, since=task.created_at)
    if event is not None:
        await work.wake(tx, task_id, event.as_json())


async def recent(tx: ReadTx, agent: str, limit: int = 20) -> list[Event]:
    """The newest events of one agent, newest first; empty where it has none."""
    return await store.page(tx, agent=agent, before=_NEWEST, limit=limit)


async def page(tx: ReadTx, *, agent: str | None = None, before: int | None = None, limit: int = 50) -> list[Event]:
    """A page of events below the id `before`, newest first; those of one agent where it is named."""
    return await store.page(tx, agent=agent, before=_NEWEST if before is None else before, limit=limit)
