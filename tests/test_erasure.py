"""Erasure: a customer's data is gone from every table, the tree stands as it was, and what speaks against it is heeded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

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
from tallystick.kit import Conflict, Invalid, NotFound
from tallystick.statements import StatementFile, StatementLine
from tests.clocks import SetClock
from tests.command_line import command
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


async def _task(db: Database, payload: dict[str, Any], marks: Markers, *, how: str = "done", **more: Any) -> int:
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


async def _customer(db: Database, name: str, marks: Markers) -> dict[str, int]:
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
    by_name = await _task(db, {"customer": name, "note": marks.new("task")}, marks, order_key=name, key=f"k-{name}")
    by_case = await _task(db, {"case_id": request.id, "note": marks.new("task")}, marks, how="failed")
    by_number = await _task(db, {"list": [{"customer_id": str(found.id)}], "note": marks.new("task")}, marks)
    by_account = await _task(db, {account: marks.new("task")}, marks)
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
            order, account, f"{NOSTRO}-{account}", party, "1.00", date(2026, 1, 1), purpose=marks.new("purpose")
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


def _dumps(owner: psycopg.Connection[Any]) -> dict[str, bytes]:
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


def _left(owner: psycopg.Connection[Any], marks: Markers) -> list[str]:
    dump = b"".join(_dumps(owner).values())
    return [mark for mark in marks.made if mark.encode() in dump or mark.split()[-1].encode() in dump]


def _keep_nothing(owner: psycopg.Connection[Any]) -> None:
    owner.execute("update audit.retention set keep_months = 0")


async def _erase(owning: Database, name: str = NAME, **more: Any) -> subjects.Erased:
    return await subjects.erase(owning, "cli:anna", name, **{"reason": "request-7"} | more)


async def _refused(owning: Database, code: str, name: str = NAME, **more: Any) -> str:
    with pytest.raises((Conflict, NotFound)) as caught:
        await _erase(owning, name, **more)
    assert caught.value.code == code, caught.value
    return caught.value.detail


def _tree(owner: psycopg.Connection[Any], size: int) -> list[Any]:
    return [
        owner.execute("select * from audit.leaf where idx < %s order by idx", (size,)).fetchall(),
        owner.execute("select e.* from audit.event e join audit.leaf l on l.event_id = e.id where l.idx < %s order by e.id",
                      (size,)).fetchall(),
        owner.execute("select size, root, note from audit.checkpoint where size <= %s order by size", (size,)).fetchall(),
        owner.execute("select * from ledger.journal order by id").fetchall(),
        owner.execute("select * from ledger.entry order by account_id, seq").fetchall(),
    ]  # fmt: skip


async def test_what_was_known_of_a_customer_is_found_nowhere_and_the_tree_stands(
    db: Database, owning: Database, owner: psycopg.Connection[Any], sealer: audit.Sealer
) -> None:
    marks, others = Markers(), Markers()
    known = await _customer(db, NAME, marks)
    other = await _customer(db, OTHER, others)
    async with db.write() as tx:
        held = await subjects.place_hold(tx, "cli:eva", NAME, reason="court/12")
        await subjects.lift_hold(tx, "cli:eva", held.id)
    while await sealer.seal():
        pass
    async with db.read() as tx:
        size = (await audit.checkpoint(tx)).size
    # Even what the planner keeps of the rows.
    owner.execute("analyze")
    before = _tree(owner, size)
    commitments = {kind: _digests(owner, kind) for kind in TEXTS}
    assert _left(owner, marks) == marks.made
    _keep_nothing(owner)

    done = await _erase(owning)

    assert _left(owner, marks) == []
    assert _left(owner, others) == others.made
    # What the bank called them stays where it was made part of a code: in names of accounts and schedules, and in keys.
    assert {table for table, rows in _dumps(owner).items() if NAME.encode() in rows} - {"pg_catalog.pg_statistic"} == {
        "ledger.account", "schedules.schedule", "db.claim", "payments.nostro", "payments.statement",
        "actions.payee", "customers.standing_term",
    }  # fmt: skip
    # Nothing without a salt is left that could be found again by trying.
    claims = {key: bytes(hash) for key, hash in owner.execute("select key, hash from db.claim").fetchall()}
    assert [claims[f"{kind}-{NAME}"] == bytes(32) for kind in "tk"] == [True, True]
    assert [claims[f"{kind}-{OTHER}"] == bytes(32) for kind in "tk"] == [False, False]
    hashes = owner.execute("select input_hash = %s, count(*) from work.step group by 1 order by 1", (bytes(32),)).fetchall()
    assert hashes == [(False, 8), (True, 8)]
    async with db.write() as tx:
        with pytest.raises(Invalid, match="key_reused"):
            await work.enqueue(tx, "me", [work.NewTask("a", "t", {"customer": NAME}, key=f"k-{NAME}")])
    assert done.rows == {
        "customers.customer": 1, "customers.standing_order": 2, "cases.case": 2, "work.task": 4, "work.outcome": 4,
        "work.attempt": 4, "work.step": 8, "memory.event": 1, "audit.payload": 2, "schedules.schedule": 1,
        "actions.transfer": 1, "payments.payment": 2, "payments.statement_line": 3, "approvals.approval": 4,
        "approvals.shown": 7, "approvals.vote": 4, "approvals.comment": 1, "policy.decision": 12, "actions.action": 3,
        "actions.payee": 3, "customers.credential": 1, "customers.standing_term": 2,
    }  # fmt: skip
    assert _tree(owner, size) == before
    while await sealer.seal():
        pass
    async with db.read() as tx:
        assert (await audit.checkpoint(tx)).size > size
        assert await audit.root_at(tx, size) == before[2][-1][1]

    # What was erased says so, with the event that holds the digest that the row had. All else is as it was.
    told = {
        event: (kind, dict(zip(refs, (items[at : at + 32] for at in range(0, len(items), 32)), strict=True)))
        for event, kind, refs, items in owner.execute(
            "select id, items_kind, refs, items from audit.event where verb = 'subject_rows.erase' and subject_id = %s"
            " and leaf::jsonb #>> '{detail,erasure}' = %s", (known["customer"], str(done.event_id))
        ).fetchall()
    }  # fmt: skip
    for kind, function in TEXTS.items():
        erased = 0
        for row, salt, text, erased_by in owner.execute(f"select * from {function}(%s)", (list(commitments[kind]),)):
            if erased_by is None:
                assert hashlib.sha256(salt + text.encode()).digest() == commitments[kind][row]
            else:
                erased += 1
                assert (salt, text) == (None, None)
                assert told[erased_by][0] == f"erased_{kind}"
                assert told[erased_by][1][row] == commitments[kind][row]
        assert 0 < erased < len(commitments[kind]), kind

    # Who reads them is told nothing, and nothing breaks.
    async with db.read() as tx:
        case = await cases.get(tx, known["request"])
        assert (case.customer, case.payload, case.result) == (f"erased-{done.event_id}", {}, {})
        assert (await cases.get(tx, known["event"])).payload_text == ""
        assert (await cases.get(tx, other["request"])).customer == OTHER
        task = await work.get(tx, known["by_case"])
        assert (task.payload, task.error, task.status) == ({}, "erased", "failed")
        assert [step.output for step in await work.steps(tx, known["task"])] == [None, None]
        assert (await actions.get(tx, known["transfer"])).description is None
        (event,) = [one for one in await memory.page(tx) if one.id == known["published"]]
        assert event.payload == {}
        # What was decided of others is evaluated again, byte by byte; of the customer nobody can tell any more.
        again = await policy.replay(tx)
        assert (again.erased, again.differing, again.decisions > 10) == (12, 0, True)
        assert [(one.status, one.payload, one.result) for one in await actions.actions(tx)][3:] == [("executed", {}, {})] * 3
        event_told = await audit.latest(tx, subject_kind="customer", subject_id=known["customer"], verb="subjects.erase")
        assert [row.difference for row in await ledger.trial_balance(tx)] == [0]
    assert event_told is not None
    assert (event_told.id, event_told.principal) == (done.event_id, "cli:anna")
    assert event_told.detail == {"reason": "request-7", "rows": {**event_told.detail["rows"], **done.rows}}
    await _refused(owning, "unknown_customer")
    await _refused(owning, "already_erased", f"erased-{done.event_id}")


def _digests(owner: psycopg.Connection[Any], kind: str) -> dict[int, bytes]:
    table, column = {
        "case": ("cases.case", "id"), "task": ("work.task", "id"), "outcome": ("work.outcome", "task_id"),
        "step": ("work.step", "id"), "event": ("memory.event", "id"), "payload": ("audit.payload", "event_id"),
        "approval_shown": ("approvals.shown", "id"), "approval_vote": ("approvals.vote", "id"),
        "approval_comment": ("approvals.comment", "id"), "decision": ("policy.decision", "id"),
    }[kind]  # fmt: skip
    rows = owner.execute(f"select t.id, t.salt, t.text from {TEXTS[kind]}((select array_agg({column}) from {table})) t")
    return {row: hashlib.sha256(salt + text.encode()).digest() for row, salt, text in rows}


def test_every_column_that_could_tell_of_a_person_is_one_that_is_erased_or_said_to_stay(
    owner: psycopg.Connection[Any],
) -> None:
    found = owner.execute(
        "select format('%s.%s', n.nspname, c.relname), a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        "  join pg_attribute a on a.attrelid = c.oid"
        " where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        "   and a.attnum > 0 and not a.attisdropped"
        "   and a.atttypid in ('text'::regtype, 'varchar'::regtype, 'jsonb'::regtype, 'json'::regtype, 'bytea'::regtype,"
        "                      'date'::regtype, 'text[]'::regtype)"
    ).fetchall()
    columns: dict[str, set[str]] = {}
    for table, column in found:
        columns.setdefault(table, set()).add(column)
    personal = {one.table: set(one.columns) for one in subjects.PERSONAL}
    assert {table: wanted - columns.get(table, set()) for table, wanted in personal.items() if wanted - columns[table]} == {}
    rest = {table for table, named in columns.items() if named - personal.get(table, set())}
    assert rest - set(subjects.KEPT) == set()
    assert set(subjects.KEPT) - set(columns) == set()


def test_the_documents_say_what_the_code_says_is_personal() -> None:
    text = (Path(__file__).parent.parent / "docs/record-erasure.md").read_text("utf-8")
    for one in subjects.PERSONAL:
        assert f"| `{one.table}` | {', '.join(f'`{column}`' for column in one.columns)} | {one.found_by} |" in text
    for table, why in subjects.KEPT.items():
        assert f"| `{table}` | {why} |" in text


async def test_a_legal_hold_refuses_it_until_it_is_lifted_and_nothing_changes_before(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    marks = Markers()
    known = await _customer(db, NAME, marks)
    _keep_nothing(owner)
    async with db.write() as tx:
        first = await subjects.place_hold(tx, "cli:eva", NAME, reason="court/12")
        second = await subjects.place_hold(tx, "cli:eva", NAME, reason="tax-2031")
    before = _facts(owner)
    assert "court/12" in await _refused(owning, "legal_hold")
    async with db.write() as tx:
        assert (await subjects.lift_hold(tx, "cli:jan", first.id)).lifted_by == "cli:jan"
        assert (await subjects.lift_hold(tx, "cli:ota", first.id)).lifted_by == "cli:jan"
        with pytest.raises(NotFound, match="unknown_legal_hold"):
            await subjects.lift_hold(tx, "cli:jan", 99)
        with pytest.raises(NotFound, match="unknown_customer"):
            await subjects.place_hold(tx, "cli:jan", "NOBODY", reason="x")
        with pytest.raises(Invalid, match="reason_malformed"):
            await subjects.place_hold(tx, "cli:jan", NAME, reason="Mrs Nova asked")
    await _refused(owning, "legal_hold")
    assert _facts(owner) == before
    async with db.read() as tx:
        refused = await audit.latest(tx, subject_kind="customer", subject_id=known["customer"], verb="subjects.erase_refused")
        assert [hold.id for hold in await subjects.holds(tx, customer=NAME)] == [second.id]
        assert [hold.id for hold in await subjects.holds(tx, lifted=True)] == [first.id, second.id]
    assert refused is not None
    assert refused.detail == {"code": "legal_hold", "holds": [str(second.id)], "reasons": ["tax-2031"], "reason": "request-7"}
    async with db.write() as tx:
        await subjects.lift_hold(tx, "cli:jan", second.id)
    await _erase(owning)
    assert _left(owner, marks) == []


def _facts(owner: psycopg.Connection[Any]) -> list[Any]:
    return [
        owner.execute(sql.SQL("select * from {} t order by t::text").format(sql.Identifier(*one.table.split(".")))).fetchall()
        for one in subjects.PERSONAL
        if one.table != "audit.legal_hold"
    ]


async def test_each_retention_period_refuses_it_until_it_is_over(
    db: Database, owning: Database, owner: psycopg.Connection[Any], database: TestDatabase
) -> None:
    marks = Markers()
    await _customer(db, NAME, marks)
    before = _facts(owner)
    assert "(customer) lasts until 20" in await _refused(owning, "retention_period")
    for kind in subjects.KINDS:
        _keep_nothing(owner)
        async with owning.write() as tx:
            rule = await subjects.set_retention(tx, "cli:anna", kind, 7)
        assert (rule.kind, rule.keep_months) == (kind, 7)
        assert f"({kind}) lasts until" in await _refused(owning, "retention_period")
    assert _facts(owner) == before
    async with db.read() as tx:
        told = await audit.latest(tx, subject_kind="customer", subject_id=1, verb="subjects.erase_refused")
    assert told is not None
    assert (told.detail["code"], told.detail["kind"]) == ("retention_period", subjects.KINDS[-1])
    until = told.detail["until"]
    with closing(SetClock(database.owner_url, until)) as clock:
        clock.set(until.replace("Z", "+00:00"))
        # To the second below the true end.
        await _refused(owning, "retention_period")
        owner.execute("update public.test_clock set at = at + interval '1 second'")
        await _erase(owning)
    assert _left(owner, marks) == []


@pytest.mark.parametrize(("kind", "months", "code"), [("nothing", 1, "unknown_kind"), ("case", -1, "retention_out_of_range"),
                                                      ("case", 1201, "retention_out_of_range")])  # fmt: skip
async def test_a_retention_period_that_makes_no_sense_is_refused(owning: Database, kind: str, months: int, code: str) -> None:
    with pytest.raises((NotFound, Invalid), match=code):
        async with owning.write() as tx:
            await subjects.set_retention(tx, "cli:anna", kind, months)


async def test_while_business_goes_on_nobody_is_erased(db: Database, owning: Database, owner: psycopg.Connection[Any]) -> None:
    _keep_nothing(owner)
    async with db.write() as tx:
        (found,) = await customers.add(tx, [customers.NewCustomer(NAME)], by="me")
        (opened,) = await ledger.open_accounts(tx, [ledger.AccountSpec("ACC", "CZK")])
        await customers.add_dispositions(tx, [customers.Disposition(found.id, opened.id, "owner")], by="me")
    assert "account" in await _refused(owning, "subject_in_use")
    async with db.write() as tx:
        await ledger.set_status(tx, "ACC", "closed")
        case = await cases.open_event(tx, "me", customer=NAME, type="call", payload_text="")
    assert "case" in await _refused(owning, "subject_in_use")
    async with db.write() as tx:
        await cases.set_status(tx, "me", case.id, "rejected")
        (task_id,) = await work.enqueue(tx, "me", [work.NewTask("a", "t", {"for": NAME})])
    assert f"task {task_id}" in await _refused(owning, "subject_in_use")
    async with db.write() as tx:
        await work.cancel(tx, task_id, "me")
        await schedules.create(tx, "me", "s", schedules.Plan("a", "t", {"for": NAME}, "0 2 * * *"))
    assert "schedule" in await _refused(owning, "subject_in_use")
    async with db.write() as tx:
        await schedules.remove(tx, "me", "s")
        question = approvals.Question("t", None, bytes(32), {"for": NAME}, "me", (("approver", 1),), 60)
        asked = await approvals.ask(tx, question, identity.house("me"))
    assert "approval" in await _refused(owning, "subject_in_use")
    async with db.write() as tx:
        await approvals.withdraw(tx, asked.id, identity.house("me"))
    await _erase(owning)
    assert owner.execute("select distinct digest from approvals.approval").fetchall() == [(bytes(32),)]


async def test_one_who_is_known_by_cases_alone_is_erased_and_nobody_else(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    _keep_nothing(owner)
    async with db.write() as tx:
        for name in ("NEW-1", "NEW-12", "N.E:1@x"):
            case = await cases.open_request(tx, "me", customer=name, type="loan", payload={"of": name})
            await cases.record_result(tx, "me", case.id, {"client": name})
            await memory.publish(tx, "me", agent="a", type="t", payload={"of": name, "more": Decimal("1.10")})
            await memory.publish(tx, "me", agent="a", type="t", payload={"text": f"we saw {name} there"})
    done = await _erase(owning, "NEW-1")
    # A text that only mentions them is not theirs to be found: the documents say so.
    assert done.rows == {"cases.case": 1, "memory.event": 1, "audit.payload": 1}
    assert (await _erase(owning, "N.E:1@x")).rows == {"cases.case": 1, "memory.event": 1, "audit.payload": 1}
    async with db.read() as tx:
        assert [bool(event.payload) for event in await memory.page(tx)] == [True, False, True, True, True, False]
        assert [case.customer for case in await cases.page(tx)][1] == "NEW-12"
    await _refused(owning, "unknown_customer", "NOBODY")


async def test_more_rows_than_were_meant_are_not_erased_and_a_rehearsal_leaves_nothing(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    marks = Markers()
    await _customer(db, NAME, marks)
    _keep_nothing(owner)
    before, events = _facts(owner), _count(owner, "audit.event")
    planned = await subjects.rehearse(owning, "cli:anna", NAME, reason="r")
    assert (_facts(owner), _count(owner, "audit.event")) == (before, events)
    await _refused(owning, "too_many_rows", limit=sum(planned.rows.values()) - 1)
    assert _facts(owner) == before
    with pytest.raises(Invalid, match="reason_malformed"):
        await _erase(owning, reason="because she asked")
    assert (await _erase(owning, limit=sum(planned.rows.values()))).rows == planned.rows


def _count(owner: psycopg.Connection[Any], table: str) -> int:
    row = owner.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*table.split(".")))).fetchone()
    assert row is not None
    return int(row[0])


async def test_of_two_erasures_at_once_one_erases(db: Database, owning: Database, owner: psycopg.Connection[Any]) -> None:
    marks, others = Markers(), Markers()
    await _customer(db, NAME, marks)
    await _customer(db, OTHER, others)
    _keep_nothing(owner)
    answers = await asyncio.gather(*(_erase(owning, name) for name in (NAME, OTHER, NAME)), return_exceptions=True)
    assert sorted(getattr(answer, "code", "erased") for answer in answers) == ["erased", "erased", "unknown_customer"]
    assert _left(owner, marks) + _left(owner, others) == []
    assert _count(owner, "customers.customer") == 2


async def test_a_hold_that_comes_first_is_heeded_and_one_that_comes_late_finds_nobody(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    _keep_nothing(owner)
    async with db.write() as tx:
        await customers.add(tx, [customers.NewCustomer(NAME, "Jana")], by="me")
    async with db.write() as tx:
        await subjects.place_hold(tx, "cli:eva", NAME, reason="court")
        erasing = asyncio.create_task(_refused(owning, "legal_hold"))
        async with asyncio.timeout(30):
            while not _waits_for_advisory(owner):
                await asyncio.sleep(0.01)
    await erasing
    async with db.write() as tx:
        await subjects.lift_hold(tx, "cli:eva", 1)
    await _erase(owning)
    with pytest.raises(NotFound, match="unknown_customer"):
        async with db.write() as tx:
            await subjects.place_hold(tx, "cli:eva", NAME, reason="court")


def _waits_for_advisory(owner: psycopg.Connection[Any]) -> bool:
    row = owner.execute("select exists (select from pg_locks where locktype = 'advisory' and not granted)").fetchone()
    return row == (True,)


async def test_others_work_on_while_a_customer_is_erased(
    db: Database, owning: Database, owner: psycopg.Connection[Any], sealer: audit.Sealer
) -> None:
    marks, others = Markers(), Markers()
    await _customer(db, NAME, marks)
    _keep_nothing(owner)
    stop = asyncio.Event()
    made: list[int] = []

    async def write(number: int) -> None:
        while not stop.is_set():
            made.append(await _task(db, {"customer": f"C-{number}", "note": others.new("task")}, others))
            async with db.write() as tx:
                await memory.publish(tx, "me", agent="a", type="t", payload={"who": f"C-{number}"})
            await sealer.seal()

    writers = [asyncio.create_task(write(number)) for number in range(4)]
    async with asyncio.timeout(60):
        while len(made) < 8:
            await asyncio.sleep(0.01)
        await _erase(owning)
        after = len(made)
        while len(made) < after + 8:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.gather(*writers)
    assert _left(owner, marks) == []
    assert _left(owner, others) == others.made
    while await sealer.seal():
        pass
    assert _count(owner, "audit.leaf") == _count(owner, "audit.event")


@pytest.mark.parametrize(
    "statement",
    [
        "select audit.erase('C', 'me', 'r', 10)",
        "select audit.redact('case', array[1], 'cases.case_texts', 'select 1', 'me', 1, 1)",
        "update audit.retention set keep_months = 0",
        "insert into audit.retention values ('case', 0, 'me')",
        "delete from audit.legal_hold",
        "update audit.legal_hold set customer = 'x'",
        "insert into audit.legal_hold (customer, reason, placed_by, lifted_by) values ('C', 'r', 'me', 'me')",
        "update work.task set payload = '{}', erased_by = 1",
        "update memory.event set payload = '{}', salt = null, erased_by = 1",
        "update audit.payload set body = null, salt = null, erased_by = 1",
        "update payments.payment set remittance = null",
        "update cases.case set payload = '{}'",
    ],
)
def test_the_application_cannot_erase(database: TestDatabase, statement: str) -> None:
    with psycopg.connect(database.app_url) as connection:
        # What marks an erasure, anybody can set.
        connection.execute("select set_config('tallystick.erasing', pg_current_xact_id()::text, true)")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement.encode())


async def test_outside_of_an_erasure_the_owner_changes_no_fact_and_inside_it_no_other(
    db: Database, database: TestDatabase
) -> None:
    async with db.write() as tx:
        await memory.publish(tx, "me", agent="a", type="t", payload={"a": 1})
        await audit.append(tx, principal="me", verb="v", subject_kind="s", payload={"a": 1})
    mark = "select set_config('tallystick.erasing', pg_current_xact_id()::text, true)"
    for role, marked, statement, passes in (
        (OWNER, None, "update memory.event set payload = '{}'", False),
        (OWNER, None, "update audit.payload set erased_by = null", False),
        (OWNER, "select set_config('tallystick.erasing', '1', true)", "update memory.event set payload = '{}'", False),
        (None, mark, "update memory.event set payload = '{}'", False),
        (OWNER, mark, "delete from memory.event", False),
        (OWNER, mark, "truncate memory.event", False),
        (OWNER, mark, "update audit.event set verb = 'x'", False),
        (OWNER, mark, "update ledger.journal set kind = 'x'", False),
        (OWNER, mark, "update memory.event set payload = '{}'", True),
    ):
        with psycopg.connect(database.owner_url) as connection:
            if role is not None:
                connection.execute(f"set role {role}".encode())
            if marked is not None:
                connection.execute(marked.encode())
            if passes:
                connection.execute(statement.encode())
                connection.rollback()
                continue
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(statement.encode())
            assert caught.value.sqlstate == "TS002", statement


def test_the_commands_hold_keep_and_erase(database: TestDatabase, owner: psycopg.Connection[Any]) -> None:
    owner.execute("insert into customers.customer (name, full_name) values ('C-1', 'Jana Nova')")
    placed = command(database, "legal-hold", "place", "C-1", "--reason", "court/7", "--as", "eva")
    assert json.loads(placed.stdout)["placed_by"] == "cli:eva"
    asked = ("erase", "C-1", "--reason", "gdpr/3", "--as", "anna")
    refused = command(database, *asked, "--yes")
    assert (refused.exit_code, "[legal_hold]" in refused.stderr) == (1, True)
    # Where a person would have been asked, a refusal is on the record as well.
    assert command(database, *asked).exit_code == 1
    assert _count_verb(owner, "subjects.erase_refused") == 2
    assert command(database, *asked, "--dry-run").exit_code == 1
    assert _count_verb(owner, "subjects.erase_refused") == 2
    assert json.loads(command(database, "legal-hold", "list").stdout)["id"] == "1"
    assert json.loads(command(database, "legal-hold", "lift", "1", "--as", "jan").stdout)["lifted_by"] == "cli:jan"
    assert command(database, "legal-hold", "list").stdout == ""
    assert len(command(database, "legal-hold", "list", "--all").stdout.splitlines()) == 1
    refused = command(database, *asked, "--yes")
    assert (refused.exit_code, "[retention_period]" in refused.stderr) == (1, True)
    assert [json.loads(line)["keep_months"] for line in command(database, "retention", "list").stdout.splitlines()] == [
        60, 60, 60, 120, 60, 60, 60, 120, 60, 60, 120,
    ]  # fmt: skip
    assert "[retention_out_of_range]" in command(database, "retention", "set", "customer", "ten years").stderr
    kept = json.loads(command(database, "retention", "set", "customer", "0", "--as", "anna").stdout)
    assert (kept["keep_months"], kept["set_by"]) == (0, "cli:anna")
    assert json.loads(command(database, "retention", "set", "event", "18m").stdout)["keep_months"] == 18
    assert json.loads(command(database, *asked, "--dry-run").stdout) == {
        "customer": "C-1", "would_erase": {"customers.customer": 1},
    }  # fmt: skip
    assert command(database, *asked, stdin="n\n").exit_code == 1
    assert owner.execute("select full_name from customers.customer").fetchone() == ("Jana Nova",)
    done = json.loads(command(database, *asked, stdin="y\n").stdout.splitlines()[-1])
    assert done["erased"] == {"customers.customer": 1}
    assert owner.execute("select name, full_name from customers.customer").fetchone() == (f"erased-{done['event']}", None)
    again = command(database, *asked, "--yes")
    assert (again.exit_code, "[unknown_customer]" in again.stderr) == (1, True)


def _count_verb(owner: psycopg.Connection[Any], verb: str) -> int:
    row = owner.execute("select count(*) from audit.event where verb = %s", (verb,)).fetchone()
    assert row is not None
    return int(row[0])
