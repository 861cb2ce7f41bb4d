"""Nostro accounts and external payments: where the money is at every step, and that each step happens once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import hypothesis
import psycopg
import pytest
from hypothesis import strategies as st

from tallystick import audit, ledger, payments
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, Unavailable
from tests.conftest import TestDatabase
from tests.serving import ALICE, BOB, fund

NOSTRO = "NOSTRO-1"
CLEARING, SUSPENSE = f"{NOSTRO}:clearing", f"{NOSTRO}:suspense"
OTHER = payments.Counterparty("Jana Nova", "DE89370400440532013000", "COBADEFF")
OUT = payments.Outgoing(NOSTRO, ALICE, "100.00", OTHER)
IN = payments.Incoming(NOSTRO, ALICE, "100.00", OTHER, end_to_end_id="E2E-1")
NOWHERE = {ALICE: 100_000, NOSTRO: 0, CLEARING: 0, SUSPENSE: 0}


async def _nostro(db: Database, name: str = NOSTRO, **changes: str) -> payments.Nostro:
    wanted = {"bank": "GIBACZPX", "their_account": f"CZ65 0800 {name}", "currency": "CZK"} | changes
    async with db.write() as tx:
        return await payments.register(tx, "me", name=name, **wanted)


async def _ready(db: Database) -> None:
    await fund(db)
    await _nostro(db)


async def _send(db: Database, *wanted: payments.Outgoing) -> list[payments.History]:
    async with db.write() as tx:
        return [_good(answer) for answer in await payments.send(tx, "me", wanted or [OUT])]


async def _receive(db: Database, *wanted: payments.Incoming) -> list[payments.History]:
    async with db.write() as tx:
        return [_good(answer) for answer in await payments.receive(tx, "me", wanted or [IN])]


async def _move(db: Database, payment_id: int, status: str, **more: Any) -> payments.History:
    if status in ("rejected", "returned"):
        more.setdefault("reason", "AC04")
    async with db.write() as tx:
        (answer,) = await payments.move(tx, "me", [payments.Move(payment_id, status, **more)])
        if isinstance(answer, TallystickError):
            raise answer
    return answer


def _good(answer: payments.History | TallystickError) -> payments.History:
    assert isinstance(answer, payments.History), answer
    return answer


async def _balances(db: Database) -> dict[str, int]:
    async with db.read() as tx:
        assert [row.difference for row in await ledger.trial_balance(tx)] == [0] * len(await ledger.trial_balance(tx))
        found = await ledger.resolve(tx, NOWHERE)
    return {name: found[name].posted for name in NOWHERE}


async def _set_status(db: Database, name: str, status: Any) -> None:
    async with db.write() as tx:
        await ledger.set_status(tx, name, status)


async def test_a_nostro_is_registered_with_its_clearing_and_its_suspense(db: Database) -> None:
    made = await _nostro(db)
    async with db.read() as tx:
        assert await payments.nostro(tx, NOSTRO) == made
        assert await payments.nostros(tx) == [made]
        assert await payments.nostros(tx, after=made.id) == []
        accounts = await ledger.resolve(tx, [made.name, made.clearing, made.suspense])
    assert (made.clearing, made.suspense, made.their_account, made.asset) == (CLEARING, SUSPENSE, "CZ650800NOSTRO-1", "CZK")
    assert {account.kind for account in accounts.values()} == {"internal"}
    assert {account.floor for account in accounts.values()} == {None}


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        (NOSTRO, {"their_account": "OTHER"}, "nostro_exists"),
        ("NOSTRO-2", {"their_account": f"CZ650800{NOSTRO}"}, "nostro_exists"),
        (ALICE, {}, "account_exists"),
        (NOSTRO, {"currency": "EUR"}, "account_exists"),
        ("NEW", {"currency": "XXX"}, "unknown_currency"),
        ("a b", {}, "name_malformed"),
        ("x" * 81, {}, "text_too_long"),
        ("NEW", {"bank": "x" * 101}, "text_too_long"),
        ("NEW", {"bank": "  "}, "text_malformed"),
        ("NEW", {"their_account": "\x00"}, "text_malformed"),
    ],
)
async def test_a_nostro_that_makes_no_sense_is_refused(db: Database, name: str, changes: dict[str, str], code: str) -> None:
    await _ready(db)
    with pytest.raises(TallystickError) as caught:
        await _nostro(db, name, **changes)
    assert caught.value.code == code
    async with db.read() as tx:
        assert [row.name for row in await payments.nostros(tx)] == [NOSTRO]


async def test_an_internal_account_that_is_there_already_becomes_a_nostro(db: Database) -> None:
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec(NOSTRO, "CZK", "internal", None)])
    assert (await _nostro(db)).name == NOSTRO


async def test_an_outgoing_payment_leaves_the_customer_at_once_and_the_nostro_when_it_is_settled(db: Database) -> None:
    await _ready(db)
    (made,) = await _send(db)
    assert (made.payment.status, made.payment.account, made.payment.end_to_end_id) == ("created", ALICE, "TALLYSTICK1")
    assert await _balances(db) == NOWHERE | {ALICE: 90_000, CLEARING: 10_000}
    await _move(db, 1, "sent")
    assert await _balances(db) == NOWHERE | {ALICE: 90_000, CLEARING: 10_000}
    settled = await _move(db, 1, "settled", booked_on=date(2026, 3, 1))
    assert await _balances(db) == NOWHERE | {ALICE: 90_000, NOSTRO: 10_000}
    assert [step.status for step in settled.steps] == ["created", "sent", "settled"]
    assert [step.journal_id is not None for step in settled.steps] == [True, False, True]
    async with db.read() as tx:
        (entry,) = await ledger.entries(tx, (await payments.nostro(tx, NOSTRO)).id)
    assert (entry.effective_at, entry.journal_id) == (datetime(2026, 3, 1, tzinfo=UTC), settled.steps[2].journal_id)
    assert (entry.kind, entry.meta) == ("external_payment_settled", None)


@pytest.mark.parametrize("path", [["cancelled"], ["sent", "rejected"], ["sent", "returned"], ["sent", "settled", "returned"]])
async def test_what_is_given_back_is_the_customers_again(db: Database, path: list[str]) -> None:
    await _ready(db)
    (made,) = await _send(db)
    for status in path:
        history = await _move(db, made.payment.id, status)
    assert history.payment.status == path[-1]
    assert history.steps[-1].account == ALICE
    assert await _balances(db) == NOWHERE


@pytest.mark.parametrize("status", ["frozen", "closed"])
@pytest.mark.parametrize("path", [["cancelled"], ["sent", "rejected"], ["sent", "settled", "returned"]])
async def test_what_a_customer_cannot_take_back_goes_to_suspense(db: Database, status: str, path: list[str]) -> None:
    await _ready(db)
    (made,) = await _send(db, replace(OUT, amount="1000.00"))
    await _set_status(db, ALICE, status)
    for step in path:
        history = await _move(db, made.payment.id, step)
    assert history.steps[-1].account == SUSPENSE
    assert await _balances(db) == NOWHERE | {ALICE: 0, SUSPENSE: 100_000}


async def test_a_payment_that_the_business_refuses_is_failed_and_remembered_under_its_key(db: Database) -> None:
    await _ready(db)
    wanted = replace(OUT, amount="1000.01", key="k")
    (failed,) = await _send(db, wanted)
    assert (failed.payment.status, failed.payment.reason) == ("failed", "insufficient_funds")
    assert failed.steps[0].journal_id is None
    async with db.write() as tx:
        bank = (await ledger.account(tx, "BANK")).id
        alice = (await ledger.account(tx, ALICE)).id
        await ledger.post(tx, [ledger.Journal("t", ledger.transfer(debit=bank, credit=alice, amount=1), "me")])
    assert await _send(db, wanted) == [failed]
    assert await _balances(db) == NOWHERE | {ALICE: 100_001}
    await _set_status(db, BOB, "frozen")
    (frozen,) = await _send(db, replace(OUT, account=BOB))
    assert (frozen.payment.status, frozen.payment.reason) == ("failed", "account_frozen")
    with pytest.raises(Conflict, match="impossible_transition"):
        await _move(db, failed.payment.id, "sent")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nostro": "NOBODY"}, "unknown_nostro"),
        ({"account": "NOBODY"}, "unknown_account"),
        ({"account": "EURO"}, "currency_mismatch"),
        ({"currency": "EUR"}, "currency_mismatch"),
        ({"account": NOSTRO}, "same_account"),
        ({"account": CLEARING}, "same_account"),
        ({"account": SUSPENSE}, "same_account"),
        ({"amount": "0"}, "amount_not_positive"),
        ({"amount": "1.001"}, "amount_too_fine"),
        ({"counterparty": payments.Counterparty("Jana")}, "counterparty_missing"),
        ({"counterparty": payments.Counterparty(None, "DE1")}, "counterparty_missing"),
        ({"counterparty": payments.Counterparty(" ", "DE1")}, "counterparty_missing"),
        ({"end_to_end_id": "x" * 36}, "text_too_long"),
        ({"remittance": "x" * 501}, "text_too_long"),
        ({"remittance": "\x00"}, "text_malformed"),
    ],
)
async def test_a_payment_that_makes_no_sense_is_refused_and_leaves_its_neighbours_alone(
    db: Database, changes: dict[str, Any], code: str
) -> None:
    await _ready(db)
    async with db.write() as tx:
        bad, good = await payments.send(tx, "me", [replace(OUT, **changes), OUT])
    assert isinstance(bad, TallystickError)
    assert bad.code == code
    assert _good(good).payment.status == "created"
    async with db.read() as tx:
        assert len(await payments.page(tx)) == 1


async def test_the_same_key_makes_one_payment_and_answers_as_the_first_time(db: Database) -> None:
    await _ready(db)
    wanted = replace(OUT, key="k", end_to_end_id=" E2E ", remittance="rent")
    (first,) = await _send(db, wanted)
    await _move(db, first.payment.id, "sent")
    assert await _send(db, wanted) == [first]
    async with db.write() as tx:
        (other,) = await payments.send(tx, "me", [replace(wanted, remittance="food")])
        assert isinstance(other, Invalid)
        (incoming,) = await payments.receive(tx, "me", [replace(IN, key="k")])
        assert isinstance(incoming, Invalid)
        assert {other.code, incoming.code} == {"key_reused"}
        (of_another,) = await payments.send(tx, "you", [wanted])
        assert _good(of_another).payment.id != first.payment.id
    twice = await asyncio.gather(*(_send(db, replace(OUT, key="q")) for _ in range(6)))
    assert len({answer[0].payment.id for answer in twice}) == 1
    assert (await _balances(db))[ALICE] == 70_000


async def test_what_the_other_bank_booked_on_a_closed_day_is_effective_now_and_keeps_its_day(db: Database) -> None:
    await _ready(db)
    day, open_day = date(2026, 3, 1), date(2026, 3, 3)
    await _send(db)
    sent = await _move(db, 1, "sent")
    async with db.write() as tx:
        await ledger.close_period(tx, datetime(2026, 3, 2, tzinfo=UTC), actor="me")
    (late, on_time) = await _receive(db, replace(IN, booked_on=day), replace(IN, booked_on=open_day))
    settled = await _move(db, 1, "settled", booked_on=day)
    returned = await _move(db, 1, "returned", booked_on=open_day)
    assert [late.steps[0].booked_on, on_time.steps[0].booked_on] == [day, open_day]
    assert [step.booked_on for step in returned.steps] == [None, None, day, open_day]
    assert await _balances(db) == NOWHERE | {ALICE: 120_000, NOSTRO: -20_000}
    async with db.read() as tx:
        times = {e.journal_id: e.effective_at for e in await ledger.entries(tx, (await payments.nostro(tx, NOSTRO)).id)}
    now = [times[history.steps[place].journal_id or 0] for history, place in ((late, 0), (settled, 2))]
    assert min(now) > sent.steps[1].at
    days = [times[history.steps[place].journal_id or 0] for history, place in ((on_time, 0), (returned, 3))]
    assert days == [datetime(2026, 3, 3, tzinfo=UTC)] * 2


async def test_what_comes_in_is_the_customers(db: Database) -> None:
    await _ready(db)
    (made,) = await _receive(db, replace(IN, booked_on=date(2026, 3, 1), key="k"))
    assert (made.payment.status, made.payment.account, made.payment.beneficiary) == ("received", ALICE, ALICE)
    assert await _balances(db) == NOWHERE | {ALICE: 110_000, NOSTRO: -10_000}
    assert await _receive(db, replace(IN, booked_on=date(2026, 3, 1), key="k")) == [made]


@pytest.mark.parametrize(
    ("beneficiary", "reason"),
    [
        ("nobody at all", "unknown_account"),
        ("EURO", "currency_mismatch"),
        ("BANK", "not_a_customer_account"),
        (SUSPENSE, "not_a_customer_account"),
        (BOB, "account_frozen"),
        ("SHUT", "account_closed"),
    ],
)
async def test_what_nobody_can_take_waits_in_suspense_until_it_is_assigned_or_returned(
    db: Database, beneficiary: str, reason: str
) -> None:
    await _ready(db)
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec("SHUT", "CZK")])
    await _set_status(db, BOB, "frozen")
    await _set_status(db, "SHUT", "closed")
    first, second = await _receive(db, *[replace(IN, beneficiary=beneficiary)] * 2)
    assert (first.payment.status, first.payment.reason, first.payment.account) == ("unmatched", reason, None)
    assert await _balances(db) == NOWHERE | {SUSPENSE: 20_000, NOSTRO: -20_000}
    assigned = await _move(db, first.payment.id, "assigned", account=ALICE)
    assert (assigned.payment.account, assigned.payment.reason) == (ALICE, None)
    assert assigned.as_first_answered() == first
    await _move(db, second.payment.id, "returned")
    assert await _balances(db) == NOWHERE | {ALICE: 110_000, NOSTRO: -10_000}


@pytest.mark.parametrize(
    ("account", "code"),
    [("NOBODY", "unknown_account"), ("EURO", "currency_mismatch"), (SUSPENSE, "same_account"), (BOB, "posting_refused")],
)
async def test_money_is_assigned_only_to_an_account_that_can_take_it(db: Database, account: str, code: str) -> None:
    await _ready(db)
    (made,) = await _receive(db, replace(IN, beneficiary="nobody"))
    await _set_status(db, BOB, "frozen")
    with pytest.raises(TallystickError) as caught:
        await _move(db, made.payment.id, "assigned", account=account)
    assert caught.value.code == code
    async with db.read() as tx:
        assert await payments.get(tx, made.payment.id) == made


async def test_what_was_assigned_to_one_account_is_not_assigned_to_another(db: Database) -> None:
    await _ready(db)
    (made,) = await _receive(db, replace(IN, beneficiary="nobody"))
    assigned = await _move(db, made.payment.id, "assigned", account=ALICE)
    assert await _move(db, made.payment.id, "assigned", account=ALICE) == assigned
    with pytest.raises(Conflict, match="impossible_transition"):
        await _move(db, made.payment.id, "assigned", account=BOB)


OUT_PATHS = {
    "created": [], "sent": ["sent"], "settled": ["sent", "settled"], "rejected": ["sent", "rejected"],
    "returned": ["sent", "returned"], "cancelled": ["cancelled"],
}  # fmt: skip
IN_PATHS = {"unmatched": [], "assigned": ["assigned"], "returned": ["returned"]}
ALLOWED = {
    ("out", "created", "sent"), ("out", "created", "cancelled"), ("out", "sent", "settled"), ("out", "sent", "rejected"),
    ("out", "sent", "returned"), ("out", "settled", "returned"), ("in", "unmatched", "assigned"),
    ("in", "unmatched", "returned"),
}  # fmt: skip


@pytest.mark.parametrize("new", sorted(payments.STATUSES))
@pytest.mark.parametrize(
    ("direction", "old"), [*(("out", old) for old in OUT_PATHS), *(("in", old) for old in (*IN_PATHS, "received"))]
)
async def test_a_payment_moves_forward_only_and_each_step_happens_once(
    db: Database, direction: str, old: str, new: str
) -> None:
    await _ready(db)
    account = {"account": ALICE} if new == "assigned" else {}
    if direction == "out":
        (made,) = await _send(db)
    else:
        (made,) = await _receive(db, IN if old == "received" else replace(IN, beneficiary="nobody"))
    for status in (OUT_PATHS if direction == "out" else IN_PATHS | {"received": []})[old]:
        await _move(db, made.payment.id, status, **({"account": ALICE} if status == "assigned" else {}))
    before = await _balances(db)
    if (direction, old, new) in ALLOWED:
        moved = await _move(db, made.payment.id, new, **account)
        after = await _balances(db)
        assert await _move(db, made.payment.id, new, **account) == moved
        assert await _balances(db) == after
        assert moved.payment.status == new
    elif old == new:
        assert (await _move(db, made.payment.id, new, **account)).payment.status == old
        assert await _balances(db) == before
    else:
        with pytest.raises(Conflict, match="impossible_transition"):
            await _move(db, made.payment.id, new, **account)
        assert await _balances(db) == before


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (payments.Move(999, "sent"), "unknown_payment"),
        (payments.Move(1, "nonsense"), "unknown_status"),
        (payments.Move(1, "rejected"), "reason_missing"),
        (payments.Move(1, "returned", reason=" "), "reason_missing"),
        (payments.Move(1, "returned", reason="x" * 201), "text_too_long"),
        (payments.Move(1, "assigned"), "account_missing"),
        (payments.Move(1, "sent", account=ALICE), "account_missing"),
        (payments.Move(1, "assigned", account="NOBODY"), "unknown_account"),
    ],
)
async def test_a_move_that_makes_no_sense_is_refused(db: Database, wanted: payments.Move, code: str) -> None:
    await _ready(db)
    await _send(db)
    async with db.write() as tx:
        (answer,) = await payments.move(tx, "me", [wanted])
    assert isinstance(answer, TallystickError)
    assert answer.code == code


async def test_a_key_of_a_move_stands_for_that_move_and_answers_as_the_first_time(db: Database) -> None:
    await _ready(db)
    await _send(db)
    sent = await _move(db, 1, "sent", key="k")
    await _move(db, 1, "settled", key="k2")
    assert await _move(db, 1, "sent", key="k") == sent
    for change in ({"status": "settled"}, {"status": "sent", "booked_on": date(2026, 1, 1)}):
        with pytest.raises(Invalid, match="key_reused"):
            await _move(db, 1, key="k", **change)


async def test_a_move_that_was_refused_in_a_batch_may_be_tried_again_under_its_key(db: Database) -> None:
    await _ready(db)
    await _send(db, OUT, OUT)
    early = payments.Move(1, "settled", key="k1")
    async with db.write() as tx:
        bad, good, again, unknown = await payments.move(
            tx, "me", [early, payments.Move(2, "sent"), payments.Move(2, "sent"), payments.Move(9, "sent", key="k9")]
        )
    assert [answer.code for answer in (bad, again, unknown) if isinstance(answer, TallystickError)] == [
        "impossible_transition", "payment_repeated", "unknown_payment",
    ]  # fmt: skip
    assert _good(good).payment.status == "sent"
    await _move(db, 1, "sent")
    assert (await _move(db, 1, "settled", key="k1")).payment.status == "settled"
    with pytest.raises(NotFound, match="unknown_payment"):
        await _move(db, 9, "sent", key="k9")


@pytest.mark.parametrize("statuses", [("settled", "rejected"), ("settled", "settled"), ("rejected", "returned")])
async def test_of_two_endings_at_once_exactly_one_wins(db: Database, statuses: tuple[str, str]) -> None:
    await _ready(db)
    await _send(db)
    await _move(db, 1, "sent")

    async def end(status: str) -> str:
        try:
            return (await _move(db, 1, status)).payment.status
        except Conflict as refusal:
            return refusal.code

    # `returned` after `settled` would be a step forward, so it is tried beside `rejected` alone.
    answers = Counter(await asyncio.gather(*(end(status) for status in statuses * 4)))
    async with db.read() as tx:
        history = await payments.get(tx, 1)
    won = history.payment.status
    assert answers == ({won: 8} if len(set(statuses)) == 1 else {won: 4, "impossible_transition": 4})
    assert len(history.steps) == 3
    expected = {NOSTRO: 10_000, ALICE: 90_000} if won == "settled" else {}
    assert await _balances(db) == NOWHERE | expected


async def test_batches_in_reversed_order_at_once_do_not_deadlock(db: Database) -> None:
    await _ready(db)
    made = [answer.payment.id for answer in await _send(db, *[replace(OUT, amount="1")] * 20)]

    async def send_all(ids: list[int]) -> list[payments.History]:
        async with db.write() as tx:
            return [_good(answer) for answer in await payments.move(tx, "me", [payments.Move(id, "sent") for id in ids])]

    for answers in await asyncio.gather(*(send_all(ids) for ids in (made, made[::-1]) * 4)):
        assert {answer.payment.status for answer in answers} == {"sent"}
    async with db.read() as tx:
        assert {len((await payments.get(tx, id)).steps) for id in made} == {2}


@pytest.mark.parametrize("incoming", [True, False])
async def test_an_account_frozen_at_the_same_moment_makes_the_call_try_again(db: Database, incoming: bool) -> None:
    await _ready(db)
    await _send(db)
    async with db.write() as freezing:
        await ledger.set_status(freezing, ALICE, "frozen")
        late = asyncio.create_task(_receive(db, replace(IN, key="k")) if incoming else _balances_after_cancel(db))
        async with db.read() as watching:
            await _until_waiting(db, watching)
    with pytest.raises(Unavailable, match="contention"):
        await late
    if incoming:
        (made,) = await _receive(db, replace(IN, key="k"))
        assert (made.payment.status, made.payment.reason) == ("unmatched", "account_frozen")
    else:
        assert (await _move(db, 1, "cancelled")).steps[-1].account == SUSPENSE


async def _balances_after_cancel(db: Database) -> Any:
    return await _move(db, 1, "cancelled")


async def _until_waiting(db: Database, watching: Any) -> None:
    query = """select count(*) from pg_stat_activity
                where wait_event_type = 'Lock' and datname = current_database() and state = 'active'"""
    async with asyncio.timeout(20):
        async with await psycopg.AsyncConnection.connect(db.url, autocommit=True) as connection:
            while True:
                row = await (await connection.execute(query)).fetchone()
                if row and row[0]:
                    return
                await asyncio.sleep(0.01)


async def test_the_record_names_no_person(db: Database) -> None:
    await _ready(db)
    await _send(db, replace(OUT, remittance="for Jana"))
    await _receive(db, replace(IN, beneficiary="Jana Nova"))
    await _move(db, 2, "returned", reason="Jana is unknown")
    async with db.read() as tx:
        events = [
            await audit.latest(tx, subject_kind="external_payment", subject_id=1, verb="payments.send"),
            await audit.latest(tx, subject_kind="external_payment", subject_id=2, verb="payments.receive"),
            await audit.latest(tx, subject_kind="external_payment", subject_id=2, verb="payments.move"),
        ]
        nostro = await payments.nostro(tx, NOSTRO)
        entries = [
            entry for id in (nostro.id, nostro.clearing_id, nostro.suspense_id) for entry in await ledger.entries(tx, id)
        ]
    assert [event.detail if event else None for event in events] == [
        {"payments": [[1, "created"]]}, {"payments": [[2, "unmatched"]]}, {"payments": [[2, "returned"]]},
    ]  # fmt: skip
    assert {str(entry.meta) for entry in entries} == {"None"}


async def test_pages_are_filtered_and_come_newest_first(db: Database) -> None:
    await _ready(db)
    await _nostro(db, "NOSTRO-2")
    await _send(db, OUT, replace(OUT, account=BOB), replace(OUT, nostro="NOSTRO-2", end_to_end_id="X"))
    await _receive(db)
    await _move(db, 1, "sent")

    async def ids(**filters: Any) -> list[int]:
        async with db.read() as tx:
            return [history.payment.id for history in await payments.page(tx, **filters)]

    assert await ids() == [4, 3, 2, 1]
    assert await ids(before=3, limit=1) == [2]
    assert await ids(nostro="NOSTRO-2") == [3]
    assert await ids(account=ALICE) == [4, 3, 1]
    assert await ids(direction="in") == [4]
    assert await ids(status="sent") == [1]
    assert await ids(end_to_end_id="X") == [3]
    for filters, code in (({"status": "x"}, "unknown_status"), ({"nostro": "x"}, "unknown_nostro")):
        with pytest.raises(TallystickError, match=code):
            await ids(**filters)


async def test_a_batch_is_bounded(db: Database) -> None:
    async with db.write() as tx:
        with pytest.raises(Invalid, match="batch_too_large"):
            await payments.send(tx, "me", [OUT] * 4097)
        assert await payments.send(tx, "me", []) == []


@pytest.mark.parametrize("table", ["nostro", "payment_step", "statement", "statement_line", "match", "explanation"])
def test_facts_of_payments_cannot_be_changed_or_removed(database: TestDatabase, table: str) -> None:
    for statement in (f"delete from payments.{table}", f"truncate payments.{table} cascade"):
        with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
        with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.Error) as caught:
            connection.execute(statement.encode())
        assert caught.value.sqlstate == "TS002"
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(b"update payments.payment set amount = 1")


_RUNS = itertools.count()
_STEP = st.tuples(
    st.sampled_from(["send", "receive", "lose", *sorted(payments.STATUSES)]), st.integers(1, 8), st.integers(1, 60_000)
)


@hypothesis.given(steps=st.lists(_STEP, max_size=40))
@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
async def test_the_money_is_where_the_statuses_say(db: Database, steps: list[tuple[str, int, int]]) -> None:
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec("BANK", "CZK", "internal", None)])
    run = f"R{next(_RUNS)}"
    alice, name = f"{run}-A", f"{run}-N"
    await fund(db, alice)
    await _nostro(db, name)
    wanted = {"customer": 100_000, "nostro": 0, "clearing": 0, "suspense": 0}
    known: dict[int, tuple[str, str, int]] = {}
    ids: list[int] = []
    for verb, which, amount in steps:
        money = f"{amount // 100}.{amount % 100:02}"
        if verb in ("send", "receive", "lose"):
            if verb == "send":
                (made,) = await _send(db, payments.Outgoing(name, alice, money, OTHER))
                fits = wanted["customer"] >= amount
                assert made.payment.status == ("created" if fits else "failed")
                moves = [("customer", "clearing")] if fits else []
            else:
                (made,) = await _receive(db, payments.Incoming(name, alice if verb == "receive" else "nobody", money))
                moves = [("nostro", "customer" if verb == "receive" else "suspense")]
            ids.append(made.payment.id)
            known[made.payment.id] = (made.payment.direction, made.payment.status, amount)
        elif not ids:
            continue
        else:
            payment_id = ids[which % len(ids)]
            direction, old, moved = known[payment_id]
            account = {"account": alice} if verb == "assigned" else {}
            try:
                await _move(db, payment_id, verb, **account)
            except Conflict:
                assert (direction, old, verb) not in ALLOWED
                continue
            if old == verb:
                continue
            assert (direction, old, verb) in ALLOWED
            known[payment_id] = (direction, verb, moved)
            moves = {
                ("out", "sent"): [], ("out", "settled"): [("clearing", "nostro")],
                ("in", "assigned"): [("suspense", "customer")], ("in", "returned"): [("suspense", "nostro")],
            }.get((direction, verb), [("nostro" if old == "settled" else "clearing", "customer")])  # fmt: skip
        moved = known[made.payment.id if verb in ("send", "receive", "lose") else payment_id][2]
        for debit, credit in moves:
            wanted[debit] -= moved
            wanted[credit] += moved
    async with db.read() as tx:
        names = {"customer": alice, "nostro": name, "clearing": f"{name}:clearing", "suspense": f"{name}:suspense"}
        found = await ledger.resolve(tx, names.values())
        assert {place: found[account].posted for place, account in names.items()} == wanted
        assert {row.difference for row in await ledger.trial_balance(tx)} == {0}
