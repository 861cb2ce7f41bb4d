"""What batches of transfers and erasures leave in the record verifies, in the database and in an export."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick import actions, customers, policy, subjects
from tallystick.actions import NewTransfer, held, registry
from tallystick.actions.transfer_batches import BatchItem, TransferBatch
from tallystick.db import Tx
from tallystick.kit import digest
from tests.test_verify_meaning import ANNA, DESK, EVA, RULES, Bank, bank

__all__ = ["bank"]

BATCHES: dict[str, list[NewTransfer]] = {
    "posted": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("BOB", "ALICE", "2.00")],
    "held": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("ALICE", "BOB", "101.00"), NewTransfer("BOB", "ALICE", "102.00")],
    "rejected": [NewTransfer("ALICE", "BOB", "103.00"), NewTransfer("ALICE", "BOB", "1.00")],
    "denied": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("ALICE", "BOB", "501.00")],
    "refused": [NewTransfer("ALICE", "BOB", "1.00"), NewTransfer("EMPTY", "BOB", "1.00")],
    "in vain": [NewTransfer("ALICE", "BOB", "104.00"), NewTransfer("EMPTY", "BOB", "1.00")],
    "late": [NewTransfer("ALICE", "BOB", "105.00"), NewTransfer("ALICE", "BOB", "1.00")],
    "many": [NewTransfer("ALICE", "BOB", "0.01")] * 250,
}
ENDS = {
    "rejected": ("rejected", "rejected"),
    "refused": ("failed", "insufficient_funds"),
    "in vain": ("failed", "insufficient_funds"),
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
    if name in ("held", "rejected", "late", "in vain"):
        assert isinstance(outcome, actions.Held)
        await _say(bank, outcome.approval_id, "reject" if name == "rejected" else "approve")
    else:
        assert isinstance(outcome, actions.Denied if name == "denied" else actions.Batch)
    if not isinstance(outcome, actions.Denied):
        async with bank.db.read() as tx:
            action = await actions.action(tx, outcome.action_id)
        assert (action.status, action.reason) == ENDS.get(name, ("executed", None))
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


async def test_a_refused_batch_of_before_such_actions_failed_verifies_as_it_stands(bank: Bank) -> None:
    items = tuple(BatchItem(one.from_account, one.to_account, str(one.amount), "CZK") for one in BATCHES["refused"])
    payload = TransferBatch(items)
    kind = registry.of(payload)

    async def executed(tx: Tx) -> int:
        passed = await actions.enter(tx, DESK, payload)
        assert isinstance(passed, actions.Passed)
        assert passed.decision_id is not None
        assert kind.resume is not None
        written = kind.write(payload)
        id = await held.insert_action(
            tx, type=kind.name, by=DESK, payload=written, digest=digest([kind.name, written]),
            decision_id=passed.decision_id, task_id=None,
        )  # fmt: skip
        batch = await kind.resume(tx, DESK, payload, id)
        await held.end(tx, id, "executed", result=kind.tell(batch), executed_by=passed.decision_id)
        return id

    action_id = await bank.db.retrying(executed)
    await bank.seal()
    assert await bank.online() == {}
    assert await bank.exported() == {}
    async with bank.changed() as connection:
        for change in ("status = 'expired'", "reason = 'denied'", "status = 'failed', reason = 'denied'"):
            await connection.execute(f"update actions.action set {change} where id = {action_id}".encode())
            assert ("action_differs", f"action {action_id}") in await bank.online()


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
        asked = await actions.perform(bank.db, DESK, subjects.EraseSubject(str(number), "r"))
        assert isinstance(asked, actions.Held)
        await _say(bank, asked.approval_id, "approve")
        async with bank.db.read() as reading:
            assert (await actions.action(reading, asked.action_id)).status == status
    await bank.seal()
    assert await bank.online() == {}
    assert await bank.exported() == {}
