"""`tallystick principals`, `agents`, `keys` and `mandates` as an operator runs them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tallystick import customers, identity
from tallystick.db import Database, DatabaseSettings
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.serving import fund


def _run(database: TestDatabase, *arguments: str) -> Any:
    """What a command printed, as JSON where it is JSON."""
    done = command(database, *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) if line.startswith("{") else line for line in done.stdout.splitlines()]


def _refused(database: TestDatabase, *arguments: str) -> str:
    done = command(database, *arguments)
    assert done.exit_code == 1, done.output
    return done.stderr


@pytest.fixture
async def bank(db: Database) -> None:
    """ALICE, BOB and the customer C1."""
    await fund(db)
    async with db.write() as tx:
        await customers.add(tx, [customers.NewCustomer("C1", None, None, None, None)], by="test")


def _who(database: TestDatabase, secret: str) -> identity.Principal | None:
    async def ask() -> identity.Principal | None:
        opened = Database(database.app_url, DatabaseSettings())
        await opened.open()
        try:
            async with opened.read() as tx:
                return await identity.authenticate(tx, secret)
        finally:
            await opened.close()

    return asyncio.run(ask())


def test_an_agent_from_its_making_to_its_end(bank: None, database: TestDatabase, tmp_path: Path) -> None:
    _run(database, "principals", "add", "anna", "--kind", "person", "--role", "approver")
    assert "owner_missing" in _refused(database, "principals", "add", "bot", "--kind", "agent")
    (made,) = _run(database, "principals", "add", "bot", "--kind", "agent", "--owner", "anna", "--risk", "high")
    assert (made["accounts"], made["customers"], made["roles"]) == ([], [], ["agent"])
    (reach,) = _run(database, "principals", "reach", "bot", "--account", "ALICE", "--account", "BOB", "--customer", "C1")
    assert (reach["accounts"], len(reach["customers"])) == (["ALICE", "BOB"], 1)
    (same,) = _run(database, "principals", "reach", "bot", "--account", "all")
    assert (same["accounts"], same["customers"]) == ("all", reach["customers"])
    assert "unknown_account" in _refused(database, "principals", "reach", "bot", "--account", "NOBODY")
    assert "reach_malformed" in _refused(database, "principals", "reach", "bot", "--account", "all", "--account", "BOB")
    (tmp_path / "prompt").write_text("p")
    (tmp_path / "tools").write_text("t")
    files = ("--prompt", str(tmp_path / "prompt"), "--tools", str(tmp_path / "tools"))
    (version,) = _run(database, "agents", "add-version", "bot", "7", "--model", "m", *files)
    assert version["prompt_digest"] == hashlib.sha256(b"p").hexdigest()
    assert _run(database, "agents", "versions", "bot") == [version]
    terms = ("--operation", "transfer", "--until", "2100-01-01", "--max", "100.00 CZK", "--payee", "BOB", "--beyond", "ask")
    (mandate,) = _run(database, "mandates", "grant", "anna", "bot", *terms)
    assert (mandate["max_amount"], mandate["beyond"]) == (["100.00 CZK"], "ask")
    key = ("keys", "create", "bot", "--version", "7", "--mandate", mandate["id"], "--expires", "90d")
    (secret,) = _run(database, *key)
    found = _who(database, secret)
    assert found is not None
    assert found.mandate is not None
    assert (found.version, found.on_behalf_of, found.mandate.max_amount) == ("7", "anna", {"CZK": 10_000})
    (rotated,) = _run(database, "keys", "rotate", "1", "--overlap", "1h")
    assert _who(database, secret) == _who(database, rotated)
    listed = "\n".join(_run(database, "keys", "list", "--of", "bot"))
    assert rotated[:10] in listed
    assert rotated not in listed
    assert [one["id"] for one in _run(database, "mandates", "list", "--person", "anna")] == [mandate["id"]]
    _run(database, "mandates", "revoke", mandate["id"])
    assert _run(database, "mandates", "list") == []
    assert len(_run(database, "mandates", "list", "--all")) == 1
    assert _who(database, rotated) is None
    _run(database, "principals", "disable", "bot")
    assert _run(database, "agents", "list") == [{"name": "bot", "owner": "anna", "risk_tier": "high", "enabled": False}]
    _run(database, "principals", "enable", "bot")
    assert [one["name"] for one in _run(database, "principals", "list", "--after", "anna")] == ["bot"]


def test_the_first_admin_is_made_once(database: TestDatabase) -> None:
    (secret,) = _run(database, "principals", "first-admin", "eva")
    found = _who(database, secret)
    assert found == identity.Principal("eva", "person", frozenset({"admin"}))
    assert "admin_exists" in _refused(database, "principals", "first-admin", "jan")
    _run(database, "principals", "login", "eva", "--issuer", "https://i.example", "--subject", "s")
    assert _run(database, "principals", "logins", "eva") == [{"id": "1", "issuer": "https://i.example", "subject": "s"}]
    _run(database, "principals", "logout", "eva", "1")
    assert "unknown_login" in _refused(database, "principals", "logout", "eva", "1")
    (changed,) = _run(database, "principals", "roles", "eva", "auditor")
    assert changed["roles"] == ["auditor"]
    assert "unknown_role" in _refused(database, "principals", "roles", "eva", "king")
    (gone,) = _run(database, "principals", "roles", "eva")
    assert gone["roles"] == []


def test_a_key_of_a_person_has_the_roles_and_scopes_that_are_asked_for(database: TestDatabase) -> None:
    (secret,) = _run(
        database, "keys", "create", "jan", "--kind", "person", "--role", "operator", "--role", "approver", "--scope", "approver"
    )
    assert _who(database, secret) == identity.Principal("jan", "person", frozenset({"approver"}))
    assert "principal_exists" in _refused(database, "keys", "create", "jan", "--role", "admin")
    assert "unknown_key" in _refused(database, "keys", "rotate", "99")
    assert "unknown_mandate" in _refused(database, "mandates", "revoke", str(2**63))


def test_a_slip_in_a_name_makes_nobody_known(database: TestDatabase) -> None:
    assert "unknown_principal" in _refused(database, "keys", "create", "paymets-agent")
    assert "paymets-agent" not in command(database, "principals", "list").stdout
    assert command(database, "keys", "create", "paymets-agent", "--kind", "service").stdout.startswith("ts_")
    assert command(database, "keys", "create", "paymets-agent").stdout.startswith("ts_")
