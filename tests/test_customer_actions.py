"""What is done for customers: what is known of them, how they prove who they are, their payees and their standing orders."""

from __future__ import annotations

import asyncio
import base64
import calendar
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import actions, approvals, audit, customers, ledger, payments, policy, schedules, work
from tallystick.db import Database
from tallystick.identity import Principal, house
from tallystick.kit import Invalid, NotFound, TallystickError
from tallystick.worker import Worker
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import body_of, code_of, fund, serving

JSON = dict[str, Any]
CLERK, EVA = house("clerk"), Principal("eva", "person", frozenset({"approver"}))
NOVA = actions.Party("Eva Nova", "CZ001", "BANKCZ")
MONTHLY = actions.CreateOrder("RENT", "ALICE", "NOSTRO", NOVA, "10.00", date(2126, 1, 31), purpose="rent")


async def _bank(db: Database, *rules: JSON) -> Database:
    """Two customers' accounts with 1,000.00 CZK, a nostro account, one customer who owns ALICE, and a policy."""
    await fund(db)
    async with db.write() as tx:
        await payments.register(tx, "me", name="NOSTRO", bank="B", their_account="1", currency="CZK")
        (found,) = await customers.add(tx, [customers.NewCustomer("C-1", "Alice Nova", region="Praha")], by="me")
        alice = (await ledger.account(tx, "ALICE")).id
        await customers.add_dispositions(tx, [customers.Disposition(found.id, alice, "owner")], by="me")
    await _rules(db, *rules)
    return strict(db)


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, policy.parse({"name": "p", "rules": [*rules, {"id": "all", "allow": True}]}), by="test")


def _when(outcome: str, **when: Any) -> JSON:
    people = {"approve": [{"role": "approver", "people": 1}]} if outcome == "hold" else {}
    return {"id": "rule", "when": when, outcome: True, **people}


async def _do(db: Database, payload: Any) -> Any:
    return await actions.perform(db, CLERK, payload)


async def _refused(db: Database, payload: Any) -> str:
    with pytest.raises(TallystickError) as caught:
        await _do(db, payload)
    return caught.value.code


async def _decided(db: Database) -> JSON:
    """The facts of the newest decision."""
    async with db.read() as tx:
        (newest,) = await policy.decisions(tx, limit=1)
        return policy.facts_of(newest)


async def _agree(db: Database, approval_id: int) -> Any:
    async def work_(tx: Any) -> Any:
        seen = (await actions.approval_action(tx, approval_id)).digest
        return await actions.vote(tx, approval_id, EVA, "approve", seen=seen)

    return await db.retrying(work_)


async def _plan(db: Database, name: str = "RENT") -> customers.Plan:
    async with db.read() as tx:
        return await customers.plan(tx, name)


async def _runs(db: Database, name: str = "RENT") -> list[tuple[date, str]]:
    async with db.read() as tx:
        order = await customers.plan(tx, name)
        return [(run.due_on, run.outcome) for run in reversed(await customers.runs(tx, order.id))]


async def _available(db: Database, name: str = "ALICE") -> int:
    async with db.read() as tx:
        return (await ledger.account(tx, name)).available


# What is known of a customer.


