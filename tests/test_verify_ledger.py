"""The verifier: books that were kept by the verbs are clean, and any single change to any row of them is found and named."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from typer.testing import Result

from tallystick import actions, closing, ledger
from tallystick.cli.berka import import_berka
from tallystick.cli.verify import REFERENCES
from tallystick.db import Database, ReadTx
from tests.command_line import command
from tests.conftest import ROOT, TestDatabase

DAY = date(2024, 3, 1)
BEFORE = datetime(2024, 3, 1, 9, tzinfo=UTC)
LATER = datetime(2024, 3, 4, 9, tzinfo=UTC)
TABLES = {
    "asset": ("code",),
    "account": ("id",),
    "account_change": ("account_id", "n"),
    "balance": ("account_id",),
    "journal": ("id",),
    "entry": ("account_id", "seq"),
    "hold": ("id",),
    "hold_change": ("hold_id", "n"),
    "open_hold": ("hold_id",),
    "refusal": ("ref_id",),
    "closed_period": ("n",),
}
_OTHER = {
    "bigint": "{c} + 1",
    "integer": "{c} + 1",
    "smallint": "({c} + 1)::smallint",
    "text": "{c} || 'x'",
    "timestamp with time zone": "case when isfinite({c}) then {c} + interval '1 microsecond' else now() end",
    "bytea": "set_byte({c}, 0, get_byte({c}, 0) # 1)",
    "jsonb": "{c} || jsonb_build_object('more', 1)",
}
_SOME = {
    "bigint": "1",
    "text": "'x'",
    "timestamp with time zone": "now()",
    "jsonb": "jsonb_build_object('more', 1)",
}

Key = tuple[Any, ...]


async def _post(db: Database, *journals: ledger.Journal) -> list[int | None]:
    async with db.write() as tx:
        return [answer.journal_id for answer in await ledger.post(tx, journals)]


def _move(debit: int, credit: int, amount: int, **more: Any) -> ledger.Journal:
    return ledger.Journal("t", ledger.transfer(debit=debit, credit=credit, amount=amount), "me", **more)


async def keep_books(db: Database) -> dict[str, int]:
    """Books with something of everything, by the verbs alone."""
    specs = [
        ledger.AccountSpec("mint", "CZK", "internal", None),
        ledger.AccountSpec("alice", "CZK"),
        ledger.AccountSpec("bob", "CZK"),
        ledger.AccountSpec("carol", "CZK", floor=-5000),
        ledger.AccountSpec("fx-czk", "CZK", "internal", None),
        ledger.AccountSpec("fx-eur", "EUR", "internal", None),
        ledger.AccountSpec("eve", "EUR"),
        ledger.AccountSpec("frozen", "CZK"),
        ledger.AccountSpec("closed", "CZK"),
        ledger.AccountSpec("unused", "USD"),
    ]
    async with db.write() as tx:
        ids = {spec.name: opened.id for spec, opened in zip(specs, await ledger.open_accounts(tx, specs), strict=True)}
        calendar = closing.CalendarSpec("CZ", date(2024, 1, 1), date(2024, 12, 31), "Europe/Prague", 17 * 60, holidays={})
        await closing.add_calendar(tx, "me", calendar)
    mint, alice, bob, carol, eve = (ids[name] for name in ("mint", "alice", "bob", "carol", "eve"))
    await _post(db, *(_move(mint, account, 100_000, effective_at=BEFORE) for account in (alice, bob, carol, ids["frozen"])))
    await _post(db, _move(mint, alice, 5, effective_at=BEFORE - timedelta(days=30), meta={"code": "old"}, ref_id=7))
    await closing.end_of_day(db, DAY, calendar="CZ", actor="me", hooks=())
    # Two payments of one batch that differ in the account alone.
    await _post(db, _move(mint, alice, 700, key="a"), _move(mint, bob, 700, key="b", effective_at=LATER))
    exchange = [(alice, -2500), (ids["fx-czk"], 2500), (ids["fx-eur"], -100), (eve, 100)]
    whole, part = await _post(db, ledger.Journal("fx", exchange, "desk", on_behalf_of="alice"), _move(bob, carol, 900))
    assert whole is not None
    assert part is not None
    async with db.write() as tx:
        await ledger.reverse(tx, [ledger.Reversal(whole, "me"), ledger.Reversal(part, "me", amount=300, key="back")])
        await ledger.reverse(tx, [ledger.Reversal(part, "me", amount=600)])
        soon = datetime.now(UTC) + timedelta(hours=1)
        placed = await ledger.place_holds(
            tx,
            [
                ledger.NewHold(alice, 1000, "shop", expires_at=soon, meta={"order": 1}),
                ledger.NewHold(alice, 1100, "shop", key="held"),
                ledger.NewHold(bob, 1200, "shop"),
                ledger.NewHold(bob, 1300, "shop", key="given back"),
                ledger.NewHold(carol, 1400, "shop", expires_in_s=3600),
                ledger.NewHold(carol, 10**9, "shop", key="too much"),
            ],
        )
        holds = {place: await ledger.hold(tx, answer.hold_id) for place, answer in enumerate(placed) if answer.hold_id}
    await _post(db, ledger.capture(holds[1], credit=bob, amount=100, actor="shop"))
    await _post(db, ledger.capture(holds[1], credit=bob, amount=200, actor="shop"))
    await _post(db, ledger.capture(holds[2], credit=alice, amount=1000, actor="shop", final=True, key="last"))
    async with db.write() as tx:
        await ledger.release_holds(
            tx, [ledger.Release(holds[3].id, "shop", "release"), ledger.Release(10**9, "shop", "of none")]
        )
        await ledger.set_status(tx, "frozen", "frozen")
        await ledger.set_status(tx, "closed", "closed")
        await ledger.set_floor(tx, "carol", -9000, actor="risk")
        await ledger.set_floor(tx, "carol", -10_000, actor="risk")
    await _post(db, _move(bob, alice, 10**12, key="poor"), _move(ids["frozen"], alice, 1, key="ice"), _move(bob, alice, 3))
    async with db.write() as tx:
        (transfer,) = await actions.propose(tx, "me", [actions.NewTransfer("alice", "bob", "12.00", key="transfer")])
        assert isinstance(transfer, actions.Transfer)
        assert transfer.status == "posted"
    await _post(db, _move(mint, carol, 40), _move(mint, carol, 41), _move(alice, bob, 42))
    return ids


async def expire(connection: psycopg.AsyncConnection[Any], hold_id: int) -> None:
    """Let a hold be due, as if it had been placed two hours ago, and sweep it by the verb."""
    hours = "interval '2 hours'"
    await connection.execute("set session_replication_role = replica")
    await connection.execute(
        f"update ledger.hold h set placed_at = h.placed_at - {hours}, expires_at = h.expires_at - {hours} where id = {hold_id}"
    )
    columns = "h.id, h.account_id, h.amount, h.kind, h.ref_id, h.actor, h.on_behalf_of, h.task_id, h.approval_id, h.placed_at"
    made = f"sha256(record_send(row({columns}, h.expires_at, h.meta, null::bytea)))"
    await connection.execute(f"update ledger.hold h set digest = {made} where id = {hold_id}")
    await connection.execute(f"update ledger.open_hold set expires_at = expires_at - {hours} where hold_id = {hold_id}")
    await connection.execute("set session_replication_role = origin")
    await connection.execute("select ledger.expire_holds(10)")


@dataclass(frozen=True)
class Books:
    """Books that were kept, and a connection that steps over every trigger and constraint."""

    connection: psycopg.AsyncConnection[Any]
    ids: Mapping[str, int]

    async def verified(self, **options: Any) -> ledger.Verified:
        async with self.connection.transaction():
            return await ledger.verify(ReadTx(self.connection), references=REFERENCES, **options)

    async def found(self, *statements: str) -> list[ledger.Finding]:
        """What the verifier says after these statements, which are undone."""
        async with self.connection.transaction(force_rollback=True):
            await self.connection.execute("set local session_replication_role = replica")
            for statement in statements:
                changed = await self.connection.execute(statement.encode())
                assert changed.rowcount > 0, statement
            return list((await self.verified()).findings)

    async def keys(self, table: str) -> list[Key]:
        columns = ", ".join(TABLES[table])
        cursor = await self.connection.execute(f"select {columns} from ledger.{table} order by {columns}".encode())
        return await cursor.fetchall()


@pytest.fixture
async def books(db: Database, database: TestDatabase) -> AsyncIterator[Books]:
    ids = await keep_books(db)
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "select id from ledger.hold where kind = 'hold' and expires_at is not null order by id"
        )
        due = await cursor.fetchall()
        await expire(connection, due[-1][0])
        cursor = await connection.execute(
            "select conrelid::regclass::text, conname from pg_constraint"
            " where connamespace = 'ledger'::regnamespace and contype in ('c', 'u')"
        )
        for table, name in await cursor.fetchall():
            await connection.execute(f'alter table {table} drop constraint "{name}"'.encode())
        await connection.execute("alter table ledger.account alter column id drop identity")
        await connection.execute("analyze")
        yield Books(connection, ids)


def _place(table: str, key: Key) -> str:
    return " ".join(f"{column}={value}" for column, value in zip(TABLES[table], key, strict=True))


def _where(table: str, key: Key) -> str:
    return " and ".join(f"{column} = {sql.quote(value)}" for column, value in zip(TABLES[table], key, strict=True))


def _names(findings: list[ledger.Finding], table: str, *keys: Key) -> bool:
    """Whether a finding names one of the rows: as its place, or in what it found there."""
    for key in keys:
        place = _place(table, key)
        for finding in findings:
            if (finding.relation, finding.place) == (f"ledger.{table}", place):
                return True
            text = f"{finding.found} {finding.expected} ".replace(";", " ").replace(",", " ")
            if f"{place} " in text and (f"ledger.{table} " in text or table == "entry"):
                return True
    return False


def _some(keys: list[Key]) -> list[Key]:
    return sorted({keys[0], keys[len(keys) // 2], keys[-1]})


async def test_books_with_something_of_everything_are_clean(books: Books) -> None:
    for table in TABLES:
        assert len(await books.keys(table)) > 0, table
    told: list[tuple[int, int]] = []
    found = await books.verified(progress=lambda done, total: told.append((done, total)))
    assert found.findings == []
    assert found.clean
    assert (found.accounts, found.holds) == (10, 5)
    assert (found.journals, found.entries) == (len(await books.keys("journal")), len(await books.keys("entry")))
    assert told == sorted(told)
    assert told[-1] == (told[-1][1], told[-1][1])


async def test_the_tables_are_those_of_the_books(books: Books) -> None:
    cursor = await books.connection.execute(
        "select c.relname, array_agg(a.attname::text order by array_position(i.indkey::int2[], a.attnum))"
        "  from pg_class c join pg_index i on i.indrelid = c.oid and i.indisprimary"
        "  join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)"
        " where c.relnamespace = 'ledger'::regnamespace and c.relkind in ('r', 'p') group by c.relname"
    )
    assert {table: tuple(columns) for table, columns in await cursor.fetchall()} == TABLES


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
async def test_pieces_of_any_size_find_the_same(books: Books, piece: int) -> None:
    assert (await books.verified(piece=piece)).findings == []
    async with books.connection.transaction(force_rollback=True):
        await books.connection.execute("set local session_replication_role = replica")
        await books.connection.execute("update ledger.entry set cr_after = cr_after + 1")
        await books.connection.execute("delete from ledger.journal where id % 3 = 0")
        await books.connection.execute("delete from ledger.account_change where n = 2")
        pieces = await books.verified(piece=piece)
        whole = await books.verified()
        assert pieces.counts == whole.counts
        assert set(pieces.findings) == set(whole.findings)


@pytest.mark.parametrize("table", TABLES)
async def test_any_column_of_any_row_that_was_changed_is_found(books: Books, table: str) -> None:
    cursor = await books.connection.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        (f"ledger.{table}",),
    )
    columns = await cursor.fetchall()
    missed = []
    for key in _some(await books.keys(table)):
        for column, kind in columns:
            cursor = await books.connection.execute(
                f"select {column} is null from ledger.{table} where {_where(table, key)}".encode()
            )
            (absent,) = await cursor.fetchone() or (None,)
            other = _SOME[kind] if absent else _OTHER[kind].format(c=column)
            new_key = key
            if column in TABLES[table] and kind != "text":
                # Both the number that follows, where it is free, and one far away.
                place = TABLES[table].index(column)
                new_key = (*key[:place], key[place] + 1, *key[place + 1 :])
                if new_key in await books.keys(table):
                    new_key = (*key[:place], key[place] + 1000, *key[place + 1 :])
                    other = f"{column} + 1000"
            elif column in TABLES[table]:
                new_key = (f"{key[0]}x",)
            found = await books.found(f"update ledger.{table} set {column} = {other} where {_where(table, key)}")
            if not _names(found, table, key, new_key):
                missed.append((column, key, other, found))
    assert missed == []


@pytest.mark.parametrize("table", TABLES)
async def test_any_row_that_was_deleted_is_found(books: Books, table: str) -> None:
    keys = await books.keys(table)
    if table == "asset":
        # An asset that no account ever held leaves no trace.
        keys = [("CZK",), ("EUR",), ("USD",)]
    missed = []
    for key in keys:
        found = await books.found(f"delete from ledger.{table} where {_where(table, key)}")
        if not _names(found, table, key):
            missed.append((key, found))
    assert missed == []


@pytest.mark.parametrize("table", TABLES)
async def test_any_two_rows_that_were_swapped_are_found(books: Books, table: str) -> None:
    cursor = await books.connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        (f"ledger.{table}",),
    )
    contents = [column for (column,) in await cursor.fetchall() if column not in TABLES[table]]
    keys = await books.keys(table)
    pairs = [*pairwise(keys), *((keys[0], key) for key in keys[2:])]
    missed, swapped = [], 0
    for one, two in pairs:
        same = "select count(distinct ({})) from ledger.{} where ({}) or ({})".format(
            f"row({', '.join(contents)})", table, _where(table, one), _where(table, two)
        )
        cursor = await books.connection.execute(same.encode())
        if await cursor.fetchone() == (1,):
            # Rows of one content are still the same when they are swapped.
            continue
        swapped += 1
        found = await books.found(
            f"update ledger.{table} t set ({', '.join(contents)}) = (select {', '.join(f'o.{c}' for c in contents)}"
            f" from ledger.{table} o where (({_where(table, one)}) or ({_where(table, two)}))"
            f" and ({', '.join(f'o.{c}' for c in TABLES[table])}) <> ({', '.join(f't.{c}' for c in TABLES[table])}))"
            f" where ({_where(table, one)}) or ({_where(table, two)})"
        )
        if not (_names(found, table, one) and _names(found, table, two)):
            missed.append((one, two, found))
    assert missed == []
    assert swapped > 0 or len(keys) < 2


_ROLLED_BACK = (
    "update ledger.balance b set seq = coalesce(e.seq, 0), dr = coalesce(e.dr_after, 0), cr = coalesce(e.cr_after, 0),"
    " last_at = coalesce(e.posted_at, '-infinity')"
    " from ledger.account a left join lateral"
    " (select * from ledger.entry x where x.account_id = a.id order by x.seq desc limit 1) as e on true"
    " where a.id = b.account_id"
)


def _cut(journal_id: int) -> tuple[str, ...]:
    """Every trace of the journals from this one on, in the books, is taken out."""
    return (
        f"delete from ledger.entry where journal_id >= {journal_id}",
        f"delete from ledger.journal where id >= {journal_id}",
        _ROLLED_BACK,
    )


async def _one(books: Books, query: str) -> Any:
    cursor = await books.connection.execute(query.encode())
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("journals", [1, 2, 3])
async def test_the_newest_entries_cut_off_are_found(books: Books, journals: int) -> None:
    newest = await _one(books, f"select id from ledger.journal order by id desc offset {journals - 1} limit 1")
    last = await books.keys("entry")
    cursor = await books.connection.execute(f"select account_id, seq from ledger.entry where journal_id >= {newest}".encode())
    cut = await cursor.fetchall()
    entries, journals_too, _ = _cut(newest)
    alone = await books.found(entries)
    assert len(last) > len(cut) > 0
    assert all(_names(alone, "journal", (number,)) for number in {newest, (await books.keys("journal"))[-1][0]})
    with_journals = await books.found(entries, journals_too)
    first_cut = {account: min(seq for of, seq in cut if of == account) for account, _ in cut}
    for account, seq in first_cut.items():
        assert _names(with_journals, "entry", (account, seq))
        assert _names(with_journals, "balance", (account,))


async def test_journals_cut_off_with_everything_in_the_books_are_missed_by_who_knows_of_them(books: Books) -> None:
    of_transfer = await _one(books, "select journal_id from actions.transfer")
    assert _names(await books.found(*_cut(of_transfer)), "journal", (of_transfer,))
    keyed = await _one(books, "select ref_id from db.claim where scope = 'me' and key = 'b'")
    found = await books.found(*_cut(keyed))
    assert _names(found, "journal", (keyed,))
    assert _names(found, "refusal", (keyed,))
    assert _names(
        found, "hold_change", (await _one(books, "select hold_id from ledger.hold_change where kind = 'captured'"), 1)
    )
    effective = await _one(books, "select max(id) from ledger.journal where effective_at < '2024-03-01 16:00Z'")
    found = await books.found(*_cut(effective))
    assert {finding.place for finding in found if finding.code == "closing_differs"} == {
        f"account_id={books.ids[name]}" for name in ("mint", "alice")
    }


async def test_newest_journals_that_nobody_knows_of_can_be_taken_back_without_a_trace(books: Books) -> None:
    # What docs/verify.md says is not found; the sealed record is to find it.
    newest = (await books.keys("journal"))[-1][0]
    assert await books.found(*_cut(newest)) == []


async def test_a_change_whose_digest_was_made_anew_is_not_found(books: Books) -> None:
    # As above.
    columns = "code, kind, scale"
    assert await books.found(
        "update ledger.asset set scale = 3 where code = 'SEK'",
        f"update ledger.asset set digest = sha256(record_send(row({columns}, null::bytea))) where code = 'SEK'",
    ) == []  # fmt: skip


async def test_what_other_rooms_know_of_the_books_is_checked(books: Books) -> None:
    newest = (await books.keys("journal"))[-1][0]
    transfer = await books.found("update actions.transfer set amount = amount + 1")
    assert [finding.code for finding in transfer] == ["reference_differs"]
    of_transfer = await books.found(f"update actions.transfer set journal_id = {newest + 1}")
    assert [(finding.code, finding.place) for finding in of_transfer] == [("row_missing", f"id={newest + 1}")]
    of_payment = await books.found(
        "insert into payments.payment_step (payment_id, status, journal_id, principal)"
        f" values (1, 'sent', {newest}, 'me'), (2, 'sent', {newest + 1}, 'me')"
    )
    assert [(finding.code, finding.place) for finding in of_payment] == [("row_missing", f"id={newest + 1}")]
    of_accrual = await books.found(
        "insert into closing.accrual"
        " (account_id, day_id, from_date, balance, parts, total_parts, owed, journal_id, posted_total)"
        f" values (1, 1, '2024-02-29', 1, 26280, 26280, 1, {newest + 1}, 1)"
    )
    assert [(finding.code, finding.place) for finding in of_accrual] == [("row_missing", f"id={newest + 1}")]
    closing_balance = await books.found("update closing.balance set balance = balance + 1 where account_id = 1")
    assert [(finding.code, finding.place) for finding in closing_balance] == [("closing_differs", "account_id=1")]


async def test_two_payments_of_one_batch_whose_receivers_were_exchanged_are_found(books: Books) -> None:
    # Every sum and every time is as it was: only the journals know who was paid by which.
    a, b = [await _one(books, f"select ref_id from db.claim where key = '{key}'") for key in "ab"]
    found = await books.found(
        f"update ledger.entry set journal_id = {a} + {b} - journal_id where journal_id in ({a}, {b}) and amount > 0"
    )
    assert {(finding.code, finding.place) for finding in found} == {("row_altered", f"id={a}"), ("row_altered", f"id={b}")}


async def test_rules_are_checked_beside_digests(books: Books) -> None:
    """What was posted against the rules, with digests as they should be, as a defect of the program would have it."""
    journal = (
        "insert into ledger.journal"
        " select nextval('ledger.journal_id'), kind, ref_id, actor, on_behalf_of, task_id, approval_id"
    )
    some = f"from ledger.journal where id = {(await books.keys('journal'))[-1][0]}"
    early = await books.found(f"{journal}, reverses, hold_id, '2024-01-01', posted_at, meta, digest {some}")
    assert {finding.code for finding in early} == {"row_altered", "too_few_entries", "period_breached"}
    hold = (await books.keys("hold"))[0][0]
    capture = await books.found(f"{journal}, reverses, {hold}, effective_at, posted_at, meta, digest {some}")
    assert {finding.code for finding in capture} == {"row_altered", "too_few_entries", "capture_differs"}
    reversal = await _one(books, "select id from ledger.journal where reverses is not null limit 1")
    again = await books.found(f"{journal}, {reversal}, null, effective_at, posted_at, meta, digest {some}")
    assert "not_reversible" in {finding.code for finding in again}
    part = await _one(
        books, "select reverses from ledger.journal group by reverses having count(*) = 2 and count(reverses) = 2"
    )
    more = await books.found(
        "update ledger.entry set amount = amount * 10"
        f" where journal_id in (select id from ledger.journal where reverses = {part})"
    )
    assert ("reversal_exceeded", f"id={part}") in {(finding.code, finding.place) for finding in more}
    twice = await books.found(
        "insert into ledger.hold_change select hold_id, n + 1, 'released', 0, 1, null, actor, changed_at, digest"
        " from ledger.hold_change where kind = 'released'"
    )
    assert {"resolved_twice", "hold_exceeded"} <= {finding.code for finding in twice}
    refused = await books.found(f"insert into ledger.refusal select id, 'none', now(), '' {some}")
    assert {"number_used_twice", "refusal_unclaimed"} <= {finding.code for finding in refused}
    other = await books.found("update db.claim set scope = 'another' where key = 'a'")
    assert [finding.code for finding in other] == ["claim_differs"]
    release = await books.found("update db.claim set hash = sha256('') where key = 'release'")
    assert [finding.relation for finding in release] == ["ledger.refusal", "ledger.hold_change"]
    sums = await books.found("update ledger.balance set cr = cr + 1 where account_id = 1")
    assert {finding.code for finding in sums} == {"balance_differs", "trial_balance"}
    fx = await _one(books, "select id from ledger.journal where kind = 'fx'")
    earlier = "set posted_at = posted_at - interval '1 minute'"
    order = await books.found(
        f"update ledger.journal {earlier} where id = {fx}", f"update ledger.entry {earlier} where journal_id = {fx}"
    )
    assert "entry_order" in {finding.code for finding in order}
    period = await books.found("update ledger.closed_period set closed_until = closed_at + interval '1 day'")
    assert {"row_altered", "period_order"} <= {finding.code for finding in period}
    same = await books.found(f"update ledger.hold set id = {fx} where id = {hold}")
    assert "number_used_twice" in {finding.code for finding in same}
    await books.connection.execute("select setval('ledger.journal_id', 1)")
    assert {finding.code for finding in (await books.verified()).findings} == {"number_unknown"}


async def test_of_each_code_the_first_hundred_are_listed_and_all_are_counted(books: Books) -> None:
    async with books.connection.transaction(force_rollback=True):
        await books.connection.execute("set local session_replication_role = replica")
        await books.connection.execute(
            "insert into ledger.refusal (ref_id, code, digest) select -n, 'none', '' from generate_series(1, 250) as n"
        )
        found = await books.verified()
    assert found.counts == {"row_altered": 250, "refusal_unclaimed": 250}
    assert (found.total, len(found.findings)) == (500, 200)


_NAMES = ("bank", "alice", "bob", "euro")
_ops = st.one_of(
    st.tuples(
        st.just("post"),
        st.lists(
            st.tuples(
                st.sampled_from(_NAMES),
                st.sampled_from(_NAMES),
                st.integers(1, 100),
                st.sampled_from([None, "k1", "k2", "k3", "k4"]),
            ),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from(["independent", "atomic"]),
    ),
    st.tuples(st.just("hold"), st.sampled_from(_NAMES), st.integers(1, 80), st.sampled_from([None, "h1", "h2"])),
    st.tuples(st.just("capture"), st.integers(0, 5), st.integers(1, 80), st.booleans()),
    st.tuples(st.just("release"), st.integers(0, 5), st.sampled_from([None, "r1", "r2"])),
    st.tuples(st.just("reverse"), st.integers(0, 9), st.sampled_from([None, 1, 30]), st.sampled_from([None, "v1"])),
    st.tuples(st.just("floor"), st.sampled_from(_NAMES), st.integers(-200, 50)),
    st.tuples(st.just("status"), st.sampled_from(_NAMES), st.sampled_from(["open", "frozen"])),
    st.tuples(st.just("close"), st.integers(0, 3)),
)


async def _carry_out(db: Database, number: int, op: tuple[Any, ...]) -> None:
    async with db.read() as tx:
        accounts = await ledger.resolve(tx, _NAMES)
        known = await ledger.holds(tx, limit=6)
        journals = await ledger.journals(tx, limit=10)
    async with db.write() as tx:
        match op:
            case ("post", moves, mode):
                batch = [
                    ledger.Journal(
                        "t",
                        ledger.transfer(debit=accounts[debit].id, credit=accounts[credit].id, amount=amount),
                        "me",
                        key=key and f"{number} {key}",
                        effective_at=LATER if amount % 3 == 0 else None,
                    )
                    for debit, credit, amount, key in moves
                ]
                await ledger.post(tx, batch, mode=mode)
            case ("hold", name, amount, key):
                await ledger.place_holds(tx, [ledger.NewHold(accounts[name].id, amount, "me", key=key and f"{number} {key}")])
            case ("capture", place, amount, final) if place < len(known):
                await ledger.post(
                    tx, [ledger.capture(known[place], credit=accounts["bank"].id, amount=amount, actor="me", final=final)]
                )
            case ("release", place, key) if place < len(known):
                await ledger.release_holds(tx, [ledger.Release(known[place].id, "me", key and f"{number} {key}")])
            case ("reverse", place, amount, key) if place < len(journals):
                legs = await ledger.legs(tx, [journals[place].id])
                if amount is None or len({leg.account for leg in legs}) == 2:
                    reversal = ledger.Reversal(journals[place].id, "me", amount=amount, key=key and f"{number} {key}")
                    await ledger.reverse(tx, [reversal])
            case ("floor", name, floor):
                await ledger.set_floor(tx, name, floor)
            case ("status", name, status):
                await ledger.set_status(tx, name, status)
            case ("close", days):
                closed = await ledger.closed_until(tx)
                until = LATER + timedelta(days=days)
                if closed is None or until > closed:
                    await ledger.close_period(tx, until, actor="me")


async def _random_books(url: str, number: int, ops: list[tuple[Any, ...]]) -> None:
    db = Database(url)
    await db.open()
    try:
        async with db.write() as tx:
            await ledger.open_accounts(
                tx,
                [
                    ledger.AccountSpec("bank", "CZK", "internal", None),
                    ledger.AccountSpec("alice", "CZK"),
                    ledger.AccountSpec("bob", "CZK", floor=-100),
                    ledger.AccountSpec("euro", "EUR", "internal", None),
                ],
            )
        for op in ops:
            await _carry_out(db, number, op)
        async with db.snapshot() as tx:
            assert (await ledger.verify(tx, references=REFERENCES, piece=4)).findings == []
    finally:
        await db.close()


_examples = iter(range(10**9))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=st.lists(_ops, min_size=5, max_size=30))
def test_random_books_by_random_verbs_are_clean(database: TestDatabase, ops: list[tuple[Any, ...]]) -> None:
    # The books of one example are those of the ones before, and more.
    asyncio.run(_random_books(database.app_url, next(_examples), ops))


async def test_the_verifier_sees_one_state_while_others_post(db: Database, database: TestDatabase) -> None:
    ids = await keep_books(db)

    async def post() -> None:
        for batch in range(15):
            await _post(db, *(_move(ids["mint"], ids["alice"], 1, key=f"{batch} {n}") for n in range(20)))

    async with db.snapshot() as tx:
        before = await ledger.verify(tx, references=REFERENCES)
        posting = asyncio.create_task(post())
        while not posting.done():
            assert await ledger.verify(tx, references=REFERENCES, piece=50) == before
        await posting
        assert await ledger.verify(tx, references=REFERENCES, piece=50) == before
    async with db.snapshot() as tx:
        after = await ledger.verify(tx, references=REFERENCES)
    assert (before.findings, after.findings) == ([], [])
    assert (before.journals + 300, before.entries + 600) == (after.journals, after.entries)


async def _command(database: TestDatabase, *options: str) -> Result:
    return await asyncio.to_thread(command, database, "verify", *options)


@pytest.mark.faults
async def test_the_command_names_the_places_and_its_status_tells(books: Books, database: TestDatabase) -> None:
    clean = await _command(database, "--ledger")
    counts = await books.verified()
    last = f"verified journals={counts.journals} entries={counts.entries} accounts=10 holds=5 findings="
    assert clean.exit_code == 0, clean.stderr
    assert clean.stdout.splitlines()[-1].startswith(f"{last}0 seconds=")
    as_json = await _command(database, "--ledger", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["findings"]) == (0, [])
    async with books.connection.transaction():
        await books.connection.execute("set local session_replication_role = replica")
        await books.connection.execute("update ledger.entry set amount = amount - 1 where account_id = 1 and seq = 2")
    broken = await _command(database, "--ledger")
    assert broken.exit_code == 1
    assert "ledger.entry" in broken.stdout
    assert "account_id=1 seq=2" in broken.stdout
    assert broken.stdout.splitlines()[-1].startswith(last)
    assert "findings=0" not in broken.stdout
    as_json = await _command(database, "--ledger", "--json")
    found = json.loads(as_json.stdout)
    assert as_json.exit_code == 1
    assert found["total"] == len(found["findings"]) > 0
    assert {"code", "relation", "place", "found", "expected"} == set(found["findings"][0])
    nothing = await _command(database)
    assert nothing.exit_code == 2
    assert "--ledger" in nothing.stderr


@pytest.mark.faults
async def test_the_real_bank_is_clean_and_what_is_changed_in_it_is_named(db: Database, database: TestDatabase) -> None:
    folder = Path(os.environ.get("TALLYSTICK_TEST_DATA") or ROOT.parent / "shared" / "data") / "berka"
    if not (folder / "account.asc.gz").exists():
        pytest.skip(f"the real data is not at {folder}: set TALLYSTICK_TEST_DATA")
    await import_berka(db, folder)
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        books = Books(connection, {})
        clean = await books.verified()
        assert (clean.findings, clean.journals, clean.accounts) == ([], 62_481, 4507)
        entries, journals = await books.keys("entry"), await books.keys("journal")
        entry, journal = entries[len(entries) // 2], journals[len(journals) // 2]
        for table, key, change in (
            ("entry", entry, "update ledger.entry set amount = amount + 1"),
            ("entry", entry, "delete from ledger.entry"),
            ("journal", journal, "update ledger.journal set effective_at = effective_at + interval '1 day'"),
            ("journal", journal, 'update ledger.journal set meta = meta || \'{"bank": "ZZ"}\''),
            ("journal", journal, "delete from ledger.journal"),
        ):
            assert _names(await books.found(f"{change} where {_where(table, key)}"), table, key), change
        newest = journals[-1][0]
        assert _names(await books.found(*_cut(newest)), "journal", (newest,))
