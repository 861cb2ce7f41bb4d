"""Real PostgreSQL for every test: one cluster for all processes, one migrated template, one database a test.

`TALLYSTICK_TEST_PG` names the folder of another PostgreSQL's programs; by default the bundled one runs.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tallystick.db import Database, DatabaseSettings, EmbeddedServer, migrate
from tallystick.db.revisions import repeatables

ROOT = Path(__file__).parent.parent
_numbers = itertools.count()


def bin_dir() -> Path | None:
    named = os.environ.get("TALLYSTICK_TEST_PG")
    return Path(named) if named else None


@dataclass(frozen=True)
class TestDatabase:
    """A database of its own for one test. `app_url` has the application's rights, `owner_url` those of the superuser."""

    __test__ = False

    name: str
    app_url: str
    owner_url: str


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedServer]:
    """The test cluster: shared by all test processes, and not durable. Tests of faults have clusters of their own."""
    name = hashlib.sha256(f"{ROOT}{bin_dir()}".encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"tallystick-tests-{os.getuid()}-{name}"
    options = ("fsync=off", "full_page_writes=off", "max_connections=300", "autovacuum=off")
    with EmbeddedServer(folder, bin_dir=bin_dir(), options=options) as server:
        yield server


@pytest.fixture(scope="session")
def template(cluster: EmbeddedServer) -> str:
    """The name of a migrated database that the tests' databases are copies of; made once for each state of the schema."""
    migrations = sorted((ROOT / "src/tallystick/db/migrations").glob("*.sql"))
    schema = "".join(path.read_text() for path in migrations) + "".join(text for _, text in repeatables())
    name = f"template_{hashlib.sha256(schema.encode()).hexdigest()[:16]}"
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(1)")
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            connection.execute(f'drop database if exists "{name}_new"'.encode())
            connection.execute(f'create database "{name}_new"'.encode())
            migrate(cluster.url_of(f"{name}_new"))
            connection.execute(f'alter database "{name}_new" rename to "{name}"'.encode())
    return name


@pytest.fixture
def empty_database(cluster: EmbeddedServer) -> Iterator[TestDatabase]:
    """A database with nothing in it."""
    yield from _database(cluster, "template1")


@pytest.fixture
def database(cluster: EmbeddedServer, template: str) -> Iterator[TestDatabase]:
    """A migrated database."""
    yield from _database(cluster, template)


@pytest.fixture
async def db(database: TestDatabase) -> AsyncIterator[Database]:
    """An open pool on a migrated database, with the application's rights."""
    opened = Database(database.app_url, DatabaseSettings())
    await opened.open()
    yield opened
    await opened.close()


def _database(cluster: EmbeddedServer, template: str) -> Iterator[TestDatabase]:
    name = f"t_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())
        connection.execute(f'create database "{name}" template "{template}"'.encode())
    yield TestDatabase(name, cluster.url_of(name, "tallystick_app"), cluster.url_of(name))
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)'.encode())
