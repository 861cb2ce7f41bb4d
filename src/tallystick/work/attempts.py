"""The verbs of an attempt that runs: its lease, its steps, its waits. Each holds the fence, or changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick import audit
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, check_name, check_text, dumps
from tallystick.work import store
from tallystick.work.model import Fence, Held, NewStep, Step, Wait
from tallystick.work.service import check_lease, check_time

MAX_STEPS = 10_000
MAX_OUTPUT = 256 * 1024
_MAX_ERROR = 2000
_HASH_BYTES = 32
_MAX_TRIES = 32_767
_MAX_WAIT_S = 10 * 366 * 86_400


async def register(tx: Tx, name: str, lease_s: int) -> int:
    """A worker begins: the id under which it claims, and a lease of `lease_s` seconds for all that it will run."""
    check_name(name, "a worker's name")
    check_lease(lease_s)
    return await store.register(tx, name, lease_s)


async def beat(tx: Tx, worker_id: int, lease_s: int, heard: Sequence[Fence] = ()) -> list[Held] | None:
    """A worker lives: its lease is as long as ever again, and these are the attempts it holds.

    `heard` are attempts that it was handed (`claim_openly`), and takes up with this. `None`: its lease was over. It holds
    nothing any more, and has to register anew.
    """
    check_lease(lease_s)
    if not await store.beat(tx, worker_id, lease_s):
        return None
    if heard:
        await store.take_up(tx, heard)
    return await store.held_by(tx, worker_id)


async def leave(tx: Tx, worker_id: int) -> int:
    """A worker ends: how many attempts it still held, which are queued again and not counted."""
    return await store.leave(tx, worker_id)


async def close_claim(tx: Tx, worker_id: int) -> None:
    """A worker that claimed openly is handed nothing more; what is being handed to it is waited for."""
    await store.close_claim(tx, worker_id)


async def extend(tx: Tx, task_id: int, fence: int, lease_s: int) -> None:
    """An attempt with a lease of its own has it anew; refuses with `Conflict` (`fence_lost`)."""
    check_lease(lease_s)
    if not await store.extend(tx, task_id, fence, lease_s):
        raise fence_lost(task_id)


async def hold_fence(tx: Tx, task_id: int, fence: int) -> None:
    """Lock an attempt until the transaction ends, before effects are made for it; refuses with `Conflict` (`fence_lost`)."""
    if not await store.hold(tx, task_id, fence):
        raise fence_lost(task_id)


async def steps(tx: ReadTx, task_id: int) -> list[Step]:
    """What the steps of a task gave so far, tries that failed included, in the order they were recorded."""
    return await store.steps(tx, task_id, limit=MAX_STEPS)


async def record_step(tx: Tx, task_id: int, fence: int, step: NewStep) -> None:
    """Keep what a step of an attempt gave, or that it is meant.

    Refuses with `Conflict` (`fence_lost`; `already_exists` where it is done or meant already; `too_many_steps` past 10,000 of a
    task) and `Invalid` (`step_malformed`; `output_too_large` past 256 KiB).
    """
    _check_step(step)
    match await store.record(tx, task_id, fence, step, most=MAX_STEPS):
        case "lost":
            raise fence_lost(task_id)
        case "full":
            raise Conflict("too_many_steps", f"task {task_id} has {MAX_STEPS} steps recorded, and may have no more")


async def park(tx: Tx, task_id: int, fence: int, wait: Wait) -> None:
    """End an attempt so that its task waits, which is not counted as an attempt; what woke it is in its steps then.

    One that would wait for an event takes `lock_event` first, and then looks whether it is there already. Refuses with
    `Conflict` (`fence_lost`; `already_exists` where the step is done) and `Invalid` (`wait_malformed`; `output_too_large` past
    256 KiB of question and match).
    """
    _check_wait(wait)
    if not await store.park(tx, task_id, fence, wait):
        raise fence_lost(task_id)


async def lock_event(tx: Tx, type: str) -> None:
    """Until the transaction ends, nobody publishes an event of the type; those who have are seen, and those who will see it."""
    await store.lock_event(tx, type)


async def wake(tx: Tx, task_id: int, output: Any) -> bool:
    """Queue a parked task again; `output` is what its wait gave. False where it is not parked."""
    return await store.wake(tx, task_id, output)


async def wake_due(tx: Tx, *, limit: int = 1000) -> int:
    """Queue the tasks whose time has come; how many."""
    return await store.wake_due(tx, limit=limit)


async def wake_for_event(tx: Tx, type: str, payload: Mapping[str, Any], event: Mapping[str, Any]) -> int:
    """Queue the tasks that wait for such an event, whose steps give `event` then; how many. Ring `CHANNEL` afterwards.

    To be called in the transaction that stores the event, after it was stored.
    """
    return await store.wake_for_event(tx, type, payload, event)


async def ended_under(tx: ReadTx, attempts: Sequence[Fence], ended: Sequence[str]) -> list[bool]:
    """For each attempt, whether its own fence ended it in that way: `done`, `failed`, or as `Failure.ended` says.

    So one whose commit was in doubt learns what became of it.
    """
    return await store.ended_under(tx, attempts, ended)


async def record_refusal(tx: Tx, task_id: int, worker: str, codes: Sequence[str]) -> None:
    """Put on the record that the effects of an attempt were refused, and none of them made."""
    await audit.append(
        tx, principal=worker, verb="tasks.effects_refused", subject_kind="task", subject_id=task_id,
        detail={"codes": list(codes)},
    )  # fmt: skip


def fence_lost(task_id: int) -> Conflict:
    """The refusal of an attempt that is over."""
    return Conflict("fence_lost", f"this fence does not hold task {task_id}")


def _check_step(step: NewStep) -> None:
    _check_step_name(step.name)
    if step.error is not None:
        check_text(step.error, "the error", _MAX_ERROR)
    if (step.state == "failed") != (step.error is not None):
        raise Invalid("step_malformed", "a try that failed has an error, and no other has one")
    if len(step.input_hash) != _HASH_BYTES:
        raise Invalid("step_malformed", f"the hash of an input has {_HASH_BYTES} bytes")
    if not 0 <= step.attempt <= _MAX_TRIES or not 0 <= step.took_ms <= _MAX_WAIT_S * 1000:
        raise Invalid("step_malformed", f"a step is tried up to {_MAX_TRIES} times, and takes up to ten years")
    _check_size([step.output, step.detail])


def _check_wait(wait: Wait) -> None:
    _check_step_name(wait.step)
    if (wait.kind == "event") != (wait.event_type is not None) or (wait.kind != "event" and wait.match is not None):
        raise Invalid("wait_malformed", "who waits for an event says of what type, and nobody else does")
    if wait.event_type is not None:
        check_name(wait.event_type, "an event's type")
    if wait.kind == "sleep" and wait.wake_at is None and wait.in_s is None:
        raise Invalid("wait_malformed", "a sleep has an end")
    if wait.in_s is not None and not 0 <= wait.in_s <= _MAX_WAIT_S:
        raise Invalid("wait_malformed", "a wait ends within ten years")
    check_time(wait.wake_at, "the end of a wait")
    if (wait.kind == "approval") != (wait.question is not None):
        raise Invalid("wait_malformed", "who waits for people asks them something, and nobody else does")
    if len(wait.input_hash) != _HASH_BYTES:
        raise Invalid("step_malformed", f"the hash of an input has {_HASH_BYTES} bytes")
    _check_size([wait.match, wait.question])


def _check_step_name(name: str) -> None:
    check_text(name, "a step's name", 200)
    if not name:
        raise Invalid("step_malformed", "a step has a name")


def _check_size(parts: list[Any]) -> None:
    if len(dumps(parts)) > MAX_OUTPUT:
        raise Invalid("output_too_large", f"what a step gives, or asks, may have {MAX_OUTPUT} bytes of JSON")
