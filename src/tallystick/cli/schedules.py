"""`tallystick schedules`: tasks that are enqueued at the times of a cron text."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any

import typer

from tallystick import schedules
from tallystick.cli.operator import As, operator
from tallystick.cli.options import Data
from tallystick.cli.runtime import connected, run
from tallystick.cli.tasks.text import AsJson, columns, moment
from tallystick.http import check_not_reserved
from tallystick.kit import Invalid, dumps, loads

app = typer.Typer(help="Schedules: tasks that are added at the times of a cron text.", no_args_is_help=True)

_MAX_PAYLOAD = 65_536
_FIRINGS = 10
_UPCOMING = 5

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]


@app.command("list")
def list_schedules(
    *,
    agent: Annotated[str | None, typer.Option(help="Only those of this agent.", show_default=False)] = None,
    state: Annotated[schedules.State | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 200,
    as_json: AsJson = False,
    data: Data = None,
) -> None:
    """List schedules, newest first; with --json a line of JSON each."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await schedules.page(tx, agent=agent, state=state, limit=limit)
        if as_json:
            for schedule in found:
                typer.echo(dumps(_told(schedule)))
            return
        columns(("NAME", "STATE", "CRON", "TIME ZONE", "NEXT (UTC)", "AGENT", "TYPE", ""), [_row(each) for each in found])

    run(main)


@app.command("show")
def show(name: Name, data: Data = None) -> None:
    """Show a schedule as JSON: what it says, when it fired last, and when it will next."""

    async def main() -> None:
        async with connected(data) as database, database.read() as tx:
            schedule = await schedules.get(tx, name)
            fired = await schedules.firings(tx, schedule.id, _FIRINGS)
        firings = [{**dataclasses.asdict(each), "task_id": str(each.task_id)} for each in fired]
        for each in firings:
            del each["schedule_id"]
        typer.echo(dumps({**_told(schedule), "firings": firings, "upcoming": schedules.upcoming(schedule, _UPCOMING)}))

    run(main)


@app.command("add")
def add(
    *,
    name: Name,
    cron: Annotated[str, typer.Argument(help="When: minute, hour, day of month, month, day of week, as '30 2 * * *'.")],
    agent: Annotated[str, typer.Argument(help="Who is to do it.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="What kind of task it is.")],
    payload: Annotated[str, typer.Argument(help="What it is about, a JSON object; - is standard input.")] = "{}",
    zone: Annotated[str, typer.Option(help="By the clock of which place, as Europe/Prague.")] = "UTC",
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="The higher, the sooner a task is begun.")] = 0,
    catch_up: Annotated[
        schedules.CatchUp, typer.Option(help="Which of the times that nobody looked at fire later.")
    ] = "latest",
    fire_at_field: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="The field of the payload that is given the time it is for.", show_default=False),
    ] = None,
    who: As = None,
    data: Data = None,
) -> None:
    """Add a schedule and print its next times, in UTC. Workers fire it from now on."""

    async def main() -> None:
        actor = operator(who)
        check_not_reserved(agent, scheduled=True)
        plan = schedules.Plan(
            agent, type_, _payload(payload), cron, zone, priority=priority, catch_up=catch_up, fire_at_field=fire_at_field
        )
        async with connected(data) as database, database.write() as tx:
            made = await schedules.create(tx, actor, name, plan)
        for when in schedules.upcoming(made, _UPCOMING):
            typer.echo(moment(when))

    run(main)


@app.command("pause")
def pause(name: Name, who: As = None, data: Data = None) -> None:
    """Stop a schedule: nothing fires until it is resumed."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            await schedules.pause(tx, actor, name)
        typer.echo(f"the schedule {name} is paused")

    run(main)


@app.command("resume")
def resume(name: Name, who: As = None, data: Data = None) -> None:
    """Let a schedule fire again; what passed while it was paused does not fire."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            resumed = await schedules.resume(tx, actor, name)
        typer.echo(f"the schedule {name} goes on; its next time is {moment(resumed.next_at)} UTC")

    run(main)


@app.command("remove")
def remove(name: Name, who: As = None, data: Data = None) -> None:
    """End a schedule for good. What it said and when it fired stays on the record; its name is free again."""

    async def main() -> None:
        actor = operator(who)
        async with connected(data) as database, database.write() as tx:
            await schedules.remove(tx, actor, name)
        typer.echo(f"the schedule {name} is removed")

    run(main)


def _row(schedule: schedules.Schedule) -> tuple[str, ...]:
    because = f" ({schedule.pause_reason})" if schedule.pause_reason else ""
    note = f"paused by {schedule.paused_by}{because}" if schedule.paused_by else ""
    upcoming = moment(schedule.next_at) if schedule.state == "active" else "-"
    return (schedule.name, schedule.state, schedule.cron, schedule.time_zone, upcoming, schedule.agent, schedule.type, note)


def _told(schedule: schedules.Schedule) -> dict[str, Any]:
    return {**dataclasses.asdict(schedule), "id": str(schedule.id), "state": schedule.state}


def _payload(text: str) -> dict[str, Any]:
    given: str | bytes = sys.stdin.buffer.read(_MAX_PAYLOAD + 1) if text == "-" else text
    if len(given) > _MAX_PAYLOAD:
        raise Invalid("payload_too_large", f"the payload of a schedule may have {_MAX_PAYLOAD} bytes")
    found = loads(given)
    if not isinstance(found, dict):
        raise Invalid("payload_malformed", "a payload is a JSON object")
    return found
