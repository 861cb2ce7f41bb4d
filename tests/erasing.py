"""A customer with data in every table that may hold some, and what is left of it after an erasure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tallystick import (
    actions,
    approvals,
    audit,
    cases,
    customers,
    identity,
    ledger,
    memory,
    payments,
    policy,
    schedules,
    subjects,
    tlog,
    work,
)
from tallystick.db import OWNER, SEALER, Database, DatabaseSettings
from tallystick.identity import Principal, house
from tallystick.kit import Conflict, NotFound
from tallystick.statements import StatementFile, StatementLine
from tests.conftest import TestDatabase
from tests.permitted import strict

NAME, OTHER = "CUST-1977", "CUST-19"
NOSTRO = "NOSTRO-1"
TEXTS = {
    "case": "cases.case_texts",
    "task": "work.task_texts",
    "outcome": "work.outcome_texts",
    "step": "work.step_texts",
    "event": "memory.event_texts",
    "payload": "audit.payload_texts",
    "approval_shown": "approvals.shown_texts",
    "approval_vote": "approvals.vote_texts",
    "approval_comment": "approvals.comment_texts",
    "decision": "policy.decision_texts",
}


@dataclass
class Markers:
    """Random texts, each of which stands for something that tells of a person."""

    made: list[str] = field(default_factory=list)

    def new(self, what: str) -> str:
        self.made.append(f"{what} ž {secrets.token_hex(6)}")
        return self.made[-1]

    def code(self, what: str) -> str:
        """One where only letters and digits may stand."""
        self.made.append(f"{what}-{secrets.token_hex(6)}")
        return self.made[-1]


@pytest.fixture
def owner(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def owning(database: TestDatabase) -> AsyncIterator[Database]:
    opened = Database(database.owner_url, DatabaseSettings(), role=OWNER)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def sealer(database: TestDatabase, tmp_path: Path) -> AsyncIterator[audit.Sealer]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield audit.Sealer(opened, tlog.KeyFolder(tmp_path / "keys"))
    await opened.close()


async def ended_task(db: Database, payload: dict[str, Any], marks: Markers, *, how: str = "done", **more: Any) -> int:
    """A task that has ended, with a step, and a try that came to nothing."""
    async with db.write() as tx:
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("a", "t", payload, **more)])
        (first,) = await work.claim_these(tx, [task_id], worker="w")
        await work.fail(tx, [work.Failure(task_id, first.fence, marks.new("tried"), "error", 0)], "w")
    async with db.write() as tx:
        await work.wake_due(tx)
        (held,) = await work.claim_these(tx, [task_id], worker="w")
        for step in (
            work.NewStep("ask", "model", "failed", hashlib.sha256(b"q").digest(), error=marks.new("step error")),
            work.NewStep(
                "ask", "model", "done", hashlib.sha256(b"q").digest(), 2,
                output={"said": marks.new("output")}, detail={"prompt": marks.new("prompt")},
            ),
        ):  # fmt: skip
            await work.record_step(tx, task_id, held.fence, step)
        if how == "done":
            end = work.Finish(task_id, held.fence, "done", {"answer": marks.new("result")})
        else:
            end = work.Finish(task_id, held.fence, "failed", error=marks.new("error"))
        assert await work.finish(tx, [end], "w") == [True]
    return task_id


async def add_customer(db: Database, name: str, marks: Markers) -> dict[str, int]:
    """A customer with data in every table that may hold some; everything has ended, and the account is closed."""
    account = f"ACC-{name}"
    async with db.write() as tx:
        (found,) = await customers.add(
            tx, [customers.NewCustomer(name, marks.new("full name"), date(1970, 1, 2), "F", marks.new("region"))], by="me"
        )
        opened, bank = await ledger.open_accounts(
            tx, [ledger.AccountSpec(account, "CZK"), ledger.AccountSpec("BANK", "CZK", "internal", None)]
        )
        await customers.add_dispositions(tx, [customers.Disposition(found.id, opened.id, "owner")], by="me")
        await customers.add_standing_orders(
            tx,
            [
                customers.NewStandingOrder(
                    marks.code("order"), opened.id, "B", marks.new("payee"), 5, "CZK", marks.new("purpose")
                )
            ],
            by="me",
        )
        await ledger.post(tx, [ledger.Journal("opening", ledger.transfer(debit=bank.id, credit=opened.id, amount=1000), "t")])
        new = actions.NewTransfer(account, "BANK", "4.00", description=marks.new("description"), key=f"t-{name}")
        (moved,) = await actions.propose(tx, house("me"), [new])
        assert isinstance(moved, actions.Transfer)
        # By the two doors, and with results.
        request = await cases.open_request(tx, "me", customer=name, type="loan", payload={"why": marks.new("request")})
        await cases.record_result(tx, "me", request.id, {"summary": marks.new("case result")})
        event = await cases.open_event(tx, "me", customer=name, type="call", payload_text=marks.new("event text"))
        await cases.set_status(tx, "me", event.id, "completed")
        published = await memory.publish(
            tx, "me", agent="a", type="seen", payload={"deep": [{"who": name}], "note": marks.new("memory")}
        )
    by_name = await ended_task(db, {"customer": name, "note": marks.new("task")}, marks, order_key=name, key=f"k-{name}")
    by_case = await ended_task(db, {"case_id": request.id, "note": marks.new("task")}, marks, how="failed")
    by_number = await ended_task(db, {"list": [{"customer_id": str(found.id)}], "note": marks.new("task")}, marks)
    by_account = await ended_task(db, {account: marks.new("task")}, marks)
    async with db.write() as tx:
        await work.note(tx, by_name, "desk", event="started", detail={"result": marks.new("note")})
        plan = schedules.Plan("a", "t", {"customer": name, "note": marks.new("schedule")}, "0 2 * * *")
        await schedules.create(tx, "me", f"s-{name}", plan)
        await schedules.remove(tx, "me", f"s-{name}")
        await _payments(tx, account, marks)
        await _approvals(tx, account, marks)
    await _gate(db, name, account, marks)
    async with db.write() as tx:
        left = (await ledger.account(tx, account)).posted
        await ledger.post(tx, [ledger.Journal("rest", ledger.transfer(debit=opened.id, credit=bank.id, amount=left), "t")])
        await ledger.set_status(tx, account, "closed")
    return {
        "customer": found.id, "account": opened.id, "request": request.id, "event": event.id, "transfer": moved.id,
        "published": published.id, "task": by_name, "by_case": by_case, "by_number": by_number, "by_account": by_account,
    }  # fmt: skip


async def _approvals(tx: Any, account: str, marks: Markers) -> None:
    """A question that names the account, amended once, and rejected."""
    eva = Principal("eva", "person", frozenset({"approver"}))
    question = approvals.Question(
        "transfer", None, hashlib.sha256(marks.new("digest").encode()).digest(), {"from": account, "note": marks.new("shown")},
        "me", (("approver", 1),), 60,
    )  # fmt: skip
    asked = await approvals.ask(tx, question, identity.house("me"))
    digest = hashlib.sha256(account.encode()).digest()
    await approvals.amend(tx, asked.id, digest, {"note": marks.new("amended")}, identity.house("me"))
    await approvals.comment(tx, asked.id, eva, marks.new("comment"))
    rejected = await approvals.vote(tx, asked.id, eva, "reject", digest, reason=marks.new("reason"))
    assert isinstance(rejected, approvals.Approval)
    marks.made = [mark for mark in marks.made if not mark.startswith("digest")]


async def _gate(db: Database, name: str, account: str, marks: Markers) -> None:
    """What is done for a customer through the gate: a part of it at once, a part when people have agreed."""
    clerk, eva = house("clerk"), Principal("eva", "person", frozenset({"approver"}))
    people = [{"role": "approver", "people": 1}]
    asks = {"id": "asked", "when": {"action": ["customer.change", "payee.add"]}, "hold": True, "approve": people}
    async with db.write() as tx:
        await policy.apply(tx, policy.parse({"name": "p", "rules": [{"id": "all", "allow": True}, asks]}), by="tests")
    party = actions.Party(marks.new("payee"), marks.new("iban"), "BANK")
    order, secret = marks.code("order"), actions.ChangeCredential.of(name, marks.new("secret"), under=name)
    marks.made = [mark for mark in marks.made if not mark.startswith("secret")]
    for payload in (
        actions.ChangeCustomer(name, street=marks.new("street"), city=marks.new("city")),
        secret,
        actions.AddPayee(account, marks.new("iban"), marks.new("payee")),
        actions.CreateOrder(
            order, account, f"{NOSTRO}-{account}", party, "1.00", date(2126, 1, 1), purpose=marks.new("purpose")
        ),
        actions.ChangeOrder(order, purpose=marks.new("purpose"), end=True),
        # Somebody else knows the account by the customer's name.
        actions.AddPayee("BANK", account, marks.new("label")),
    ):
        answer = await actions.perform(strict(db), clerk, payload)
        if isinstance(answer, actions.Held):
            if isinstance(payload, actions.AddPayee):
                written = {"account": payload.account, "payee": payload.payee, "name": marks.new("amended")}
                await strict(db).retrying(
                    lambda tx, id=answer.action_id, written=written: actions.amend(tx, id, clerk, written)  # type: ignore[misc]
                )
            async with db.read() as reading:
                seen = (await actions.action(reading, answer.action_id)).digest
            done = await strict(db).retrying(
                lambda tx, id=answer.approval_id, seen=seen: actions.vote(tx, id, eva, "approve", seen=seen)  # type: ignore[misc]
            )
            assert isinstance(done, approvals.Approval)
            assert done.status == "consumed"
            marks.made.append(f"payload {seen.hex()}")
    # As COPY writes bytes.
    marks.made += [f"hash {secret.hash}", f"salt {secret.salt}"]


async def _payments(tx: Any, account: str, marks: Markers) -> None:
    nostro = f"{NOSTRO}-{account}"
    await payments.register(tx, "me", name=nostro, bank="B", their_account=nostro, currency="CZK")
    other = payments.Counterparty(marks.new("counterparty"), marks.new("iban"), marks.new("bic"))
    sent = marks.code("E2E")
    out = payments.Outgoing(nostro, account, "1.00", other, end_to_end_id=sent, remittance=marks.new("remittance"))
    (paid,) = await payments.send(tx, "me", [out])
    assert isinstance(paid, payments.History)
    for status in ("sent", "settled"):
        await payments.move(tx, "me", [payments.Move(paid.payment.id, status)])
    got = payments.Incoming(nostro, account, "1.00", other, remittance=marks.new("remittance"))
    (came,) = await payments.receive(tx, "me", [got])
    assert isinstance(came, payments.History)
    lines = (
        StatementLine(1, None, -100, date(2026, 3, 1), None, marks.new("line"), sent),
        StatementLine(2, marks.new("reference"), 101, date(2026, 3, 1), None, marks.new("line"), None),
        StatementLine(3, None, 7, date(2026, 3, 1), None, marks.new("line"), sent),
    )
    file = StatementFile(f"S-{account}", nostro, "CZK", None, None, lines)
    digest = hashlib.sha256(account.encode()).digest()
    done = await payments.import_statements(tx, "me", nostro, [file], file_digest=digest)
    statement = done.reconciliations[0].head.id
    await payments.match_by_hand(tx, "jana", statement, number=2, entry_seq=2, why=marks.new("by hand"))
    await payments.explain(tx, "jana", statement, number=2, why=marks.new("explained"))


def dump_all(owner: psycopg.Connection[Any]) -> dict[str, bytes]:
    """Every row of every table there is, those of the catalogue too, as COPY writes them."""
    tables = owner.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'm') and n.nspname !~ '^pg_(toast|temp)' and n.nspname <> 'information_schema'"
    ).fetchall()
    found: dict[str, bytes] = {}
    for schema, table in tables:
        statement = sql.SQL("copy (select * from {}) to stdout").format(sql.Identifier(schema, table))
        with owner.cursor().copy(statement) as copy:
            found[f"{schema}.{table}"] = b"".join(bytes(block) for block in copy)
    return found


def marks_left(owner: psycopg.Connection[Any], marks: Markers) -> list[str]:
    dump = b"".join(dump_all(owner).values())
    return [mark for mark in marks.made if mark.encode() in dump or mark.split()[-1].encode() in dump]


def keep_nothing(owner: psycopg.Connection[Any]) -> None:
    owner.execute("update audit.retention set keep_months = 0")


async def erase(owning: Database, name: str = NAME, **more: Any) -> subjects.Erased:
    return await subjects.erase(owning, "cli:anna", name, **{"reason": "request-7"} | more)


async def is_refused(owning: Database, code: str, name: str = NAME, **more: Any) -> str:
    with pytest.raises((Conflict, NotFound)) as caught:
        await erase(owning, name, **more)
    assert caught.value.code == code, caught.value
    return caught.value.detail


def personal_rows(owner: psycopg.Connection[Any]) -> list[Any]:
    return [
        owner.execute(sql.SQL("select * from {} t order by t::text").format(sql.Identifier(*one.table.split(".")))).fetchall()
        for one in subjects.PERSONAL
        if one.table != "audit.legal_hold"
    ]


def count_of(owner: psycopg.Connection[Any], table: str) -> int:
    row = owner.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*table.split(".")))).fetchone()
    assert row is not None
    return int(row[0])