async def test_what_is_said_of_a_customer_changes_and_what_is_left_out_stays(db: Database, database: TestDatabase) -> None:
    plain = await _bank(db)
    await _do(plain, actions.ChangeCustomer("C-1", street="Dlouhá 1", city="Brno"))
    await _do(plain, actions.ChangeCustomer("C-1", full_name="Alice Stará", region="Brno"))
    assert await _decided(db) | {"customer": "1", "fields": ["full_name", "region"]} == await _decided(db)
    with psycopg.connect(database.owner_url) as connection:
        known = connection.execute("select full_name, street, city, region from customers.customer").fetchall()
        leaves = connection.execute("select string_agg(leaf, '') from audit.event").fetchone()
    assert known == [("Alice Stará", "Dlouhá 1", "Brno", "Brno")]
    # The record says which fields, and never what.
    assert leaves is not None
    assert [word in leaves[0] for word in ("Alice", "Dlouh", "Brno")] == [False] * 3


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (actions.ChangeCustomer("C-1"), "nothing_to_change"),
        (actions.ChangeCustomer("C-2", city="Brno"), "unknown_customer"),
        (actions.ChangeCustomer("C-1", city="B" * 101), "text_too_long"),
        (actions.ChangeCredential("C-1", "zz", "00" * 32), "secret_malformed"),
        (actions.ChangeCredential("C-2", "00" * 16, "00" * 32), "unknown_customer"),
        (actions.AddPayee("NOBODY", "CZ1"), "unknown_account"),
        (actions.AddPayee("ALICE", ""), "counterparty_missing"),
        (actions.AddPayee("ALICE", "CZ1", "n" * 201), "text_too_long"),
        (actions.MovePayment("one", "sent"), "unknown_payment"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(db: Database, payload: Any, code: str) -> None:
    assert await _refused(await _bank(db), payload) == code


async def test_a_customer_is_proved_by_the_newest_secret_alone(db: Database, database: TestDatabase) -> None:
    plain = await _bank(db)
    async with db.read() as tx:
        assert not await customers.proves(tx, "C-1", "correct horse")
    await _do(plain, actions.ChangeCredential.of("C-1", "correct horse", under="k1"))
    async with db.read() as tx:
        proved = [await customers.proves(tx, "C-1", secret) for secret in ("correct horse", "correct hors", "", "x" * 10_000)]
        assert proved == [True, False, False, False]
        assert not await customers.proves(tx, "C-2", "correct horse")
    await _do(plain, actions.ChangeCredential.of("C-1", "battery staple", under="k2"))
    async with db.read() as tx:
        assert [await customers.proves(tx, "C-1", secret) for secret in ("correct horse", "battery staple")] == [False, True]
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("select k::text from customers.credential k").fetchall()
    assert len(rows) == 1


def test_a_secret_has_a_hash_of_its_own_under_each_key_and_the_same_under_the_same() -> None:
    made = [actions.ChangeCredential.of(*about, under=key) for about, key in
            ((("C-1", "correct horse"), "a"), (("C-1", "correct horse"), "a"), (("C-1", "correct horse"), "b"),
             (("C-2", "correct horse"), "a"), (("C-1", "battery staple"), "a"))]  # fmt: skip
    assert made[0] == made[1]
    assert len({one.hash for one in made}) == 4
    for secret in ("short", "x" * 201):
        with pytest.raises(Invalid, match="secret_malformed"):
            actions.ChangeCredential.of("C-1", secret, under="a")


# Payees.


async def test_a_payee_that_was_added_is_known_from_then_on(db: Database) -> None:
    plain = await _bank(db)
    pay = actions.SendPayment("NOSTRO", "ALICE", "1.00", NOVA)
    await _do(plain, actions.AddPayee("ALICE", "CZ001", "Nova, E.", "BANKCZ"))
    assert (await _decided(db))["payee_known_s"] is None
    await _do(plain, pay)
    facts = await _decided(db)
    assert (facts["payee_known_s"] >= 0, facts["payee_label"], facts["counterparty_name"]) == (True, "Nova, E.", "Eva Nova")
    # BOB does not know them.
    await _do(plain, replace(pay, account="BOB"))
    assert (await _decided(db))["payee_known_s"] is None
    await _do(plain, actions.AddPayee("ALICE", "BOB"))
    assert (await _decided(db))["counterparty_kind"] == "customer"


# What standing orders say.


async def test_a_standing_order_says_what_it_was_told_last_and_what_was_left_out_stays(db: Database) -> None:
    plain = await _bank(db)
    made = await _do(plain, MONTHLY)
    assert (made.n, made.amount, made.to_account, made.every, made.status, made.last_on) == (
        1, 1000, "CZ001", "month", "active", None,
    )  # fmt: skip
    await _do(plain, actions.ChangeOrder("RENT", amount="12.50"))
    facts = await _decided(db)
    assert (facts["amount"], facts["amount_before"], facts["amount_rise_percent"], facts["payee_changes"]) == (
        1250, 1000, 25, False,
    )  # fmt: skip
    changed = await _plan(db)
    assert changed == replace(made, n=2, amount=1250)
    await _do(plain, actions.ChangeOrder("RENT", payee=actions.Party("Eva Nova", "CZ001", "OTHER"), purpose="flat"))
    # Another bank is another payee, whatever the number is.
    assert (await _decided(db))["payee_changes"] is True
    await _do(plain, actions.ChangeOrder("RENT", every="week", first_on=date(2126, 2, 2)))
    assert await _plan(db) == replace(
        changed, n=4, to_bank="OTHER", purpose="flat", every="week", first_on=date(2126, 2, 2)
    )  # fmt: skip
    await _do(plain, actions.ChangeOrder("RENT", end=True))
    assert ((await _decided(db))["ends"], (await _plan(db)).status) == (True, "ended")
    assert await _refused(plain, actions.ChangeOrder("RENT", amount="1.00")) == "standing_order_ended"
    assert await actions.pay_due_orders(plain, date(2127, 1, 1)) == {}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (MONTHLY, "standing_order_exists"),
        (replace(MONTHLY, name="X", account="NOBODY"), "unknown_account"),
        (replace(MONTHLY, name="X", account="EURO"), "currency_mismatch"),
        (replace(MONTHLY, name="X", nostro="ALICE"), "unknown_nostro"),
        (replace(MONTHLY, name="X", amount="0"), "amount_not_positive"),
        (replace(MONTHLY, name="X", payee=actions.Party("Eva")), "counterparty_missing"),
        (replace(MONTHLY, name="X", payee=actions.Party(None, "CZ1")), "counterparty_missing"),
        (actions.ChangeOrder("RENT"), "nothing_to_change"),
        (actions.ChangeOrder("RENT", payee=actions.Party("Mallory")), "counterparty_missing"),
        (actions.ChangeOrder("RENT", amount="-1"), "amount_not_positive"),
        (actions.ChangeOrder("NOT-THERE", amount="1.00"), "unknown_standing_order"),
    ],
)
async def test_a_standing_order_that_makes_no_sense_is_refused(db: Database, payload: Any, code: str) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    before = await _plan(db)
    assert await _refused(plain, payload) == code
    assert await _plan(db) == before


