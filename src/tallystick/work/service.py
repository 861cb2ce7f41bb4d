"""The verbs of the work: tasks are stored, claimed and ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tallystick import audit
from tallystick.db import Key, ReadTx, Tx, key_reused
from tallystick.db import claim as take_keys
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text, digest, loads_stored
from tallystick.work import store
from tallystick.work.model import (
    STATUSES,
    Attempt,
    Became,
    Claimed,
    Depth,
    Failure,
    Finish,
    Handed,
    NewTask,
    Reaped,
    Task,
)

MAX_BATCH = 8192
MAX_LEASE_S = 3600
MAX_AFTER = 1000
MAX_PRIORITY = 1000
SYSTEM = "tallystick"
_MAX_ERROR = 2000
_NEWEST = 2**63 - 1
_MAX_RETRY_S = 366 * 86_400
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(9000, 1, 1, tzinfo=UTC)


async def enqueue(tx: Tx, principal: str, tasks: Sequence[NewTask], *, task_id: int | None = None) -> list[int]:
    """Store tasks, which are queued or wait for what they are to run after; their ids, in order. Ring `CHANNEL` afterwards.

    `task_id` is the task that they are an effect of, where they are one.
    A task under a `key` that the principal used before is the first one again, and nothing is stored. Refuses with `Invalid`
    (`name_malformed`, `batch_too_large`, `priority_out_of_range`, `attempts_out_of_range`, `text_malformed`, `time_malformed`,
    `key_reused`, `unknown_task` for one in `after`).
    """
    if not tasks:
        return []
    _check_batch(tasks)
    for task in tasks:
        _check_new(task)
    ids, fresh = await _stored(tx, principal, tasks)
    if fresh is not None:
        await audit.append(
            tx,
            principal=principal,
            verb="tasks.enqueue",
            subject_kind="task",
            subject_id=fresh.ids[0],
            detail={"tasks": len(fresh.ids)},
            task_id=task_id,
            items=fresh,
        )
    return ids


async def claim(
    tx: Tx,
    *,
    agents: Sequence[str],
    types: Sequence[str] | None = None,
    worker: str,
    limit: int,
    lease_s: int = 60,
    worker_id: int | None = None,
    lightly: bool = False,
) -> list[Claimed]:
    """Begin attempts of up to `limit` queued tasks of `agents`, of `types` where given: highest priority first, then oldest.

    A task that another transaction has in hand is skipped, never waited for; so is what is paused, and what would pass a limit.
    Each attempt holds a fence. It lasts until the lease of the worker with `worker_id` is over, or without one until `lease_s`
    seconds from now, and never past the timeout of its queue; after that the task may be taken back.

    `lightly` is for a transaction that does nothing else: its commit is not waited for on disk. A server that crashes in the
    next moments may forget such a claim, which leaves the task queued and the fence void; what an attempt writes is durable as
    ever, and so is its claim by then. Refuses with `Invalid` (`name_malformed`, `limit_out_of_range`, `lease_out_of_range`) and
    `Conflict` (`lease_lost`).
    """
    _check_lease(worker, limit, lease_s)
    return await store.claim(
        tx, agents=agents, types=types, worker=worker, worker_id=worker_id, limit=limit, lease_s=lease_s, lightly=lightly
    )


async def claim_openly(
    tx: Tx,
    *,
    agents: Sequence[str],
    types: Sequence[str] | None,
    worker: str,
    worker_id: int,
    limit: int,
    channel: str,
    heard: int,
    serves: Sequence[tuple[str, str]],
) -> list[Claimed]:
    """As `claim`, lightly; and what it does not find is handed to the worker when it comes, up to `limit` in all.

    Each such attempt is told on `channel` (`handed`), on which the worker listens, and a later call of this takes the place of
    this one. `heard` is how many attempts the worker knows of that it was handed on the channel; `serves` are all agents and
    types of which it is handed tasks. It takes them up with its next `beat`, within three seconds, or they are queued again.
    """
    _check_lease(worker, limit, 1)
    return await store.claim_openly(
        tx, agents=agents, types=types, worker=worker, worker_id=worker_id, limit=limit, channel=channel, heard=heard,
        serves=serves,
    )  # fmt: skip


def handed(told: str) -> Handed:
    """An attempt that was handed over, as its worker is told of it."""
    return Handed(**loads_stored(told))


async def claim_these(tx: Tx, task_ids: Sequence[int], *, worker: str, lease_s: int = 60) -> list[Claimed]:
    """Begin attempts of certain tasks, as far as they are queued and in nobody's hand; in id order."""
    if not task_ids:
        return []
    _check_lease(worker, len(task_ids), lease_s)
    return await store.claim_these(tx, task_ids, worker=worker, lease_s=lease_s)


