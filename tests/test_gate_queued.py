"""Transfers that are queued: what becomes of one that policy holds, and of one whose proposer may do nothing any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tallystick import actions, identity, ledger
from tallystick.db import Database, Tx
from tallystick.identity import Principal, house
from tests.serving import body_of, fund
from tests.test_gate import ANNA, _bank, _hold, _money, _post, _posted, _rules, _transfer, _vote

JSON = dict[str, Any]


@pytest.mark.parametrize("path", ["/v1/transfers", "/transfers"])
async def test_a_queued_transfer_that_people_were_asked_about_is_posted_by_their_last_vote(db: Database, path: str) -> None:
    async with _bank(db, _hold()) as client:
        if path == "/v1/transfers":
            held = body_of(await _post(client, path, _money(settle="queued")))
            assert held["status"] == "held"
        else:
            await _post(client, path, {"from_account": "ALICE", "to_account": "BOB", "amount": 10, "currency": "CZK"})
        before = await _posted(db, "BOB")
        (question,) = body_of(await client.get("/v1/approvals?status=open"))["items"]
        done = await _vote(db, int(question["id"]), ANNA)
        assert (done.status, await _posted(db, "BOB")) == ("consumed", before + 1000)
        (own,) = body_of(await client.get("/v1/transfers"))["items"]
        transfer = await _transfer(db, own["id"])
        assert (transfer.settle, transfer.status, transfer.task_id) == ("queued", "posted", None)


async def _bot(tx: Tx) -> tuple[Principal, int]:
    """An agent that acts for a person, and the mandate under which it does."""
    until = datetime.now(UTC) + timedelta(hours=1)
    new = identity.NewMandate(agent="bot", person="owner", operations=("*",), until=until)
    mandate = await identity.grant_mandate(tx, new, by="test")
    bot = await identity.acting(tx, "bot", mandate_id=mandate.id)
    assert bot is not None
    return bot, mandate.id


@pytest.mark.parametrize("gone", ["disabled", "owner disabled", "revoked", "narrowed", "not a role"])
async def test_what_is_queued_is_not_posted_for_one_who_may_not_make_it_any_more(db: Database, gone: str) -> None:
    await fund(db)
    await _rules(db)
    async with db.write() as tx:
        await identity.add_principal(tx, "owner", kind="person", roles=["operator"], by="test")
        await identity.add_principal(tx, "bot", kind="agent", owner="owner", by="test")
        await identity.add_principal(tx, "other", kind="person", roles=["operator"], by="test")
        new = actions.NewTransfer("ALICE", "BOB", "1.00", "CZK", settle="queued")
        for name in ("bot", "other"):
            await identity.set_reach(tx, name, accounts=["ALICE"], customers=None, by="test")
        person = await identity.acting(tx, "other")
        assert person is not None
        bot, mandate_id = await _bot(tx)
        makers = (bot, person, house("test"), bot)
        made = [one for by in makers for one in await actions.propose(tx, by, [new])]
        plain = await identity.acting(tx, "bot")
        assert plain is not None
        made += await actions.propose(tx, plain, [new])
    async with db.write() as tx:
        if gone == "disabled":
            await identity.disable(tx, "bot", by="test")
        elif gone == "owner disabled":
            await identity.disable(tx, "owner", by="test")
        elif gone == "revoked":
            await identity.revoke_mandate(tx, mandate_id, by="test")
        elif gone == "narrowed":
            await identity.set_reach(tx, "bot", accounts=["BOB"], customers=None, by="test")
        else:
            await identity.set_roles(tx, "other", ["auditor"], by="test")
    async with db.write() as tx:
        before = (await ledger.account(tx, "BOB")).posted
        done = await actions.settle(
            tx, [one.id for one in made if isinstance(one, actions.Transfer) and one.status == "queued"]
        )
        after = (await ledger.account(tx, "BOB")).posted
    failed, posted = ("failed", "authority_gone"), ("posted", None)
    if gone == "not a role":
        became = [posted, failed, posted, posted, posted]
    else:
        # The last was proposed in the agent's own right.
        became = [failed, posted, posted, failed, posted if gone == "revoked" else failed]
    assert [(one.status, one.reason) for one in done] == became
    assert after - before == 100 * [one.status for one in done].count("posted")


async def test_policy_is_not_asked_again_of_what_is_queued(db: Database) -> None:
    await fund(db)
    await _rules(db)
    new = actions.NewTransfer("ALICE", "BOB", "1.00", "CZK", settle="queued")
    async with db.write() as tx:
        (made,) = await actions.propose(tx, house("test"), [new])
        assert isinstance(made, actions.Transfer)
    await _rules(db, {"id": "never", "when": {"action": "transfer"}, "deny": True})
    async with db.write() as tx:
        (done,) = await actions.settle(tx, [made.id])
    assert (done.status, done.reason) == ("posted", None)
