"""`tallystick tasks add`: give an agent something to do."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from tallystick import work
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data, known_number, read_moment
from tallystick.cli.runtime import connected, run
from tallystick.db import Tx, ring
from tallystick.http import check_not_reserved
from tallystick.kit import Invalid, loads

_MAX_PAYLOAD = 1024 * 1024


def add(
    *,
    agent: Annotated[str, typer.Argument(help="Who is to do it.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="What kind of task it is.")],
    payload: Annotated[str, typer.Argument(help="What it is about, a JSON object; - is standard input.")] = "{}",
    key: Annotated[
        str | None, typer.Option(help="The same task again under the same key is the first one.", show_default=False)
    ] = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="The higher, the sooner.")] = 0,
    run_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before this time, as 2026-11-20T17:00+01:00.", show_default=False)
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="TIME", help="It fails if it is not done by then.", show_default=False)
    ] = None,
    order_key: Annotated[
        str | None,
        typer.Option(help="The agent's tasks with this key are done one at a time, in their order.", show_default=False),
    ] = None,
    after: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", min=1, help="After this task is done; may be repeated.", show_default=False),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How often it may be tried.", show_default=False)
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Store a task and print its number."""

    async def main() -> None:
        actor = operator(who)
        check_not_reserved(agent)
        new = work.NewTask(
            agent,
            type_,
            _payload(payload),
            priority=priority,
            run_at=None if run_at is None else read_moment(run_at),
            deadline_at=None if deadline is None else read_moment(deadline),
            key=key,
            order_key=order_key,
            after=[known_number(task_id, "unknown_task") for task_id in after or ()],
            max_attempts=max_attempts,
        )

        async def attempt(tx: Tx) -> tuple[int, bool]:
            (task_id,) = await work.enqueue(tx, actor, [new])
            return task_id, work.CHANNEL in tx.announced

        async with connected(data) as database:
            task_id, announced = await database.retrying(attempt)
            if not announced:
                await ring(database, work.CHANNEL)
        typer.echo(str(task_id))

    run(main)


def _payload(text: str) -> dict[str, Any]:
    given: str | bytes = sys.stdin.buffer.read(_MAX_PAYLOAD + 1) if text == "-" else text
    if len(given) > _MAX_PAYLOAD:
        raise Invalid("payload_too_large", f"a payload may have {_MAX_PAYLOAD} bytes")
    found = loads(given)
    if not isinstance(found, dict):
        raise Invalid("payload_malformed", "a payload is a JSON object")
    return found
