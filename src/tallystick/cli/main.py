"""The command and its subcommands, a line each. A subcommand's module is imported when it is called, so that help is quick."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from tallystick import __version__

_SIGPIPE = 128 + 13


class Subcommand(TyperCommand):
    """One line of the list: the command itself, or the group, is `target`, as `module:name` below this package."""

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._name = name
        self._target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the command that this line stands for."""
        return self.load().make_context(info_name, args, parent=parent, **extra)

    def load(self) -> TyperCommand | TyperGroup:
        """The command that this line stands for."""
        module, _, attribute = self._target.partition(":")
        found = getattr(import_module(f"{__package__}.{module}"), attribute)
        if isinstance(found, typer.Typer):
            loaded: Any = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            loaded = get_command(alone)
        loaded.name = self._name
        return loaded  # type: ignore[no-any-return]


SUBCOMMANDS = (
    Subcommand(
        "demo",
        "demo:demo",
        "Run everything: PostgreSQL, migrations, a generated bank, the API, workers and the sealer. Ctrl-C stops all of it.",
    ),
    Subcommand(
        "serve",
        "serve:serve",
        "Run the API. Callers need a key: `tallystick keys create NAME --kind service`. Run workers with `tallystick worker`.",
    ),
    Subcommand(
        "worker",
        "worker:worker",
        "Work off tasks until Ctrl-C. Any number of workers may run.",
    ),
    Subcommand(
        "migrate",
        "migrations:migrate_command",
        "Make or bring up to date the schema, the roles, the functions and the grants.",
    ),
    Subcommand(
        "reconcile",
        "reconcile:reconcile",
        "Import a statement once, match it with the books, and say what differs or is missing: then the exit status is 1.",
    ),
    Subcommand(
        "statement",
        "statements:statement",
        "Write an account's statement for a period. A file is there whole or not at all.",
    ),
    Subcommand(
        "trial-balance",
        "statements:trial_balance",
        "Add up all accounts; exit status 1 where an asset is not in balance.",
    ),
    Subcommand(
        "verify",
        "verify:verify",
        "Check that what is stored is what was done. Names every place that is wrong; exit status 1 where there is one.",
    ),
    Subcommand(
        "export",
        "record:export",
        "Write the sealed record of a time into one file, which `tallystick verify FILE` checks without us.",
    ),
    Subcommand("record", "record:record", "The record: how far it is sealed, and a new origin after a restore."),
    Subcommand("checkpoint", "record:checkpoint", "Signed checkpoints of the record."),
    Subcommand(
        "signing-keys",
        "signing_keys:app",
        "Keys that sign the record: made on the first start, kept outside the database.",
    ),
    Subcommand(
        "end-of-day",
        "end_of_day:end_of_day",
        "Close a business day: accrue interest, write the closing balances of accounts, close the period.",
    ),
    Subcommand(
        "post",
        "posting:post",
        "Post journals; what became of each goes to standard output as a JSON line. Exit status 1 where one was refused.",
    ),
    Subcommand(
        "reverse",
        "posting:reverse",
        "Take a journal back, wholly or in part, by another journal. Exit status 1 where the books refuse.",
    ),
    Subcommand(
        "erase",
        "subjects:erase",
        "Erase what is known of a customer, for good, where no legal hold and no retention period stands against it.",
    ),
    Subcommand("legal-hold", "subjects:holds", "Legal holds: whose data must not be erased until the hold is lifted."),
    Subcommand("retention", "subjects:retention", "Retention: how long data of each kind is kept at least."),
    Subcommand(
        "timeline",
        "audit:show_timeline",
        "Show what became of a case, a transfer, a task, an agent or an account, in the order of the record.",
    ),
    Subcommand(
        "replay",
        "replay:replay",
        "Run an agent's code over what was recorded of a task, and say where it first goes another way: then exit status 1.",
    ),
    Subcommand("audit", "audit:app", "The record: what was done, by whom, and what shows it."),
    Subcommand("calendar", "calendars:app", "Business-day calendars: which days the bank works, and when they end."),
    Subcommand("hold", "holding:app", "Holds: money that is set aside."),
    Subcommand("account", "accounts:app", "Accounts: open them, freeze them, limit them."),
    Subcommand("period", "accounts:period", "Periods: up to when the books are closed."),
    Subcommand("import", "imports:app", "Take in data from elsewhere."),
    Subcommand("policy", "policies:app", "Policies: the bank's rules of who may do what."),
    Subcommand("lists", "lists:app", "Lists: names and ids that policies look for, such as those of sanctions."),
    Subcommand("principals", "principals:app", "Principals: agents, people and services, what they may do and see."),
    Subcommand("agents", "agents:app", "Agents: who answers for them, and the versions that they were made in."),
    Subcommand("keys", "keys:app", "API keys: who may call the server."),
    Subcommand("mandates", "mandates:app", "Mandates: what people let agents do for them."),
    Subcommand("nostro", "nostro:app", "Nostro accounts: our accounts at other banks, mirrored in our books."),
    Subcommand("portfolios", "trading:portfolios", "Portfolios: what is held of instruments, over which cash account."),
    Subcommand("orders", "trading:orders", "Orders: what is to be bought and sold, and what was."),
    Subcommand("tasks", "tasks:app", "Tasks: what agents have to do, do and have done."),
    Subcommand("schedules", "schedules:app", "Schedules: tasks that are added at the times of a cron text."),
    Subcommand("approvals", "approvals:app", "Approvals: what people are asked before an action is carried out."),
    Subcommand("webhooks", "webhooks:app", "Webhooks: who is told of approvals, by signed notices."),
)
"""All subcommands as they are listed. What a line says of its command is the first paragraph of the command's own help."""


class Commands(TyperGroup):
    """The whole command line. Whose output is closed early, as by `head`, ends quietly with status 141, like other tools."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for subcommand in SUBCOMMANDS:
            self.add_command(subcommand)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # What is still buffered has nowhere to go; without this the interpreter complains of it at its end.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_SIGPIPE) from None


app = typer.Typer(
    name="tallystick",
    cls=Commands,
    help="The control plane and system of record for AI agents in banking.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
