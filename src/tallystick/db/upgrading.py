"""The numbered revisions, run by Alembic in the order they name. Imported where the schema has to change (see `revisions`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from tallystick.db.roles import OWNER

_SCRIPTS = "tallystick.db:migrations"


def upgrade(owner_url: str, to: str, *, name: str) -> None:
    """Run every revision up to `to` that the database lacks, each in a transaction, as the application `name`."""
    scripts = _scripts()

    def steps(current: Any, _context: Any) -> Any:
        return scripts._upgrade_revs(to, current)

    with (
        _connected(owner_url, name) as connection,
        EnvironmentContext(Config(), scripts, fn=steps, destination_rev=to) as environment,
    ):
        environment.configure(
            connection=connection, version_table="revision", version_table_schema="db", transaction_per_migration=True
        )
        with environment.begin_transaction():
            environment.run_migrations()


def in_order() -> list[str]:
    """The revisions as they follow each other, oldest first."""
    return [script.revision for script in reversed(list(_scripts().walk_revisions()))]


@contextmanager
def _connected(url: str, name: str) -> Iterator[Connection]:
    # A revision that cannot get its lock soon would hold up the whole bank behind it.
    options = f"-c role={OWNER} -c lock_timeout=5s"
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=10, application_name=name, options=options),
        poolclass=NullPool,
    )
    with engine.connect() as connection:
        yield connection


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    return ScriptDirectory.from_config(config)