async def finish(tx: Tx, finishes: Sequence[Finish], worker: str) -> list[bool]:
    """End tasks for good; for each, in order, whether its attempt held its fence. One that does not hold it changes nothing.

    It is one statement, whole by itself. Where effects were made for a task in this transaction and the answer is false, the
    caller must roll back. Refuses with `Invalid` (`outcome_malformed`) a failure without an error and a success with one.
    """
    if not finishes:
        return []
    _check_batch(finishes)
    for each in finishes:
        if (each.state == "failed") != (each.error is not None):
            raise Invalid("outcome_malformed", "a task that failed has an error, and one that is done has none")
        if each.error is not None:
            check_text(each.error, "the error", _MAX_ERROR)
    return await store.finish(tx, finishes, worker)


async def fail(tx: Tx, failures: Sequence[Failure], worker: str) -> list[Became]:
    """End attempts that came to nothing; for each, in order, what became of it.

    `again`: the task is tried again, at once or later; `dead`: its attempts or crashes are used up, and a person looks at it;
    `lost`: the fence did not hold, and nothing has changed. Refuses with `Invalid` (`retry_out_of_range`: it is tried again
    within a year).
    """
    if not failures:
        return []
    _check_batch(failures)
    for each in failures:
        check_text(each.error, "the error", _MAX_ERROR)
        if each.retry_in_s is not None and not 0 <= each.retry_in_s <= _MAX_RETRY_S:
            raise Invalid("retry_out_of_range", "a task is tried again within 0 s to a year")
    became: list[Any] = await store.fail(tx, failures)
    ended = [[each.task_id, each.ended, what] for each, what in zip(failures, became, strict=True) if what != "lost"]
    if ended:
        await audit.append(
            tx, principal=worker, verb="tasks.fail", subject_kind="task", subject_id=ended[0][0], detail={"tasks": ended}
        )
    return became


async def complete_from_outside(tx: Tx, task_id: int, principal: str, result: Any, *, error: str | None = None) -> Task:
    """End a queued task on the word of a worker outside: `done` with `result`, or `failed` where there is an `error`.

    The same report again is fine. Refuses with `NotFound` (`unknown_task`), and with `Conflict` a task that ended otherwise
    (`task_already_finished`), that an attempt is running of (`task_is_running`), or that waits (`task_is_waiting`).
    """
    check_text(error or "", "the error", _MAX_ERROR)
    state = "done" if error is None else "failed"
    if await store.report(tx, task_id, state=state, result=result, error=error, worker=principal):
        await audit.append(
            tx,
            principal=principal,
            verb="tasks.report",
            subject_kind="task",
            subject_id=task_id,
            task_id=task_id,
            detail={"state": state},
            items=await store.outcome_items(tx, [task_id]),
        )
        return await get(tx, task_id)
    # Whoever had the task in hand a moment ago has committed by now, so a new statement sees what they did.
    standing = await store.standing(tx, task_id, state=state, result=result, error=error)
    if standing is None:
        raise unknown_task(task_id)
    if standing.same:
        return await get(tx, task_id)
    if standing.status in ("queued", "running"):
        raise Conflict("task_is_running", f"an attempt of task {task_id} is running")
    if standing.status == "waiting":
        raise Conflict("task_is_waiting", f"task {task_id} waits, and is not to be worked on yet")
    raise Conflict("task_already_finished", f"task {task_id} ended otherwise")


async def reap(tx: Tx, *, limit: int = 1000) -> list[Reaped]:
    """Take back attempts whose lease is over (`crash`) or that took too long (`timeout`). Any worker may do so at any time."""
    reaped = await store.reap(tx, limit=limit)
    if reaped:
        detail = {"tasks": [[each.task_id, each.ended, each.became] for each in reaped]}
        await audit.append(
            tx, principal=SYSTEM, verb="tasks.reap", subject_kind="task", subject_id=reaped[0].task_id, detail=detail
        )
    return reaped


async def expire(tx: Tx, *, limit: int = 1000) -> list[int]:
    """End tasks whose deadline has passed, wherever they are, as `failed` (`deadline_passed`); which."""
    expired = await store.expire(tx, limit=limit)
    if expired:
        await audit.append(
            tx, principal=SYSTEM, verb="tasks.expire", subject_kind="task", subject_id=expired[0], detail={"tasks": expired}
        )
    return expired


async def get(tx: ReadTx, task_id: int) -> Task:
    """The task with that id; refuses with `NotFound` (`unknown_task`)."""
    found = await store.get(tx, task_id)
    if found is None:
        raise unknown_task(task_id)
    return found


async def note(tx: Tx, task_id: int, principal: str, *, event: str, detail: Mapping[str, Any]) -> Task:
    """Put on the record what a worker outside says of a task; the task stays as it is.

    Refuses with `NotFound` (`unknown_task`) and `Invalid` (`name_malformed`).
    """
    check_name(event, "an event")
    task = await get(tx, task_id)
    await audit.append(
        tx,
        principal=principal,
        verb="tasks.note",
        subject_kind="task",
        subject_id=task_id,
        task_id=task_id,
        detail={"event": event},
        # It may tell of a person.
        payload=detail,
    )
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


