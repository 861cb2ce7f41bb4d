"""What speaks against an erasure is heeded, and on the record."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from tallystick import (
    approvals,
    audit,
    cases,
    customers,
    identity,
    ledger,
    schedules,
    subjects,
    work,
)
from tallystick.db import Database
from tallystick.kit import Invalid, NotFound
from tests.clocks import SetClock
from tests.conftest import TestDatabase
from tests.erasing import (
    NAME,
    Markers,
    add_customer,
    count_of,
    erase,
    is_refused,
    keep_nothing,
    marks_left,
    owner,
    owning,
    personal_rows,
)

__all__ = ["owner", "owning"]


async def test_a_legal_hold_refuses_it_until_it_is_lifted_and_nothing_changes_before(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    marks = Markers()
    known = await add_customer(db, NAME, marks)
    keep_nothing(owner)
    async with db.write() as tx:
        first = await subjects.place_hold(tx, "cli:eva", NAME, reason="court/12")
        second = await subjects.place_hold(tx, "cli:eva", NAME, reason="tax-2031")
    before = personal_rows(owner)
    assert "court/12" in await is_refused(owning, "legal_hold")
    async with db.write() as tx:
        assert (await subjects.lift_hold(tx, "cli:jan", first.id)).lifted_by == "cli:jan"
        assert (await subjects.lift_hold(tx, "cli:ota", first.id)).lifted_by == "cli:jan"
        with pytest.raises(NotFound, match="unknown_legal_hold"):
            await subjects.lift_hold(tx, "cli:jan", 99)
        with pytest.raises(NotFound, match="unknown_customer"):
            await subjects.place_hold(tx, "cli:jan", "NOBODY", reason="x")
        with pytest.raises(Invalid, match="reason_malformed"):
            await subjects.place_hold(tx, "cli:jan", NAME, reason="Mrs Nova asked")
    await is_refused(owning, "legal_hold")
    assert personal_rows(owner) == before
    async with db.read() as tx:
        refused = await audit.latest(tx, subject_kind="customer", subject_id=known["customer"], verb="subjects.erase_refused")
        assert [hold.id for hold in await subjects.holds(tx, customer=NAME)] == [second.id]
        assert [hold.id for hold in await subjects.holds(tx, lifted=True)] == [first.id, second.id]
    assert refused is not None
    assert refused.detail == {"code": "legal_hold", "holds": [str(second.id)], "reasons": ["tax-2031"], "reason": "request-7"}
    async with db.write() as tx:
        await subjects.lift_hold(tx, "cli:jan", second.id)
    await erase(owning)
    assert marks_left(owner, marks) == []


async def test_each_retention_period_refuses_it_until_it_is_over(
    db: Database, owning: Database, owner: psycopg.Connection[Any], database: TestDatabase
) -> None:
    marks = Markers()
    await add_customer(db, NAME, marks)
    before = personal_rows(owner)
    assert "(customer) lasts until 20" in await is_refused(owning, "retention_period")
    for kind in subjects.KINDS:
        keep_nothing(owner)
        async with owning.write() as tx:
            rule = await subjects.set_retention(tx, "cli:anna", kind, 7)
        assert (rule.kind, rule.keep_months) == (kind, 7)
        assert f"({kind}) lasts until" in await is_refused(owning, "retention_period")
    assert personal_rows(owner) == before
    async with db.read() as tx:
        told = await audit.latest(tx, subject_kind="customer", subject_id=1, verb="subjects.erase_refused")
    assert told is not None
    assert (told.detail["code"], told.detail["kind"]) == ("retention_period", subjects.KINDS[-1])
    until = told.detail["until"]
    with closing(SetClock(database.owner_url, until)) as clock:
        clock.set(until.replace("Z", "+00:00"))
        # To the second below the true end.
        await is_refused(owning, "retention_period")
        owner.execute("update public.test_clock set at = at + interval '1 second'")
        await erase(owning)
    assert marks_left(owner, marks) == []


@pytest.mark.parametrize(("kind", "months", "code"), [("nothing", 1, "unknown_kind"), ("case", -1, "retention_out_of_range"),
                                                      ("case", 1201, "retention_out_of_range")])  # fmt: skip
async def test_a_retention_period_that_makes_no_sense_is_refused(owning: Database, kind: str, months: int, code: str) -> None:
    with pytest.raises((NotFound, Invalid), match=code):
        async with owning.write() as tx:
            await subjects.set_retention(tx, "cli:anna", kind, months)


async def test_while_business_goes_on_nobody_is_erased(db: Database, owning: Database, owner: psycopg.Connection[Any]) -> None:
    keep_nothing(owner)
    async with db.write() as tx:
        (found,) = await customers.add(tx, [customers.NewCustomer(NAME)], by="me")
        (opened,) = await ledger.open_accounts(tx, [ledger.AccountSpec("ACC", "CZK")])
        await customers.add_dispositions(tx, [customers.Disposition(found.id, opened.id, "owner")], by="me")
    assert "account" in await is_refused(owning, "subject_in_use")
    async with db.write() as tx:
        await ledger.set_status(tx, "ACC", "closed")
        case = await cases.open_event(tx, "me", customer=NAME, type="call", payload_text="")
    assert "case" in await is_refused(owning, "subject_in_use")
    async with db.write() as tx:
        await cases.set_status(tx, "me", case.id, "rejected")
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("a", "t", {"for": NAME})])
    assert f"task {task_id}" in await is_refused(owning, "subject_in_use")
    async with db.write() as tx:
        await work.cancel(tx, task_id, "me")
        await schedules.create(tx, "me", "s", schedules.Plan("a", "t", {"for": NAME}, "0 2 * * *"))
    assert "schedule" in await is_refused(owning, "subject_in_use")
    async with db.write() as tx:
        await schedules.remove(tx, "me", "s")
        question = approvals.Question("t", None, bytes(32), {"for": NAME}, "me", (("approver", 1),), 60)
        asked = await approvals.ask(tx, question, identity.house("me"))
    assert "approval" in await is_refused(owning, "subject_in_use")
    async with db.write() as tx:
        await approvals.withdraw(tx, asked.id, identity.house("me"))
    await erase(owning)
    assert owner.execute("select distinct digest from approvals.approval").fetchall() == [(bytes(32),)]


async def test_more_rows_than_were_meant_are_not_erased_and_a_rehearsal_leaves_nothing(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    marks = Markers()
    await add_customer(db, NAME, marks)
    keep_nothing(owner)
    before, events = personal_rows(owner), count_of(owner, "audit.event")
    planned = await subjects.rehearse(owning, "cli:anna", NAME, reason="r")
    assert (personal_rows(owner), count_of(owner, "audit.event")) == (before, events)
    await is_refused(owning, "too_many_rows", limit=sum(planned.rows.values()) - 1)
    assert personal_rows(owner) == before
    with pytest.raises(Invalid, match="reason_malformed"):
        await erase(owning, reason="because she asked")
    assert (await erase(owning, limit=sum(planned.rows.values()))).rows == planned.rows
