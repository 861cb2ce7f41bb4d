"""What is recorded of a task, as a replay takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

from tallystick import actions, audit, memory, sdk, work
from tallystick.db import ReadTx

_NOT_BY_ITS_HANDLER = ("deadline_passed",)


async def recorded(tx: ReadTx, task_id: int) -> sdk.Recorded:
    """All that a replay of the last attempt of a task needs. Refuses with `NotFound` (`unknown_task`)."""
    task = await work.get(tx, task_id)
    steps = await work.steps(tx, task_id)
    failed = sorted(await work.attempts(tx, task_id), key=lambda attempt: attempt.fence)
    last = failed[-1] if failed else None
    if task.status == "done" or (task.status == "failed" and not _by_hand(task)):
        end, error, before = task.status, task.error, last
    elif last is not None and task.status not in ("cancelled", "failed") and all(s.fence <= last.fence for s in steps):
        # The last attempt came to nothing, and there was no other.
        end, error, before = ("failed" if last.ended == "error" else "open"), last.error, failed[-2] if failed[1:] else None
    else:
        end, error, before = "open", None, last
    boundary = before.fence if before is not None else 0
    parked = task.waiting_for in ("sleep", "event", "approval")
    fence = max((step.fence for step in steps), default=1)
    attempt = sdk.Attempt(
        task.id, fence, task.agent, task.type, task.payload, max(1, task.attempts + parked), 0.0, task.created_at
    )
    return sdk.Recorded(
        attempt,
        [_step(step, is_last=step.fence > boundary) for step in steps],
        end,  # type: ignore[arg-type]
        result=task.result,
        error=error,
        effects=[effect async for effect in _effects(tx, task_id)] if end == "done" else [],
        refusals=await _refusals(tx, task_id, before),
    )


def _by_hand(task: work.Task) -> bool:
    """Whether a task failed by something else than its handler."""
    return (task.error or "").partition(":")[0] in _NOT_BY_ITS_HANDLER


def _step(step: work.Step, *, is_last: bool) -> sdk.RecordedStep:
    line = sdk.StepRecord(
        step.name,
        step.kind,  # type: ignore[arg-type]
        step.state,  # type: ignore[arg-type]
        step.input_hash,
        step.attempt,
        step.output,
        step.error,
        step.detail,
    )
    return sdk.RecordedStep(line, step.started_at, step.ended_at, is_last)


async def _effects(tx: ReadTx, task_id: int) -> AsyncIterator[sdk.Effect]:
    """What a task did to the bank, as the record has it: it is done with the end of the task, and names it."""
    for transfer in await actions.of_journals(tx, await _refs(tx, task_id, "transfers.propose")):
        amount = Decimal(transfer.amount).scaleb(-transfer.scale)
        yield sdk.Transfer(transfer.from_account, transfer.to_account, amount, transfer.asset, transfer.description)
    for event_id in await _refs(tx, task_id, "events.publish"):
        (event,) = await memory.page(tx, before=event_id + 1, limit=1)
        yield sdk.Publish(event.type, event.payload)
    for other in await _refs(tx, task_id, "tasks.enqueue"):
        task = await work.get(tx, other)
        yield sdk.Enqueue(task.agent, task.type, task.payload, task.priority, order_key=task.order_key)


async def _refs(tx: ReadTx, task_id: int, verb: str) -> list[int]:
    found: list[int] = []
    async for event in audit.stream(tx, audit.Filter(task_id=task_id, verb=verb), ascending=True):
        found += event.refs or []
    return found


async def _refusals(tx: ReadTx, task_id: int, before: work.Attempt | None) -> Sequence[Sequence[str]]:
    asked = audit.Filter(
        subject_kind="task",
        subject_id=task_id,
        verb="tasks.effects_refused",
        start=None if before is None else before.ended_at,
    )
    return [event.detail["codes"] async for event in audit.stream(tx, asked, ascending=True)]
