"""The policies that come with the program, cases, and replay of past decisions."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import policy
from tallystick.db import Database
from tests.conftest import ROOT, TestDatabase
from tests.permitted import without_policy

CASES = ROOT / "tests/policy_cases.yaml"
GUIDES = ("ACC123", "ACC999", "ACC1001", "ACC2002")
DIGEST = hashlib.sha256(b"payload").digest()


@pytest.mark.parametrize("case", policy.read_cases(CASES.read_text()), ids=lambda case: case.name)
def test_the_default_policy_says_what_it_is_to_say(case: policy.Case) -> None:
    tried = policy.try_case(policy.packaged("default"), case)
    assert tried.ok, tried.verdict


@pytest.mark.parametrize("kind", ["agent", "person", "service"])
def test_in_the_demo_the_transfers_of_the_guides_pass(kind: str) -> None:
    rules = policy.packaged("demo")
    for debit in GUIDES:
        for credit in set(GUIDES) - {debit}:
            facts = {
                "action": "transfer", "at": "2026-04-21T23:00:00Z", "principal": "x", "kind": kind, "account": debit,
                "roles": ["agent"] if kind == "agent" else ["operator"], "counterparty": credit, "amount": 10**9,
                "asset": "USD", "scale": 2, "payee_known_s": None, "counterparty_kind": "customer", "used": {}, "listed": {},
            }  # fmt: skip
            assert policy.evaluate(rules, facts).outcome == "allow"
            if kind == "agent":
                assert policy.evaluate(rules, facts | {"counterparty": "ACC777"}).outcome == "hold"


async def test_a_first_policy_is_installed_once(db: Database, database: TestDatabase) -> None:
    without_policy(database.owner_url)
    async with db.write() as tx:
        applied = await policy.install(tx, "default", by="tallystick")
        assert applied is not None
        assert await policy.install(tx, "demo", by="tallystick") is None
        assert (await policy.current(tx)).name == "default"
        assert [(one.name, one.entries) for one in await policy.lists(tx)] == [("restricted", 0), ("sanctions", 0)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cases: []", "cases: "),
        ("cases: [{outcome: maybe}]", "cases[0].outcome: "),
        ("cases: [{facts: {a: 1}}]", "cases[0].outcome: "),
        ("cases: [{outcome: deny, facts: 3}]", "cases[0].facts: "),
        ("cases: [{outcome: deny, wrong: 3}]", "cases[0].wrong: "),
    ],
)
def test_a_case_that_is_none_is_named_by_its_place(text: str, problem: str) -> None:
    with pytest.raises(policy.Malformed) as caught:
        policy.read_cases(text)
    assert any(one.startswith(problem) for one in caught.value.problems)


async def _decide(db: Database, rules: dict[str, Any], amounts: list[int]) -> None:
    async with db.write() as tx:
        await policy.apply(tx, rules, by="ann")
    for amount in amounts:
        facts: policy.Facts = {
            "action": "transfer", "principal": "bot", "kind": "agent", "roles": ["agent"], "account": "ACC1",
            "amount": amount, "asset": "CZK", "scale": 2,
        }  # fmt: skip
        async with db.write() as tx:
            current, usage = await policy.gather_current(tx, [facts])
            usage.fill(facts)
            verdict = policy.evaluate(current, facts)
            if verdict.outcome == "allow":
                usage.add(facts)
            decision = policy.NewDecision(
                "bot", None, "transfer", DIGEST, current.digest, policy.facts_text(facts), verdict.text, verdict.outcome
            )
            await policy.keep(tx, [decision], usage)


ALLOW = {"id": "allowed", "allow": True}
LIMIT = {"id": "limit", "amount": {"at_most": {"CZK": "20.00"}}}
DAILY = {"id": "daily", "window": {"sum": {"at_most": {"CZK": "25.00"}}, "per": "account", "over": "24h"}}


async def test_replay_gives_the_same_bytes_and_finds_a_byte_that_was_changed(db: Database, database: TestDatabase) -> None:
    await _decide(db, {"name": "a", "rules": [ALLOW, LIMIT]}, [1000, 3000])
    await _decide(db, {"name": "b", "rules": [ALLOW, DAILY]}, [1000, 2000])
    async with db.read() as tx:
        found = await policy.replay(tx)
        assert (found.decisions, found.differing) == (4, 0)
        assert await policy.count_since(tx) == 4
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("alter table policy.decision disable trigger all")
        connection.execute(
            "update policy.decision set facts = replace(facts, '\"amount\":3000', '\"amount\":3001') where id = 2"
        )
    async with db.read() as tx:
        found = await policy.replay(tx)
        assert [one.id for one in found.differences] == [2]


async def test_a_candidate_shows_what_it_would_have_said(db: Database) -> None:
    await _decide(db, {"name": "a", "rules": [ALLOW, LIMIT]}, [1000, 3000, 1000, 1000, 400])
    async with db.read() as tx:
        same = await policy.replay(tx, candidate=policy.parse({"name": "c", "rules": [ALLOW, LIMIT]}))
        assert (same.decisions, same.differing) == (5, 0)
        other = await policy.replay(tx, candidate=policy.parse({"name": "c", "rules": [ALLOW, DAILY]}))
        assert dict(other.changes) == {("allow", "hold"): 2}
        assert [(one.id, one.rules) for one in other.differences] == [(4, ("daily",)), (5, ("daily",))]
        kept = await policy.decision(tx, 4)
        late = await policy.replay(tx, candidate=policy.parse({"name": "c", "rules": [ALLOW]}), since=kept.at)
        assert (late.decisions, late.differing) == (2, 0)
        assert (await policy.replay(tx, since=kept.at + timedelta(days=1))).decisions == 0
        assert await policy.count_since(tx, kept.at) == 2


def test_the_policies_that_come_with_the_program_are_packaged() -> None:
    for name in ("default", "demo"):
        assert policy.packaged_text(name).startswith("#")
        assert Path(ROOT / f"src/tallystick/policy/{name}.yaml").exists()


def test_every_example_of_the_documentation_is_a_policy() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/policy.md").read_text(), re.DOTALL)
    assert len(examples) > 8
    for example in examples:
        if example.startswith("facts:"):
            assert len(policy.read_cases(example)) == 2
        else:
            text = example if example.startswith("name:") else "name: example\nrules:\n" + example
            assert policy.parse(text).rules or "mandate" in example
