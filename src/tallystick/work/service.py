"""The verbs of the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text
from tallystick.work import store
from tallystick.work.model import MAX_ATTEMPTS, STATUSES, Claimed, Finish, NewTask, Task

MAX_BATCH = 8192
MAX_LEASE_S = 3600
_MAX_ERROR = 2000
_EXPIRED_AT_ONCE = 1000
_NEWEST = 2**63 - 1
_LOST = "attempt_expired: no worker finished the task before its deadline"
_SYSTEM = "tallystick"


async def enqueue(tx: Tx, principal: str, tasks: Sequence[NewTask], *, recorded: bool = True) -> list[int]:
    """Store tasks and queue them; their ids, in order. Ring `CHANNEL` after the commit.

    `recorded=False` is for a verb that tells of the tasks in an audit event of its own. Refuses with `Invalid`
    (`name_malformed`, `batch_too_large`).
    """
    if not tasks:
        return []
    _check_batch(tasks)
    for task in tasks:
        check_name(task.agent, "an agent's name")
        check_name(task.type, "a task's type")
    ids = await store.enqueue(tx, principal, tasks)
    if recorded:
        await audit.append(
            tx, principal=principal, verb="tasks.enqueue", subject_kind="task", subject_id=ids[0], detail={"tasks": ids}
        )
    return ids


async def claim(
    tx: Tx, *, agents: Sequence[str], types: Sequence[str] | None = None, worker: str, limit: int, lease_s: int = 60
) -> list[Claimed]:
    """Begin attempts of up to `limit` queued tasks of `agents`, oldest first; of `types` only, where they are given.

    A task that another transaction has in hand is skipped, never waited for. Each attempt holds a fence until `lease_s` seconds
    from now; after that the task may be taken back. Refuses with `Invalid` (`name_malformed`, `limit_out_of_range`).
    """
    _check_lease(worker, limit, lease_s)
    return await store.claim(tx, agents=agents, types=types, worker=worker, limit=limit, lease_s=lease_s)


async def claim_these(tx: Tx, task_ids: Sequence[int], *, worker: str, lease_s: int = 60) -> list[Claimed]:
    """Begin attempts of certain tasks, as far as they are queued and in nobody's hand; in id order."""
    if not task_ids:
        return []
    _check_lease(worker, len(task_ids), lease_s)
    return await store.claim_these(tx, task_ids, worker=worker, lease_s=lease_s)


async def finish(tx: Tx, finishes: Sequence[Finish], worker: str) -> list[bool]:
    """End attempts; for each, in order, whether it held its fence. One that does not hold it changes nothing.

    Where effects were made for a task in this transaction and the answer is false, the caller must roll back. Refuses with
    `Invalid` (`outcome_malformed`) a failure without an error and a success with one.
    """
    if not finishes:
        return []
    _check_batch(finishes)
    for each in finishes:
        if (each.state == "failed") != (each.error is not None):
            raise Invalid("outcome_malformed", "a task that failed has an error, and one that is done has none")
        check_text(each.error or "", "the error", _MAX_ERROR)
    held = await store.finish(tx, finishes, worker)
    ended = [[each.task_id, each.state] for each, ok in zip(finishes, held, strict=True) if ok]
    if ended:
        await audit.append(
            tx, principal=worker, verb="tasks.finish", subject_kind="task", subject_id=finishes[held.index(True)].task_id,
            detail={"tasks": ended},
        )  # fmt: skip
    return held


async def give_back(tx: Tx, held: Sequence[Claimed], *, worker: str, error: str) -> int:
    """End attempts that came to nothing; how many held their fence. The tasks are queued again.

    One whose `MAX_ATTEMPTS` are used up is `dead`, with `error`.
    """
    return await _give_back(tx, [store.Fence(each.task_id, each.fence) for each in held], principal=worker, error=error)


async def take_back_expired(tx: Tx) -> int:
    """Queue the tasks whose attempt is past its deadline again; how many. After `MAX_ATTEMPTS` a task is `dead` instead."""
    expired = await store.expired(tx, limit=_EXPIRED_AT_ONCE)
    return await _give_back(tx, expired, principal=_SYSTEM, error=_LOST)