async def attempts(tx: ReadTx, task_id: int, *, limit: int = 200) -> list[Attempt]:
    """The attempts of a task that came to nothing, oldest first."""
    return await store.attempts(tx, task_id, limit=limit)


async def depths(tx: ReadTx, *, window_s: int = 300) -> list[Depth]:
    """How it stands with each type of each agent, and what ended in the last `window_s` seconds (1 to 86,400)."""
    if not 1 <= window_s <= 86_400:
        raise Invalid("window_out_of_range", "a window is 1 to 86400 seconds")
    return await store.depths(tx, window_s=window_s)


def unknown_task(task_id: int) -> NotFound:
    """The refusal of an id that no task has."""
    return NotFound("unknown_task", f"there is no task {task_id}")


async def _stored(tx: Tx, principal: str, tasks: Sequence[NewTask]) -> tuple[list[int], audit.Items | None]:
    """The ids of tasks, and those among them that are new, if any."""
    if all(task.key is None for task in tasks):
        await _check_after(tx, tasks)
        stored = await store.enqueue(tx, principal, tasks)
        return list(stored.ids), stored
    ids = await store.next_ids(tx, len(tasks))
    keyed = [place for place, task in enumerate(tasks) if task.key is not None]
    # The keys of tasks are names of their own: a caller's Idempotency-Key may be the same text.
    keys = [Key(f"tasks of {principal}", tasks[place].key or "", _digest(tasks[place])) for place in keyed]
    claimed = await take_keys(tx, keys, kind="task", ref_ids=[ids[place] for place in keyed])
    replayed: set[int] = set()
    for place, answer in zip(keyed, claimed, strict=True):
        if answer.state == "reused":
            raise key_reused()
        if answer.state == "replay":
            replayed.add(place)
        ids[place] = answer.ref_id
    fresh = [place for place in range(len(tasks)) if place not in replayed]
    if not fresh:
        return ids, None
    new = [tasks[place] for place in fresh]
    await _check_after(tx, new)
    return ids, await store.enqueue(tx, principal, new, ids=[ids[place] for place in fresh])


async def _check_after(tx: Tx, tasks: Sequence[NewTask]) -> None:
    after = sorted({task_id for task in tasks for task_id in task.after})
    if after and (unknown := await store.unknown(tx, after)):
        raise Invalid("unknown_task", f"there is no task {unknown[0]} to run after")


def _digest(task: NewTask) -> bytes:
    run_at, deadline_at = (None if time is None else time.astimezone(UTC) for time in (task.run_at, task.deadline_at))
    return digest(
        [task.agent, task.type, dict(task.payload), task.priority, run_at, deadline_at, task.order_key, sorted(set(task.after)),
         task.max_attempts]
    )  # fmt: skip


def _check_new(task: NewTask) -> None:
    check_name(task.agent, "an agent's name")
    check_name(task.type, "a task's type")
    if not -MAX_PRIORITY <= task.priority <= MAX_PRIORITY:
        raise Invalid("priority_out_of_range", f"a priority is -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if task.max_attempts is not None and not 1 <= task.max_attempts <= 1000:
        raise Invalid("attempts_out_of_range", "a task may be tried 1 to 1000 times")
    for text, what in ((task.key, "a task's key"), (task.order_key, "an order key")):
        if text is not None:
            _check_key(text, what)
    check_time(task.run_at, "the time of a task")
    check_time(task.deadline_at, "the deadline of a task")
    if len(task.after) > MAX_AFTER:
        raise Invalid("batch_too_large", f"a task may run after {MAX_AFTER} others")


def _check_key(text: str, what: str) -> None:
    check_text(text, what, 200)
    if not text:
        raise Invalid("text_malformed", f"{what} may not be empty")


def _check_batch(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} tasks")


def _check_lease(worker: str, limit: int, lease_s: int) -> None:
    check_name(worker, "a worker's name")
    if not 1 <= limit <= MAX_BATCH:
        raise Invalid("limit_out_of_range", f"a claim may take 1 to {MAX_BATCH} tasks")
    check_lease(lease_s)


def check_time(time: datetime | None, what: str) -> None:
    """Refuse a time without a zone, and one before 1970 or after 9000 (`time_malformed`)."""
    if time is not None and (time.tzinfo is None or not _FIRST_TIME <= time <= _LAST_TIME):
        raise Invalid("time_malformed", f"{what} has a time zone, and is between the years 1970 and 9000")


def check_lease(lease_s: int) -> None:
    """Refuse a lease outside 1 to `MAX_LEASE_S` seconds (`lease_out_of_range`)."""
    if not 1 <= lease_s <= MAX_LEASE_S:
        raise Invalid("lease_out_of_range", f"a lease may last 1 to {MAX_LEASE_S} seconds")
