"""Transfers through the gate: carried out once, answered the same, and failed with a reason where the money cannot move."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from tallystick import actions, ledger, work
from tallystick.actions import NewTransfer, Transfer
from tallystick.db import Database
from tallystick.identity import house
from tallystick.kit import TallystickError


@pytest.fixture
async def bank(db: Database) -> Database:
    """Accounts A and B with 100.00 CZK each, an empty C, and U in dollars."""
    specs = [ledger.AccountSpec(name, "CZK") for name in "ABC"] + [ledger.AccountSpec("U", "USD")]
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, [ledger.AccountSpec("equity", "CZK", "internal", None), *specs])
        ids = [account.id for account in opened]
        await ledger.post(
            tx, [ledger.Journal("t", ledger.transfer(debit=ids[0], credit=id, amount=10_000), "me") for id in ids[1:3]]
        )
    return db


async def _propose(db: Database, *transfers: NewTransfer, principal: str = "me") -> list[Transfer | TallystickError]:
    async with db.write() as tx:
        return await actions.propose(tx, house(principal), transfers)


async def _posted(db: Database, *names: str) -> list[int]:
    async with db.read() as tx:
        return [(await ledger.account(tx, name)).posted for name in names]


def _outcomes(answers: list[Transfer | TallystickError]) -> list[str | None]:
    return [answer.code if isinstance(answer, TallystickError) else answer.reason or answer.status for answer in answers]


async def test_a_transfer_now_is_posted_and_read_back(bank: Database) -> None:
    (answer,) = await _propose(bank, NewTransfer("A", "C", Decimal("12.50"), "CZK", description="rent"))
    assert isinstance(answer, Transfer)
    async with bank.read() as tx:
        assert await actions.get(tx, answer.id) == answer
    assert (answer.status, answer.amount, answer.reason) == ("posted", 1250, None)
    assert await _posted(bank, "A", "C") == [8750, 1250]


async def test_every_refusal_stands_alone(bank: Database) -> None:
    answers = await _propose(
        bank,
        NewTransfer("A", "B", "0.01"),
        NewTransfer("A", "nobody", "1"),
        NewTransfer("A", "A", "1"),
        NewTransfer("A", "U", "1"),
        NewTransfer("A", "B", "1", "USD"),
        NewTransfer("A", "B", "0.001"),
        NewTransfer("C", "B", "1"),
        NewTransfer("A", "B", "1", description="x" * 501),
        NewTransfer("A", "B", "0.02"),
    )
    assert _outcomes(answers) == [
        "posted",
        "unknown_account",
        "same_account",
        "currency_mismatch",
        "currency_mismatch",
        "amount_too_fine",
        "insufficient_funds",
        "text_too_long",
        "posted",
    ]
    assert await _posted(bank, "A", "B", "C") == [9997, 10003, 0]


async def test_a_queued_transfer_has_its_task_and_moves_nothing_until_it_is_settled_once(bank: Database) -> None:
    (answer,) = await _propose(bank, NewTransfer("A", "C", "5", settle="queued"))
    assert isinstance(answer, Transfer)
    assert answer.task_id is not None
    assert await _posted(bank, "A", "C") == [10_000, 0]
    async with bank.read() as tx:
        task = await work.get(tx, answer.task_id)
    assert (task.agent, task.status, task.payload) == (actions.SETTLEMENT_AGENT, "queued", {"transfer_id": answer.id})

    async def settle() -> list[actions.Settled]:
        async with bank.write() as tx:
            return await actions.settle(tx, [answer.id])

    both = await asyncio.gather(settle(), settle())
    assert both[0] == both[1] == [actions.Settled(answer.id, "posted", None)]
    assert await _posted(bank, "A", "C") == [9500, 500]


async def test_a_queued_transfer_that_cannot_be_settled_fails_with_its_reason(bank: Database) -> None:
    (poor, closed) = await _propose(
        bank, NewTransfer("C", "A", "5", settle="queued"), NewTransfer("A", "C", "5", settle="queued")
    )
    assert isinstance(poor, Transfer)
    assert isinstance(closed, Transfer)
    async with bank.write() as tx:
        await ledger.set_status(tx, "C", "closed")
    async with bank.write() as tx:
        settled = await actions.settle(tx, [poor.id, closed.id, 999])
    assert [(answer.status, answer.reason) for answer in settled] == [
        ("failed", "account_closed"),
        ("failed", "account_closed"),
        ("failed", "unknown_transfer"),
    ]
    assert await _posted(bank, "A", "C") == [10_000, 0]


async def test_a_key_answers_as_the_first_time_whatever_has_become_of_it(bank: Database) -> None:
    now, queued = NewTransfer("A", "C", "5", key="k1"), NewTransfer("A", "C", "6", settle="queued", key="k2")
    refused = NewTransfer("C", "U", "5", key="k3")
    poor = NewTransfer("C", "A", "500", key="k4")
    first = await _propose(bank, now, queued, refused, poor)
    assert isinstance(first[1], Transfer)
    async with bank.write() as tx:
        await actions.settle(tx, [first[1].id])
    again = await _propose(bank, now, queued, refused, poor)
    assert [again[place] for place in (0, 1, 3)] == [first[place] for place in (0, 1, 3)]
    assert _outcomes(again) == ["posted", "queued", "currency_mismatch", "insufficient_funds"]
    assert await _posted(bank, "A", "C") == [8900, 1100]


async def test_a_key_belongs_to_its_request_and_to_its_principal(bank: Database) -> None:
    await _propose(bank, NewTransfer("A", "C", "5", key="k"))
    for other in (
        NewTransfer("A", "C", "6", key="k"),
        NewTransfer("A", "B", "5", key="k"),
        NewTransfer("A", "C", "5", settle="queued", key="k"),
    ):
        assert _outcomes(await _propose(bank, other)) == ["key_reused"]
    assert _outcomes(await _propose(bank, NewTransfer("A", "C", "5.0", key="k"))) == ["posted"]
    assert _outcomes(await _propose(bank, NewTransfer("A", "C", "6", key="k"), principal="another")) == ["posted"]
    assert await _posted(bank, "A", "C") == [8900, 1100]


async def test_concurrent_calls_with_one_key_move_money_once(bank: Database) -> None:
    new = NewTransfer("A", "C", "5", key="k")
    answers = await asyncio.gather(*(bank.retrying(lambda tx: actions.propose(tx, house("me"), [new])) for _ in range(20)))
    assert len({answer.id for (answer,) in answers if isinstance(answer, Transfer)}) == 1
    assert await _posted(bank, "A", "C") == [9500, 500]


async def test_pages_of_an_account_hold_both_sides_newest_first(bank: Database) -> None:
    made = await _propose(bank, *(NewTransfer("A", "B", "0.01") if n % 2 else NewTransfer("B", "A", "0.01") for n in range(7)))
    await _propose(bank, NewTransfer("B", "C", "0.01"))
    ids = [transfer.id for transfer in made if isinstance(transfer, Transfer)]
    seen: list[int] = []
    before = None
    async with bank.read() as tx:
        while page := await actions.page(tx, account="A", before=before, limit=3):
            seen += [transfer.id for transfer in page]
            before = seen[-1]
    assert seen == ids[::-1]
