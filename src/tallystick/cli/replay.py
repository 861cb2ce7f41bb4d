"""`tallystick replay`: run an agent's code over what was recorded of a task."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tallystick import sdk
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import AsJson, plain
from tallystick.worker import load, recorded

_OUTSIDE = frozenset(
    {
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "socket.sendmsg",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
    }
)
_guarded: list[str] = []
_is_guarding = False


class _CallOutside(sdk.AttemptOver):
    """The code would have called the outside."""


def replay(
    task_id: Annotated[int, typer.Argument(metavar="TASK", min=1, help="Number of the task.")],
    agent: Annotated[str, typer.Argument(metavar="MODULE:AGENT", help="The agent, as `screening:agent`.")],
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, max=3600, help="Seconds that the code may take.")] = 60,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """Run an agent's code over what was recorded of a task, and say where it first goes another way: then exit status 1.

    Steps are answered from the record and not done again; nothing is written, and nothing outside is called.
    """
    found: list[tuple[sdk.Recorded, sdk.Difference | None]] = []

    async def read() -> None:
        number = known_number(task_id, "unknown_task")
        async with connected(data) as database, database.snapshot() as tx:
            found.append((await recorded(tx, number), None))

    def played() -> None:
        # The database is closed by now.
        (of_task, _) = found[0]
        with _nothing_outside():
            difference = asyncio.run(sdk.replay(agents, of_task, timeout_s=timeout_s))
        if _guarded:
            difference = sdk.Difference("outside", f"the code calls the outside other than by a step: {_guarded[0]}")
        found[0] = (of_task, difference)

    agents: list[sdk.Agent] = []

    async def loaded() -> None:
        agents.extend(load([agent]))

    run(loaded)
    run(read)
    played()
    ((of_task, difference),) = found
    _say(of_task, difference, as_json=as_json)
    if difference is not None:
        raise typer.Exit(1)


def _say(of_task: sdk.Recorded, difference: sdk.Difference | None, *, as_json: bool) -> None:
    steps = len({step.line.name for step in of_task.steps})
    if as_json:
        told: dict[str, Any] = {"task": str(of_task.attempt.task_id), "same": difference is None, "steps": steps}
        if difference is not None:
            told |= {"difference": difference.kind, "step": difference.step, "what": difference.what}
        typer.echo(json.dumps(told))
    elif difference is None:
        upto = {"done": "done", "failed": "failed in the same way", "open": "as far as the record goes"}[of_task.end]
        typer.echo(f"same: {steps} steps, {upto}")
    else:
        typer.echo(f"different ({difference.kind}): {plain(difference.what)}")


@contextmanager
def _nothing_outside() -> Iterator[None]:
    """Until this is left, the process reaches nothing outside of itself: an audit hook (PEP 578) refuses it."""
    global _is_guarding  # noqa: PLW0603 - a hook stays for good, so that this says when it is to look
    _guarded.clear()
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    _is_guarding = True
    try:
        yield
    finally:
        _is_guarding = False


_hooked: list[bool] = []


def _hook(event: str, _: tuple[Any, ...]) -> None:
    if _is_guarding and event in _OUTSIDE:
        _guarded.append(event)
        raise _CallOutside(f"a replay calls nothing outside: {event}")
