"""What a task proposes and policy holds: the task waits for votes, for nothing else, and may ask about the same again."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tallystick import actions, agents, sdk, work
from tallystick.db import Database
from tallystick.identity import Principal
from tallystick.kit import Conflict
from tests.permitted import strict
from tests.serving import fund
from tests.test_gate import EVA, JAN, _hold, _posted, _rules, _vote

BOT = Principal("bot", "agent", frozenset({"agent"}), owner="anna")


async def _begin(db: Database, people: int = 1) -> int:
    await fund(db)
    await _rules(db, _hold(people, action="transfer"))
    async with strict(db).write() as tx:
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("bot", "t", {})])
    return task_id


async def _run(db: Database, times: int = 1) -> str:
    """One attempt of the task, which proposes the same transfer so many times; where it stands then."""
    plain = strict(db)
    effects = (sdk.Transfer("ALICE", "BOB", Decimal("10.00"), "CZK"),) * times
    async with plain.write() as tx:
        (claimed,) = await work.claim(tx, agents=["bot"], worker="w", limit=1)
    attempt = work.Fence(claimed.task_id, claimed.fence)
    async with plain.write() as tx:
        completion = sdk.Completion(effects, None)
        await agents.carry_out(tx, by=BOT, worker="w", agent="bot", attempt=attempt, completion=completion)
    async with plain.read() as rx:
        return (await work.get(rx, claimed.task_id)).status


async def _asked(db: Database) -> list[int]:
    async with db.read() as tx:
        return [int(action.approval_id or 0) for action in await actions.actions(tx)]


async def test_what_people_vote_on_is_answered_by_votes_alone(db: Database) -> None:
    task_id = await _begin(db)
    assert await _run(db) == "waiting"
    async with db.write() as tx:
        (question,) = await work.questions(tx)
        with pytest.raises(Conflict) as refused:
            await work.answer(tx, task_id, question.step, "anna", approved=True)
    assert refused.value.code == "votes_needed"
    (approval_id,) = await _asked(db)
    await _vote(db, approval_id, EVA)
    assert (await _run(db), await _posted(db, "BOB")) == ("done", 101_000)


async def test_a_task_may_ask_about_the_same_a_second_time(db: Database) -> None:
    await _begin(db)
    assert await _run(db) == "waiting"
    (first,) = await _asked(db)
    await _vote(db, first, EVA)
    assert await _run(db, 2) == "waiting"
    second, _ = await _asked(db)
    await _vote(db, second, EVA)
    assert (await _run(db, 2), await _posted(db, "BOB")) == ("done", 102_000)


async def test_a_task_asks_again_where_policy_asks_more_people_by_then(db: Database) -> None:
    await _begin(db)
    assert await _run(db) == "waiting"
    (first,) = await _asked(db)
    await _vote(db, first, EVA)
    await _rules(db, _hold(2, action="transfer"))
    assert await _run(db) == "waiting"
    second, _ = await _asked(db)
    for person in (EVA, JAN):
        await _vote(db, second, person)
    assert (await _run(db), await _posted(db, "BOB")) == ("done", 101_000)
