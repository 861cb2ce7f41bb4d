"""Durable work: tasks are stored before anything else happens, claimed by one worker at a time, and finished once.

A task has at any time exactly one of a row in `ready`, in `run` or in `outcome`.
"""

from __future__ import annotations

from tallystick.work.model import CHANNEL, MAX_ATTEMPTS, STATUSES, Claimed, Finish, NewTask, Task
from tallystick.work.service import (
    claim,
    claim_these,
    complete_from_outside,
    enqueue,
    finish,
    get,
    give_back,
    note,
    page,
    pending,
    take_back_expired,
)

__all__ = [
    "CHANNEL",
    "MAX_ATTEMPTS",
    "STATUSES",
    "Claimed",
    "Finish",
    "NewTask",
    "Task",
    "claim",
    "claim_these",
    "complete_from_outside",
    "enqueue",
    "finish",
    "get",
    "give_back",
    "note",
    "page",
    "pending",
    "take_back_expired",
]
