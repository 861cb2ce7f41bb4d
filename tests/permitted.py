"""For tests of what lies below the gate: a database in which each transaction that posts has a decision that allows it.

The decision is a real one, written and consumed like any other; only nobody was asked for it. What stands above the gate is
tested with `strict`, which has none of this.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg

from tallystick import policy
from tallystick.db import Database, Query, Tx

Row = TypeVar("Row")
ALL_ALLOWED = {"name": "tests", "rules": [{"id": "all", "allow": True}]}
"""A policy that lets everything pass."""


class PermittedTx(Tx):
    """A transaction that has itself allowed what it posts."""

    async def all(self, query: Query[Row], parameters: Mapping[str, Any] | None = None) -> list[Row]:
        if parameters is not None and parameters.get("decisions", ...) is None:
            self.decision = await permit(self)
            parameters = {**parameters, "decisions": [self.decision]}
        return await super().all(query, parameters)


class PermittedDatabase(Database):
    """A database whose transactions are `PermittedTx`."""

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        async with super().write() as tx:
            yield _permitted(tx)

    @property
    def strict(self) -> Database:
        """The same database, which demands a decision of every surface."""
        plain: Database = copy.copy(self)
        plain.__class__ = Database
        return plain


def strict(database: Database) -> Database:
    """The database as the application has it."""
    return database.strict if isinstance(database, PermittedDatabase) else database


async def permit(tx: Tx) -> int:
    """A decision that allows whatever the transaction posts."""
    rules = policy.parse(ALL_ALLOWED)
    facts = {"action": "test", "principal": "test"}
    verdict = policy.evaluate(rules, facts)
    new = policy.NewDecision("test", None, "test", bytes(32), rules.digest, policy.facts_text(facts), verdict.text, "allow")
    (decision,) = await policy.keep(tx, [new])
    return decision


def _permitted(tx: Tx) -> Tx:
    permitted = PermittedTx(tx._connection)
    permitted.__dict__ = tx.__dict__
    return permitted


def without_policy(url: str) -> None:
    """Have no policy in force, as before the first one was applied; the url is the owner's."""
    with psycopg.connect(url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("delete from policy.document")
