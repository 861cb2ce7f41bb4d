"""What agents do to the bank at the end of a task: its effects and its end, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tallystick import actions, identity, memory, sdk, work
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Forbidden, NotFound, TallystickError, Unavailable

Kind = TypeVar("Kind")


class Refused(Exception):
    """Effects were refused, and the transaction is to be rolled back.

    `reasons` are the place of each among the effects, its code and what it says to people, in the order of the effects.
    """

    def __init__(self, reasons: Sequence[tuple[int, str, str]]) -> None:
        self.reasons = tuple(reasons)
        self.codes = tuple(code for _, code, _ in reasons)
        self.detail = reasons[0][2]
        super().__init__(f"{', '.join(self.codes)}: {self.detail}")


async def carry_out(tx: Tx, *, by: Principal, worker: str, agent: str, attempt: work.Fence, completion: sdk.Completion) -> None:
    """Carry out the effects of an attempt, each decided as an action of `by`, and end its task as done.

    The fence is asserted first, so that nothing is made in vain, and last, when the task ends: no fence, no commit. Where
    policy holds an effect, none is carried out: people are asked, and the task waits for them; it then runs again, and what
    they have agreed to passes. Raises `Refused` where any effect is refused, and `Conflict` (`fence_lost`); the caller
    rolls back then.
    Ring `work.CHANNEL` after the commit.
    """
    await work.hold_fence(tx, attempt.task_id, attempt.fence)
    try:
        async with tx.part():
            await _carry_out(tx, by, agent, attempt, completion)
    except actions.NeedsPeople as needed:
        approvals = await actions.ask_for_task(tx, by, needed.items, task_id=attempt.task_id)
        await work.park(tx, attempt.task_id, attempt.fence, work.for_votes(approvals, attempt.fence))
        return
    finish = work.Finish(attempt.task_id, attempt.fence, "done", completion.result)
    (held,) = await work.finish(tx, [finish], worker)
    if not held:
        raise work.fence_lost(attempt.task_id)


async def _carry_out(tx: Tx, by: Principal, agent: str, attempt: work.Fence, completion: sdk.Completion) -> None:
    principal = by.name
    refused: list[tuple[int, str, str]] = []
    effects = list(enumerate(completion.effects))
    transfers = [(place, effect) for place, effect in effects if isinstance(effect, sdk.Transfer)]
    if transfers:
        answers = await actions.propose(
            tx,
            by,
            [_transfer(effect) for _, effect in transfers],
            task_id=attempt.task_id,
            agreed=await actions.Agreed.of(tx, attempt.task_id),
        )
        for (place, _), answer in zip(transfers, answers, strict=True):
            if isinstance(answer, TallystickError):
                refused.append((place, answer.code, answer.detail))
            elif answer.reason is not None:
                refused.append((place, answer.reason, "the transfer was refused"))
    for place, effect in effects:
        try:
            if isinstance(effect, sdk.Publish):
                await memory.publish(
                    tx, principal, agent=agent, type=effect.type, payload=effect.payload, task_id=attempt.task_id
                )
            elif isinstance(effect, sdk.Enqueue):
                await work.enqueue(tx, principal, [_task(effect)], task_id=attempt.task_id)
        except TallystickError as error:
            if isinstance(error, Unavailable):
                raise
            refused.append((place, error.code, error.detail))
    if refused:
        raise Refused(sorted(refused))


async def authority(tx: ReadTx, agent: str) -> Principal:
    """What an agent may do that a worker runs beside the database: what it was given (docs/identity.md).

    One that nobody has added is an agent with no more than that role; policy says what that lets it do. Refuses with
    `Forbidden` (`principal_disabled`).
    """
    found = await identity.acting(tx, agent)
    if found is not None:
        return found
    try:
        await identity.get(tx, agent)
    except NotFound:
        return Principal(agent, "agent", frozenset({"agent"}))
    raise Forbidden("principal_disabled", f"{agent} was disabled")


async def park(tx: Tx, attempt: work.Fence, wait: work.Wait) -> None:
    """End an attempt so that its task waits. Refuses as `work.park` does."""
    if wait.kind == "event":
        await memory.wait_for(tx, attempt.task_id, attempt.fence, wait)
    else:
        await work.park(tx, attempt.task_id, attempt.fence, wait)


def _transfer(effect: sdk.Transfer) -> actions.NewTransfer:
    return actions.NewTransfer(
        effect.from_account, effect.to_account, effect.amount, effect.currency, description=effect.description
    )


def _task(effect: sdk.Enqueue) -> work.NewTask:
    return work.NewTask(
        effect.agent,
        effect.type,
        effect.payload,
        priority=effect.priority,
        run_at=effect.run_at,
        deadline_at=effect.deadline_at,
        key=effect.key,
        order_key=effect.order_key,
        after=effect.after,
        max_attempts=effect.max_attempts,
    )
