"""`tallystick tasks`: see what agents have to do, and step in."""

from __future__ import annotations

import typer

from tallystick.cli.tasks import adding, braking, listing, retiring, showing, steering

app = typer.Typer(help="Tasks: what agents have to do, do and have done.", no_args_is_help=True)
app.command("list")(listing.list_tasks)
app.command("show")(showing.show)
app.command("queues")(listing.queues)
app.command("questions")(listing.questions)
app.command("add")(adding.add)
app.command("retry")(steering.retry)
app.command("cancel")(steering.cancel)
app.command("answer")(steering.answer)
app.command("pause")(braking.pause)
app.command("resume")(braking.resume)
app.command("limit")(braking.limit)
app.command("configure")(braking.configure)
app.command("retire")(retiring.retire)

__all__ = ["app"]
