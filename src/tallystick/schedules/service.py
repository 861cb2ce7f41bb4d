"""The verbs of the schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from tallystick import audit, work
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, check_name
from tallystick.schedules import store
from tallystick.schedules.model import (
    STATES,
    Firing,
    Plan,
    Schedule,
    Turn,
    check_plan,
    payload_of,
    same,
    time_after,
    turn,
)

MAX_AT_ONCE = 500
_NEWEST = 2**63 - 1
_SYSTEM = "tallystick"


async def create(tx: Tx, principal: str, name: str, plan: Plan) -> Schedule:
    """Store a schedule, which fires from now on, in the name of `principal`.

    Refuses with `Invalid` as `check_plan` does, also a cron text that never fires in its zone, and with `Conflict`
    (`schedule_exists`).
    """
    check_name(name, "a schedule's name")
    plan = check_plan(plan)
    now = await store.clock(tx)
    next_at = _first_time(plan, now)
    schedule_id = await store.add(tx, principal, name, now=now, next_at=next_at)
    if schedule_id is None:
        raise Conflict("schedule_exists", f"there is a schedule {name} already")
    await store.add_version(tx, principal, plan, schedule_id=schedule_id, n=1, now=now)
    await _record(tx, principal, "create", schedule_id, version=1)
    return await store.get(tx, schedule_id)


async def change(tx: Tx, principal: str, name: str, plan: Plan) -> Schedule:
    """Let a schedule say something else, from now on and in the name of `principal`. What it said stays on the record.

    Where its times change, it goes on with the first one from now; else with the one that it had before it. The plan that it
    has already changes nothing. Refuses as `create` does, and with `NotFound` (`unknown_schedule`).
    """
    plan = check_plan(plan)
    schedule = await lock(tx, name)
    if same(schedule.plan, plan):
        return schedule
    now, n = await store.clock(tx), schedule.version + 1
    kept = (plan.cron, plan.time_zone) == (schedule.cron, schedule.time_zone)
    await store.add_version(tx, principal, plan, schedule_id=schedule.id, n=n, now=now)
    await store.set_version(tx, schedule.id, n, schedule.next_at if kept else _first_time(plan, now))
    await _record(tx, principal, "change", schedule.id, version=n)
    return await store.get(tx, schedule.id)


async def get(tx: ReadTx, name: str) -> Schedule:
    """The schedule of that name; refuses with `NotFound` (`unknown_schedule`)."""
    return await store.get(tx, _known(await store.find(tx, name), name))


async def lock(tx: Tx, name: str) -> Schedule:
    """The same, and nobody else changes or fires it until this transaction ends."""
    # Its version may have changed while the row was waited for, so what it says is read by another statement.
    return await store.get(tx, _known(await store.lock(tx, name), name))


async def as_created(tx: ReadTx, schedule_id: int) -> Schedule:
    """A schedule, removed or not, as the call that created it was told of it."""
    return (await store.get(tx, schedule_id)).as_created(await store.first_plan(tx, schedule_id))


async def by_id(tx: ReadTx, schedule_id: int) -> Schedule:
    """A schedule as it stands, removed or not."""
    return await store.get(tx, schedule_id)


async def page(
    tx: ReadTx, *, agent: str | None = None, state: str | None = None, before: int | None = None, limit: int = 50
) -> list[Schedule]:
    """A page of schedules below the id `before`, newest first; of one agent or in one state where given.

    Refuses with `Invalid` (`unknown_status`).
    """
    if state is not None and state not in STATES:
        raise Invalid("unknown_status", f"a schedule is {', '.join(sorted(STATES))}")
    return await store.page(tx, agent=agent, state=state, before=_NEWEST if before is None else before, limit=limit)


async def firings(tx: ReadTx, schedule_id: int, limit: int = 10) -> list[Firing]:
    """The last times at which a schedule fired, newest first."""
    return await store.firings(tx, schedule_id, limit)


async def pause(tx: Tx, principal: str, name: str) -> Schedule:
    """Stop a schedule: no time fires until it is resumed. One that is paused stays as it is.

    Refuses with `NotFound` (`unknown_schedule`).
    """
    schedule = await lock(tx, name)
    if schedule.paused_at is not None:
        return schedule
    await _pause(tx, principal, schedule, await store.clock(tx), None)
    return await store.get(tx, schedule.id)


async def resume(tx: Tx, principal: str, name: str) -> Schedule:
    """Let a paused schedule fire again, from its first time after now; what passed while it was paused does not fire.

    One that is not paused stays as it is. Refuses with `NotFound` (`unknown_schedule`), and with `Invalid` as `create` does.
    """
    schedule = await lock(tx, name)
    if schedule.paused_at is None:
        return schedule
    next_at = time_after(check_plan(schedule.plan), await store.clock(tx))
    await store.resume(tx, schedule.id, next_at)
    await _record(tx, principal, "resume", schedule.id)
    return await store.get(tx, schedule.id)


async def remove(tx: Tx, principal: str, name: str) -> Schedule:
    """End a schedule for good. What it said and when it fired stays on the record; its name is free again.

    Refuses with `NotFound` (`unknown_schedule`).
    """
    schedule = await lock(tx, name)
    await store.remove(tx, principal, schedule.id, await store.clock(tx))
    await _record(tx, principal, "remove", schedule.id)
    return schedule


async def fire_due(tx: Tx, *, limit: int = MAX_AT_ONCE) -> list[Firing]:
    """Enqueue the tasks of the schedules whose time has come; at most `limit` tasks, and what became of which time.

    Any number of callers may do so at once: each schedule is in one's hand at a time, and a time fires once whatever happens.
    Where this returns any, ring `work.CHANNEL` after the commit, and call it again: more may be due. A schedule that cannot
    fire, as its time zone is gone or its task is refused, is paused and says why; the others fire. Refuses with `Invalid`
    (`limit_out_of_range`).
    """
    if not 1 <= limit <= MAX_AT_ONCE:
        raise Invalid("limit_out_of_range", f"1 to {MAX_AT_ONCE} times may fire at once")
    due = await store.lock_due(tx, limit)
    if not due:
        return []
    now = await store.clock(tx)
    share = max(1, limit // len(due))
    broken: dict[int, str] = {}
    turns: list[tuple[Schedule, Turn]] = []
    for schedule in due:
        try:
            turns.append((schedule, turn(schedule, now, share)))
        except Invalid as refusal:
            broken[schedule.id] = refusal.code
    fired = await _fire(tx, turns, now, broken)
    for schedule in due:
        if schedule.id in broken:
            await _pause(tx, _SYSTEM, schedule, now, broken[schedule.id])
    went_on = [(schedule, one) for schedule, one in turns if schedule.id not in broken]
    await store.go_on(tx, [(schedule.id, one.next_at) for schedule, one in went_on])
    missed = [(schedule.id, one.missed.isoformat()) for schedule, one in went_on if one.missed is not None]
    if fired or missed:
        detail = {"fired": [(one.schedule_id, one.fire_at.isoformat(), one.task_id) for one in fired], "missed": missed}
        first = fired[0].schedule_id if fired else missed[0][0]
        await audit.append(
            tx, principal=_SYSTEM, verb="schedules.fire", subject_kind="schedule", subject_id=first, detail=detail
        )
    return fired


async def _fire(tx: Tx, turns: Sequence[tuple[Schedule, Turn]], now: datetime, broken: dict[int, str]) -> list[Firing]:
    """Enqueue a task for each time that did not fire before. Those schedules whose tasks are refused go into `broken`."""
    wanted = [(schedule, fire_at) for schedule, one in turns for fire_at in one.times]
    before = await store.fired_before(tx, [(schedule.id, fire_at) for schedule, fire_at in wanted])
    fresh = [(schedule, fire_at) for schedule, fire_at in wanted if (schedule.id, fire_at) not in before]
    times: list[tuple[Schedule, datetime]] = []
    task_ids: list[int] = []
    for principal, group in groupby(sorted(fresh, key=lambda one: one[0].set_by), key=lambda one: one[0].set_by):
        accepted, ids = await _enqueue(tx, principal, list(group), broken)
        times += accepted
        task_ids += ids
    fired = await store.add_firings(tx, times, task_ids, now)
    if len(fired) != len(times):
        raise AssertionError("a time fired while its schedule was locked")
    return fired


async def _enqueue(
    tx: Tx, principal: str, times: list[tuple[Schedule, datetime]], broken: dict[int, str]
) -> tuple[list[tuple[Schedule, datetime]], list[int]]:
    try:
        return times, await work.enqueue(tx, principal, [_task(*one) for one in times])
    except TallystickError:
        # Refused before anything was stored, so each may be tried by itself.
        pass
    accepted: list[tuple[Schedule, datetime]] = []
    ids: list[int] = []
    for one in times:
        try:
            ids += await work.enqueue(tx, principal, [_task(*one)])
            accepted.append(one)
        except TallystickError as refusal:
            broken[one[0].id] = refusal.code
    return accepted, ids


def _task(schedule: Schedule, fire_at: datetime) -> work.NewTask:
    payload = payload_of(schedule.plan, fire_at)
    return work.NewTask(schedule.agent, schedule.type, payload, priority=schedule.priority)


async def _pause(tx: Tx, principal: str, schedule: Schedule, now: datetime, reason: str | None) -> None:
    await store.pause(tx, principal, schedule.id, now=now, reason=reason)
    await _record(tx, principal, "pause", schedule.id, **({} if reason is None else {"reason": reason}))


async def _record(tx: Tx, principal: str, verb: str, schedule_id: int, **detail: str | int) -> None:
    await audit.append(
        tx, principal=principal, verb=f"schedules.{verb}", subject_kind="schedule", subject_id=schedule_id, detail=detail
    )


def _first_time(plan: Plan, now: datetime) -> datetime:
    first = time_after(plan, now)
    if first is None:
        raise Invalid("cron_never_fires", "the clock of this time zone never shows a time that is meant")
    return first


def _known(schedule_id: int | None, name: str) -> int:
    if schedule_id is None:
        raise NotFound("unknown_schedule", f"there is no schedule {name}")
    return schedule_id
