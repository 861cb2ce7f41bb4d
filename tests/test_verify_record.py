"""Whoever changes the record behind its back is found: any byte, any row, any tail, even where all that the database holds is
computed anew.

`TALLYSTICK_RECORD_FLIPS` says how many bytes are flipped; 2,000 take some minutes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tallystick import approvals, audit, identity, tlog
from tallystick.cli.record import KNOWN, SOURCES
from tallystick.cli.verify_record import verify_record
from tallystick.db import SEALER, Database, ReadTx
from tests.conftest import TestDatabase
from tests.recorded import live_a_little, seal

FLIPS = int(os.environ.get("TALLYSTICK_RECORD_FLIPS", "150"))
TABLES = {
    "event": ("id",),
    "payload": ("event_id",),
    "pending": ("event_id",),
    "leaf": ("idx",),
    "node": ("level", "n"),
    "origin": ("n",),
    "checkpoint": ("size",),
}
Connection = psycopg.AsyncConnection[Any]


@dataclass
class Kept:
    """A sealed record, a connection that may do anything to it, and what an auditor has kept outside."""

    connection: Connection
    keys: tlog.KeyFolder
    before: list[tuple[str, bytes]]
    db: Database
    sealing: Database

    async def findings(self) -> list[audit.Finding]:
        """What is found as things stand on this connection."""
        return (await audit.check(ReadTx(self.connection), self.keys.public(), kept=self.before, known=KNOWN)).findings

    @asynccontextmanager
    async def changed(self) -> AsyncIterator[Connection]:
        """What is done within happens behind the back of everybody, and is undone."""
        async with self.connection.transaction(force_rollback=True):
            await self.connection.execute("set local session_replication_role = replica")
            yield self.connection


@pytest.fixture
async def kept(db: Database, database: TestDatabase, tmp_path: Path) -> AsyncIterator[Kept]:
    sealing = Database(database.owner_url, role=SEALER)
    await sealing.open()
    keys = tlog.KeyFolder(tmp_path / "keys")
    await live_a_little(db)
    await seal(sealing, keys)
    await audit.Sealer(sealing, keys).reopen("cli:anna")
    async with db.write() as tx:
        await audit.append_many(tx, [audit.AuditEvent("me", "things.make", "thing", n, payload={"n": n}) for n in range(270)])
    await seal(sealing, keys)
    async with db.read() as tx:
        before = [("kept", (await audit.checkpoint(tx)).note.encode())]
    await live_a_little_more(db)
    await seal(sealing, keys)
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        yield Kept(connection, keys, before, db, sealing)
    await sealing.close()


async def live_a_little_more(db: Database) -> None:
    async with db.write() as tx:
        await audit.append_many(tx, [audit.AuditEvent("me", "things.make", "thing", n) for n in range(5)])
        question = approvals.Question("transfer", None, b"d" * 32, {"amount": "5"}, "desk", (("approver", 1),), 3600)
        asked = await approvals.ask(tx, question, identity.house("desk"))
        await approvals.comment(tx, asked.id, identity.house("desk"), "look at case 1")
        eva = identity.Principal("eva", "person", frozenset({"approver"}))
        await approvals.vote(tx, asked.id, eva, "approve", b"d" * 32, reason="known payee")


async def test_a_record_that_nobody_changed_is_clean(kept: Kept) -> None:
    found = await audit.check(ReadTx(kept.connection), kept.keys.public(), kept=kept.before, known=KNOWN)
    assert found.findings == []
    assert found.events == found.leaves > 300
    assert found.rows > 20


async def test_what_is_not_sealed_yet_is_no_finding_and_a_row_that_waits_for_nothing_is(kept: Kept) -> None:
    await live_a_little_more(kept.db)
    assert await kept.findings() == []
    async with kept.changed() as connection:
        await connection.execute(
            "update audit.pending set event_id = 1 where event_id = (select max(event_id) from audit.pending)"
        )
        assert {"event_unsealed", "row_of_no_event"} <= {one.code for one in await kept.findings()}


@pytest.mark.faults
@pytest.mark.parametrize("share", range(4))
async def test_any_byte_that_is_flipped_is_found(kept: Kept, share: int) -> None:
    chance = random.Random(share)
    missed: list[str] = []
    seen = refused = 0
    columns = await _columns(kept.connection)
    while seen < FLIPS // 4:
        table, column, kind = chance.choice(columns)
        async with kept.changed() as connection:
            place = await _flip(connection, chance, table, column, kind)
            if place is None:
                refused += 1
                assert refused < 100 * FLIPS
                continue
            if not await kept.findings():
                missed.append(place)
            seen += 1
    assert missed == []


async def test_every_column_of_the_record_is_among_those_that_are_flipped(kept: Kept) -> None:
    """So that a column that is added later is looked at too; those that hold nothing here are named."""
    empty = {("event", "trace_id"), ("event", "on_behalf_of"),
             ("event", "request_id"), ("payload", "erased_by"), ("pending", "event_id")}  # fmt: skip
    for table, column, _ in await _columns(kept.connection):
        query = sql.SQL("select count({}) from audit.{}").format(sql.Identifier(column), sql.Identifier(table))
        row = await (await kept.connection.execute(query)).fetchone()
        assert row is not None
        assert (row[0] == 0) == ((table, column) in empty), (table, column)


@pytest.mark.parametrize("table", [table for table in TABLES if table != "pending"])
async def test_any_row_that_is_deleted_is_found(kept: Kept, table: str) -> None:
    keys = sql.SQL(", ").join(map(sql.Identifier, TABLES[table]))
    name = sql.Identifier(table)
    rows = await (await kept.connection.execute(sql.SQL("select {} from audit.{}").format(keys, name))).fetchall()
    assert rows
    chance = random.Random(table)
    for row in chance.sample(rows, min(len(rows), 25)):
        async with kept.changed() as connection:
            gone = await connection.execute(
                sql.SQL("delete from audit.{} where ({}) = ({})").format(name, keys, sql.SQL(", ").join(map(sql.Literal, row)))
            )
            assert gone.rowcount == 1
            found = await kept.findings()
            # A checkpoint that is not kept is no loss: others are signed, and those that were published are outside.
            assert found or table == "checkpoint", row


async def test_any_tail_that_is_cut_is_found(kept: Kept) -> None:
    row = await (await kept.connection.execute("select max(idx) from audit.leaf")).fetchone()
    assert row is not None
    kept.before.append(("newest", str(kept.keys.last_checkpoint()).encode()))
    for first in [*range(0, row[0], 23), row[0]]:
        async with kept.changed() as connection:
            await connection.execute(
                "delete from audit.event where id in (select event_id from audit.leaf where idx >= %s)", [first]
            )
            await connection.execute(
                "delete from audit.payload where event_id in (select event_id from audit.leaf where idx >= %s)", [first]
            )
            await connection.execute("delete from audit.leaf where idx >= %s", [first])
            await connection.execute("delete from audit.node where (n + 1) * power(256, level) > %s", [first])
            await connection.execute("delete from audit.checkpoint where size > %s", [first])
            assert "checkpoint_newer" in {one.code for one in await kept.findings()}, first


async def test_a_past_that_was_written_anew_with_all_that_the_database_holds_is_found(kept: Kept) -> None:
    """Even by somebody who has the signing key: what was signed before is kept outside."""
    async with kept.changed() as connection:
        rows = await (
            await connection.execute(
                "select l.idx, e.id, e.leaf from audit.leaf l join audit.event e on e.id = l.event_id order by l.idx"
            )
        ).fetchall()
        hashes = []
        for index, event_id, old in rows:
            leaf = old
            if 20 <= index < 60:
                leaf = json.dumps(
                    json.loads(old) | {"principal": "somebody-else"}, separators=(",", ":"), sort_keys=True, ensure_ascii=False
                )
                await connection.execute(
                    "update audit.event set leaf = %s, principal = 'somebody-else' where id = %s", [leaf, event_id]
                )
            hashes.append(tlog.leaf_hash(leaf.encode()))
            await connection.execute("update audit.leaf set hash = %s where idx = %s", [hashes[-1], index])
        await connection.execute("update audit.node set hash = %s", [tlog.root(hashes[:256])])
        signed = await (
            await connection.execute("select c.size, o.name from audit.checkpoint c join audit.origin o on o.n = c.origin")
        ).fetchall()
        for size, origin in signed:
            root = tlog.root(hashes[:size])
            note = tlog.sign_checkpoint(tlog.Checkpoint(origin, size, root), kept.keys.signers(origin))
            await connection.execute(
                "update audit.checkpoint set root = %s, note = %s where size = %s", [root, str(note), size]
            )
        codes = {(one.code, one.relation) for one in await kept.findings()}
        assert codes == {("checkpoint_inconsistent", "kept")}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("delete from ledger.journal where id = (select min(id) from ledger.journal)", None),
        ("update work.task set payload = '{}' where id = 1", None),
        (
            "insert into work.outcome (task_id, fence, queue, state, worker, attempts, finished_at)"
            " values (999999, 1, 1, 'done', 'w', 1, now())",
            "row_unrecorded",
        ),
        (
            "insert into ledger.journal (id, kind, actor, effective_at, posted_at, digest)"
            " values (-5, 'a', 'b', now(), now(), 'x')",
            "row_unrecorded",
        ),
        ("insert into memory.event (agent, type, payload, created_by) values ('a', 'b', '{}', 'c')", "row_unrecorded"),
        (
            "insert into approvals.vote (approval_id, version, person, vote, places, at)"
            " values (1, 1, 'ghost', 'approve', '{approver}', now())",
            "row_unrecorded",
        ),
    ],
)
async def test_a_row_that_no_event_tells_of_is_found(kept: Kept, statement: str, code: str | None) -> None:
    async with kept.changed() as connection:
        await connection.execute(statement.encode())
        found = {one.code for one in await kept.findings()}
        assert code is None or code in found


# Exports.


async def _exported(kept: Kept, path: Path, **options: Any) -> audit.Exported:
    # On this connection, so that an export of what was tampered with can be made.
    return await audit.export(ReadTx(kept.connection), path, kept.keys.public(), SOURCES, **options)


async def test_an_export_is_verified_without_the_database(kept: Kept, tmp_path: Path) -> None:
    done = await _exported(kept, tmp_path / "all.zip")
    found = tlog.verify_export(tmp_path / "all.zip", keys=kept.keys.public(), checkpoints=kept.before)
    assert found.findings == []
    assert (found.events, found.size, found.items) == (done.size, done.size, done.rows)
    assert found.payloads > 270
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.zip", "keys"]


@pytest.mark.parametrize("role", ["tallystick_app", "tallystick_auditor"])
async def test_the_application_and_the_auditor_may_export_and_verify(
    kept: Kept, database: TestDatabase, tmp_path: Path, role: str
) -> None:
    reader = Database(database.owner_url, role=role)
    await reader.open()
    async with reader.snapshot() as tx:
        assert (await audit.check(tx, kept.keys.public(), kept=kept.before, known=KNOWN)).findings == []
        await audit.export(tx, tmp_path / "all.zip", kept.keys.public(), SOURCES)
    await reader.close()
    assert tlog.verify_export(tmp_path / "all.zip", keys=kept.keys.public(), checkpoints=kept.before).clean


async def test_an_export_of_a_time_is_of_all_between_its_first_and_last_event(kept: Kept, tmp_path: Path) -> None:
    row = await (
        await kept.connection.execute("select min(at), max(at) from audit.event where id between 30 and 80")
    ).fetchone()
    assert row is not None
    done = await _exported(kept, tmp_path / "part.zip", since=row[0], until=row[1])
    assert 0 < done.first < done.last < done.size - 1
    found = tlog.verify_export(tmp_path / "part.zip", keys=kept.keys.public(), checkpoints=kept.before)
    assert [one.code for one in found.findings] == ["checkpoint_not_compared"]
    done = await _exported(kept, tmp_path / "part.zip", since=row[0], until=row[1], proofs=[_size(kept.before[0][1])])
    assert tlog.verify_export(tmp_path / "part.zip", keys=kept.keys.public(), checkpoints=kept.before).clean
    done = await _exported(kept, tmp_path / "none.zip", since=row[1].replace(year=2099))
    assert done.last == done.first - 1
    assert tlog.verify_export(tmp_path / "none.zip", keys=kept.keys.public()).clean


CHANGES = {
    "update work.task set payload = '{\"n\": 77}' where id = 1": "row_altered",
    "update work.outcome set result = '{\"fine\": false}' where result is not null": "row_altered",
    "update work.outcome set fence = fence + 1": "row_altered",
    "update work.step set output = '{\"answer\": 43}'": "row_altered",
    "update work.step set detail = '{}'": "row_altered",
    "update memory.event set payload = '{}'": "row_altered",
    "update cases.case set payload = '{}' where payload is not null": "row_altered",
    "update cases.case set customer = 'another'": "row_altered",
    "update ledger.entry set amount = amount + 1 where account_id = 1 and seq = 1": "row_altered",
    "update ledger.journal set actor = 'another'": "row_altered",
    'update approvals.shown set shown = \'{"amount": "6"}\'': "row_altered",
    "update approvals.vote set person = 'jan'": "row_altered",
    "update approvals.vote set vote = 'reject'": "row_altered",
    "update approvals.comment set text = 'look away'": "row_altered",
    "delete from approvals.vote": "row_missing",
    "update audit.payload set body = '{}'": "payload_altered",
    "delete from work.step": "row_missing",
    "delete from ledger.journal": "row_missing",
    "delete from audit.payload": "payload_missing",
    "update audit.event set leaf = replace(leaf, 'desk', 'disk')": "leaf_altered",
    "update audit.event set refs = array[refs[1] + 1] where cardinality(refs) = 1 and items_kind = 'journal'": "refs_altered",
    "update audit.leaf set hash = sha256('x') where idx = 7": "leaf_altered",
}


@pytest.mark.parametrize("statement", CHANGES)
async def test_the_record_online_names_what_was_changed_in_any_room(kept: Kept, statement: str) -> None:
    async with kept.changed() as connection:
        await connection.execute(statement.encode())
        found = await verify_record(ReadTx(connection), kept.keys.public(), kept.before)
        assert CHANGES[statement] in found.counts, found.findings[:3]


@pytest.mark.parametrize(
    "statement",
    [
        "update audit.payload set salt = null, body = null, erased_by = 3"
        " where event_id = (select max(event_id) from audit.payload)",
        "update work.task set salt = null, payload = '{}', erased_by = 3 where id = 1",
        "update memory.event set salt = null, payload = '{}', erased_by = 3 where id = 1",
        "update approvals.vote set salt = null, reason = 'erased', erased_by = 3 where id = 1",
    ],
)
async def test_what_is_said_to_be_erased_and_was_not_is_named(kept: Kept, statement: str) -> None:
    async with kept.changed() as connection:
        assert (await connection.execute(statement.encode())).rowcount == 1
        found = await verify_record(ReadTx(connection), kept.keys.public(), kept.before)
        assert "erasure_unknown" in found.counts, found.findings


@pytest.mark.parametrize("statement", CHANGES)
async def test_an_export_of_what_was_changed_names_it(kept: Kept, tmp_path: Path, statement: str) -> None:
    async with kept.changed() as connection:
        assert (await connection.execute(statement.encode())).rowcount > 0
        await _exported(kept, tmp_path / "changed.zip")
    found = tlog.verify_export(tmp_path / "changed.zip", keys=kept.keys.public(), checkpoints=kept.before)
    assert CHANGES[statement] in found.counts, found.findings[:3]


def _size(note: bytes) -> int:
    return tlog.Checkpoint.parse(tlog.Note.parse(note).text).size


async def _columns(connection: Connection) -> list[tuple[str, str, str]]:
    cursor = await connection.execute(
        "select table_name, column_name, udt_name from information_schema.columns where table_schema = 'audit' order by 1, 2"
    )
    found = [(table, column, kind) for table, column, kind in await cursor.fetchall()]
    # These two say what may be erased; what they said is in the events of those who changed them.
    found = [one for one in found if one[0] not in ("legal_hold", "retention")]
    assert {table for table, _, _ in found} == set(TABLES)
    return found


async def _flip(connection: Connection, chance: random.Random, table: str, column: str, kind: str) -> str | None:
    """Change one byte of one value; where that was. `None`: there is no value, or the database does not have it so."""
    name, what = sql.Identifier(table), sql.Identifier(column)
    keys = sql.SQL(", ").join(map(sql.Identifier, TABLES[table]))
    rows = await (
        await connection.execute(
            sql.SQL("select {}, {}::text from audit.{} where {} is not null").format(keys, what, name, what)
        )
    ).fetchall()
    if not rows:
        return None
    *key, text = chance.choice(rows)
    data = bytearray((text if kind != "bytea" else text[2:]).encode())
    if not data:
        return None
    at = chance.randrange(len(data))
    digits = b"0123456789abcdef" if kind == "bytea" else b"0123456789" if chr(data[at]).isdigit() else bytes(range(32, 127))
    data[at] = chance.choice([digit for digit in digits if digit != data[at]])
    try:
        changed = data.decode()
        async with connection.transaction():
            done = await connection.execute(
                sql.SQL("update audit.{} set {} = {}::{} where ({}) = ({}) and {} is distinct from {}::{}").format(
                    name, what, sql.Literal(("\\x" if kind == "bytea" else "") + changed), sql.SQL(_types(kind)), keys,
                    sql.SQL(", ").join(map(sql.Literal, key)), what,
                    sql.Literal(("\\x" if kind == "bytea" else "") + changed), sql.SQL(_types(kind)),
                )
            )  # fmt: skip
    except (psycopg.Error, UnicodeDecodeError):
        return None
    return f"{table}.{column} {key}: {text!r} to {changed!r}" if done.rowcount else None


def _types(kind: str) -> Any:
    return {"_int8": "bigint[]", "int8": "bigint", "int4": "integer", "int2": "smallint"}.get(kind, kind)
