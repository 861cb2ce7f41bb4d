"""Transfers by the hundred in one call: decided as a few are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tallystick import actions, ledger, policy
from tallystick.db import Database
from tallystick.identity import house
from tallystick.policy import counting
from tests.permitted import strict
from tests.serving import fund

MANY = 500


def _count(at_most: int) -> dict[str, Any]:
    limit = {"count": {"at_most": at_most}, "per": "principal", "over": "24h"}
    return {"id": "count", "window": limit, "otherwise": "deny"}


async def _rules(db: Database, *rules: dict[str, Any]) -> None:
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [{"id": "any", "allow": True}, *rules]}, by="anna")


def _new(count: int, **fields: Any) -> list[actions.NewTransfer]:
    return [actions.NewTransfer("ALICE", "BOB", "0.01", **fields) for _ in range(count)]


async def _propose(db: Database, new: list[actions.NewTransfer]) -> list[str]:
    answers = await strict(db).retrying(lambda tx: actions.propose(tx, house("clerk"), new), attempts=1)
    return [f"{one.status} {one.reason}" for one in answers if isinstance(one, actions.Transfer)]


@pytest.mark.parametrize("count", [20, MANY])
async def test_a_limit_that_ends_in_the_middle_of_a_call_ends_there(db: Database, count: int) -> None:
    await fund(db)
    await _rules(db, _count(count // 2))
    assert await _propose(db, _new(count)) == ["posted None"] * (count // 2) + ["failed denied"] * (count // 2)
    assert await _propose(db, _new(1)) == ["failed denied"]


@pytest.mark.parametrize("count", [20, MANY])
async def test_a_policy_that_is_not_known_yet_to_this_process_decides(db: Database, count: int) -> None:
    await fund(db)
    await _rules(db, _count(10**6))
    before = counting._newest
    await _rules(db, _count(7))
    # As in another process, which has not heard of the second one.
    counting._newest = before
    assert await _propose(db, _new(count)) == ["posted None"] * 7 + ["failed denied"] * (count - 7)


async def test_many_calls_of_many_at_one_limit_never_pass_it(db: Database) -> None:
    await fund(db)
    await _rules(db, _count(3 * MANY))
    said = await asyncio.gather(*(_propose(db, _new(MANY)) for _ in range(5)))
    assert sum(answers.count("posted None") for answers in said) == 3 * MANY


async def test_a_call_of_many_that_is_cut_off_leaves_nothing_and_its_connection_serves_others(db: Database) -> None:
    await fund(db)
    await _rules(db, _count(10**6))
    whole = 0
    for turns in (1, 3, 10, 20, 40, 80, 160, 320):
        call = asyncio.create_task(_propose(db, _new(MANY)))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        (ended,) = await asyncio.gather(call, return_exceptions=True)
        whole += not isinstance(ended, BaseException)
    assert await _propose(db, _new(MANY)) == ["posted None"] * MANY
    async with db.read() as tx:
        assert (await ledger.account(tx, "BOB")).posted == 100_000 + (whole + 1) * MANY
