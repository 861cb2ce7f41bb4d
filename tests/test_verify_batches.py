"""What batches of transfers and erasures leave in the record verifies, in the database and in an export."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick import actions, customers, policy, subjects
from tallystick.actions import NewTransfer
from tallystick.db import Tx
from tests.test_verify_meaning import ANNA, DESK, EVA, RULES, Bank, bank

__all__ = ["bank"]

BATCHES: dict[str, list[NewTransfer]] = {
    "posted": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("BOB", "ALICE", "2.00")],
    "held": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("ALICE", "BOB", "101.00"), NewTransfer("BOB", "ALICE", "102.00")],
    "rejected": [NewTransfer("ALICE", "BOB", "103.00"), NewTransfer("ALICE", "BOB", "1.00")],
    "denied": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("ALICE", "BOB", "501.00")],
    "refused": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("EMPTY", "BOB", "1.00")],
    "late": [NewTransfer("ALICE", "BOB", "105.00"), NewTransfer("ALICE", "BOB", "1.00")],
    "many": [NewTransfer("ALICE", "BOB", "0.01")] * 250,
}


async def _send(bank: Bank, name: str) -> Any:
    return await bank.db.retrying(lambda tx: actions.propose_batch(tx, DESK, BATCHES[name], key=name))


async def _say(bank: Bank, approval_id: int, said: Any) -> None:
    for person in (ANNA, EVA) if said == "approve" else (ANNA,):

        async def vote(tx: Tx, person: Any = person) -> Any:
            action = await actions.approval_action(tx, approval_id)
            return await actions.vote(tx, approval_id, person, said, seen=action.digest, reason="because")

        await bank.db.retrying(vote)


@pytest.mark.parametrize("name", BATCHES)
async def test_whatever_became_of_a_batch_the_record_of_it_verifies(bank: Bank, name: str) -> None:
    outcome = await _send(bank, name)
    if name in ("held", "rejected", "late"):
        assert isinstance(outcome, actions.Held)
        await _say(bank, outcome.approval_id, "reject" if name == "rejected" else "approve")
        async with bank.db.read() as tx:
            assert (await actions.action(tx, outcome.action_id)).status == ("rejected" if name == "rejected" else "executed")
    else:
        assert isinstance(outcome, actions.Denied if name == "denied" else actions.Batch)
    await bank.seal()
    assert await bank.online() == {}
    assert await bank.exported() == {}


async def test_what_was_changed_of_a_transfer_in_a_batch_that_people_agreed_to_is_named(bank: Bank) -> None:
    asked = await _send(bank, "late")
    await _say(bank, asked.approval_id, "approve")
    await bank.seal()
    async with bank.changed() as connection:
        allowed = "update actions.transfer set description = 'rent' where action_id = %s and amount = 100"
        await connection.execute(allowed, (asked.action_id,))
        for found in (await bank.online(), await bank.exported()):
            assert found.keys() == {("action_differs", f"action {asked.action_id}")}


async def test_an_erasure_that_people_agreed_to_verifies_and_so_does_one_that_was_refused(bank: Bank) -> None:
    asks = {"id": "two", "when": {"action": "subject.*"}, "hold": True, "approve": [{"role": "approver", "people": 2}]}
    async with bank.db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [{**asks, "expires": "1h"}, *RULES]}, by="test")
    await bank.connection.execute("update audit.retention set keep_months = 0")
    for name in ("C-1", "C-2"):

        async def add(tx: Tx, name: str = name) -> None:
            await customers.add(tx, [customers.NewCustomer(name, "Jana Nova")], by="t")
            if name == "C-2":
                await subjects.place_hold(tx, "t", name, reason="court")

        await bank.db.retrying(add)
    for number, status in ((1, "executed"), (2, "failed")):
        held = await actions.perform(bank.db, DESK, subjects.EraseSubject(str(number), "r"))
        assert isinstance(held, actions.Held)
        await _say(bank, held.approval_id, "approve")
        async with bank.db.read() as reading:
            assert (await actions.action(reading, held.action_id)).status == status
    await bank.seal()
    assert await bank.online() == {}
    assert await bank.exported() == {}
