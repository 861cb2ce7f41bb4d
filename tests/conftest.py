"""Real PostgreSQL for every test: one cluster for all processes of a run, one migrated template, one database a test.

`TALLYSTICK_TEST_PG` names the folder of another PostgreSQL's programs; by default the bundled one runs. All files of a run lie
in one folder, in memory where there is room, and go with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tallystick import policy
from tallystick.db import Database, DatabaseSettings, EmbeddedServer, migrate
from tests.eventful import untold, watch
from tests.permitted import ALL_ALLOWED, PermittedDatabase

ROOT = Path(__file__).parent.parent
_MEMORY = Path("/dev/shm")
_ROOM = 1024**3
_FOLDERS = "tallystick-tests-"
_numbers = itertools.count()
WATCHED = os.environ.get("TALLYSTICK_TEST_EVENTS") == "1"
"""Whether every test also shows that what it changes has its event; see tests/eventful.py."""
ALWAYS_WATCHED = frozenset(
    f"tests.test_{name}"
    for name in (
        "http_v1", "http_ledger", "http_work", "cases", "memory", "schedules", "payments", "closing_doors", "trading",
        "customers", "identity", "actions", "approvals", "approval_doors", "webhooks", "cli_ledger", "cli_tasks",
        "cli_schedules", "orders", "http_orders",
    )
)  # fmt: skip
"""Those that call the routes, commands and verbs which change something show it in every run."""
_run = pytest.StashKey[tuple[Path, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder for everything temporary: copying a database takes a hundredth of the time in memory."""
    if hasattr(config, "workerinput"):
        return
    parent = _MEMORY if _has_room(_MEMORY) else Path(tempfile.gettempdir())
    for left_over in parent.glob(f"{_FOLDERS}*"):
        # The lock of a run that was killed is free.
        if (lock := _locked(left_over)) is not None:
            shutil.rmtree(left_over, ignore_errors=True)
            os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDERS, dir=parent))
    lock = _locked(folder)
    assert lock is not None
    # Servers run under an account of their own where we are root.
    folder.chmod(0o755)
    config.stash[_run] = folder, lock
    # Workers, and the processes that tests start, inherit it.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder of the run."""
    if (run := config.stash.get(_run, None)) is not None:
        shutil.rmtree(run[0], ignore_errors=True)
        os.close(run[1])


def _has_room(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    # Programs are copied to where the server's account can reach them, and have to run there.
    return os.access(folder, os.W_OK) and not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= _ROOM


def _locked(folder: Path) -> int | None:
    """The open lock of a run's folder; `None` where that run goes on."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


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
    """The test cluster: shared by all processes of the run, and not durable. Tests of faults have clusters of their own."""
    folder = Path(tempfile.gettempdir()) / "cluster"
    options = ("fsync=off", "full_page_writes=off", "max_connections=300", "autovacuum=off")
    with EmbeddedServer(folder, bin_dir=bin_dir(), options=options) as server:
        yield server


@pytest.fixture(scope="session")
def template(cluster: EmbeddedServer) -> str:
    """The name of a migrated database that the tests' databases are copies of."""
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(1)")
        if not connection.execute("select 1 from pg_database where datname = 'template'").fetchone():
            connection.execute('drop database if exists "unfinished"')
            connection.execute('create database "unfinished"')
            migrate(cluster.url_of("unfinished"))
            asyncio.run(allow_all(cluster.url_of("unfinished", "tallystick_app")))
            _forget_events(cluster.url_of("unfinished"))
            connection.execute('alter database "unfinished" rename to "template"')
    return "template"


async def allow_all(url: str) -> None:
    database = Database(url, DatabaseSettings())
    await database.open()
    async with database.write() as tx:
        await policy.apply(tx, ALL_ALLOWED, by="test")
    await database.close()


def _forget_events(url: str) -> None:
    """Tests begin with a record that is empty, and a policy that has held for ever: some of them put the clock back."""
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        for table in ("pending", "event"):
            connection.execute(f"delete from audit.{table}".encode())
        connection.execute("alter sequence audit.event_id restart")
        connection.execute("update policy.document set effective_from = '2000-01-01', applied_at = '2000-01-01'")


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A durable server of the test's own, migrated, which it may kill."""
    with tempfile.TemporaryDirectory(prefix="tallystick-") as folder:
        # The server may run under another account, and PostgreSQL 15 walks down to its folder.
        Path(folder).chmod(0o755)
        with EmbeddedServer(Path(folder).resolve() / "data", bin_dir=bin_dir()) as server:
            migrate(server.url)
            asyncio.run(allow_all(server.url))
            _forget_events(server.url)
            yield server


@pytest.fixture
def empty_database(cluster: EmbeddedServer) -> Iterator[TestDatabase]:
    """A database with nothing in it."""
    yield from _database(cluster, "template1")


@pytest.fixture
def database(cluster: EmbeddedServer, template: str, request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """A migrated database."""
    yield from _database(cluster, template, watched=WATCHED or request.module.__name__ in ALWAYS_WATCHED)


@pytest.fixture
async def db(database: TestDatabase) -> AsyncIterator[Database]:
    """An open pool on a migrated database, with the application's rights."""
    opened = PermittedDatabase(database.app_url, DatabaseSettings())
    await opened.open()
    yield opened
    await opened.close()


def _database(cluster: EmbeddedServer, template: str, *, watched: bool = False) -> Iterator[TestDatabase]:
    name = f"t_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}"'.encode())
    if watched:
        with psycopg.connect(cluster.url_of(name)) as connection:
            watch(connection)
    yield TestDatabase(name, cluster.url_of(name, "tallystick_app"), cluster.url_of(name))
    if watched:
        with psycopg.connect(cluster.url_of(name)) as connection:
            assert untold(connection) == []
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)'.encode())
