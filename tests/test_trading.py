"""Prices: files that are read as streams, and what is kept of them."""

from __future__ import annotations

import gzip
import os
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import audit, trading
from tallystick.cli.prices import import_prices
from tallystick.db import Database
from tallystick.kit import Invalid
from tests.conftest import ROOT, TestDatabase

GOOD = "2016-12-30,1.10,1.30,1.00,1.25,1000,AAA"


def _file(folder: Path, *lines: str, name: str = "prices.csv", header: str = trading.HEADER) -> Path:
    path = folder / name
    text = "\n".join((header, *lines)) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def _price(symbol: str, day: int, close: str, volume: int | None) -> trading.Price:
    return trading.Price(symbol=symbol, day=date(2016, 1, 1) + timedelta(days=day), close=Decimal(close), volume=volume)


@pytest.mark.parametrize("name", ["prices.csv", "prices.csv.gz"])
def test_a_row_becomes_an_exact_price(tmp_path: Path, name: str) -> None:
    (price,) = trading.read_prices(_file(tmp_path, GOOD, name=name))
    assert price == trading.Price(
        symbol="AAA",
        day=date(2016, 12, 30),
        open=Decimal("1.10"),
        high=Decimal("1.30"),
        low=Decimal("1.00"),
        close=Decimal("1.25"),
        volume=1000,
    )


@pytest.mark.parametrize(
    "row",
    [
        "2016-12-30,,,,1.25,,AAA",
        "2016-12-30,9,1,5,1.25,0,AAA",
        '"2016-12-30","1","1","1","1.25","7","AAA"',
        "2016-12-30,1,1,1,1.25,7,BRK.B\r",
    ],
    ids=["blanks", "out of order", "quoted", "with a carriage return"],
)
def test_what_makes_sense_of_a_row_is_kept(tmp_path: Path, row: str) -> None:
    (price,) = trading.read_prices(_file(tmp_path, row))
    assert isinstance(price, trading.Price)
    assert price.close == Decimal("1.25")


@pytest.mark.parametrize(
    "row",
    [
        "",
        "2016-12-30,1,1,1,,7,AAA",
        "2016-12-30,1,1,1,0,7,AAA",
        "2016-12-30,1,1,1,0.000,7,AAA",
        "2016-12-30,1,1,1,-1,7,AAA",
        "2016-12-30,1,1,1,NaN,7,AAA",
        "2016-12-30,1,1,1,1e5,7,AAA",
        "2016-12-30,1,1,1,1.123456789,7,AAA",
        "2016-12-30,1,1,1,1234567890,7,AAA",
        "2016-12-30,x,1,1,1,7,AAA",
        "2016-12-30,1,1,1,1,7.5,AAA",
        "2016-12-30,1,1,1,1,-7,AAA",
        "2016-12-30,1,1,1,1,7,",
        "2016-12-30,1,1,1,1,7,aaa",
        "2016-12-30,1,1,1,1,7,ABCDEFGHIJKLM",
        "2016-12-30,1,1,1,1,7,A\ufffd",
        "2016-02-30,1,1,1,1,7,AAA",
        "20161230,1,1,1,1,7,AAA",
        "2016-12-30,1,1,1,1,7",
        "2016-12-30,1,1,1,1,7,AAA,8",
        '2016-12-30,"1,1,1,1,7,AAA',
        "x" * 5000,
    ],
)
def test_a_row_that_makes_no_sense_is_named_and_its_neighbours_are_read(tmp_path: Path, row: str) -> None:
    before, bad, after = trading.read_prices(_file(tmp_path, GOOD, row, GOOD))
    assert before == after
    assert isinstance(before, trading.Price)
    assert isinstance(bad, trading.BadRow)
    assert bad.line == 3
    assert bad.reason


@given(row=st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=60))
def test_any_row_is_a_price_or_a_bad_row(tmp_path_factory: pytest.TempPathFactory, row: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert len(list(trading.read_prices(_file(folder, row, GOOD)))) == 2


def test_a_file_with_another_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="unknown_header"):
        list(trading.read_prices(_file(tmp_path, GOOD, header="date,close")))


def test_a_gzip_file_that_is_cut_off_or_none_is_refused(tmp_path: Path) -> None:
    whole = _file(tmp_path, *(GOOD.replace("1000", str(number * 7919)) for number in range(1, 2000)), name="a.csv.gz")
    cut, none = tmp_path / "cut.csv.gz", tmp_path / "none.csv.gz"
    cut.write_bytes(whole.read_bytes()[:-200])
    none.write_bytes(b"date,open")
    for path in (cut, none):
        with pytest.raises(Invalid, match="file_malformed"):
            list(trading.read_prices(path))