# When they are due.

_DAYS = st.dates(date(2000, 1, 1), date(2100, 1, 1))


def _order(first_on: date, every: str, last_on: date | None = None, status: str = "active") -> customers.Plan:
    return customers.Plan(
        1, "O", 1, "A", "CZK", 2, 1, "N", "to", "bank", "account", 1, None, first_on, every, status, last_on
    )  # fmt: skip


def _all_due(order: customers.Plan, today: date) -> list[date]:
    days = []
    while (day := order.due(today)) is not None:
        days.append(day)
        order = replace(order, last_on=day)
    return days


@given(_DAYS, st.integers(0, 800))
def test_a_monthly_order_is_due_once_in_each_month_on_its_day_or_the_last_of_the_month(first: date, days: int) -> None:
    today = first + timedelta(days=days)
    due = _all_due(_order(first, "month"), today)
    assert [(day.year, day.month) for day in due] == sorted({(day.year, day.month) for day in due})
    for day in due:
        assert day.day == min(first.day, calendar.monthrange(day.year, day.month)[1])
    months = (today.year - first.year) * 12 + today.month - first.month
    assert len(due) == months + (today.day >= min(first.day, calendar.monthrange(today.year, today.month)[1]))


@given(_DAYS, st.integers(0, 800))
def test_a_weekly_order_is_due_every_seventh_day(first: date, days: int) -> None:
    due = _all_due(_order(first, "week"), first + timedelta(days=days))
    assert due == [first + timedelta(weeks=n) for n in range(days // 7 + 1)]


@given(_DAYS, st.integers(-40, 800), st.sampled_from(["once", "week", "month"]), st.integers(0, 800))
def test_nothing_is_due_twice_or_before_its_day_whatever_was_carried_out(first: date, days: int, every: str, past: int) -> None:
    today, last = first + timedelta(days=days), first + timedelta(days=past)
    assert all(last < day <= today for day in _all_due(_order(first, every, last), today))
    assert _all_due(_order(first, every, status="ended"), today) == []
    assert _all_due(_order(first, "once"), today) == ([first] if days >= 0 else [])


def test_the_last_of_january_is_followed_by_the_last_of_each_month_and_not_by_the_28th() -> None:
    assert _all_due(_order(date(2024, 1, 31), "month"), date(2024, 5, 30)) == [
        date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30),
    ]  # fmt: skip


def test_an_order_that_is_to_be_paid_once_is_due_again_on_a_day_that_it_was_given_later() -> None:
    assert _order(date(2126, 3, 1), "once", date(2126, 2, 1)).due(date(2126, 3, 1)) == date(2126, 3, 1)


# Their day.


async def test_what_is_due_is_paid_once_and_days_that_were_missed_are_made_up_for(db: Database) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    assert await actions.pay_due_orders(plain, date(2126, 1, 30)) == {}
    assert await actions.pay_due_orders(plain, date(2126, 1, 31)) == {"paid": 1}
    assert await actions.pay_due_orders(plain, date(2126, 1, 31)) == {}
    assert await actions.pay_due_orders(plain, date(2126, 4, 1)) == {"paid": 2}
    assert await _runs(db) == [(date(2126, month, day), "paid") for month, day in ((1, 31), (2, 28), (3, 31))]
    assert await _available(db) == 100_000 - 3_000
    async with db.read() as tx:
        sent = [one.payment for one in await _payments(tx)]
        assert {(one.end_to_end_id, one.remittance, one.counterparty_account) for one in sent} == {
            (f"SO-1-2126{day}", "rent", "CZ001") for day in ("0131", "0228", "0331")
        }
        told = await audit.latest(tx, subject_kind="standing_order", subject_id=1, verb="standing_orders.run")
        decided = await policy.decisions(tx, action="payment.send", principal=actions.STANDING_ORDERS)
    assert told is not None
    assert told.detail == {"due_on": "2126-03-31", "outcome": "paid"}
    assert [(one.outcome, one.consumed) for one in decided] == [("allow", True)] * 3


async def _payments(tx: Any) -> list[payments.History]:
    return await payments.page(tx, limit=200)


async def test_of_many_who_pay_at_once_each_day_is_paid_by_one(db: Database) -> None:
    plain = await _bank(db)
    for n in range(5):
        await _do(plain, replace(MONTHLY, name=f"O-{n}", amount="1.00"))
    said = await asyncio.gather(*(actions.pay_due_orders(plain, date(2126, 12, 31)) for _ in range(4)))
    assert sum(one.get("paid", 0) for one in said) == 60
    assert await _available(db) == 100_000 - 60 * 100
    for n in range(5):
        runs = await _runs(db, f"O-{n}")
        assert (len(runs), len(set(runs))) == (12, 12)


@pytest.mark.parametrize(("status", "paid"), [("active", [250]), ("ended", [])])
async def test_an_order_that_is_changed_or_ended_while_it_is_paid_is_paid_as_it_then_stands(
    db: Database, database: TestDatabase, status: Any, paid: list[int]
) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    terms = customers.Terms("NOSTRO", "Eva Nova", "BANKCZ", "CZ001", 250, None, MONTHLY.first_on, "month", status)
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        async with db.write() as tx:
            await customers.change_order(tx, "RENT", terms, by="anna")
            # It reads what the order said before, and then has to wait.
            paying = asyncio.create_task(actions.pay_due_orders(plain, MONTHLY.first_on))
            async with asyncio.timeout(30):
                while connection.execute(_WAITS).fetchone() != (True,):
                    await asyncio.sleep(0.01)
    assert sum((await paying).values()) == len(paid)
    async with db.read() as tx:
        assert [one.payment.amount for one in await _payments(tx)] == paid
        assert [run.n for run in await customers.runs(tx, 1)] == [2] * len(paid)
    assert await _available(db) == 100_000 - sum(paid)


_WAITS = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"


async def test_what_policy_denies_is_noted_and_not_tried_again(db: Database) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    await _rules(db, _when("deny", action="payment.send"))
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {"denied": 1}
    await _rules(db)
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {}
    assert await _runs(db) == [(date(2126, 1, 31), "denied")]
    assert await _available(db) == 100_000


async def test_what_policy_holds_is_paid_when_people_agree(db: Database) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    await _rules(db, _when("hold", action="payment.send"))
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {"held": 1}
    assert await _available(db) == 100_000
    async with db.read() as tx:
        (run,) = await customers.runs(tx, 1)
        held = await actions.action(tx, run.action_id or 0)
    assert (run.outcome, held.status, held.principal) == ("held", "held", actions.STANDING_ORDERS)
    assert held.approval_id is not None
    done = await _agree(plain, held.approval_id)
    assert isinstance(done, approvals.Approval)
    async with db.read() as tx:
        held = await actions.action(tx, held.id)
        assert await customers.runs(tx, 1) == [run]
    assert (held.status, held.result) == ("executed", {"payment": "1", "status": "created", "reason": None})
    assert await _available(db) == 99_000
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {}


async def test_what_people_agree_to_and_the_books_refuse_has_failed_and_its_day_is_not_tried_again(db: Database) -> None:
    plain = await _bank(db)
    await _do(plain, replace(MONTHLY, amount="1000.01"))
    await _rules(db, _when("hold", action="payment.send"))
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {"held": 1}
    async with db.read() as tx:
        (run,) = await customers.runs(tx, 1)
        held = await actions.action(tx, run.action_id or 0)
    await _agree(plain, held.approval_id or 0)
    async with db.read() as tx:
        held = await actions.action(tx, held.id)
        assert await customers.runs(tx, 1) == [run]
    assert (held.status, held.reason) == ("failed", "insufficient_funds")
    assert held.result == {"payment": "1", "status": "failed", "reason": "insufficient_funds"}
    assert await _available(db) == 100_000
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {}


async def test_an_order_that_cannot_be_paid_keeps_no_other_from_being_paid(db: Database, database: TestDatabase) -> None:
    plain = await _bank(db)
    await _do(plain, replace(MONTHLY, name="TOO-MUCH", amount="1000.01"))
    await _do(plain, replace(MONTHLY, name="BROKEN"))
    await _do(plain, MONTHLY)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("update customers.standing_term set nostro = 'GONE' where order_id = 2")
    assert await actions.pay_due_orders(plain, date(2126, 2, 1)) == {"failed": 2, "paid": 1}
    async with db.read() as tx:
        why = [
            (await audit.latest(tx, subject_kind="standing_order", subject_id=id, verb="standing_orders.run")) for id in (1, 2)
        ]
    assert [one and one.detail["reason"] for one in why] == ["insufficient_funds", "unknown_nostro"]
    assert await _available(db) == 99_000


async def test_a_page_pays_no_more_than_it_was_told_and_the_next_goes_on(db: Database) -> None:
    plain = await _bank(db)
    for n in range(3):
        await _do(plain, replace(MONTHLY, name=f"O-{n}", amount="1.00"))
    after: int | None = 0
    counts = []
    while after is not None:
        start = after
        paid = await plain.retrying(lambda tx, start=start: actions.pay_due_page(tx, date(2126, 2, 28), after=start, limit=4))  # type: ignore[misc]
        counts.append(dict(paid.counts))
        after = paid.after
    assert counts == [{"paid": 4}, {"paid": 2}]


# By a schedule.


async def test_a_schedule_has_due_orders_paid_on_their_day(db: Database, database: TestDatabase) -> None:
    clock = SetClock(database.owner_url, "2126-01-30T22:00:00")
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    plan = schedules.Plan(actions.STANDING_ORDERS, "pay_due", {"time_zone": "Europe/Prague"}, "30 2 * * *", "Europe/Prague")
    async with db.write() as tx:
        await schedules.create(tx, "anna", "orders", plan)
    worker = Worker(plain, name="w")

    async def works() -> list[JSON]:
        while await worker.round(asyncio.Event()):
            pass
        async with db.read() as tx:
            return [dict(task.result or {}) for task in await work.page(tx, agent=actions.STANDING_ORDERS)]

    assert await works() == []
    clock.set("2126-01-31T01:29:59")
    worker = Worker(plain, name="w2")
    assert await works() == []
    clock.set(datetime(2126, 1, 31, 1, 30, tzinfo=UTC))
    worker = Worker(plain, name="w3")
    assert await works() == [{"day": "2126-01-31", "paid": 1, "more": False}]
    assert await _runs(db) == [(date(2126, 1, 31), "paid")]
    clock.close()


@pytest.mark.parametrize("payload", [{"time_zone": "Mars"}, {"time_zone": 1}, {"after": "x"}])
async def test_a_task_that_makes_no_sense_fails_and_pays_nothing(db: Database, payload: JSON) -> None:
    plain = await _bank(db)
    await _do(plain, MONTHLY)
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask(actions.STANDING_ORDERS, "pay_due", payload)])
    await Worker(plain, name="w").round(asyncio.Event())
    async with db.read() as tx:
        assert (await work.get(tx, task_id)).status == "failed"
    assert await _runs(db) == []


