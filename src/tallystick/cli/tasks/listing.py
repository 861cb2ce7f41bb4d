"""`tallystick tasks list`, `queues` and `questions`: many at a glance."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tallystick import work
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.form import brake_json, depth_json, question_json, task_json
from tallystick.cli.tasks.text import AsJson, columns, length, moment, seconds_of, short
from tallystick.kit import dumps

Status = Literal["queued", "waiting", "running", "done", "failed", "cancelled", "dead"]
AgentName = Annotated[str | None, typer.Option("--agent", help="Only those of this agent.", show_default=False)]
TypeName = Annotated[str | None, typer.Option("--type", help="Only those of this type.", show_default=False)]


def list_tasks(
    *,
    agent: AgentName = None,
    type_: TypeName = None,
    status: Annotated[Status | None, typer.Option(help="Only those in this status.", show_default=False)] = None,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only those older than this one.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List tasks, newest first; with --json a line of JSON each."""

    async def main() -> None:
        below = None if before is None else known_number(before, "unknown_task")
        async with connected(data) as database, database.read() as tx:
            found = await work.page(tx, agent=agent, type=type_, status=status, before=below, limit=limit)
        if as_json:
            for task in found:
                typer.echo(dumps(task_json(task)))
            return
        head = ("ID", "AGENT", "TYPE", "STATUS", "ATTEMPTS", "CREATED (UTC)", "")
        columns(head, [_row(task) for task in found])

    run(main)


def queues(
    window: Annotated[str, typer.Option(metavar="LENGTH", help="Of how long the rates are, as 5m or 24h.")] = "5m",
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Show how much there is to do, for how long it has been waiting, how fast it is done, and what is paused or limited.

    RETRIED counts attempts that came to nothing. DEAD tasks were given up and wait for `tallystick tasks retry`.
    """

    async def main() -> None:
        window_s = seconds_of(window)
        async with connected(data) as database, database.read() as tx:
            depths = await work.depths(tx, window_s=window_s)
            brakes = await work.brakes(tx)
        if as_json:
            told = {
                "window_s": window_s,
                "queues": [depth_json(depth, window_s=window_s) for depth in depths],
                "brakes": [brake_json(brake) for brake in brakes],
            }
            typer.echo(dumps(told))
            return
        head = ("AGENT", "TYPE", "QUEUED", "OLDEST", "WAITING", "RUNNING", "DEAD", "DONE", "FAILED", "RETRIED", "DONE/S", "")
        columns(head, [_depth_row(depth, window_s) for depth in depths])
        for brake in brakes:
            typer.echo(_brake_line(brake))

    run(main)


def questions(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List what parked tasks ask people, oldest first; `tallystick tasks answer` answers one."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await work.questions(tx, limit=limit)
        if as_json:
            for question in found:
                typer.echo(dumps(question_json(question)))
            return
        head = ("TASK", "STEP", "AGENT", "TYPE", "SINCE (UTC)", "UNTIL (UTC)", "QUESTION")
        columns(
            head,
            [
                (str(one.task_id), one.step, one.agent, one.type, moment(one.since), moment(one.wake_at), short(one.question))
                for one in found
            ],
        )

    run(main)


def _row(task: work.Task) -> tuple[str, ...]:
    return (str(task.id), task.agent, task.type, task.status, str(task.attempts), moment(task.created_at), _why(task))


def _why(task: work.Task) -> str:
    if task.status == "waiting":
        until = "" if task.wake_at is None else f" until {moment(task.wake_at)}"
        return f"{task.waiting_for}{until}"
    if task.status == "running":
        return f"on {task.worker}"
    return task.error or ""


def _depth_row(depth: work.Depth, window_s: int) -> tuple[str, ...]:
    counts = (depth.waiting, depth.running, depth.dead, depth.done, depth.failed, depth.retried)
    return (
        depth.agent,
        depth.type,
        str(depth.queued),
        length(depth.oldest_s),
        *map(str, counts),
        f"{depth.done / window_s:.2f}",
        "paused" if depth.paused else "",
    )


def _brake_line(brake: work.Brake) -> str:
    told = []
    if brake.paused_at is not None:
        told.append(f"paused by {brake.paused_by} since {moment(brake.paused_at)}")
    if brake.max_running is not None:
        told.append(f"at most {brake.max_running} running")
    return f"{brake.kind} {brake.name}: {', '.join(told)}"
