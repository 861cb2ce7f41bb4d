"""`tallystick migrate`: bring the database to the newest revision."""

from __future__ import annotations

from tallystick.cli.options import Data
from tallystick.cli.runtime import console, errors, refusals_as_lines, server, settings_for
from tallystick.db import migrate


def migrate_command(data: Data = None) -> None:
    """Make or bring up to date the schema, the roles, the functions and the grants.

    Connects as TALLYSTICK_OWNER_URL, else DATABASE_URL, else the embedded server. Runs one at a time; running it again is safe.
    """
    with refusals_as_lines(), server(settings_for(data)) as urls:
        if urls.embedded is None and urls.owner == urls.application:
            errors.print("warning: TALLYSTICK_OWNER_URL is not set; DATABASE_URL also migrates", style="yellow")
        done = migrate(urls.owner, application_url=urls.application)
        console.print(f"revision {done.before or 'none'} -> {done.after}; {len(done.applied)} repeatable files applied")
