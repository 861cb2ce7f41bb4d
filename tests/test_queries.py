"""Every named query: PostgreSQL takes it as it is, and its columns are what the code makes of its rows."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from typing import Any

import psycopg
import pytest
from psycopg import pq

import tallystick
from tallystick.db import Queries, Query
from tests.conftest import TestDatabase

_PARAMETER = re.compile(rb"%\(([a-z_][a-z0-9_]*)\)[sb]")

# Queries are bound where the modules of a room are imported.
for _module in pkgutil.walk_packages(tallystick.__path__, "tallystick."):
    if ".migrations" not in _module.name:
        importlib.import_module(_module.name)

_QUERIES = sorted(Queries.registry, key=lambda query: query.name)


@pytest.fixture
def connection(database: TestDatabase) -> Any:
    with psycopg.connect(database.app_url, autocommit=True, options="-c search_path=pg_catalog,pg_temp") as connection:
        yield connection


def test_every_query_is_prepared_and_its_columns_are_the_fields_of_its_rows(connection: psycopg.Connection[Any]) -> None:
    wrong = {query.name: problem for query in _QUERIES if (problem := _problem(connection, query))}
    assert wrong == {}


def test_no_statement_is_left_over() -> None:
    unbound: dict[str, frozenset[str]] = {}
    for file in Queries.files:
        place = f"{file.package}/{file.file}"
        unbound[place] = unbound.get(place, file.unbound) & file.unbound
    assert {place: sorted(names) for place, names in unbound.items() if names} == {}


def test_every_query_has_a_line_that_says_what_it_does() -> None:
    assert [query.name for query in _QUERIES if not query.statement.startswith(b"-- ")] == []


def test_every_parameter_has_a_type() -> None:
    untyped = re.compile(rb"%\([a-z_][a-z0-9_]*\)[sb](?!::)")
    assert [query.name for query in _QUERIES if untyped.search(query.statement)] == []


def _problem(connection: psycopg.Connection[Any], query: Query[Any]) -> str | None:
    prepared = connection.pgconn.prepare(b"", _numbered(query.statement))
    if prepared.status != pq.ExecStatus.COMMAND_OK:
        return prepared.error_message.decode()
    described = connection.pgconn.describe_prepared(b"")
    columns = [(described.fname(place) or b"").decode() for place in range(described.nfields)]
    if dataclasses.is_dataclass(query.row):
        wanted = sorted(field.name for field in dataclasses.fields(query.row) if field.init)
        return None if sorted(columns) == wanted else f"columns {sorted(columns)}, fields {wanted}"
    if query.row is type(None):
        # A call for its effect, as of pg_notify, has a column that nobody reads.
        return None if len(columns) <= 1 else f"columns {columns}, and nothing is made of them"
    return None if len(columns) == 1 else f"columns {columns} for a single {query.row.__name__}"


def _numbered(statement: bytes) -> bytes:
    names: list[bytes] = []

    def number(match: re.Match[bytes]) -> bytes:
        if match[1] not in names:
            names.append(match[1])
        return b"$%d" % (names.index(match[1]) + 1)

    return _PARAMETER.sub(number, statement).replace(b"%%", b"%")
