"""`tallystick migrate`: bring the database to the newest revision."""

from __future__ import annotations

import asyncio

from tallystick.cli.options import Data
from tallystick.cli.runtime import Urls, console, errors, install_policy, refusals_as_lines, server, settings_for
from tallystick.db import Database, DatabaseSettings, migrate


def migrate_command(data: Data = None) -> None:
    """Make or bring up to date the schema, the roles, the functions and the grants.

    Where no policy is in force, the default one is applied, as without one nothing is allowed. Connects as
    TALLYSTICK_OWNER_URL, else DATABASE_URL, else the embedded server. Runs one at a time; running it again is safe.
    """
    with refusals_as_lines():
        settings = settings_for(data)
        with server(settings) as urls:
            if urls.embedded is None and urls.owner == urls.application:
                errors.print("warning: TALLYSTICK_OWNER_URL is not set; DATABASE_URL also migrates", style="yellow")
            done = migrate(urls.owner, application_url=urls.application)
            installed = asyncio.run(_install(urls, settings))
            console.print(f"revision {done.before or 'none'} -> {done.after}; {len(done.applied)} repeatable files applied")
            if installed:
                console.print("the default policy is in force; see `tallystick policy show`, and import lists of sanctions")


async def _install(urls: Urls, settings: DatabaseSettings) -> bool:
    # What opens the embedded database installs it, too.
    database = Database(urls.application, settings)
    try:
        await database.open()
        return await install_policy(database)
    finally:
        await database.close()