async def complete_from_outside(tx: Tx, task_id: int, principal: str, result: Any, *, error: str | None = None) -> Task:
    """End a queued task on the word of a worker outside: `done` with `result`, or `failed` where there is an `error`.

    The same report again is fine. Refuses with `NotFound` (`unknown_task`), and with `Conflict` a task that ended otherwise
    (`task_already_finished`) or that an attempt is running of (`task_is_running`).
    """
    check_text(error or "", "the error", _MAX_ERROR)
    state = "done" if error is None else "failed"
    if await store.report(tx, task_id, state=state, result=result, error=error, worker=principal):
        await audit.append(
            tx, principal=principal, verb="tasks.report", subject_kind="task", subject_id=task_id, detail={"state": state}
        )
        return await get(tx, task_id)
    # Whoever had the task in hand a moment ago has committed by now, so a new statement sees what they did.
    standing = await store.standing(tx, task_id, state=state, result=result, error=error)
    if standing is None:
        raise _unknown(task_id)
    if standing.same:
        return await get(tx, task_id)
    if standing.status in ("queued", "running"):
        raise Conflict("task_is_running", f"an attempt of task {task_id} is running")
    raise Conflict("task_already_finished", f"task {task_id} ended otherwise")


async def get(tx: ReadTx, task_id: int) -> Task:
    """The task with that id; refuses with `NotFound` (`unknown_task`)."""
    found = await store.get(tx, task_id)
    if found is None:
        raise _unknown(task_id)
    return found


async def note(tx: Tx, task_id: int, principal: str, *, event: str, detail: Mapping[str, Any]) -> Task:
    """Put on the record what a worker outside says of a task; the task stays as it is.

    Refuses with `NotFound` (`unknown_task`) and `Invalid` (`name_malformed`).
    """
    check_name(event, "an event")
    task = await get(tx, task_id)
    facts = {"event": event, **detail}
    await audit.append(tx, principal=principal, verb="tasks.note", subject_kind="task", subject_id=task_id, detail=facts)
    return task


async def page(
    tx: ReadTx,
    *,
    agent: str | None = None,
    type: str | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Task]:
    """A page of tasks below the id `before`, newest first; of one agent, type or status where given.

    Refuses with `Invalid` (`unknown_status`).
    """
    if status is not None and status not in STATUSES:
        raise Invalid("unknown_status", f"a task is {', '.join(sorted(STATUSES))}")
    bound = _NEWEST if before is None else before
    return await store.page(tx, agent=agent, type=type, status=status, before=bound, limit=limit)


async def pending(
    tx: ReadTx, *, agent: str | None = None, type: str | None = None, after: int = 0, limit: int = 50
) -> list[Task]:
    """Queued tasks above the id `after`, oldest first; of one agent or type where given."""
    return await store.pending(tx, agent=agent, type=type, after=after, limit=limit)


async def _give_back(tx: Tx, held: Sequence[store.Fence], *, principal: str, error: str) -> int:
    if not held:
        return 0
    back = await store.give_back(tx, held, error=error, max_attempts=MAX_ATTEMPTS)
    dead = [each.task_id for each in back if each.dead]
    if dead:
        detail = {"tasks": [[task_id, "dead"] for task_id in dead]}
        await audit.append(tx, principal=principal, verb="tasks.finish", subject_kind="task", subject_id=dead[0], detail=detail)
    return len(back)


def _check_batch(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} tasks")


def _check_lease(worker: str, limit: int, lease_s: int) -> None:
    check_name(worker, "a worker's name")
    if not 1 <= limit <= MAX_BATCH:
        raise Invalid("limit_out_of_range", f"a claim may take 1 to {MAX_BATCH} tasks")
    if not 1 <= lease_s <= MAX_LEASE_S:
        raise Invalid("lease_out_of_range", f"a lease may last 1 to {MAX_LEASE_S} seconds")


def _unknown(task_id: int) -> NotFound:
    return NotFound("unknown_task", f"there is no task {task_id}")
