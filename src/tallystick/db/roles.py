"""The database roles: made once a cluster, shared by every database of it.

`tallystick_owner` owns everything and cannot log in; `tallystick_app` is what the application runs as: it reads, and writes
through functions and narrow grants; `tallystick_auditor` only reads; `tallystick_sealer` seals the record;
`tallystick_migrator` may become the owner. Roles that log in do so without a password of ours: over the embedded server's
private socket, or as members that the operator made.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

OWNER = "tallystick_owner"
APP = "tallystick_app"
AUDITOR = "tallystick_auditor"
SEALER = "tallystick_sealer"
MIGRATOR = "tallystick_migrator"

_ROLES = {OWNER: "nologin", APP: "login", AUDITOR: "login", SEALER: "login", MIGRATOR: "nologin"}


def bootstrap(connection: psycopg.Connection[Any], application_url: str | None) -> None:
    """Make the roles that are missing, and let this login become the owner and the application's login the application."""
    for role, login in _ROLES.items():
        _create(connection, role, login)
    login_role = _current_login(connection)
    for role, member in ((OWNER, MIGRATOR), (OWNER, login_role), (APP, login_role), (SEALER, login_role)):
        _grant(connection, role, member)
    user = conninfo_to_dict(application_url).get("user") if application_url else None
    if user and str(user) != login_role:
        _grant(connection, APP, str(user))
    database = connection.info.dbname
    for statement in ("grant create on database {} to {}", "grant create on schema public to {1}"):
        connection.execute(sql.SQL(statement).format(sql.Identifier(database), sql.Identifier(OWNER)))


def _create(connection: psycopg.Connection[Any], role: str, login: str) -> None:
    if connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
        return
    try:
        connection.execute(sql.SQL("create role {} " + login).format(sql.Identifier(role)))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Another database of the cluster was set up at the same moment.
        return


def _grant(connection: psycopg.Connection[Any], role: str, member: str) -> None:
    known = connection.execute(
        "select rolsuper or pg_has_role(rolname, %s, 'member') from pg_roles where rolname = %s", (role, member)
    ).fetchone()
    if known is None or known[0] or role == member:
        return
    connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(member)))


def _current_login(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("select session_user").fetchone()
    assert row is not None
    return str(row[0])
