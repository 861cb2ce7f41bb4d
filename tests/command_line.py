"""The command line in this process, for what it says and does; what a process is (signals, pipes) is tested with real ones."""

from __future__ import annotations

import os

from typer.testing import CliRunner, Result

from tallystick.cli.main import app
from tallystick.cli.runtime import console, errors
from tests.conftest import TestDatabase

# What is printed is compared, and is not to be broken into lines by the width of whoever's terminal.
console.width = errors.width = 200


def command(database: TestDatabase, *arguments: str, stdin: str | None = None, owner: bool = True) -> Result:
    """Run a command to its end on `database`; an error that it does not report itself is raised here.

    Commands have an event loop of their own: an async test calls this in a thread.
    """
    ours = {name: None for name in os.environ if name.startswith("TALLYSTICK_")}
    urls = {"DATABASE_URL": database.app_url, "TALLYSTICK_OWNER_URL": database.owner_url if owner else None}
    return CliRunner().invoke(app, arguments, input=stdin, env=ours | urls, catch_exceptions=False)
