"""`/v1/policies` and `/v1/decisions`: what is in force, whether a document is a policy, and why something was decided."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tallystick import identity, policy
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.conftest import TestDatabase
from tests.permitted import without_policy
from tests.serving import body_of, code_of, serving

ALLOW = {"id": "allowed", "allow": True}
LIMIT = {"id": "limit", "amount": {"at_most": {"CZK": "20.00"}}}
DAILY = {"id": "daily", "window": {"count": {"at_most": 9}, "per": "account", "over": "24h"}}
DIGEST = hashlib.sha256(b"payload").digest()


@pytest.fixture
async def client(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(db) as client:
        yield client


async def _decide(db: Database, amount: int, principal: str = "bot") -> int:
    facts: dict[str, Any] = {"action": "transfer", "principal": principal, "kind": "agent", "roles": ["agent"]}
    facts |= {"account": "ACC1", "amount": amount, "asset": "CZK", "scale": 2}
    async with db.write() as tx:
        rules, usage = await policy.gather_current(tx, [facts])
        usage.fill(facts)
        verdict = policy.evaluate(rules, facts)
        told = policy.facts_text(facts)
        new = policy.NewDecision(principal, None, "transfer", DIGEST, rules.digest, told, verdict.text, verdict.outcome)
        (kept,) = await policy.keep(tx, [new], usage)
    return kept


async def _apply(db: Database, *rules: dict[str, Any]) -> str:
    async with db.write() as tx:
        return (await policy.apply(tx, {"name": "house", "rules": list(rules)}, by="ann")).digest


async def test_without_a_policy_the_empty_one_is_shown(client: httpx.AsyncClient, database: TestDatabase) -> None:
    without_policy(database.owner_url)
    shown = body_of(await client.get("/v1/policies/current"))
    assert (shown["name"], shown["id"], shown["document"]) == ("none", None, {})
    assert body_of(await client.get("/v1/policies")) == {"items": [], "next_cursor": None}


async def test_policies_are_shown_as_they_were_applied(client: httpx.AsyncClient, db: Database, database: TestDatabase) -> None:
    without_policy(database.owner_url)
    first, second = await _apply(db, ALLOW), await _apply(db, ALLOW, LIMIT)
    shown = body_of(await client.get("/v1/policies/current"))
    assert (shown["digest"], shown["applied_by"], shown["document"]["rules"]) == (second, "ann", [ALLOW, LIMIT])
    listed = body_of(await client.get("/v1/policies?limit=1"))
    assert [one["digest"] for one in listed["items"]] == [second]
    rest = body_of(await client.get(f"/v1/policies?cursor={listed['next_cursor']}"))
    assert [one["digest"] for one in rest["items"]] == [first]
    assert body_of(await client.get(f"/v1/policies/{first}"))["document"]["rules"] == [ALLOW]
    assert code_of(await client.get(f"/v1/policies/{'0' * 64}")) == "unknown_policy"


async def test_a_document_is_checked_and_tried_on_facts(client: httpx.AsyncClient) -> None:
    wrong = body_of(
        await client.post("/v1/policy-checks", json={"text": "name: p\nrules:\n  - {id: a, amount: {at_most: 3}}\n"})
    )
    assert (wrong["ok"], wrong["digest"]) == (False, None)
    assert wrong["problems"][0].startswith("rules[0].amount.at_most: ")
    facts = {"action": "transfer", "kind": "agent", "amount": 2001, "asset": "CZK", "scale": 2}
    body = {"document": {"name": "p", "rules": [ALLOW, LIMIT]}, "facts": facts}
    right = body_of(await client.post("/v1/policy-checks", json=body))
    assert (right["ok"], right["rules"], right["verdict"]["outcome"]) == (True, 2, "hold")
    assert right["verdict"]["reasons"][0]["observed"] == "20.01 CZK"
    assert (await client.post("/v1/policy-checks", json={})).status_code == 422


async def test_a_decision_is_explained(client: httpx.AsyncClient, db: Database) -> None:
    await _apply(db, ALLOW, LIMIT, DAILY)
    allowed, held = await _decide(db, 1000), await _decide(db, 2001)
    await _apply(db, {"id": "no", "deny": True})
    shown = body_of(await client.get(f"/v1/decisions/{held}"))
    assert shown["reasons"][0] == {
        "rule": "limit", "kind": "amount", "outcome": "hold", "observed": "20.01 CZK", "limit": "at most 20.00 CZK",
        "change": "an amount of at most 20.00 CZK",
    }  # fmt: skip
    assert (shown["facts"]["amount"], shown["kept"], shown["replays"]) == (2001, ["daily"], True)
    listed = body_of(await client.get("/v1/decisions?limit=1"))
    assert [one["id"] for one in listed["items"]] == [str(held)]
    rest = body_of(await client.get(f"/v1/decisions?cursor={listed['next_cursor']}"))
    assert [one["id"] for one in rest["items"]] == [str(allowed)]
    assert [one["id"] for one in body_of(await client.get("/v1/decisions?outcome=hold"))["items"]] == [str(held)]
    assert body_of(await client.get("/v1/decisions?since=2100-01-01"))["items"] == []
    assert code_of(await client.get("/v1/decisions/999")) == "unknown_decision"


async def test_an_agent_sees_the_decisions_on_its_own_actions_alone(db: Database) -> None:
    await _apply(db, ALLOW)
    async with db.write() as tx:
        key = await identity.create_key(tx, "bot", kind="agent", by="test")
    own, other = await _decide(db, 1000), await _decide(db, 1000, "eve")
    async with serving(db, HttpSettings()) as client:
        client.headers["authorization"] = f"Bearer {key.secret}"
        assert [one["id"] for one in body_of(await client.get("/v1/decisions"))["items"]] == [str(own)]
        assert body_of(await client.get("/v1/decisions?principal=eve"))["items"] == []
        assert (await client.get(f"/v1/decisions/{own}")).status_code == 200
        assert code_of(await client.get(f"/v1/decisions/{other}")) == "unknown_decision"
        assert code_of(await client.get("/v1/policies/current")) == "role_missing"
        assert code_of(await client.post("/v1/policy-checks", json={"text": "x"})) == "role_missing"
