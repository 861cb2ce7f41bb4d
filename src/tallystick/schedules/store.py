"""One function a query of the schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tallystick.db import Queries, ReadTx, Tx, bigints, integers
from tallystick.kit import dumps
from tallystick.schedules.model import Firing, Plan, Schedule

_queries = Queries(__package__)
_CLOCK = _queries.bind("clock", datetime)
_ADD = _queries.bind("add", int)
_ADD_VERSION = _queries.command("add_version")
_FIND = _queries.bind("find", int)
_LOCK = _queries.bind("lock", int)
_GET = _queries.bind("get", Schedule)
_FIRST_PLAN = _queries.bind("first_plan", Plan)
_PAGE = _queries.bind("page", Schedule)
_SET_VERSION = _queries.command("set_version")
_PAUSE = _queries.command("pause")
_RESUME = _queries.command("resume")
_REMOVE = _queries.command("remove")
_LOCK_DUE = _queries.bind("lock_due", Schedule)
_FIRED_BEFORE = _queries.bind("fired_before", Firing)
_ADD_FIRINGS = _queries.bind("add_firings", Firing)
_GO_ON = _queries.command("go_on")
_FIRINGS = _queries.bind("firings", Firing)


async def clock(tx: ReadTx) -> datetime:
    return await tx.single(_CLOCK)


async def add(tx: Tx, principal: str, name: str, *, now: datetime, next_at: datetime) -> int | None:
    return await tx.one(_ADD, {"name": name, "principal": principal, "now": now, "next_at": next_at})


async def add_version(tx: Tx, principal: str, plan: Plan, *, schedule_id: int, n: int, now: datetime) -> None:
    await tx.run(
        _ADD_VERSION,
        {
            "schedule_id": schedule_id,
            "n": n,
            "agent": plan.agent,
            "type": plan.type,
            "payload": dumps(dict(plan.payload)).decode(),
            "cron": plan.cron,
            "time_zone": plan.time_zone,
            "priority": plan.priority,
            "catch_up": plan.catch_up,
            "fire_at_field": plan.fire_at_field,
            "principal": principal,
            "now": now,
        },
    )


async def find(tx: ReadTx, name: str) -> int | None:
    return await tx.one(_FIND, {"name": name})


async def lock(tx: Tx, name: str) -> int | None:
    return await tx.one(_LOCK, {"name": name})


async def get(tx: ReadTx, schedule_id: int) -> Schedule:
    return await tx.single(_GET, {"schedule_id": schedule_id})


async def first_plan(tx: ReadTx, schedule_id: int) -> Plan:
    return await tx.single(_FIRST_PLAN, {"schedule_id": schedule_id})


async def page(tx: ReadTx, *, agent: str | None, state: str | None, before: int, limit: int) -> list[Schedule]:
    return await tx.all(_PAGE, {"agent": agent, "state": state, "before": before, "limit": limit})


async def set_version(tx: Tx, schedule_id: int, n: int, next_at: datetime | None) -> None:
    await tx.run(_SET_VERSION, {"schedule_id": schedule_id, "n": n, "next_at": next_at})


async def pause(tx: Tx, principal: str, schedule_id: int, *, now: datetime, reason: str | None) -> None:
    await tx.run(_PAUSE, {"schedule_id": schedule_id, "principal": principal, "now": now, "reason": reason})


async def resume(tx: Tx, schedule_id: int, next_at: datetime | None) -> None:
    await tx.run(_RESUME, {"schedule_id": schedule_id, "next_at": next_at})


async def remove(tx: Tx, principal: str, schedule_id: int, now: datetime) -> None:
    await tx.run(_REMOVE, {"schedule_id": schedule_id, "principal": principal, "now": now})


async def lock_due(tx: Tx, limit: int) -> list[Schedule]:
    return await tx.all(_LOCK_DUE, {"limit": limit})


async def fired_before(tx: ReadTx, times: Sequence[tuple[int, datetime]]) -> set[tuple[int, datetime]]:
    schedule_ids = bigints([schedule_id for schedule_id, _ in times])
    known = await tx.all(_FIRED_BEFORE, {"schedule_ids": schedule_ids, "times": [fire_at for _, fire_at in times]})
    return {(firing.schedule_id, firing.fire_at) for firing in known}


async def add_firings(
    tx: Tx, times: Sequence[tuple[Schedule, datetime]], task_ids: Sequence[int], now: datetime
) -> list[Firing]:
    return await tx.all(
        _ADD_FIRINGS,
        {
            "schedule_ids": bigints([schedule.id for schedule, _ in times]),
            "times": [fire_at for _, fire_at in times],
            "versions": integers([schedule.version for schedule, _ in times]),
            "task_ids": bigints(task_ids),
            "now": now,
        },
    )


async def go_on(tx: Tx, times: Sequence[tuple[int, datetime | None]]) -> None:
    schedule_ids = bigints([schedule_id for schedule_id, _ in times])
    await tx.run(_GO_ON, {"schedule_ids": schedule_ids, "times": [next_at for _, next_at in times]})


async def firings(tx: ReadTx, schedule_id: int, limit: int) -> list[Firing]:
    return await tx.all(_FIRINGS, {"schedule_id": schedule_id, "limit": limit})
