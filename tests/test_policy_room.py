"""Policies, decisions, counters and lists in the database."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import audit, policy
from tallystick.db import Database
from tallystick.kit import Conflict, NotFound, TallystickError
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.permitted import without_policy


@pytest.fixture
def clock(database: TestDatabase) -> Iterator[SetClock]:
    made = SetClock(database.owner_url, "2026-04-21T12:00:00")
    yield made
    made.close()


ALLOW = {"id": "allowed", "allow": True}
DIGEST = hashlib.sha256(b"payload").digest()


def _document(*rules: dict[str, Any], name: str = "test") -> dict[str, Any]:
    return {"name": name, "rules": [*rules, ALLOW]}


def _transfer(**facts: Any) -> dict[str, Any]:
    transfer = {"action": "transfer", "principal": "bot", "kind": "agent", "roles": ["agent"], "account": "ACC1"}
    return transfer | {"counterparty": "ACC2", "amount": 1000, "asset": "CZK", "scale": 2} | facts


def _decision(verdict: policy.Verdict, facts: policy.Facts, rules: policy.Policy, **other: Any) -> policy.NewDecision:
    given = {
        "principal": "bot",
        "on_behalf_of": None,
        "action": "transfer",
        "digest": DIGEST,
        "policy": rules.digest,
        "facts": policy.facts_text(facts),
        "verdict": verdict.text,
        "outcome": verdict.outcome,
    }
    return policy.NewDecision(**given | other)


async def _decide(db: Database, facts: policy.Facts) -> tuple[policy.Verdict, int]:
    async with db.write() as tx:
        rules, usage = await policy.gather_current(tx, [facts])
        usage.fill(facts)
        verdict = policy.evaluate(rules, facts)
        if verdict.outcome == "allow":
            usage.add(facts)
        (kept,) = await policy.keep(tx, [_decision(verdict, facts, rules)], usage)
        return verdict, kept


async def test_without_a_policy_everything_is_denied(db: Database, database: TestDatabase) -> None:
    without_policy(database.owner_url)
    async with db.write() as tx:
        assert await policy.current(tx) is policy.EMPTY
        rules, _ = await policy.gather_current(tx, [_transfer()])
    assert rules is policy.EMPTY


async def test_applying_a_policy_puts_it_in_force_and_on_the_record(db: Database) -> None:
    async with db.write() as tx:
        applied = await policy.apply(tx, _document(), by="ann")
        assert (await policy.current(tx)).digest == applied.digest
        event = await audit.latest(tx, subject_kind="policy", subject_id=applied.id)
    assert event is not None
    assert (event.verb, event.principal, event.detail["digest"]) == ("policy.apply", "ann", applied.digest)


async def test_a_policy_comes_into_force_at_its_time_and_not_before_it_was_applied(
    db: Database, database: TestDatabase, clock: SetClock
) -> None:
    without_policy(database.owner_url)
    first, later, now = (policy.parse(_document(name=name)) for name in ("first", "later", "now"))
    async with db.write() as tx:
        past = await policy.apply(tx, first, by="ann", effective_from=datetime(2020, 1, 1, tzinfo=UTC))
        assert past.effective_from == past.applied_at
        await policy.apply(tx, later, by="ann", effective_from=datetime(2026, 5, 1, tzinfo=UTC))
    async with db.read() as tx:
        assert (await policy.current(tx)).name == "first"
    clock.set("2026-04-22T12:00:00")
    async with db.write() as tx:
        await policy.apply(tx, now, by="ann")
        assert (await policy.current(tx)).name == "now"
    clock.set("2026-05-01T00:00:00")
    async with db.read() as tx:
        assert (await policy.current(tx)).name == "later"
        assert [one.name for one in await policy.policies(tx)] == ["now", "later", "first"]
        assert (await policy.get(tx, now.digest)).name == "now"
        with pytest.raises(NotFound, match="unknown_policy"):
            await policy.get(tx, "0" * 64)


async def test_a_text_that_is_not_the_digests_is_not_stored(database: TestDatabase) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("select policy.apply(%s, 'x', '{}', null, 'me')", ("0" * 64,))


async def test_decisions_are_kept_as_evaluated_and_replayed(db: Database) -> None:
    async with db.write() as tx:
        await policy.apply(tx, _document({"id": "big", "amount": {"at_most": {"CZK": "20.00"}}}), by="ann")
    allowed, first = await _decide(db, _transfer())
    held, second = await _decide(db, _transfer(amount=2001))
    assert (allowed.outcome, held.outcome) == ("allow", "hold")
    async with db.read() as tx:
        kept = await policy.decision(tx, second)
        assert kept.verdict == held.text
        assert policy.replayed(kept, await policy.get(tx, kept.policy))
        assert [one.id for one in await policy.decisions(tx)] == [second, first]
        assert [one.id for one in await policy.decisions(tx, outcome="hold", since=kept.at)] == [second]
        assert await policy.decisions(tx, principal="ann") == []
        assert await policy.decisions(tx, since=kept.at + timedelta(hours=1)) == []
        with pytest.raises(NotFound, match="unknown_decision"):
            await policy.decision(tx, second + 1)


async def test_a_decision_allows_one_effect(db: Database) -> None:
    async with db.write() as tx:
        await policy.apply(tx, _document({"id": "big", "amount": {"at_most": {"CZK": "20.00"}}}), by="ann")
    _, allowed = await _decide(db, _transfer())
    _, held = await _decide(db, _transfer(amount=2001))
    async with db.write() as tx:
        await policy.consume(tx, [allowed])
    for ids, code in (([allowed], "decision_consumed"), ([held], "decision_needed"), ([10**9], "decision_needed")):
        with pytest.raises(Conflict, match=code):
            async with db.write() as tx:
                await policy.consume(tx, ids)
    _, another = await _decide(db, _transfer())
    with pytest.raises(Conflict, match="decision_consumed"):
        async with db.write() as tx:
            await policy.consume(tx, [another, another])
    async with db.read() as tx:
        assert (await policy.decision(tx, allowed)).consumed
        assert not (await policy.decision(tx, another)).consumed


async def test_what_people_have_agreed_to_is_allowed_and_nothing_else_is(db: Database) -> None:
    async with db.write() as tx:
        await policy.apply(tx, _document({"id": "ask", "hold": True}), by="ann")
        rules = await policy.current(tx)
    facts = _transfer()
    verdict = policy.evaluate(rules, facts)
    async with db.write() as tx:
        (kept,) = await policy.keep(tx, [_decision(verdict, facts, rules, outcome="allow", approval_id=7)])
        await policy.consume(tx, [kept])
    with pytest.raises(psycopg.errors.CheckViolation):
        async with db.write() as tx:
            await policy.keep(tx, [_decision(verdict, facts, rules, outcome="allow")])
    denied = policy.evaluate(policy.EMPTY, facts)
    with pytest.raises(psycopg.errors.CheckViolation):
        async with db.write() as tx:
            await policy.keep(tx, [_decision(denied, facts, rules, outcome="allow", approval_id=7)])


async def test_each_action_of_a_batch_sees_those_before_it(db: Database) -> None:
    rule = {"id": "daily", "window": {"sum": {"at_most": {"CZK": "25.00"}}, "per": "account", "over": "24h"}}
    async with db.write() as tx:
        await policy.apply(tx, _document(rule), by="ann")
    batch = [_transfer() for _ in range(4)] + [_transfer(account="ACC7")]
    async with db.write() as tx:
        rules, usage = await policy.gather_current(tx, batch)
        outcomes = []
        for facts in batch:
            usage.fill(facts)
            verdict = policy.evaluate(rules, facts)
            outcomes.append(verdict.outcome)
            if verdict.outcome == "allow":
                usage.add(facts)
        await policy.reserve(tx, usage)
    assert outcomes == ["allow", "allow", "hold", "hold", "allow"]
    verdict, _ = await _decide(db, _transfer())
    assert verdict.reasons[0].observed == "30.00 CZK in 24h"
    verdict, _ = await _decide(db, _transfer(amount=500))
    assert verdict.outcome == "allow"


async def test_a_counter_only_rises(database: TestDatabase) -> None:
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("select policy.reserve(array[1], array[0], array[-1])")
    assert caught.value.sqlstate == "TS003"


_HOUR = timedelta(hours=1)
_numbers = itertools.count()
_STEPS = st.lists(
    st.tuples(st.integers(0, 40 * 60 * 1_000_000), st.sampled_from([0, 1, 74_999_999, 75_000_000]), st.integers(1, 900)),
    min_size=1,
    max_size=40,
)


@given(_STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_window_is_never_passed_whatever_the_times(
    db: Database, clock: SetClock, steps: list[tuple[int, int, int]]
) -> None:
    name = f"w{next(_numbers)}"
    sums = {"id": f"{name}-sum", "window": {"sum": {"at_most": {"CZK": "10.00"}}, "per": "account", "over": "1h"}}
    counts = {"id": f"{name}-count", "window": {"count": {"at_most": 3}, "per": "account", "over": "1h"}}
    rules = policy.parse(_document(sums, counts))
    at = datetime(2026, 4, 21, 12, tzinfo=UTC)
    carried: list[tuple[datetime, int]] = []
    for wait_us, more_us, amount in steps:
        at = clock.set(at + timedelta(microseconds=wait_us + more_us))
        facts = _transfer(amount=amount)
        async with db.write() as tx:
            usage = await policy.gather(tx, policy.Wanted(rules, [facts]))
            usage.fill(facts)
            allowed = policy.evaluate(rules, facts).outcome == "allow"
            if allowed:
                usage.add(facts)
            await policy.reserve(tx, usage)
        within = [amount for then, amount in carried if then > at - _HOUR]
        fits = sum(within) + amount <= 1000 and len(within) < 3
        # A bucket, which is a 48th of the window, counts whole: what is older than the window and a bucket is forgotten.
        nearly = [amount for then, amount in carried if then > at - _HOUR - _HOUR / 48]
        assert fits or not allowed
        assert allowed or not (sum(nearly) + amount <= 1000 and len(nearly) < 3)
        if allowed:
            carried.append((at, amount))


async def test_what_is_barely_within_the_window_counts_after_a_long_silence(db: Database, clock: SetClock) -> None:
    rule = {"id": "one", "window": {"count": {"at_most": 1}, "per": "account", "over": "1h"}}
    async with db.write() as tx:
        await policy.apply(tx, _document(rule), by="ann")
    clock.set("2026-04-21T12:01:14.999999")
    first, _ = await _decide(db, _transfer())
    clock.set("2026-04-21T13:01:14.999998")
    second, _ = await _decide(db, _transfer())
    clock.set("2026-04-21T13:02:30")
    third, _ = await _decide(db, _transfer())
    assert (first.outcome, second.outcome, third.outcome) == ("allow", "hold", "allow")


async def test_a_counter_for_ever_forgets_nothing(db: Database, clock: SetClock) -> None:
    mandate = {
        "id": 5, "person": "ann", "operations": ["*"], "accounts": None, "max_amount": None, "total": {"CZK": 1500},
        "payees": None, "until": "2030-01-01T00:00:00Z", "beyond": "deny",
    }  # fmt: skip
    async with db.write() as tx:
        await policy.apply(tx, _document(), by="ann")
    first, _ = await _decide(db, _transfer(mandate=mandate))
    clock.set("2029-04-21T12:00:00")
    second, _ = await _decide(db, _transfer(mandate=mandate))
    third, _ = await _decide(db, _transfer(mandate=mandate, amount=500))
    assert (first.outcome, second.outcome, third.outcome) == ("allow", "deny", "allow")


async def test_a_list_that_does_not_exist_holds(db: Database) -> None:
    async with db.write() as tx:
        await policy.apply(tx, _document({"id": "s", "list": {"name": "nowhere", "by": "counterparty"}}), by="ann")
    verdict, _ = await _decide(db, _transfer())
    assert verdict.outcome == "hold"


def test_a_batch_has_a_bound() -> None:
    with pytest.raises(TallystickError, match="batch_too_large"):
        policy.Wanted(policy.EMPTY, [_transfer()] * (policy.MAX_BATCH + 1))
