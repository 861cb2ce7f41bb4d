"""A schedule, and the rules of when it fires."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from tallystick.kit import Invalid, check_name, digest, dumps
from tallystick.schedules.cron import parse_cron
from tallystick.schedules.times import newest_time, next_time, zone_of

CatchUp = Literal["latest", "all", "none"]
State = Literal["active", "paused", "ended"]

STATES = frozenset({"active", "paused", "ended"})
MAX_PRIORITY = 1000
MAX_PAYLOAD = 65_536
ON_TIME = timedelta(minutes=1)
"""A time that is over for longer was missed, which matters to a schedule that catches up with nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule enqueues, and when: at the times of `cron` (five fields) by the clock of `time_zone` (an IANA name).

    Of the times that nobody looked at while they passed, `catch_up` fires the `latest`, `all`, or `none`. The payload of a task
    says what time it is for in its field `fire_at_field`, where that is given.
    """

    agent: str
    type: str
    payload: Mapping[str, Any]
    cron: str
    time_zone: str = "UTC"
    priority: int = 0
    catch_up: CatchUp = "latest"
    fire_at_field: str | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands. Its tasks are enqueued in the name of `set_by`, who last said what it does.

    `next_at` is the first time that nobody has looked at yet; `None` where there is none any more. `pause_reason` is the code
    of what went wrong, where nobody but that paused it.
    """

    id: int
    name: str
    version: int
    agent: str
    type: str
    payload: Mapping[str, Any]
    cron: str
    time_zone: str
    priority: int
    catch_up: CatchUp
    fire_at_field: str | None
    created_by: str
    created_at: datetime
    set_by: str
    set_at: datetime
    next_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None

    @property
    def plan(self) -> Plan:
        """What it says."""
        return Plan(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Plan)})

    @property
    def state(self) -> State:
        """`active`, `paused`, or `ended`: no time is left to come."""
        if self.paused_at is not None:
            return "paused"
        return "active" if self.next_at is not None else "ended"

    def as_created(self, first: Plan) -> Schedule:
        """The schedule as the call that created it, with the plan `first`, was told of it, whatever has become of it since."""
        return dataclasses.replace(
            self, version=1, set_by=self.created_by, set_at=self.created_at, next_at=time_after(first, self.created_at),
            paused_at=None, paused_by=None, pause_reason=None, **_fields(first),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Firing:
    """A time at which a schedule fired, by the version that it had, and the task that came of it."""

    schedule_id: int
    fire_at: datetime
    version: int
    task_id: int
    fired_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """What is due of a schedule: the times to fire, oldest first, where it goes on, and the first time that is passed over."""

    times: tuple[datetime, ...]
    next_at: datetime | None
    missed: datetime | None


def check_plan(plan: Plan) -> Plan:
    """The plan, its cron text with single spaces, if it makes sense, else refuse.

    With `Invalid`: `name_malformed`, `priority_out_of_range`, `payload_too_large`, `fire_at_field_taken`, `cron_malformed`,
    `cron_never_fires`, `text_too_long`, `unknown_time_zone`.
    """
    check_name(plan.agent, "an agent's name")
    check_name(plan.type, "a task's type")
    if not -MAX_PRIORITY <= plan.priority <= MAX_PRIORITY:
        raise Invalid("priority_out_of_range", f"a priority is -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if plan.fire_at_field is not None and check_name(plan.fire_at_field, "a field's name") in plan.payload:
        raise Invalid("fire_at_field_taken", "the payload has a field of this name already")
    if len(dumps(dict(plan.payload))) > MAX_PAYLOAD:
        raise Invalid("payload_too_large", f"the payload of a schedule may have {MAX_PAYLOAD} bytes")
    parse_cron(plan.cron)
    zone_of(plan.time_zone)
    return dataclasses.replace(plan, cron=" ".join(plan.cron.split()))


def same(one: Plan, other: Plan) -> bool:
    """Whether two plans say the same, to the last digit of their payloads."""
    return digest(_fields(one)) == digest(_fields(other))


def time_after(plan: Plan, after: datetime) -> datetime | None:
    """The plan's first time after `after`, in UTC; `None` where there is none for decades."""
    return next_time(parse_cron(plan.cron), zone_of(plan.time_zone), after)


def upcoming(schedule: Schedule, count: int) -> list[datetime]:
    """The next times of a schedule, `count` at most; none while it is paused."""
    times: list[datetime] = []
    following = schedule.next_at if schedule.state == "active" else None
    while following is not None and len(times) < count:
        times.append(following)
        following = time_after(schedule.plan, following)
    return times


def turn(schedule: Schedule, now: datetime, most: int) -> Turn:
    """What is due of a schedule whose `next_at` has come; `most` times at once, where it catches up with all."""
    first, plan = schedule.next_at, schedule.plan
    assert first is not None
    assert first <= now
    if plan.catch_up == "all":
        times: list[datetime] = []
        following: datetime | None = first
        while following is not None and following <= now and len(times) < most:
            times.append(following)
            following = time_after(plan, following)
        return Turn(tuple(times), following, None)
    newest = newest_time(parse_cron(plan.cron), zone_of(plan.time_zone), first, now)
    following = time_after(plan, newest)
    if plan.catch_up == "none" and now - newest > ON_TIME:
        return Turn((), following, first)
    return Turn((newest,), following, None if newest == first else first)


def payload_of(plan: Plan, fire_at: datetime) -> Mapping[str, Any]:
    """The payload of the task for one time."""
    if plan.fire_at_field is None:
        return plan.payload
    return {**plan.payload, plan.fire_at_field: fire_at.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _fields(plan: Plan) -> dict[str, Any]:
    return {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
