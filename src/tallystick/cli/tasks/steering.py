"""`tallystick tasks retry`, `cancel` and `answer`: what people decide of single tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import typer

from tallystick import work
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, errors, run
from tallystick.cli.tasks.showing import TaskId
from tallystick.db import Database, Tx, ring
from tallystick.http import check_not_reserved
from tallystick.kit import TallystickError, Unavailable

TaskIds = Annotated[list[int], typer.Argument(metavar="ID...", min=1, help="Numbers of the tasks.")]


def retry(task_ids: TaskIds, who: As = None, data: Data = None) -> None:
    """Try tasks again that were given up (dead), with all their attempts; steps that are done stay done."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database:
            all_done = await _each(database, task_ids, lambda tx, id: work.put_back(tx, id, actor))
            await ring(database, work.CHANNEL)
        if not all_done:
            raise typer.Exit(1)

    run(main)


def cancel(
    task_ids: TaskIds,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    who: As = None,
    data: Data = None,
) -> None:
    """End tasks that have not ended, running or not; a running attempt can write nothing any more.

    Tasks that were to run after one of them are cancelled with it.
    """

    async def main() -> None:
        actor = operator(who)

        async def ended(tx: Tx, task_id: int) -> work.Task:
            check_not_reserved((await work.get(tx, task_id)).agent)
            return await work.cancel(tx, task_id, actor, reason=reason)

        async with connected(data) as database:
            all_done = await _each(database, task_ids, ended)
            await ring(database, work.CHANNEL)
        if not all_done:
            raise typer.Exit(1)

    run(main)


def answer(
    *,
    task_id: TaskId,
    step: Annotated[str, typer.Argument(help="What is asked, as `tallystick tasks questions` calls it.")],
    approve: Annotated[bool, typer.Option("--approve/--reject", help="Say yes or no.", show_default=False)],
    comment: Annotated[str | None, typer.Option(help="What the agent and the record are told.", show_default=False)] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Answer what a parked task asks; it goes on with the answer."""

    async def main() -> None:
        actor = operator(who)
        number = known_number(task_id, "unknown_task")

        async def attempt(tx: Tx) -> work.Task:
            return await work.answer(tx, number, step, actor, approved=approve, comment=comment)

        async with connected(data) as database:
            task = await database.retrying(attempt)
            await ring(database, work.CHANNEL)
        typer.echo(f"task {task.id} is {task.status}")

    run(main)


async def _each(database: Database, task_ids: Sequence[int], verb: Callable[[Tx, int], Awaitable[work.Task]]) -> bool:
    """Do it to each task in a transaction of its own, and say what became of it; whether none was refused."""
    refused = 0
    for task_id in task_ids:
        try:
            number = known_number(task_id, "unknown_task")
            task = await database.retrying(lambda tx, number=number: verb(tx, number))  # type: ignore[misc]
        except Unavailable:
            raise
        except TallystickError as refusal:
            refused += 1
            errors.print(f"error: {refusal.detail} [{refusal.code}]", style="red", markup=False, soft_wrap=True)
        else:
            typer.echo(f"task {task.id} is {task.status}")
    return not refused
