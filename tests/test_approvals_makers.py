"""Who stands behind what people are asked is looked at when they vote, too."""

from __future__ import annotations

import pytest

from tallystick import actions, approvals, identity
from tallystick.actions import AddPayee
from tallystick.cli.operator import operator
from tallystick.db import Database
from tallystick.identity import Principal, house
from tallystick.kit import Forbidden, TallystickError
from tests.permitted import strict
from tests.serving import fund
from tests.test_gate import EVA, JAN, _hold, _rules, _vote


async def _bot(db: Database) -> Principal:
    async with db.write() as tx:
        for person in ("anna", "jan"):
            await identity.add_principal(tx, person, kind="person", roles=["approver"], by="test")
        await identity.add_principal(tx, "bot", kind="agent", owner="anna", by="test")
        await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=None, by="test")
        bot = await identity.acting(tx, "bot")
    assert bot is not None
    return bot


async def _asked(db: Database, by: Principal) -> actions.Held:
    held = await actions.perform(strict(db), by, AddPayee("ALICE", "CZ001", "Carl"))
    assert isinstance(held, actions.Held)
    return held


@pytest.mark.parametrize("edits", [False, True])
async def test_who_came_to_answer_for_an_agent_after_it_asked_does_not_vote_on_it(db: Database, edits: bool) -> None:
    await fund(db)
    await _rules(db, _hold(action="payee.add"))
    bot = await _bot(db)
    held = await _asked(db, house("clerk") if edits else bot)
    async with strict(db).write() as tx:
        if edits:
            editor = Principal("bot", "agent", frozenset({"agent", "operator"}), owner="anna")
            await actions.amend(tx, held.action_id, editor, {"account": "ALICE", "payee": "CZ002", "name": "Carl"})
        await identity.set_owner(tx, "bot", "jan", by="test")
    refused = await _vote(db, held.approval_id, JAN)
    assert isinstance(refused, TallystickError)
    assert refused.code == "maker_is_not_checker"
    assert (await _vote(db, held.approval_id, EVA)).status == "consumed"


@pytest.mark.parametrize("edits", [False, True])
async def test_a_person_does_not_vote_on_what_they_asked_at_the_command_line(db: Database, edits: bool) -> None:
    await fund(db)
    await _rules(db, _hold(action="payee.add"))
    jan = house(operator("jan"))
    held = await _asked(db, house("clerk") if edits else jan)
    if edits:
        async with strict(db).write() as tx:
            await actions.amend(tx, held.action_id, jan, {"account": "ALICE", "payee": "CZ002", "name": "Carl"})
    refused = await _vote(db, held.approval_id, JAN)
    assert isinstance(refused, TallystickError)
    assert refused.code == "maker_is_not_checker"
    assert (await _vote(db, held.approval_id, EVA)).status == "consumed"


async def test_who_came_to_answer_for_an_agent_does_not_review_what_could_not_wait(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(action="payee.add"))
    held = await _asked(db, await _bot(db))
    zed = Principal("zed", "person", frozenset({"approver"}))
    for breaker in (EVA, zed):
        async with strict(db).write() as tx:
            seen = (await approvals.get(tx, held.approval_id)).digest
            await actions.break_glass(tx, held.approval_id, breaker, seen=seen, reason="because")
    async with strict(db).write() as tx:
        await identity.set_owner(tx, "bot", "jan", by="test")
        with pytest.raises(Forbidden) as refused:
            await approvals.close_review(tx, held.approval_id, JAN, "justified", "fine")
    assert refused.value.code == "reviewer_took_part"
