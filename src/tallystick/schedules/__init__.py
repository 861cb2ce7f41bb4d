"""Schedules: tasks that are enqueued at the times of a cron text in a time zone, each time once."""

from tallystick.schedules.model import CatchUp, Firing, Plan, Schedule, State, upcoming
from tallystick.schedules.service import (
    MAX_AT_ONCE,
    as_created,
    by_id,
    change,
    create,
    fire_due,
    firings,
    get,
    lock,
    page,
    pause,
    remove,
    resume,
)
from tallystick.schedules.times import zone_of

__all__ = [
    "MAX_AT_ONCE",
    "CatchUp",
    "Firing",
    "Plan",
    "Schedule",
    "State",
    "as_created",
    "by_id",
    "change",
    "create",
    "fire_due",
    "firings",
    "get",
    "lock",
    "page",
    "pause",
    "remove",
    "resume",
    "upcoming",
    "zone_of",
]
