"""`tallystick tasks show`: one task, and all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tallystick import work
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.form import attempt_json, step_json, task_json, waiting_json
from tallystick.cli.tasks.text import AsJson, columns, length, moment, plain, short
from tallystick.kit import dumps

TaskId = Annotated[int, typer.Argument(metavar="ID", min=1, help="Number of the task.")]
_WIDE = 2000


def show(task_id: TaskId, as_json: AsJson = False, data: Data = None) -> None:
    """Show a task: what it is, what it waits for, its steps, the attempts that came to nothing, how it ended."""

    async def main() -> None:
        number = known_number(task_id, "unknown_task")
        # All of it is of one moment.
        async with connected(data) as database, database.snapshot() as tx:
            task = await work.get(tx, number)
            waiting = await work.waiting(tx, number)
            steps = await work.steps(tx, number)
            attempts = await work.attempts(tx, number)
        if as_json:
            told = {
                **task_json(task),
                "waiting": waiting_json(waiting),
                "steps": [step_json(step) for step in steps],
                "attempts_ended": [attempt_json(attempt) for attempt in attempts],
            }
            typer.echo(dumps(told))
        else:
            _print(task, waiting, steps, attempts)

    run(main)


def _print(task: work.Task, waiting: work.Waiting | None, steps: Sequence[work.Step], attempts: Sequence[work.Attempt]) -> None:
    typer.secho(f"task {task.id}  {task.status}", bold=True)
    for name, value in _facts(task, waiting):
        typer.echo(f"  {name:<9} {plain(value)}")
    if steps:
        typer.echo("")
        columns(("STEP", "KIND", "STATE", "TRIES", "TOOK", "FENCE", "GAVE"), [_step_row(lines) for lines in _by_name(steps)])
    if attempts:
        typer.echo("")
        head = ("ATTEMPT ENDED (UTC)", "AS", "AFTER", "FENCE", "WORKER", "WHY")
        columns(
            head,
            [
                (
                    moment(one.ended_at),
                    one.ended,
                    length((one.ended_at - one.started_at).total_seconds()),
                    str(one.fence),
                    one.worker,
                    one.error,
                )
                for one in attempts
            ],
        )


def _facts(task: work.Task, waiting: work.Waiting | None) -> list[tuple[str, str]]:
    facts: list[tuple[str, str | None]] = [
        ("for", f"{task.agent}, {task.type}"),
        ("payload", short(task.payload, _WIDE)),
        ("created", f"{moment(task.created_at)} by {task.created_by}"),
        ("waits for", None if waiting is None else _waits_for(waiting)),
        ("started", None if task.started_at is None else f"{moment(task.started_at)} on {task.worker}"),
        ("ended", None if task.finished_at is None else f"{moment(task.finished_at)} by {task.worker}"),
        ("attempts", f"{task.attempts}, crashes {task.crashes}" if task.crashes else str(task.attempts)),
        ("priority", str(task.priority) if task.priority else None),
        ("deadline", None if task.deadline_at is None else moment(task.deadline_at)),
        ("order key", task.order_key),
        ("error", task.error),
        ("result", short(task.result, _WIDE) if task.status == "done" or task.result is not None else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _waits_for(waiting: work.Waiting) -> str:
    what = {
        "run_at": "its time",
        "backoff": "its next attempt",
        "sleep": f"the end of {waiting.step}",
        "turn": f"its turn behind {_numbers(waiting.behind)}",
        "tasks": f"the end of {_numbers(waiting.after)}",
        "event": f"an event {waiting.event_type}{'' if waiting.match is None else f' with {short(waiting.match)}'}",
        "approval": f"an answer to {waiting.step}: {short(waiting.question, 200)}",
    }[waiting.kind]
    return what if waiting.wake_at is None else f"{what}, until {moment(waiting.wake_at)}"


def _numbers(ids: Sequence[int]) -> str:
    return f"task {', '.join(map(str, ids))}" if ids else "others"


def _by_name(steps: Sequence[work.Step]) -> list[list[work.Step]]:
    """The lines of each step, in the order in which the steps began."""
    lines: dict[str, list[work.Step]] = {}
    for step in steps:
        lines.setdefault(step.name, []).append(step)
    return list(lines.values())


def _step_row(lines: Sequence[work.Step]) -> tuple[str, ...]:
    tries = [line for line in lines if line.state != "intent"]
    done = [line for line in lines if line.state == "done"]
    last = (done or tries or list(lines))[-1]
    state = {"intent": "meant"}.get(last.state, last.state)
    took = length((last.ended_at - last.started_at).total_seconds()) if tries else "-"
    gave = last.error if last.state == "failed" else _gave(last)
    return (last.name, last.kind, state, str(len(tries)), took, str(last.fence), gave or "")


def _gave(step: work.Step) -> str:
    if step.state == "intent":
        return ""
    if step.kind != "model":
        return short(step.output)
    told: dict[str, Any] = dict(step.detail or {})
    model = told.get("gen_ai.response.model") or told.get("gen_ai.request.model")
    tokens = f"{told.get('gen_ai.usage.input_tokens', '?')} -> {told.get('gen_ai.usage.output_tokens', '?')} tokens"
    return f"{model}, {tokens}: {short(step.output)}"
