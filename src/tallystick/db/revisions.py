"""Migrations: numbered revisions in plain SQL, run by Alembic forward only, then the repeatable files that have changed.

Tables are made and changed by revisions (`migrations/`). Database functions, views and grants live in the rooms, in
`repeatable/*.sql`: each such file can be applied again at any time, and is when its checksum has changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tallystick.db.errors import translated
from tallystick.db.pool import ReadTx
from tallystick.db.queries import Queries
from tallystick.db.roles import OWNER, bootstrap
from tallystick.kit import Unavailable

_queries = Queries("tallystick.db")
_SCHEMA_REVISION = _queries.bind("schema_revision", str)

_LOCK = 7_331_001
_LOCK_WAIT = "120s"
_NAME = "tallystick migrate"


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a run did: the revision before (`None`: an empty database) and after, and the repeatable files applied."""

    before: str | None
    after: str
    applied: tuple[str, ...]


def migrate(owner_url: str, *, application_url: str | None = None, to: str = "head") -> Migrated:
    """Bring the database at `owner_url` to revision `to`.

    One run at a time: others wait for it on an advisory lock, for two minutes. Each revision is a transaction.
    """
    with translated(), _connect(owner_url) as connection:
        _check_version(connection)
        connection.execute(f"set lock_timeout = '{_LOCK_WAIT}'".encode())
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        bootstrap(connection, application_url)
        connection.execute(f"set role {OWNER}".encode())
        connection.execute(b"create schema if not exists db")
        before = current_revision(connection)
        if to != "head" or before != head_revision():
            _upgrade(owner_url, to)
        after = current_revision(connection)
        assert after is not None
        applied = _apply_repeatables(connection) if to == "head" else ()
        return Migrated(before, after, applied)


def current_revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision the database is at; `None` where it has none."""
    known = connection.execute("select to_regclass('db.revision')").fetchone()
    if known is None or known[0] is None:
        return None
    row = connection.execute("select version_num from db.revision").fetchone()
    return str(row[0]) if row else None


async def schema_revision(tx: ReadTx) -> str | None:
    """The revision the database is at, as the application sees it; `None` where it has none."""
    return await tx.one(_SCHEMA_REVISION)


def check_revision(url: str) -> None:
    """Refuse with `Unavailable` (`not_migrated`) where the database is not at the newest revision this program knows."""
    with translated(), _connect(url) as connection:
        known = current_revision(connection)
    if known != head_revision():
        raise Unavailable(
            "not_migrated",
            f"the database is at revision {known or 'none'}, this program needs {head_revision()}: run `tallystick migrate`",
        )


def _connect(url: str) -> psycopg.Connection[Any]:
    """A connection; refuses with `Unavailable` (`database_unavailable`), which says where to and why none could be had."""
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=10, application_name=_NAME)
    except psycopg.OperationalError as error:
        given = conninfo_to_dict(url)
        user = given.get("user") or "of the system"
        where = f"host {given.get('host') or given.get('hostaddr') or 'of the default'}, port {given.get('port') or 5432}"
        where += f", database {given.get('dbname') or user}, user {user}"
        reason = " ".join(str(error).split())
        if given.get("password"):
            reason = reason.replace(str(given["password"]), "***")
        raise Unavailable("database_unavailable", f"the database cannot be reached ({where}): {reason}") from None


def head_revision() -> str:
    """The newest revision this program knows."""
    return revisions()[-1]


def revisions() -> list[str]:
    """Every revision, oldest first."""
    return sorted(path.name[:4] for path in Path(str(files("tallystick.db"))).glob("migrations/versions/[0-9]*.py"))


def repeatables() -> list[tuple[str, str]]:
    """Name and text of every repeatable file, in the order they are applied: by number, then by room."""
    root = Path(str(files("tallystick")))
    found = sorted(root.glob("*/repeatable/*.sql"), key=lambda path: (path.name[:2], str(path)))
    return [(f"{path.parent.parent.name}/{path.name}", path.read_text("utf-8")) for path in found]


def _upgrade(owner_url: str, to: str) -> None:
    # Alembic and SQLAlchemy take as long to import as all else that a command needs, and few commands change the schema.
    from tallystick.db.upgrading import upgrade  # noqa: PLC0415

    upgrade(owner_url, to, name=_NAME)


def _apply_repeatables(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """Apply every repeatable file if any has changed: a function may have been dropped and made anew under a grant."""
    wanted = {name: hashlib.sha256(text.encode()).digest() for name, text in repeatables()}
    with connection.transaction():
        known = {name: bytes(checksum) for name, checksum in connection.execute("select name, checksum from db.repeatable")}
        if known == wanted:
            return ()
        for _, text in repeatables():
            connection.execute(text.encode())
        connection.execute("delete from db.repeatable")
        for name, checksum in wanted.items():
            connection.execute("insert into db.repeatable (name, checksum) values (%s, %s)", (name, checksum))
    return tuple(sorted(name for name in wanted if known.get(name) != wanted[name]))


def _check_version(connection: psycopg.Connection[Any]) -> None:
    if connection.info.server_version < 150_000:
        raise Unavailable(
            "database_too_old", f"PostgreSQL 15 or newer is needed; this is {connection.info.server_version // 10_000}"
        )