async def test_where_there_is_more_a_task_leaves_a_task_that_goes_on(db: Database, database: TestDatabase) -> None:
    clock = SetClock(database.owner_url, "2124-01-01T12:00:00")
    plain = await _bank(db)
    await _do(plain, replace(MONTHLY, amount="1.00", every="week", first_on=date(2124, 1, 1)))
    clock.set("2126-03-01T12:00:00")
    async with db.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask(actions.STANDING_ORDERS, "pay_due", {})])
    worker = Worker(plain, name="w")
    while await worker.round(asyncio.Event()):
        pass
    async with db.read() as tx:
        done = await work.page(tx, agent=actions.STANDING_ORDERS)
        runs = await customers.runs(tx, 1, limit=1000)
    weeks = ((await _today(db)) - date(2124, 1, 1)).days // 7 + 1
    assert len(runs) == weeks > 100
    assert [task.status for task in done] == ["done"] * (1 + weeks // 100)
    clock.close()


async def _today(db: Database) -> date:
    async with db.read() as tx:
        return await customers.today(tx, "UTC")


async def test_who_is_not_there_is_not_proved_and_an_order_that_is_not_there_is_unknown(db: Database) -> None:
    async with db.read() as tx:
        with pytest.raises(NotFound, match="unknown_standing_order"):
            await customers.plan(tx, "RENT")
    async with db.write() as tx:
        with pytest.raises(NotFound, match="unknown_customer"):
            await customers.change(tx, "C-9", city="Brno", by="me")


# Over HTTP.


async def test_an_account_shows_its_orders_with_their_runs_and_whom_it_knows_page_by_page(db: Database) -> None:
    plain = await _bank(db)
    for n in range(3):
        await _do(plain, replace(MONTHLY, name=f"O-{n}", amount="1.00", payee=actions.Party(f"Eva {n}", f"CZ{n}", None)))
    await _do(plain, actions.ChangeOrder("O-1", end=True))
    await _do(plain, replace(MONTHLY, name="OTHER", account="BOB"))
    await actions.pay_due_orders(plain, date(2126, 12, 31))
    orders, payees = "/v1/accounts/ALICE/standing-orders", "/v1/accounts/ALICE/payees"
    async with serving(db) as client:
        first = body_of(await client.get(f"{orders}?limit=2"))
        rest = body_of(await client.get(f"{orders}?limit=2&cursor={first['next_cursor']}"))
        shown = first["items"] + rest["items"]
        assert [(one["name"], one["status"], one["next_on"], len(one["runs"])) for one in shown] == [
            ("O-0", "active", "2127-01-31", 10), ("O-1", "ended", None, 0), ("O-2", "active", "2127-01-31", 10),
        ]  # fmt: skip
        assert rest["next_cursor"] is None
        run = shown[0]["runs"][0]
        assert (run["due_on"], run["outcome"], run["action_id"]) == ("2126-12-31", "paid", None)
        paid = body_of(await client.get(f"/v1/external-payments/{run['payment_id']}"))
        assert paid["end_to_end_id"] == "SO-1-21261231"
        assert shown[0]["amount"] == {"amount": "1.00", "currency": "CZK"}
        assert shown[0]["payee"] == {"name": "Eva 0", "account": "CZ0", "bank": None}
        known = body_of(await client.get(f"{payees}?limit=2"))
        more = body_of(await client.get(f"{payees}?limit=2&cursor={known['next_cursor']}"))
        assert [(one["payee"], one["label"], one["by"]) for one in known["items"] + more["items"]] == [
            (f"/CZ{n}", f"Eva {n}", "clerk") for n in range(3)
        ]
        for path in (orders, payees):
            other = first if path is payees else known
            assert code_of(await client.get(f"{path}?cursor={other['next_cursor']}")) == "cursor_malformed"
            assert code_of(await client.get(path.replace("ALICE", "NOBODY"))) == "unknown_account"


@pytest.mark.parametrize("bound", [1, None, "x" * 201, "\0", "\ud800", ["a"]])
async def test_a_cursor_of_payees_that_was_made_up_is_refused(db: Database, bound: Any) -> None:
    await _bank(db)
    made_up = base64.urlsafe_b64encode(json.dumps([1, "payees ALICE", bound]).encode()).decode()
    async with serving(db) as client:
        assert code_of(await client.get(f"/v1/accounts/ALICE/payees?cursor={made_up}")) == "cursor_malformed"