async def test_prices_are_loaded_again_only_where_they_differ(db: Database) -> None:
    prices = [_price("AAA", day, "1.10", day) for day in range(5)]
    async with db.write() as tx:
        first = await trading.load_prices(tx, prices)
    async with db.write() as tx:
        again = await trading.load_prices(tx, prices)
        changed = await trading.load_prices(tx, [*prices, _price("AAA", 4, "1.20", 4)])
        latest = await trading.latest_price(tx, "AAA")
    assert first == trading.LoadedPrices(rows=5, inserted=5, changed=0)
    assert again == trading.LoadedPrices(rows=5, inserted=0, changed=0)
    assert changed == trading.LoadedPrices(rows=6, inserted=0, changed=1)
    assert latest is not None
    assert str(latest.close) == "1.20"


async def test_the_latest_prices_are_those_of_the_newest_day(db: Database) -> None:
    async with db.write() as tx:
        await trading.load_prices(tx, [_price("AAA", 1, "2", 1), _price("AAA", 0, "1", 1), _price("BBB", 0, "3", 1)])
        found = await trading.latest_prices(tx, ["AAA", "BBB", "AAA", "CCC"])
        assert await trading.latest_price(tx, "CCC") is None
    assert {symbol: price.close for symbol, price in found.items()} == {"AAA": Decimal(2), "BBB": Decimal(3)}


async def test_the_average_daily_value_is_of_the_last_days_that_have_a_volume(db: Database) -> None:
    prices = [_price("AAA", day, "0.10", 10**day) for day in range(6)] + [_price("AAA", 6, "5", None)]
    async with db.write() as tx:
        await trading.load_prices(tx, prices)
        three = await trading.average_daily_value(tx, "AAA", 3)
        all_of_them = await trading.average_daily_value(tx, "AAA")
        assert await trading.average_daily_value(tx, "BBB") is None
    assert three is not None
    assert all_of_them is not None
    assert (three.days, three.total, three.average) == (3, Decimal("11100.00"), Decimal("3700.00"))
    assert (three.first_day, three.last_day) == (date(2016, 1, 4), date(2016, 1, 6))
    assert (all_of_them.days, all_of_them.total) == (6, Decimal("11111.10"))


async def test_loading_prices_is_on_the_record_when_it_changed_something(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        await trading.load_prices(tx, [_price("AAA", 1, "2", 1)], principal="me")
        await trading.load_prices(tx, [_price("AAA", 1, "2", 1)], principal="me")
        assert await audit.latest(tx, subject_kind="price", subject_id=1) is None
    with psycopg.connect(database.owner_url) as connection:
        events = connection.execute("select principal, verb, leaf::jsonb -> 'detail' from audit.event").fetchall()
    assert events == [("me", "prices.load", {"rows": 1, "inserted": 1, "changed": 0})]


async def test_a_file_is_imported_and_imported_again(db: Database, tmp_path: Path) -> None:
    rows = [f"2016-12-30,1,1,1,1.25,7,S{number}" for number in range(12_000)]
    path = _file(tmp_path, *rows[:6000], "nonsense", *rows[6000:], name="prices.csv.gz")
    told: list[int] = []
    first = await import_prices(db, path, told.append)
    again = await import_prices(db, path, told.append)
    assert (first.rows, first.inserted, first.changed, first.same, first.left_out) == (12_001, 12_000, 0, 0, 1)
    assert [row.line for row in first.bad] == [6002]
    assert (again.rows, again.inserted, again.changed, again.same, again.left_out) == (12_001, 0, 0, 12_000, 1)
    assert told == [10_000, 2001] * 2


def test_the_real_file_is_read_to_its_end_with_nothing_left_out() -> None:
    folder = Path(os.environ.get("TALLYSTICK_TEST_DATA") or ROOT.parent / "shared" / "data") / "equities"
    files = sorted(folder.glob("*.csv.gz"))
    if not files:
        pytest.skip(f"the real data is not at {folder}: set TALLYSTICK_TEST_DATA")
    rows = bad = blank = 0
    for row in trading.read_prices(files[0]):
        rows += 1
        bad += isinstance(row, trading.BadRow)
        blank += isinstance(row, trading.Price) and row.open is None
    assert (rows, bad) == (479_878, 0)
    assert 0 < blank <= 11
