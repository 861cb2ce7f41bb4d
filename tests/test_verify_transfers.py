"""Transfers and actions stand as their events say: what somebody changed of their rows is named, in the database and in an
export."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tallystick import actions, agents, audit, customers, identity, ledger, policy, sdk, subjects, tlog, work
from tallystick.actions import NewTransfer
from tallystick.cli.record import SOURCES
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tests.test_verify_batches import _say, _send
from tests.test_verify_meaning import ANNA, DESK, EVA, JAN, RULES, Bank, agreed, bank, propose, verified, vote

__all__ = ["bank"]

BOT = Principal("bot", "agent", frozenset({"agent"}), owner="anna")


@pytest.fixture
async def lived(bank: Bank) -> Bank:
    """A bank with transfers and actions that ended in every way there is, its record sealed."""
    for name in ("posted", "refused"):
        assert isinstance(await _send(bank, name), actions.Batch)
    for name, said in (("held", "approve"), ("rejected", "reject"), ("in vain", "approve")):
        await _say(bank, (await _send(bank, name)).approval_id, said)
    (withdrawn,) = await propose(bank.db, NewTransfer("ALICE", "BOB", "204.00"))
    async with bank.db.write() as tx:
        assert withdrawn.approval_id is not None
        await actions.withdraw(tx, withdrawn.approval_id, DESK)
    await _agreed_and_failed(bank)
    await _queued(bank)
    await _of_a_task(bank)
    payee = actions.AddPayee("ALICE", "CZ0001", "Bob")
    await actions.perform(bank.db, DESK, payee, lambda tx: actions.carry_out(tx, DESK, payee))
    await _refused_by_the_books(bank)
    await _amended(bank)
    await bank.seal()
    return bank


async def _agreed_and_failed(bank: Bank) -> None:
    """People agree, and the books refuse it; or policy has changed meanwhile."""
    (poor,) = await propose(bank.db, NewTransfer("EMPTY", "BOB", "205.00"))
    (late,) = await propose(bank.db, NewTransfer("ALICE", "BOB", "206.00"))
    for person in (ANNA, EVA):
        await vote(bank.db, poor.approval_id, person)
    never = {"id": "not-that", "when": {"action": "transfer"}, "amount": {"at_most": {"CZK": "205.00"}}, "otherwise": "deny"}
    async with bank.db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [never, *RULES]}, by="test")
    for person in (ANNA, EVA):
        await vote(bank.db, late.approval_id, person)
    async with bank.db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": RULES}, by="test")
        assert [(await actions.get(tx, one.id)).reason for one in (poor, late)] == ["insufficient_funds", "denied"]


async def _queued(bank: Bank) -> None:
    """One settles, one the books refuse, one waits; two people agree to, of which the books refuse one."""
    made = await propose(bank.db, *(NewTransfer(name, "BOB", "3.00", settle="queued") for name in ("ALICE", "EMPTY", "ALICE")))
    async with bank.db.write() as tx:
        done = await actions.settle(tx, [one.id for one in made[:2]])
    assert [one.status for one in done] == ["posted", "failed"]
    await _gone(bank)
    held = await propose(bank.db, *(NewTransfer(name, "BOB", "207.00", settle="queued") for name in ("ALICE", "EMPTY")))
    for one in held:
        for person in (ANNA, EVA):
            await vote(bank.db, one.approval_id, person)


async def _gone(bank: Bank) -> None:
    """One is settled when who proposed it is disabled."""
    async with bank.db.write() as tx:
        await identity.add_principal(tx, "zoe", kind="person", roles=["operator"], by="test")
        zoe = await identity.acting(tx, "zoe")
        assert zoe is not None
        (made,) = await actions.propose(tx, zoe, [NewTransfer("ALICE", "BOB", "3.00", "CZK", settle="queued")])
        assert isinstance(made, actions.Transfer)
        await identity.disable(tx, "zoe", by="test")
        (done,) = await actions.settle(tx, [made.id])
    assert (done.status, done.reason) == ("failed", "authority_gone")


async def _of_a_task(bank: Bank) -> None:
    """What a task proposes waits for people, and is proposed again."""
    effects = sdk.Completion((sdk.Transfer("ALICE", "BOB", Decimal("150.00"), "CZK"),), None)

    async def run() -> None:
        async with bank.db.write() as tx:
            (claimed,) = await work.claim(tx, agents=["bot"], worker="w", limit=1)
        attempt = work.Fence(claimed.task_id, claimed.fence)
        async with bank.db.write() as tx:
            await agents.carry_out(tx, by=BOT, worker="w", agent="bot", attempt=attempt, completion=effects)

    async with bank.db.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("bot", "t", {})])
    await run()
    approval = await bank.only("select approval_id from actions.action where principal = 'bot'")
    for person in (EVA, JAN):
        await vote(bank.db, approval, person)
    await run()


async def _refused_by_the_books(bank: Bank) -> None:
    """Actions that were let pass, one at once and one by people, and came to nothing."""
    hold = actions.PlaceHolds((actions.HoldPayload("EMPTY", "1.00"),))
    await actions.perform(bank.db, DESK, hold, lambda tx: actions.carry_out(tx, DESK, hold))
    entries = (actions.EntryPayload("EMPTY", "-300.00"), actions.EntryPayload("BOB", "300.00"))
    held = await actions.perform(bank.db, DESK, actions.PostJournals((actions.JournalPayload("fee", entries),)))
    assert isinstance(held, actions.Held)
    await _say(bank, held.approval_id, "approve")


async def _amended(bank: Bank) -> None:
    """A question that was amended, and waits."""
    payload = actions.PostJournals(
        (actions.JournalPayload("fee", (actions.EntryPayload("BANK", "-300.00"), actions.EntryPayload("BOB", "300.00"))),)
    )
    held = await actions.perform(bank.db, DESK, payload)
    assert isinstance(held, actions.Held)
    entries = [{"account": "BANK", "amount": "-301.00"}, {"account": "BOB", "amount": "301.00"}]
    async with bank.db.write() as tx:
        await actions.amend(tx, held.action_id, DESK, {"journals": [{"kind": "fee", "entries": entries}]})


async def test_whatever_became_of_transfers_and_actions_the_record_verifies(lived: Bank) -> None:
    assert await lived.online() == {}
    assert await lived.exported() == {}
    # What ends after the last checkpoint does not yet stand as the record says.
    waiting = await lived.only("select id from actions.transfer where status = 'queued'")
    asked = await lived.only("select min(approval_id) from actions.action where status = 'held' and type = 'transfer'")
    for person in (ANNA, EVA):
        await vote(lived.db, asked, person)
    async with lived.db.write() as tx:
        await actions.settle(tx, [waiting])
    assert await lived.online() == {}
    await lived.seal()
    assert await lived.online() == {}


_TRANSFERS = {
    "now": "status = 'posted' and settle = 'now' and action_id is null and task_id is null",
    "settled": "status = 'posted' and settle = 'queued' and action_id is null",
    "later": "status = 'posted' and settle = 'queued' and action_id is not null",
    "in_vain": "status = 'failed' and settle = 'queued' and action_id is not null",
    "refused": "reason = 'insufficient_funds' and settle = 'now' and action_id is null",
    "gone": "reason = 'authority_gone'",
    "unsettled": "reason = 'insufficient_funds' and settle = 'queued' and action_id is null",
    "denied": "reason = 'denied' and action_id is null",
    "queued": "status = 'queued'",
    "held": "status = 'held'",
    "agreed": "status = 'posted' and action_id in (select id from actions.action where type = 'transfer')",
    "poor": "reason = 'insufficient_funds' and action_id in (select id from actions.action where type = 'transfer')",
    "withdrawn": "reason = 'withdrawn'",
    "batched": "status = 'posted' and action_id in (select id from actions.action where type = 'transfer.batch')",
    "left": "reason = 'batch_refused'",
    "task": "principal = 'bot'",
}
_ACTIONS = {
    "open": "status = 'held' and type = 'transfer'",
    "amended": "status = 'held' and type = 'journal.post'",
    "executed": "status = 'executed' and type = 'transfer' and task_id is null",
    "failed": "status = 'failed' and reason = 'denied'",
    "withdrawn": "status = 'withdrawn'",
    "at_once": "type = 'payee.add'",
    "refused": "status = 'failed' and type = 'hold.place' and reason = 'insufficient_funds'",
    "in_vain": "status = 'failed' and type = 'journal.post' and reason = 'insufficient_funds'",
    "batch": "status = 'executed' and type = 'transfer.batch' and approval_id is null",
    "agreed": "status = 'executed' and type = 'transfer.batch' and approval_id is not null",
    "poor": "status = 'failed' and type = 'transfer' and reason = 'insufficient_funds'",
    "batch_refused": "status = 'failed' and type = 'transfer.batch' and approval_id is null",
    "batch_in_vain": "status = 'failed' and type = 'transfer.batch' and approval_id is not null",
    "task": "principal = 'bot'",
}
_POST = "status = 'posted', reason = null, journal_id = (select min(id) from ledger.journal), settled_at = now()"
_FAIL = "status = 'failed', reason = 'insufficient_funds', journal_id = null, settled_at = now()"
_QUEUE = "status = 'queued', settle = 'queued', task_id = 1, reason = null, journal_id = null, settled_at = null"
_END = "ended_at = now()"
_IN_VAIN = ("refused", "in_vain", "poor", "batch_refused", "batch_in_vain")

OF_TRANSFERS: list[tuple[str, str]] = [
    *((name, f"set {_FAIL}") for name in ("now", "settled", "queued", "held", "agreed", "batched", "task")),
    *((name, f"set {_POST}") for name in ("refused", "unsettled", "denied", "queued", "held", "poor", "withdrawn", "left")),
    *((name, f"set {_QUEUE}") for name in ("now", "settled", "unsettled")),
    *((name, "set principal = 'mallory'") for name in ("now", "queued", "held", "agreed", "batched", "task")),
    *((name, "set decision_id = decision_id + 1") for name in ("now", "settled", "held", "batched", "left")),
    *((name, "set amount = amount + 1") for name in ("now", "settled", "denied", "held", "agreed", "batched", "left")),
    *((name, "set from_account = to_account, to_account = from_account") for name in ("now", "refused", "queued", "left")),
    *((name, "set description = 'rent'") for name in ("now", "held", "batched")),
    *((name, "set journal_id = journal_id + 1") for name in ("now", "settled", "agreed", "batched", "task")),
    *((name, "set reason = 'denied'") for name in ("refused", "poor", "withdrawn", "left")),
    *((name, "set action_id = 1") for name in ("now", "batched")),
    ("task", "set task_id = task_id + 1"),
    *(("gone", f"set {to}") for to in (_POST, _QUEUE, "reason = 'insufficient_funds'", "principal = 'mallory'")),
    ("later", f"set {_FAIL}"),
    ("in_vain", f"set {_POST}"),
    *((name, f"set {_QUEUE}") for name in ("later", "in_vain")),
    *(("later", f"set {to}") for to in ("settle = 'now'", "task_id = 1", "amount = amount + 1", "journal_id = journal_id + 1")),
]
OF_ACTIONS: list[tuple[str, str]] = [
    *((name, f"set status = 'expired', reason = 'expired', {_END}") for name in ("open", "executed", "failed", "batch")),
    *((name, f"set status = 'executed', reason = null, {_END}") for name in ("open", "failed", "withdrawn", *_IN_VAIN)),
    *((name, "set reason = 'denied'") for name in _IN_VAIN),
    *((name, "set executed_by = null") for name in _IN_VAIN),
    *((name, "set status = 'held', reason = null, ended_at = null") for name in ("executed", "withdrawn", "at_once")),
    *((name, "set payload = '{}'") for name in ("open", "amended", "executed", "withdrawn", "at_once", "batch", "agreed")),
    *((name, "set digest = sha256('x')") for name in ("open", "amended", "executed", "at_once", "batch", "task")),
    *((name, "set approval_id = 900") for name in ("open", "executed", "withdrawn", "agreed", "at_once")),
    *((name, "set decision_id = decision_id - 1") for name in ("open", "amended", "executed", "at_once", "batch", "agreed")),
    *((name, "set executed_by = decision_id - 1") for name in ("open", "executed", "failed", "withdrawn", "at_once", "agreed")),
    *((name, "set principal = 'mallory'") for name in ("open", "executed", "at_once", "batch", "task")),
    *((name, "set type = 'payee.remove'") for name in ("open", "executed", "at_once", "batch")),
    *((name, "set on_behalf_of = 'eva'") for name in ("open", "at_once")),
    ("task", "set task_id = null"),
]  # fmt: skip


async def _look(bank: Bank, statement: str, wanted: set[tuple[str, str]]) -> None:
    async with bank.changed() as connection:
        await connection.execute(statement.encode())
        for found in (await bank.online(), await bank.exported()):
            assert wanted & found.keys(), (statement, found)


async def test_what_was_changed_of_a_transfer_is_named(lived: Bank) -> None:
    ids = {name: await lived.only(f"select min(id) from actions.transfer where {where}") for name, where in _TRANSFERS.items()}
    for name, change in OF_TRANSFERS:
        await _look(
            lived, f"update actions.transfer {change} where id = {ids[name]}", {("transfer_differs", f"transfer {ids[name]}")}
        )
    for name, id in ids.items():
        where = _TRANSFERS[name]
        owner = (
            0
            if name not in ("held", "agreed", "poor", "withdrawn", "later", "in_vain")
            else await lived.only(
                f"select action_id from actions.transfer where id = (select min(id) from actions.transfer where {where})"
            )
        )
        place = f"transfer of action {owner}" if owner else f"transfer {id}"
        await _look(lived, f"delete from actions.transfer where id = {id}", {("row_missing", place)})
    assert await lived.online() == {}


async def test_what_was_changed_of_an_action_is_named(lived: Bank) -> None:
    ids = {name: await lived.only(f"select min(id) from actions.action where {where}") for name, where in _ACTIONS.items()}
    for name, change in OF_ACTIONS:
        await _look(
            lived, f"update actions.action {change} where id = {ids[name]}", {("action_differs", f"action {ids[name]}")}
        )
    for id in ids.values():
        await _look(lived, f"delete from actions.action where id = {id}", {("row_missing", f"action {id}")})
    assert await lived.online() == {}


_MADE_UP = {
    "transfer": ("transfer", "now", ("row_unrecorded", "id=90000")),
    "of a batch": ("transfer", "batched", ("action_differs", "action {action}")),
    "of a held action": ("transfer", "held", ("row_missing", "transfer of action {action}")),
    "action": ("action", "at_once", ("row_unrecorded", "id=90000")),
    "held action": ("action", "open", ("row_unrecorded", "id=90000")),
}


@pytest.mark.parametrize("name", _MADE_UP)
async def test_a_transfer_or_an_action_that_was_made_up_is_named_in_the_database(lived: Bank, name: str) -> None:
    table, like, (code, place) = _MADE_UP[name]
    first = f"select min(id) from actions.{table} where {(_TRANSFERS if table == 'transfer' else _ACTIONS)[like]}"
    action = await lived.only(f"select coalesce(min(action_id), 0) from actions.transfer where id = ({first})")
    other = '{"id": 90000, "approval_id": 90000}'
    made_up = f"select (jsonb_populate_record(t, '{other}')).* from actions.{table} t where id = ({first})"
    async with lived.changed() as connection:
        await connection.execute(f"insert into actions.{table} overriding system value {made_up}".encode())
        found = await lived.online()
    assert (code, place.format(action=action)) in found, found


async def test_a_batch_larger_than_its_event_is_looked_at_whole(lived: Bank) -> None:
    assert isinstance(await _send(lived, "many"), actions.Batch)
    await propose(lived.db, *(NewTransfer("ALICE", "BOB", "0.01") for _ in range(250)))
    settled = await propose(lived.db, *(NewTransfer("ALICE", "BOB", "0.01", settle="queued") for _ in range(2000)))
    async with lived.db.write() as tx:
        await actions.settle(tx, [one.id for one in settled])
    last = settled[0].id - 1
    await lived.seal()
    assert await lived.online() == {}
    batch = await lived.only("select max(id) from actions.transfer where action_id is not null")
    for id in (last, batch, settled[-1].id):
        await _look(lived, f"update actions.transfer set {_FAIL} where id = {id}", {("transfer_differs", f"transfer {id}")})


async def test_what_was_erased_of_transfers_and_actions_is_not_held_against_them(lived: Bank) -> None:
    await _open(lived)
    (described,) = await propose(lived.db, NewTransfer("CARLA", "BOB", "8.00", description="rent"))
    await agreed(lived.db, *(await propose(lived.db, NewTransfer("CARLA", "BOB", "192.00", description="a car"))))
    (asked,) = await propose(lived.db, NewTransfer("CARLA", "BOB", "208.00", description="a boat"))
    await vote(lived.db, asked.approval_id, ANNA, "reject")
    async with lived.db.write() as tx:
        await ledger.set_status(tx, "CARLA", "closed")
    await lived.seal()
    await lived.connection.execute("update audit.retention set keep_months = 0")
    await actions.perform(lived.db, DESK, subjects.EraseSubject("1", "r"))
    assert await lived.only("select count(*) from actions.transfer where erased_by is not null") == 3
    assert await lived.only("select count(*) from actions.action where erased_by is not null") == 2
    await lived.seal()
    assert await lived.online() == {}
    assert await lived.exported() == {}
    place = ("transfer_differs", f"transfer {described.id}")
    await _look(lived, f"update actions.transfer set amount = amount + 1 where id = {described.id}", {place})
    claimed = ("erasure_unknown", f"transfer {described.id}")
    await _look(lived, f"update actions.transfer set erased_by = 1 where id = {described.id}", {claimed})


async def _open(bank: Bank) -> None:
    """An account of a customer, with money on it."""

    async def add(tx: Tx) -> None:
        (found,) = await customers.add(tx, [customers.NewCustomer("C-1", "Jana Nova")], by="t")
        (opened,) = await ledger.open_accounts(tx, [ledger.AccountSpec("CARLA", "CZK")])
        await customers.add_dispositions(tx, [customers.Disposition(found.id, opened.id, "owner")], by="t")
        money = [ledger.NamedJournal("gift", [("BANK", "-100.00"), ("CARLA", "100.00")], meta={"n": n}) for n in range(2)]
        assert all(isinstance(one, ledger.Posted) for one in await actions.post_journals(tx, DESK, money))

    await bank.db.retrying(add)


async def test_a_range_of_the_record_is_not_blamed_for_what_began_before_it(lived: Bank, tmp_path: Path) -> None:
    rows = await (
        await lived.connection.execute("select e.at from audit.event e join audit.leaf l on l.event_id = e.id order by l.idx")
    ).fetchall()
    path = tmp_path / "part.zip"
    for (at,) in rows[1::3]:
        for since, until in ((at, None), (None, at)):
            await audit.export(ReadTx(lived.connection), path, lived.keys.public(), SOURCES, since=since, until=until)
            assert verified(path, lived.keys) == {}, (since, until)


def test_a_transfer_that_its_event_does_not_name_is_nobodys() -> None:
    detail = {"transfers": [["5", "posted"], "6", 7]}
    told = {"verb": "transfers.settle", "subject": {"kind": "transfer", "id": "5"}}
    assert tlog.things_of(told, detail) == [("transfer", "5"), ("transfer", "6"), ("transfer", "7")]
    assert tlog.things_of({**told, "verb": "transfers.batch", "subject": {"kind": "action", "id": "9"}}, {}) == [
        ("action", "9")
    ]
    assert tlog.things_of({**told, "verb": "work.finish"}, detail) == []
