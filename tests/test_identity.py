"""Keys: shown once, stored hashed, useless when revoked."""

from __future__ import annotations

import psycopg
import pytest

from tallystick import identity
from tallystick.db import Database
from tallystick.kit import Invalid, NotFound
from tests.conftest import TestDatabase


async def test_a_key_is_known_by_its_hash_alone(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "payments", by="test")
        assert await identity.authenticate(tx, key.secret) == identity.Principal("payments", "service", frozenset({"operator"}))
        assert await identity.authenticate(tx, key.secret + "x") is None
        assert await identity.authenticate(tx, "\ud800") is None
    with psycopg.connect(database.owner_url) as connection:
        for table in ("identity.api_key", "audit.event"):
            rows = connection.execute(f"select t::text from {table} t".encode()).fetchall()
            assert rows
            assert key.secret not in str(rows)


async def test_a_revoked_key_is_useless_and_the_other_of_its_principal_is_not(db: Database) -> None:
    async with db.write() as tx:
        old, new = [await identity.create_key(tx, "payments", by="test") for _ in range(2)]
        await identity.revoke_key(tx, old.id, by="test")
    async with db.write() as tx:
        assert await identity.authenticate(tx, old.secret) is None
        assert await identity.authenticate(tx, new.secret) is not None
        with pytest.raises(NotFound, match="unknown_key"):
            await identity.revoke_key(tx, old.id, by="test")


async def test_a_principal_needs_a_name_that_is_safe_everywhere(db: Database) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_malformed"):
            await identity.create_key(tx, "a b", by="test")


@pytest.mark.parametrize("name", ["settlement-agent", "bootstrap", "demo", "import:berka", "worker@host:1"])
async def test_nobody_is_called_like_a_part_of_the_system(db: Database, name: str) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="name_reserved"):
            await identity.create_key(tx, name, by="test")
