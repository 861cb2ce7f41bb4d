"""The verifier: books that were kept by the verbs are clean, and any single change to any row of them is found and named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from tallystick.db import Database
from tests.conftest import TestDatabase
from tests.kept_books import TABLES, Books, Key, is_named, kept, where

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


@pytest.fixture
async def books(db: Database, database: TestDatabase) -> AsyncIterator[Books]:
    """See `kept`."""
    async with kept(db, database) as books:
        yield books


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
                f"select {column} is null from ledger.{table} where {where(table, key)}".encode()
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
            found = await books.found(f"update ledger.{table} set {column} = {other} where {where(table, key)}")
            if not is_named(found, table, key, new_key):
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
        found = await books.found(f"delete from ledger.{table} where {where(table, key)}")
        if not is_named(found, table, key):
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
            f"row({', '.join(contents)})", table, where(table, one), where(table, two)
        )
        cursor = await books.connection.execute(same.encode())
        if await cursor.fetchone() == (1,):
            # Rows of one content are still the same when they are swapped.
            continue
        swapped += 1
        found = await books.found(
            f"update ledger.{table} t set ({', '.join(contents)}) = (select {', '.join(f'o.{c}' for c in contents)}"
            f" from ledger.{table} o where (({where(table, one)}) or ({where(table, two)}))"
            f" and ({', '.join(f'o.{c}' for c in TABLES[table])}) <> ({', '.join(f't.{c}' for c in TABLES[table])}))"
            f" where ({where(table, one)}) or ({where(table, two)})"
        )
        if not (is_named(found, table, one) and is_named(found, table, two)):
            missed.append((one, two, found))
    assert missed == []
    assert swapped > 0 or len(keys) < 2
