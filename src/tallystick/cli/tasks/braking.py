"""`tallystick tasks pause`, `resume`, `limit` and `configure`: how much of what runs, and how often it is tried."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tallystick import work
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.form import policy_json
from tallystick.db import ring
from tallystick.kit import Invalid, dumps

Kind = Annotated[Literal["agent", "type"], typer.Argument(help="An agent, or a type of task of any agent.")]
Name = Annotated[str, typer.Argument(help="Its name.")]


def pause(kind: Kind, name: Name, who: As = None, data: Data = None) -> None:
    """Begin no more attempts of an agent or a type; those that run go on, and tasks can still be added."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            await work.pause(tx, kind, name, actor)
        typer.echo(f"the {kind} {name} is paused")

    run(main)


def resume(kind: Kind, name: Name, who: As = None, data: Data = None) -> None:
    """End a pause."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database:
            async with database.write() as tx:
                await work.resume(tx, kind, name, actor)
            await ring(database, work.CHANNEL)
        typer.echo(f"the {kind} {name} goes on")

    run(main)


def limit(
    kind: Kind,
    name: Name,
    most: Annotated[str, typer.Argument(metavar="MOST", help="How many tasks may run at a time; `none` ends the limit.")],
    who: As = None,
    data: Data = None,
) -> None:
    """Let only so many tasks of an agent, or of a type, run at a time, over all workers."""

    async def main() -> None:
        actor = operator(who)
        bound = _bound(most)
        async with connected(data) as database:
            async with database.write() as tx:
                await work.limit(tx, kind, name, actor, max_running=bound)
            await ring(database, work.CHANNEL)
        typer.echo(f"the {kind} {name} has {'no limit' if bound is None else f'a limit of {bound} running tasks'}")

    run(main)


def configure(
    *,
    agent: Annotated[str, typer.Argument(help="Whose tasks.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Tasks of which type.")],
    max_attempts: Annotated[int | None, typer.Option(help="How often a task is tried.", show_default=False)] = None,
    max_crashes: Annotated[int | None, typer.Option(help="How often its worker may be lost.", show_default=False)] = None,
    timeout_s: Annotated[int | None, typer.Option(help="How many seconds an attempt may take.", show_default=False)] = None,
    backoff_s: Annotated[
        float | None, typer.Option(help="Seconds until the second attempt; doubled for each after.", show_default=False)
    ] = None,
    max_backoff_s: Annotated[float | None, typer.Option(help="The longest time between attempts.", show_default=False)] = None,
    per_key: Annotated[
        int | None, typer.Option(help="How many tasks under one order key may be under way.", show_default=False)
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Set how often and how long tasks of a type of an agent are tried, and print it; what is not given stays.

    What the agent's own code says of it is set again when a worker starts with that agent.
    """

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            await work.configure(
                tx,
                agent,
                type_,
                by=actor,
                max_attempts=max_attempts,
                max_crashes=max_crashes,
                timeout_s=timeout_s,
                backoff_s=backoff_s,
                max_backoff_s=max_backoff_s,
                per_key=per_key,
            )
            stands = await work.policy(tx, agent, type_)
            assert stands is not None, "what was configured is there"
            told = policy_json(stands)
        typer.echo(dumps(told))

    run(main)


def _bound(most: str) -> int | None:
    if most == "none":
        return None
    if not most.isascii() or not most.isdigit() or len(most) > 9:
        raise Invalid("limit_out_of_range", "a limit is 1 to 1000000 tasks, or none")
    return int(most)
