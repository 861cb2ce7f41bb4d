"""The command and its subcommands."""

from __future__ import annotations

import typer

from tallystick import __version__
from tallystick.cli import (
    accounts,
    calendars,
    demo,
    end_of_day,
    holding,
    keys,
    migrations,
    nostro,
    posting,
    reconcile,
    schedules,
    serve,
    statements,
    verify,
    worker,
)
from tallystick.cli.imports import app as imports
from tallystick.cli.runtime import Commands
from tallystick.cli.tasks import app as tasks

app = typer.Typer(
    name="tallystick",
    cls=Commands,
    help="The control plane and system of record for AI agents in banking.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("migrate")(migrations.migrate_command)
app.command("reconcile")(reconcile.reconcile)
app.command("statement")(statements.statement)
app.command("trial-balance")(statements.trial_balance)
app.command("verify")(verify.verify)
app.command("end-of-day")(end_of_day.end_of_day)
app.add_typer(calendars.app, name="calendar")
app.command("post")(posting.post)
app.command("reverse")(posting.reverse)
app.add_typer(holding.app, name="hold")
app.add_typer(accounts.app, name="account")
app.add_typer(accounts.period, name="period")
app.add_typer(imports, name="import")
app.add_typer(keys.app, name="keys")
app.add_typer(nostro.app, name="nostro")
app.add_typer(tasks, name="tasks")
app.add_typer(schedules.app, name="schedules")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tallystick {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Options of every subcommand."""


def main() -> None:
    """The entry point of the `tallystick` command."""
    app()
