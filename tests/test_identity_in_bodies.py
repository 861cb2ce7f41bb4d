"""Who acts, for whom and with whose word comes from the key and the gate; no body says it, and no payload of an action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import actions, identity
from tallystick.db import Database
from tallystick.http import HttpSettings, create_app
from tests.conftest import TestDatabase
from tests.serving import OPEN, code_of, fund, serving

JSON = dict[str, Any]
_CLOSED = HttpSettings(key_cache_s=0)
CLAIMS = re.compile(
    r"(on_?)?behalf(_of)?|as(_of)?|(.+_)?by|actors?|principals?|agents?|agent_(id|name)|person|people|users?|user_(id|name)|"
    r"operator|approvers?|auditor|maker|author|owner|sender|caller|employee|voters?|witness|identity|subject|roles?|scopes?|"
    r"is_admin|admin|mandate(_id)?|kind_of_principal|risk_tier|version|approval(_id)?|decision(_id)?|worker(_id)?|key_id|reach"
)
"""Names of fields by which a body could say who acts, what they may do, or who agreed."""

ADMINS = "gives authority to another; for admins alone"
REASONS = {
    ("POST /v1/tasks", "agent"): "the agent to whom a task is handed",
    ("POST /v1/tasks/batch", "agent"): "the agent to whom a task is handed",
    ("POST /v1/tasks/{task_id}/finish", "agent"): "the agent to whom a task is handed",
    ("POST /tasks", "agent_name"): "the agent to whom a task is handed",
    ("POST /v1/schedules", "agent"): "the agent to whom tasks are handed",
    ("PATCH /v1/schedules/{name}", "agent"): "the agent to whom tasks are handed",
    ("POST /v1/tasks/claim", "agents"): "whose tasks are asked for; an agent's key gets its own alone",
    ("POST /v1/tasks/claim", "agent"): "whose tasks are asked for; an agent's key gets its own alone",
    ("POST /v1/tasks/claim", "worker_id"): "the process that asks, which the same principal has announced",
    (
        "POST /v1/events",
        "agent",
    ): "the agent whose fact it is; an agent's key names itself alone, and the record has who did",
    ("POST /agent-events", "agent_name"): "as POST /v1/events",
    ("POST /v1/mandates", "agent"): "the agent who may act for the caller",
    ("POST /v1/mandates", "person"): "the caller; admins may name another",
    ("POST /v1/principals", "owner"): ADMINS,
    ("POST /v1/principals", "roles"): ADMINS,
    ("POST /v1/principals", "risk_tier"): ADMINS,
    ("PUT /v1/principals/{name}/owner", "owner"): ADMINS,
    ("PUT /v1/principals/{name}/owner", "risk_tier"): ADMINS,
    ("PUT /v1/principals/{name}/roles", "roles"): ADMINS,
    ("POST /v1/principals/{name}/logins", "subject"): ADMINS,
    ("POST /v1/principals/{name}/versions", "version"): ADMINS,
    ("POST /v1/keys", "principal"): ADMINS,
    ("POST /v1/keys", "scopes"): ADMINS,
    ("POST /v1/keys", "version"): ADMINS,
    ("POST /v1/keys", "mandate_id"): ADMINS,
}


def _fields(schema: JSON, known: JSON, seen: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all fields below a schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            yield from _fields(known[name], known, (*seen, name))
        return
    for name, field in schema.get("properties", {}).items():
        yield name
        yield from _fields(field, known, seen)
    for part in (*(one for way in ("anyOf", "oneOf", "allOf") for one in schema.get(way, ())), schema.get("items")):
        if isinstance(part, dict):
            yield from _fields(part, known, seen)


def test_no_body_says_who_acts_but_where_a_reason_stands_here() -> None:
    document = create_app(OPEN, Database("host=/nowhere")).openapi()
    known = document["components"]["schemas"]
    found, looked_at = set(), 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                names = set(_fields(content["schema"], known))
                looked_at += len(names)
                found |= {(f"{method.upper()} {path}", name) for name in names if CLAIMS.fullmatch(name)}
    assert looked_at > 250
    assert found == set(REASONS)


def test_no_payload_of_an_action_says_who_acts() -> None:
    for name in actions.names():
        schema = actions.named(name).schema()
        told = {field for field in _fields(schema, schema.get("$defs", {})) if CLAIMS.fullmatch(field)}
        # Of an erasure the subject is whose data it is.
        assert told == ({"subject"} if name == "subject.erase" else set()), name


_PAY = [{"account": "ALICE", "amount": "-1.00"}, {"account": "BOB", "amount": "1.00"}]
_MONEY = {"amount": "1.00", "currency": "CZK"}
JOURNAL = {"kind": "k", "entries": _PAY}
HOLD = {"account": "ALICE", "amount": _MONEY}


@pytest.mark.parametrize("claim", [{"on_behalf_of": "jan"}, {"approval_id": "1"}])
@pytest.mark.parametrize(
    ("path", "body", "inside"),
    [
        ("/v1/journals", JOURNAL, None),
        ("/v1/journals/batch", {"journals": [JOURNAL]}, "journals"),
        ("/v1/journals/1/reversals", {}, None),
        ("/v1/holds", HOLD, None),
        ("/v1/holds/batch", {"holds": [HOLD]}, "holds"),
        ("/v1/holds/1/captures", {"to_account": "BOB", "amount": _MONEY}, None),
    ],
)
async def test_a_body_that_claims_it_is_refused(db: Database, path: str, body: JSON, inside: str | None, claim: JSON) -> None:
    await fund(db)
    claimed = body | claim if inside is None else {inside: [body[inside][0] | claim]}
    async with serving(db, keyed=True) as client:
        answer = await client.post(path, json=claimed)
        assert (answer.status_code, code_of(answer)) == (422, "validation_failed")
        assert next(iter(claim)) in answer.text
        assert (await client.post(path, json=body)).status_code in (201, 404)


async def test_a_payload_that_claims_it_is_refused(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for type, payload in (
            ("journal.post", {"journals": [JOURNAL | {"on_behalf_of": "jan"}]}),
            ("hold.place", {"holds": [{"account": "ALICE", "amount": "1.00", "on_behalf_of": "jan"}]}),
            ("journal.reverse", {"journal": "1", "on_behalf_of": "jan"}),
            ("hold.capture", {"hold": "1", "to_account": "BOB", "amount": "1.00", "on_behalf_of": "jan"}),
        ):
            answer = await client.post("/v1/actions", json={"type": type, "payload": payload})
            assert (answer.status_code, code_of(answer)) == (422, "payload_malformed"), type


async def _agent_for(db: Database, person: str) -> str:
    """A key of an agent that acts for a person."""
    async with db.write() as tx:
        await identity.add_principal(tx, person, kind="person", by="t", roles=("operator",))
        await identity.add_principal(tx, "bot", kind="agent", by="t", owner=person, risk_tier="low")
        await identity.set_reach(tx, "bot", accounts=["ALICE", "BOB"], customers=[], by="t")
        until = datetime.now(UTC) + timedelta(days=1)
        mandate = await identity.grant_mandate(tx, identity.NewMandate(person, "bot", ("*",), until), by=person)
        return (await identity.create_key(tx, "bot", by="t", mandate_id=mandate.id)).secret


async def test_the_books_have_for_whom_an_agent_acted_from_its_mandate(db: Database, database: TestDatabase) -> None:
    """Whichever way it comes: by a route of its own, in a batch, or by the name of its type."""
    await fund(db)
    secret = await _agent_for(db, "jan")
    async with serving(db, _CLOSED, keyed=True) as client:
        client.headers["authorization"] = f"Bearer {secret}"

        async def made(path: str, body: JSON) -> httpx.Response:
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            return answer

        hold = (await made("/v1/holds", HOLD)).json()["id"]
        await made("/v1/holds/batch", {"holds": [HOLD]})
        captured = (await made(f"/v1/holds/{hold}/captures", {"to_account": "BOB", "amount": _MONEY})).json()["id"]
        await made(f"/v1/journals/{captured}/reversals", {})
        await made("/v1/transfers", {"from_account": "ALICE", "to_account": "BOB", "amount": _MONEY})
        await made("/v1/actions", {"type": "journal.post", "payload": {"journals": [JOURNAL]}})
        await made("/v1/actions", {"type": "hold.place", "payload": {"holds": [{"account": "ALICE", "amount": "1.00"}]}})
    with psycopg.connect(database.app_url) as connection:
        for table, count in (("ledger.journal", 4), ("ledger.hold", 3)):
            rows = connection.execute(f"select on_behalf_of from {table} where actor = 'bot'").fetchall()
            assert rows == [("jan",)] * count, table


async def test_an_agent_does_not_say_that_it_acts_from_another_s_task(db: Database) -> None:
    await fund(db)
    secret = await _agent_for(db, "jan")
    async with serving(db, keyed=True) as client:
        tasks = [
            (await client.post("/v1/tasks", json={"agent": agent, "type": "t", "payload": {}})).json()["id"]
            for agent in ("bot", "other")
        ]
    async with serving(db, _CLOSED, keyed=True) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        for path, body in (
            ("/v1/holds", lambda task: HOLD | {"task_id": task}),
            ("/v1/holds/batch", lambda task: {"holds": [HOLD | {"task_id": task}]}),
            ("/v1/actions", lambda task: {"type": "journal.post", "payload": {"journals": [JOURNAL | {"task_id": task}]}}),
        ):
            refused = await client.post(path, json=body(tasks[1]))
            assert (refused.status_code, code_of(refused)) == (404, "unknown_task"), path


async def test_an_agent_hides_no_account_out_of_its_reach_behind_many_that_are_within(db: Database) -> None:
    own = [f"A{number:03}" for number in range(200)]
    await fund(db, *own, "THEIRS")
    async with db.write() as tx:
        await identity.add_principal(tx, "anna", kind="person", by="t")
        await identity.add_principal(tx, "bot", kind="agent", by="t", owner="anna", risk_tier="low")
        await identity.set_reach(tx, "bot", accounts=own, customers=[], by="t")
        secret = (await identity.create_key(tx, "bot", by="t")).secret
    entries = [{"account": "THEIRS", "amount": "-2.00"}, *({"account": name, "amount": "0.01"} for name in own)]
    async with serving(db, _CLOSED, keyed=True) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        for type, payload in (
            ("journal.post", {"journals": [{"kind": "k", "entries": entries}]}),
            ("hold.place", {"holds": [{"account": one["account"], "amount": "0.01"} for one in entries]}),
        ):
            refused = await client.post("/v1/actions", json={"type": type, "payload": payload})
            assert (refused.status_code, code_of(refused)) == (404, "unknown_account"), type
