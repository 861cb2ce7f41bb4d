"""The order of locks: what an action is about is locked before the counters of policy, whatever the action is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import psycopg
import pytest

from tallystick import actions, ledger, payments
from tallystick.actions import EntryPayload, HoldPayload, JournalPayload, registry
from tallystick.db import Database
from tallystick.kit import TallystickError
from tests.conftest import TestDatabase
from tests.serving import BANK
from tests.trading_desk import CLERK, EVA, buy, do, open_desk, set_rules
from tests.waiting import until

OTHER = actions.Party("Jana Nova", "DE89370400440532013000", "COBADEFF")
SEND = actions.SendPayment("NOSTRO", "ALICE", "1.00", OTHER)
ENTRIES = [("ALICE", "-1.00"), ("BROKER", "1.00")]
JOURNAL = actions.PostJournals((JournalPayload("fee", tuple(EntryPayload(*entry) for entry in ENTRIES)),))
HOLD = actions.PlaceHolds((HoldPayload("ALICE", "1.00"),))
GUARDED = JournalPayload.of(ledger.NamedJournal("fee", ENTRIES, guards=[ledger.NamedGuard("BOB", "1.00")]))
COUNT = {"id": "count", "window": {"count": {"at_most": 1000}, "per": "principal", "over": "24h"}}


async def _bank(db: Database) -> Database:
    desk = await open_desk(db)
    async with db.write() as tx:
        await payments.register(tx, "me", name="NOSTRO", bank="B", their_account="1", currency="CZK")
    return desk


async def _reversal(db: Database) -> Any:
    (posted,) = await do(db, JOURNAL)
    return actions.ReverseJournal(str(posted.journal_id))


async def _partial_reversal(db: Database) -> Any:
    """The books lock what it names before they see that the original did not move it."""
    (posted,) = await do(db, JOURNAL)
    entries = (EntryPayload("BOB", "1.00"), EntryPayload("BROKER", "-1.00"))
    return actions.ReverseJournal(str(posted.journal_id), entries=entries)


async def _capture(db: Database) -> Any:
    (placed,) = await do(db, HOLD)
    return actions.CaptureHold(str(placed.hold_id), "BROKER", "1.00")


async def _release(db: Database) -> Any:
    (placed,) = await do(db, HOLD)
    return actions.ReleaseHold(str(placed.hold_id))


async def _settlement(db: Database) -> Any:
    sent = await do(db, SEND)
    await do(db, actions.MovePayment(str(sent.payment.id), "sent"))
    return actions.MovePayment(str(sent.payment.id), "settled")


async def _rejection(db: Database) -> Any:
    sent = await do(db, SEND)
    await do(db, actions.MovePayment(str(sent.payment.id), "sent"))
    return actions.MovePayment(str(sent.payment.id), "rejected", "AC04")


async def _assignment(db: Database) -> Any:
    received = await do(db, actions.ReceivePayment("NOSTRO", "NOBODY", "1.00"))
    return actions.MovePayment(str(received.payment.id), "assigned", account="BOB")


async def _fill(db: Database) -> Any:
    return actions.FillOrder(str((await do(db, buy("2", "5"))).id), "1", "5")


async def _cancellation(db: Database) -> Any:
    return actions.CancelOrder(str((await do(db, buy("2", "5"))).id))


def _ready(payload: Any) -> Callable[[Database], Awaitable[Any]]:
    async def ready(_: Database) -> Any:
        return payload

    return ready


EXAMPLES: list[tuple[str, Callable[[Database], Awaitable[Any]], list[str]]] = [
    ("journal.post", _ready(JOURNAL), ["ALICE", "BROKER"]),
    ("journal.post", _ready(actions.PostJournals((GUARDED,))), ["BOB"]),
    ("journal.reverse", _reversal, ["ALICE", "BROKER"]),
    ("journal.reverse", _partial_reversal, ["BOB"]),
    ("hold.place", _ready(HOLD), ["ALICE"]),
    ("hold.capture", _capture, ["ALICE", "BROKER"]),
    ("hold.release", _release, ["ALICE"]),
    ("account.status", _ready(actions.ChangeStatus("ALICE", "frozen")), ["ALICE"]),
    ("account.limit", _ready(actions.ChangeLimit("ALICE", "5.00")), ["ALICE"]),
    ("payment.send", _ready(SEND), ["ALICE", "NOSTRO:clearing"]),
    ("payment.receive", _ready(actions.ReceivePayment("NOSTRO", "BOB", "1.00")), ["BOB", "NOSTRO"]),
    ("payment.receive", _ready(actions.ReceivePayment("NOSTRO", "NOBODY", "1.00")), ["NOSTRO", "NOSTRO:suspense"]),
    ("payment.move", _settlement, ["NOSTRO", "NOSTRO:clearing"]),
    ("payment.move", _rejection, ["ALICE", "NOSTRO:clearing"]),
    ("payment.move", _assignment, ["BOB", "NOSTRO:suspense"]),
    ("order.place", _ready(buy("2", "5")), ["ALICE"]),
    ("order.fill", _fill, ["ALICE", "BROKER"]),
    ("order.cancel", _cancellation, ["ALICE"]),
]
"""Types that move money, what is proposed, and accounts that it locks when it is carried out."""

MOVES_NOTHING = frozenset(
    {
        "account.open", "case.process", "case.status", "customer.change", "customer.credential", "payee.add", "policy.apply",
        "portfolio.open", "standing_order.change", "standing_order.create", "subject.erase",
    }
)  # fmt: skip


def _free(database: TestDatabase) -> set[str]:
    """The accounts whose balances nobody has locked."""
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute(
            "select a.name from ledger.balance b join ledger.account a on a.id = b.account_id"
            " for no key update of b skip locked"
        )
        return {name for (name,) in rows.fetchall()}


async def _run(tx: Any, payload: Any) -> Any:
    run = registry.of(payload).run
    assert run is not None
    return await run(tx, CLERK, payload)


async def _transfer(db: Database, account: str) -> Any:
    """A transfer that shares a counter with whatever else the clerk does; a deadlock is an error, as it is tried once."""
    wanted = actions.NewTransfer(BANK, account, "1.00")
    (answer,) = await db.retrying(lambda tx: actions.propose(tx, CLERK, [wanted]), attempts=1)
    assert isinstance(answer, actions.Transfer), answer
    return answer


async def _waiting(database: TestDatabase, count: int) -> bool:
    """Whether so many transactions wait for a lock."""
    with psycopg.connect(database.owner_url) as connection:
        waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        return len(connection.execute(waiting).fetchall()) == count


def test_every_type_that_can_be_carried_out_is_known_to_move_nothing_or_shown_here() -> None:
    # Names of ours have a dot; a test of plug-ins may have left a type without one.
    with_run = {name for name in actions.names() if registry.named(name).run is not None and "." in name}
    assert with_run == MOVES_NOTHING | {name for name, _, _ in EXAMPLES}


@pytest.mark.parametrize(
    ("prepare", "accounts"),
    [(prepare, accounts) for _, prepare, accounts in EXAMPLES],
    ids=[f"{name} {' '.join(accounts)}" for name, _, accounts in EXAMPLES],
)
async def test_what_is_carried_out_locks_no_account_that_was_not_locked_before_its_decision(
    db: Database, database: TestDatabase, prepare: Any, accounts: list[str]
) -> None:
    desk = await _bank(db)
    payload = await prepare(desk)
    async with desk.write() as tx:
        assert isinstance(await actions.enter(tx, CLERK, payload), actions.Passed)
        free = _free(database)
        assert free.isdisjoint(accounts)
        await _run(tx, payload)
        assert _free(database) == free


@pytest.mark.parametrize(
    ("prepare", "account"),
    [(prepare, account) for _, prepare, accounts in EXAMPLES for account in accounts],
    ids=[f"{name} {account}" for name, _, accounts in EXAMPLES for account in accounts],
)
async def test_an_action_and_a_transfer_with_one_limit_and_one_account_come_one_after_the_other(
    db: Database, database: TestDatabase, prepare: Any, account: str
) -> None:
    desk = await _bank(db)
    payload = await prepare(desk)
    await set_rules(db, COUNT)
    async with desk.write() as tx:
        assert isinstance(await actions.enter(tx, CLERK, payload), actions.Passed)
        transfer = asyncio.create_task(_transfer(desk, account))
        await until(lambda: _waiting(database, 1))
        await _run(tx, payload)
    assert (await transfer).status in ("posted", "failed")


async def test_the_accounts_of_a_page_of_standing_orders_are_locked_before_the_first_is_paid(
    db: Database, database: TestDatabase
) -> None:
    desk = await _bank(db)
    for name, account in (("ONE", "ALICE"), ("TWO", "BOB")):
        await do(desk, actions.CreateOrder(name, account, "NOSTRO", OTHER, "1.00", date(2126, 1, 31)))
    await set_rules(db, COUNT)
    async with desk.write() as tx:
        paid = await actions.pay_due_page(tx, date(2126, 3, 1), limit=2)
        # Both days of the first order are paid, and the second is not begun.
        assert (paid.counts, paid.after) == ({"paid": 2}, 1)
        assert _free(database).isdisjoint({"ALICE", "BOB", "NOSTRO:clearing"})
        transfer = asyncio.create_task(_transfer(desk, "BOB"))
        await until(lambda: _waiting(database, 1))
        paid = await actions.pay_due_page(tx, date(2126, 3, 1), after=1)
        assert paid.counts == {"paid": 2}
    assert (await transfer).status == "posted"


async def test_an_amendment_and_a_vote_come_one_after_the_other(db: Database, database: TestDatabase) -> None:
    desk = await _bank(db)
    asks = {"id": "asks", "when": {"action": "hold.place"}, "hold": True, "approve": [{"role": "approver", "people": 1}]}
    await set_rules(db, asks)
    held = await do(desk, HOLD)
    less = {"holds": [{"account": "ALICE", "amount": "0.50"}]}
    with psycopg.connect(database.owner_url) as somebody:
        somebody.execute("select from actions.action where id = %s for no key update", (held.action_id,))
        amending = asyncio.create_task(desk.retrying(lambda tx: actions.amend(tx, held.action_id, CLERK, less), attempts=1))
        await until(lambda: _waiting(database, 1))
        async with desk.read() as tx:
            seen = (await actions.action(tx, held.action_id)).digest
        voting = asyncio.create_task(
            desk.retrying(
                lambda tx: actions.vote(tx, held.approval_id, EVA, "approve", seen=seen, reason="because"), attempts=1
            )
        )
        await until(lambda: _waiting(database, 2))
    assert (await amending).payload["holds"][0]["amount"] == "0.50"
    # What was seen is not what it is about any more.
    refused = await voting
    assert isinstance(refused, TallystickError)
    assert refused.code == "approval_changed"


async def test_a_journal_that_is_asked_for_again_locks_nothing(db: Database, database: TestDatabase) -> None:
    desk = await _bank(db)
    paid = ledger.NamedJournal("fee", [("ALICE", "-1.00"), ("BOB", "1.00")], key="a")
    new = ledger.NamedJournal("fee", [("BROKER", "-1.00"), ("BANK", "1.00")], key="b")
    (first,) = await desk.retrying(lambda tx: actions.post_journals(tx, CLERK, [paid]))
    assert isinstance(first, ledger.Posted)
    with psycopg.connect(database.owner_url) as keeper:
        # Somebody has the accounts of the one that was posted in hand; the new one is about others.
        keeper.execute(
            "select from ledger.balance b join ledger.account a on a.id = b.account_id"
            " where a.name in ('ALICE', 'BOB') for update of b"
        )
        again, posted = await desk.retrying(lambda tx: actions.post_journals(tx, CLERK, [paid, new]), attempts=1)
    assert isinstance(again, ledger.Posted)
    assert (again.journal_id, again.replayed) == (first.journal_id, True)
    assert isinstance(posted, ledger.Posted)
    assert posted.refusal is None
