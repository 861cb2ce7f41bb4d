"""What the commands share: a database to work on, and errors as one line."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from tallystick import policy
from tallystick.db import Database, DatabaseSettings, EmbeddedServer, check_revision, migrate
from tallystick.kit import TallystickError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich calls this where it caught the error; the command ends as all do (see `main.Commands`)


_WIDEST = 100_000
_PREFIXES = {
    "DatabaseSettings": "TALLYSTICK_",
    "HttpSettings": "TALLYSTICK_HTTP_",
    "WebhookSettings": "TALLYSTICK_WEBHOOKS_",
}
_HOUSE = "tallystick"
console = _Console(highlight=False, emoji=False)
errors = _Console(stderr=True, highlight=False, emoji=False)


def print_whole(table: Table) -> None:
    """Print a table with each cell whole and each row on a line of its own, however narrow the terminal is."""
    for column in table.columns:
        column.no_wrap = True
    widest = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    _Console(highlight=False, emoji=False, width=max(console.width, widest)).print(table)


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the database is: the logins of the application, the owner and the sealer. `embedded` runs for us, if any does."""

    application: str
    owner: str
    sealer: str
    embedded: EmbeddedServer | None


def settings_for(data: Path | None) -> DatabaseSettings:
    """The settings of the environment; `data`, where given, is the data folder."""
    return DatabaseSettings() if data is None else DatabaseSettings(data=data)


@contextmanager
def server(settings: DatabaseSettings) -> Iterator[Urls]:
    """The database of the settings: `DATABASE_URL`, or the embedded server, which runs while we are in here."""
    if settings.database_url is not None:
        owner = settings.owner_url or settings.database_url
        yield Urls(settings.database_url, owner, settings.sealer_url or owner, None)
        return
    with EmbeddedServer(settings.data) as embedded:
        yield Urls(embedded.url_as("tallystick_app"), embedded.url, embedded.url_as("tallystick_sealer"), embedded)


@asynccontextmanager
async def connected(data: Path | None = None) -> AsyncIterator[Database]:
    """An open database at the newest revision. The embedded one is migrated on the way; another is only checked."""
    settings = settings_for(data)
    with server(settings) as urls:
        prepare(urls)
        async with opened(urls, settings) as database:
            yield database


def prepare(urls: Urls) -> None:
    """Migrate the embedded database; refuse another one that is not at the newest revision."""
    if urls.embedded is not None:
        migrate(urls.owner, application_url=urls.application)
    else:
        check_revision(urls.application)


@asynccontextmanager
async def opened(urls: Urls, settings: DatabaseSettings, *, first_policy: str = "default") -> AsyncIterator[Database]:
    """The application's pool. The embedded database gets its first policy here, as without one nothing is allowed."""
    database = Database(urls.application, settings)
    try:
        await database.open()
        if urls.embedded is not None:
            await install_policy(database, first_policy)
        yield database
    finally:
        await database.close()


async def install_policy(database: Database, name: str = "default") -> bool:
    """Put a policy that comes with the program in force, where none is; whether it was."""
    async with database.write() as tx:
        return await policy.install(tx, name, by=_HOUSE) is not None


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command; a refusal becomes one line on standard error and exit status 1."""
    with refusals_as_lines():
        asyncio.run(main())


@contextmanager
def refusals_as_lines() -> Iterator[None]:
    """Turn our errors, and Ctrl-C, into a line and an exit status."""
    try:
        yield
    except TallystickError as refusal:
        errors.print(f"error: {refusal.detail} [{refusal.code}]", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except ValidationError as wrong:
        # The only values that commands have checked for them are settings; what was set may be a secret and is not shown.
        said: dict[str, str] = {}
        for one in wrong.errors(include_input=False, include_url=False):
            said.setdefault(_setting(wrong.title, str(one["loc"][0])), one["msg"])
        for setting, why in said.items():
            errors.print(f"error: setting {setting}: {why} [setting_malformed]", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _setting(kind: str, name: str) -> str:
    """The variable of the environment that a field is set by; one with a name of its own comes with it."""
    return name if name.isupper() else f"{_PREFIXES.get(kind, '')}{name.upper()}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """One line a message, with the time in UTC."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
