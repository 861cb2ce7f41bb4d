"""Books that were kept by the verbs, with something of everything, and a way to change any row of them behind their back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tallystick import actions, closing, ledger
from tallystick.cli.verify import REFERENCES
from tallystick.db import Database, ReadTx
from tallystick.identity import house
from tests.conftest import TestDatabase

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

Key = tuple[Any, ...]


async def post(db: Database, *journals: ledger.Journal) -> list[int | None]:
    """Post journals; the id of each, or `None` where it was refused."""
    async with db.write() as tx:
        return [answer.journal_id for answer in await ledger.post(tx, journals)]


def move(debit: int, credit: int, amount: int, **more: Any) -> ledger.Journal:
    """A journal that moves money."""
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
    await post(db, *(move(mint, account, 100_000, effective_at=BEFORE) for account in (alice, bob, carol, ids["frozen"])))
    await post(db, move(mint, alice, 5, effective_at=BEFORE - timedelta(days=30), meta={"code": "old"}, ref_id=7))
    await closing.end_of_day(db, DAY, calendar="CZ", actor="me", hooks=())
    # Two payments of one batch that differ in the account alone.
    await post(db, move(mint, alice, 700, key="a"), move(mint, bob, 700, key="b", effective_at=LATER))
    exchange = [(alice, -2500), (ids["fx-czk"], 2500), (ids["fx-eur"], -100), (eve, 100)]
    whole, part = await post(db, ledger.Journal("fx", exchange, "desk", on_behalf_of="alice"), move(bob, carol, 900))
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
    await post(db, ledger.capture(holds[1], credit=bob, amount=100, actor="shop"))
    await post(db, ledger.capture(holds[1], credit=bob, amount=200, actor="shop"))
    await post(db, ledger.capture(holds[2], credit=alice, amount=1000, actor="shop", final=True, key="last"))
    async with db.write() as tx:
        await ledger.release_holds(
            tx, [ledger.Release(holds[3].id, "shop", "release"), ledger.Release(10**9, "shop", "of none")]
        )
        await ledger.set_status(tx, "frozen", "frozen")
        await ledger.set_status(tx, "closed", "closed")
        await ledger.set_floor(tx, "carol", -9000, actor="risk")
        await ledger.set_floor(tx, "carol", -10_000, actor="risk")
    await post(db, move(bob, alice, 10**12, key="poor"), move(ids["frozen"], alice, 1, key="ice"), move(bob, alice, 3))
    async with db.write() as tx:
        (transfer,) = await actions.propose(tx, house("me"), [actions.NewTransfer("alice", "bob", "12.00", key="transfer")])
        assert isinstance(transfer, actions.Transfer)
        assert transfer.status == "posted"
    await post(db, move(mint, carol, 40), move(mint, carol, 41), move(alice, bob, 42))
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
        """What the verifier says of the books as they are."""
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
        """The key of every row of a table."""
        columns = ", ".join(TABLES[table])
        cursor = await self.connection.execute(f"select {columns} from ledger.{table} order by {columns}".encode())
        return await cursor.fetchall()


@asynccontextmanager
async def kept(db: Database, database: TestDatabase) -> AsyncIterator[Books]:
    """Books with something of everything, a hold that expired too, in tables without constraints."""
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


_ROLLED_BACK = (
    "update ledger.balance b set seq = coalesce(e.seq, 0), dr = coalesce(e.dr_after, 0), cr = coalesce(e.cr_after, 0),"
    " last_at = coalesce(e.posted_at, '-infinity')"
    " from ledger.account a left join lateral"
    " (select * from ledger.entry x where x.account_id = a.id order by x.seq desc limit 1) as e on true"
    " where a.id = b.account_id"
)


def cut_off(journal_id: int) -> tuple[str, ...]:
    """Every trace of the journals from this one on, in the books, is taken out."""
    return (
        f"delete from ledger.entry where journal_id >= {journal_id}",
        f"delete from ledger.journal where id >= {journal_id}",
        _ROLLED_BACK,
    )


def place_of(table: str, key: Key) -> str:
    """A row as the verifier names it."""
    return " ".join(f"{column}={value}" for column, value in zip(TABLES[table], key, strict=True))


def where(table: str, key: Key) -> str:
    """The condition that finds a row."""
    return " and ".join(f"{column} = {sql.quote(value)}" for column, value in zip(TABLES[table], key, strict=True))


def is_named(findings: list[ledger.Finding], table: str, *keys: Key) -> bool:
    """Whether a finding names one of the rows: as its place, or in what it found there."""
    for key in keys:
        place = place_of(table, key)
        for finding in findings:
            if (finding.relation, finding.place) == (f"ledger.{table}", place):
                return True
            text = f"{finding.found} {finding.expected} ".replace(";", " ").replace(",", " ")
            if f"{place} " in text and (f"ledger.{table} " in text or table == "entry"):
                return True
    return False
