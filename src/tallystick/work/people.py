"""The verbs of people: cancel, put back, answer, pause, limit."""

from __future__ import annotations

from typing import Literal

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text
from tallystick.work import store
from tallystick.work.model import Brake, Question, Task
from tallystick.work.outside import policy
from tallystick.work.service import get
from tallystick.work.waits import waiting

Kind = Literal["agent", "type"]
_KINDS = ("agent", "type")


async def cancel(tx: Tx, task_id: int, principal: str, *, reason: str = "cancelled") -> Task:
    """End a task that has not ended, wherever it is; an attempt of it that runs has lost its fence with the commit.

    Cancelling a cancelled task changes nothing. Refuses with `NotFound` (`unknown_task`), `Conflict` (`task_already_finished`).
    """
    check_text(reason, "the reason", 2000)
    place = await store.cancel(tx, task_id, reason=reason or "cancelled", by=principal)
    task = await get(tx, task_id)
    if place is None and task.status != "cancelled":
        raise Conflict("task_already_finished", f"task {task_id} ended otherwise")
    if place is not None:
        await audit.append(
            tx, principal=principal, verb="tasks.cancel", subject_kind="task", subject_id=task_id,
            detail={"was": place},
        )  # fmt: skip
    return task


async def put_back(tx: Tx, task_id: int, principal: str) -> Task:
    """Try a task that was given up again, with all its attempts; its steps are kept.

    Refuses with `NotFound` (`unknown_task`) and `Conflict` (`task_is_not_dead`).
    """
    if not await store.put_back(tx, task_id):
        await get(tx, task_id)
        raise Conflict("task_is_not_dead", f"task {task_id} was not given up")
    await audit.append(tx, principal=principal, verb="tasks.put_back", subject_kind="task", subject_id=task_id, detail={})
    return await get(tx, task_id)


async def answer(tx: Tx, task_id: int, step: str, principal: str, *, approved: bool, comment: str | None = None) -> Task:
    """Answer what a parked task asks; it is queued again, with the answer as what its step gave.

    Refuses with `NotFound` (`unknown_task`), `Conflict` (`nothing_asked`: it does not wait for that, or no more;
    `votes_needed`: people vote on what it waits for).
    """
    check_text(comment or "", "the comment", 2000)
    asked = await waiting(tx, task_id)
    if asked is not None and asked.step == step and asked.is_for_votes:
        raise Conflict("votes_needed", f"task {task_id} waits for votes on its approvals")
    if not await store.answer(tx, task_id, step, {"approved": approved, "by": principal, "comment": comment}):
        await get(tx, task_id)
        raise Conflict("nothing_asked", f"task {task_id} does not wait for an answer called {step}")
    await audit.append(
        tx, principal=principal, verb="tasks.answer", subject_kind="task", subject_id=task_id,
        detail={"step": step, "approved": approved},
    )  # fmt: skip
    return await get(tx, task_id)


async def questions(tx: ReadTx, *, after: int = 0, limit: int = 50) -> list[Question]:
    """What parked tasks ask people, above the task id `after`, oldest first."""
    return await store.questions(tx, after=after, limit=limit)


async def pause(tx: Tx, kind: Kind, name: str, principal: str) -> None:
    """Begin no attempts of an agent, or of a type of any agent; those that run go on. Pausing it again changes nothing."""
    _check(kind, name)
    await store.brake_on(tx, kind, name, by=principal, max_running=None)
    await _record(tx, principal, "tasks.pause", kind, name)


async def resume(tx: Tx, kind: Kind, name: str, principal: str) -> None:
    """End a pause; refuses with `NotFound` (`not_paused`). Ring `CHANNEL` afterwards."""
    _check(kind, name)
    if not await store.brake_off(tx, kind, name, pause=True):
        raise NotFound("not_paused", f"the {kind} {name} is not paused")
    await _record(tx, principal, "tasks.resume", kind, name)


async def limit(tx: Tx, kind: Kind, name: str, principal: str, *, max_running: int | None) -> None:
    """Let only so many tasks of an agent, or of a type of any agent, run at a time; `None` ends the limit.

    Refuses with `Invalid` (`limit_out_of_range`).
    """
    _check(kind, name)
    if max_running is None:
        await store.brake_off(tx, kind, name, pause=False)
    elif not 1 <= max_running <= 1_000_000:
        raise Invalid("limit_out_of_range", "a limit is 1 to 1000000 tasks")
    else:
        await store.brake_on(tx, kind, name, by=None, max_running=max_running)
    await _record(tx, principal, "tasks.limit", kind, name, max_running=max_running)


async def brakes(tx: ReadTx) -> list[Brake]:
    """What is paused or limited."""
    return await store.brakes(tx)


async def configure(
    tx: Tx,
    agent: str,
    type: str,
    *,
    by: str,
    max_attempts: int | None = None,
    max_crashes: int | None = None,
    timeout_s: int | None = None,
    backoff_s: float | None = None,
    max_backoff_s: float | None = None,
    per_key: int | None = None,
) -> None:
    """Set, in the name of `by`, how often and how long tasks of one type of an agent are tried; `None` leaves what stands.

    `per_key` is how many tasks under one order key may be under way at a time. Refuses with `Invalid` (`policy_out_of_range`).
    """
    check_name(agent, "an agent's name")
    check_name(type, "a task's type")
    bounds: tuple[tuple[float | None, float, float], ...] = (
        (max_attempts, 1, 1000), (max_crashes, 1, 1000), (timeout_s, 1, 86_400), (backoff_s, 0, 86_400),
        (max_backoff_s, backoff_s or 0, 86_400), (per_key, 1, 1000),
    )  # fmt: skip
    if any(value is not None and not low <= value <= high for value, low, high in bounds):
        raise Invalid(
            "policy_out_of_range",
            "attempts, crashes and per_key are 1 to 1000, a timeout is 1 to 86400 s, and so is the bound of a backoff",
        )
    if max_backoff_s is not None and backoff_s is None:
        stands = await policy(tx, agent, type)
        if max_backoff_s < (stands.backoff_s if stands else 1):
            raise Invalid("policy_out_of_range", "the bound of a backoff is not below the backoff that stands")
    await store.configure(
        tx, agent, type,
        {"max_attempts": max_attempts, "max_crashes": max_crashes, "timeout_s": timeout_s, "backoff_s": backoff_s,
         "max_backoff_s": max_backoff_s, "per_key": per_key},
        by=by,
    )  # fmt: skip


def _check(kind: str, name: str) -> None:
    if kind not in _KINDS:
        raise Invalid("unknown_kind", "an agent or a type is paused or limited")
    check_name(name, "a name")


async def _record(tx: Tx, principal: str, verb: str, kind: str, name: str, **detail: object) -> None:
    await audit.append(
        tx, principal=principal, verb=verb, subject_kind="work", subject_id=0, detail={"kind": kind, "name": name, **detail}
    )
