"""Many connections at one limit: it is never passed by one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tallystick import policy
from tallystick.db import Database, DatabaseSettings
from tests.clocks import SetClock
from tests.conftest import TestDatabase

CLIENTS = 64
EACH = 4
ALLOW = {"id": "allowed", "allow": True}
SUM = {"id": "sum", "window": {"sum": {"at_most": {"CZK": "1000.00"}}, "per": "account", "over": "24h"}}
COUNT = {"id": "count", "window": {"count": {"at_most": 17}, "per": "agent", "over": "1h"}}


@pytest.fixture
async def wide(database: TestDatabase) -> Any:
    opened = Database(database.app_url, DatabaseSettings(pool_max_size=CLIENTS, pool_wait_s=30, lock_timeout_ms=30_000))
    await opened.open()
    yield opened
    await opened.close()


def _transfer(amount: int, **facts: Any) -> dict[str, Any]:
    transfer = {"action": "transfer", "principal": "bot", "kind": "agent", "roles": ["agent"], "account": "ACC1"}
    return transfer | {"counterparty": "ACC2", "amount": amount, "asset": "CZK", "scale": 2} | facts


async def _try(db: Database, rules: policy.Policy, batch: list[policy.Facts]) -> list[int]:
    """The amounts that were allowed and are committed."""

    async def work(tx: Any) -> list[int]:
        usage = await policy.gather(tx, policy.Wanted(rules, batch))
        allowed = []
        for facts in batch:
            usage.fill(facts)
            if policy.evaluate(rules, facts).outcome == "allow":
                usage.add(facts)
                allowed.append(facts["amount"])
        await policy.reserve(tx, usage)
        return allowed

    # No attempt may need another: locks are taken in one order.
    return await db.retrying(work, attempts=1)


async def _race(db: Database, rules: policy.Policy, batches: list[list[list[policy.Facts]]]) -> list[int]:
    async def client(mine: list[list[policy.Facts]]) -> list[int]:
        return [amount for batch in mine for amount in await _try(db, rules, batch)]

    return [amount for allowed in await asyncio.gather(*map(client, batches)) for amount in allowed]


async def test_a_sum_per_day_is_never_passed(wide: Database) -> None:
    rules = policy.parse({"name": "p", "rules": [SUM, ALLOW]})
    batches = [[[_transfer(700 + 13 * n + k)] for k in range(EACH)] for n in range(CLIENTS)]
    allowed = await _race(wide, rules, batches)
    assert sum(allowed) <= 100_000
    assert sum(allowed) > 100_000 - 1600, "what still fits is allowed"


async def test_a_count_per_hour_is_never_passed_and_is_reached(wide: Database) -> None:
    rules = policy.parse({"name": "p", "rules": [COUNT, ALLOW]})
    allowed = await _race(wide, rules, [[[_transfer(1)] for _ in range(EACH)] for _ in range(CLIENTS)])
    assert len(allowed) == 17


async def test_batches_over_many_counters_in_any_order_meet_no_deadlock(wide: Database) -> None:
    rules = policy.parse({"name": "p", "rules": [SUM, COUNT, ALLOW]})
    accounts = [f"ACC{n}" for n in range(12)]

    def batch(n: int, k: int) -> list[policy.Facts]:
        turned = accounts[(n + k) % 12 :] + accounts[: (n + k) % 12]
        return [_transfer(50_001, account=name, principal=f"bot{n % 5}") for name in (turned if n % 2 else turned[::-1])]

    allowed = await _race(wide, rules, [[batch(n, k) for k in range(EACH)] for n in range(CLIENTS)])
    assert len(allowed) == 12


async def test_nothing_slips_through_at_the_edge_of_a_bucket(wide: Database, database: TestDatabase) -> None:
    rules = policy.parse({"name": "p", "rules": [COUNT, ALLOW]})
    clock = SetClock(database.owner_url, "2026-04-21T12:00:00")
    start = clock.set("2026-04-21T12:00:00")
    carried = []
    for microseconds in (-1, 0, 75_000_000 - 1, 75_000_000, 3_600_000_000 - 2, 3_600_000_000 - 1):
        clock.set(start + timedelta(microseconds=microseconds))
        carried += await _race(wide, rules, [[[_transfer(1)]] for _ in range(CLIENTS)])
        assert len(carried) == 17
    clock.set(start + timedelta(seconds=3600 + 75))
    assert len(await _race(wide, rules, [[[_transfer(1)]] for _ in range(CLIENTS)])) == 17
    clock.close()
