"""Erasure: a customer's data is gone from every table, and the tree stands as it was."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import (
    actions,
    audit,
    cases,
    customers,
    ledger,
    memory,
    policy,
    subjects,
    work,
)
from tallystick.db import Database
from tallystick.identity import house
from tallystick.kit import Invalid
from tests.erasing import (
    NAME,
    OTHER,
    TEXTS,
    Markers,
    add_customer,
    dump_all,
    erase,
    is_refused,
    keep_nothing,
    marks_left,
    owner,
    owning,
    sealer,
)
from tests.permitted import strict
from tests.serving import ALICE, BOB, fund

__all__ = ["owner", "owning", "sealer"]


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
    known = await add_customer(db, NAME, marks)
    other = await add_customer(db, OTHER, others)
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
    assert marks_left(owner, marks) == marks.made
    keep_nothing(owner)

    done = await erase(owning)

    assert marks_left(owner, marks) == []
    assert marks_left(owner, others) == others.made
    # What the bank called them stays where it was made part of a code: in names of accounts and schedules, and in keys.
    assert {table for table, rows in dump_all(owner).items() if NAME.encode() in rows} - {"pg_catalog.pg_statistic"} == {
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
    await is_refused(owning, "unknown_customer")
    await is_refused(owning, "already_erased", f"erased-{done.event_id}")


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


async def test_one_who_is_known_by_cases_alone_is_erased_and_nobody_else(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    keep_nothing(owner)
    async with db.write() as tx:
        for name in ("NEW-1", "NEW-12", "N.E:1@x"):
            case = await cases.open_request(tx, "me", customer=name, type="loan", payload={"of": name})
            await cases.record_result(tx, "me", case.id, {"client": name})
            await memory.publish(tx, "me", agent="a", type="t", payload={"of": name, "more": Decimal("1.10")})
            await memory.publish(tx, "me", agent="a", type="t", payload={"text": f"we saw {name} there"})
    done = await erase(owning, "NEW-1")
    # A text that only mentions them is not theirs to be found: the documents say so.
    assert done.rows == {"cases.case": 1, "memory.event": 1, "audit.payload": 1}
    assert (await erase(owning, "N.E:1@x")).rows == {"cases.case": 1, "memory.event": 1, "audit.payload": 1}
    async with db.read() as tx:
        assert [bool(event.payload) for event in await memory.page(tx)] == [True, False, True, True, True, False]
        assert [case.customer for case in await cases.page(tx)][1] == "NEW-12"
    await is_refused(owning, "unknown_customer", "NOBODY")


async def test_lists_of_ids_are_kept_though_an_account_is_called_like_one(
    db: Database, owning: Database, owner: psycopg.Connection[Any]
) -> None:
    await fund(db)
    new = [actions.NewTransfer(ALICE, BOB, "0.01", key=f"k{number}") for number in range(201)]
    asked = [actions.Asked("journal.post", bytes(32), {"account": ALICE})] * 201
    async with strict(db).write() as tx:
        made = await actions.propose(tx, house("me"), new)
        await actions.decide(tx, house("me"), asked)
    assert {transfer.status for transfer in made if isinstance(transfer, actions.Transfer)} == {"posted"}
    long = "select p.event_id from audit.payload p join audit.event e on e.id = p.event_id where e.verb = any (%s) order by 1"
    lists = owner.execute(long, (["transfers.propose", "actions.decide"],)).fetchall()
    assert len(lists) == 2
    called = owner.execute(
        "select p.body -> 'transfers' -> 200 ->> 0 from audit.payload p where p.event_id = %s"
        " union all select p.body -> 'decisions' -> 200 ->> 0 from audit.payload p where p.event_id = %s",
        (lists[0][0], lists[1][0]),
    ).fetchall()
    async with db.write() as tx:
        (found,) = await customers.add(tx, [customers.NewCustomer(NAME, "Jana Nova")], by="me")
        opened = await ledger.open_accounts(tx, [ledger.AccountSpec(name, "CZK") for (name,) in called])
        await customers.add_dispositions(tx, [customers.Disposition(found.id, one.id, "owner") for one in opened], by="me")
        for (name,) in called:
            await ledger.set_status(tx, name, "closed")
    keep_nothing(owner)
    erased = await erase(owning)
    assert erased.rows.get("audit.payload", 0) == 0
    kept = owner.execute("select p.event_id from audit.payload p where p.erased_by is null and p.body is not null").fetchall()
    assert set(lists) <= set(kept)
