"""The reader of the source's files: both languages, and every fault with its line and reason."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli.berka import reader
from tallystick.cli.berka.codes import CODES, COUNTER_ACCOUNTS, place_of
from tallystick.cli.berka.lines import Malformed
from tallystick.cli.berka.model import Row, midnight
from tallystick.cli.berka.staging import OrderedRows, SeenNumbers, Staging
from tallystick.kit import Invalid
from tests import berka_bank

GOOD = '695247;2378;930101;"PRIJEM";"VKLAD";700.00;700.00;"";;'


def read(folder: Path, *lines: str) -> list[Row | Malformed]:
    path = folder / "trans_x.asc.gz"
    berka_bank.table(path, berka_bank.TRANS, lines)
    return list(reader.transactions(path, 3))


def test_a_row_is_read_with_its_place(tmp_path: Path) -> None:
    (row,) = read(tmp_path, '171;576;930111;"VYDAJ";"PREVOD NA UCET";6207.5;-7107.05;"SIPO";"YZ";"30300313"')
    assert isinstance(row, Row)
    assert (row.trans_id, row.account_id, row.amount, row.balance, row.bank) == (171, 576, -620750, -710705, "YZ")
    assert (row.file, row.line, f"{midnight(row.day):%Y-%m-%d %H:%M %Z}") == (3, 2, "1993-01-11 00:00 UTC")
    assert (CODES[row.code].k_symbol, CODES[row.code].counter_account) == ("SIPO", "berka-other-banks")


def test_the_translated_row_is_the_same_row(tmp_path: Path) -> None:
    lines = berka_bank.make(5).transactions
    assert read(tmp_path, *map(berka_bank.translated, lines)) == read(tmp_path, *lines)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (GOOD + ";", "11 columns instead of 10"),
        ("", "1 columns instead of 10"),
        (GOOD.replace("700.00;700.00", "abc;700.00"), "amount 'abc' is not an amount"),
        (GOOD.replace("700.00;700.00", "1e3;700.00"), "amount '1e3' is not an amount"),
        (GOOD.replace("700.00;700.00", "٣.00;700.00"), "is not an amount"),
        (GOOD.replace("700.00;700.00", ";700.00"), "amount '' is not an amount"),
        (GOOD.replace("700.00;700.00", "700.000;700.00"), "amount '700.000' has more than two decimals"),
        (GOOD.replace("700.00;700.00", "700.00;0.001"), "balance '0.001' has more than two decimals"),
        (GOOD.replace("700.00;700.00", "-700.00;700.00"), "amount '-700.00' is negative"),
        (GOOD.replace("700.00;700.00", "99999999999999.99;700.00"), "is too large"),
        (GOOD.replace("930101", "930230"), "date '930230' is not in the calendar"),
        (GOOD.replace("930101", "19930101"), "date '19930101' is not YYMMDD"),
        (GOOD.replace("PRIJEM", "PRIJMY"), "unknown type 'PRIJMY'"),
        (GOOD.replace("VKLAD", "VKLADY"), "unknown operation 'VKLADY'"),
        (GOOD.replace('"";;', '"X";;'), "unknown k_symbol 'X'"),
        (GOOD.replace("PRIJEM", "VYDAJ"), "operation 'VKLAD' goes against type 'VYDAJ'"),
        (GOOD.replace("695247", "x"), "trans_id 'x' is not a number"),
        (GOOD.replace("695247", "0"), "trans_id '0' is not a number"),
        (GOOD.replace("2378", "-1"), "account_id '-1' is not a number"),
        (GOOD.replace("2378", "9" * 20), "is not a number from 1 to"),
        (GOOD.replace('"VKLAD"', '"VKLAD'), "column 5 is quoted wrongly"),
        (GOOD.replace('"VKLAD"', '"VK"LAD"'), "column 5 is quoted wrongly"),
        (GOOD + "x", "the account at the other bank is not a number"),
        (GOOD[:-1] + "Y1;", "bank 'Y1' is not two capital letters"),
    ],
)
def test_a_malformed_row_is_a_fault_with_its_line_and_the_rows_around_it_are_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    before, fault, after = read(tmp_path, GOOD, line, GOOD)
    assert isinstance(before, Row)
    assert isinstance(after, Row)
    assert isinstance(fault, Malformed)
    assert fault.line == 3
    assert reason in fault.reason


def test_a_byte_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "trans_x.asc.gz"
    path.write_bytes(gzip.compress(f"{berka_bank.TRANS}\r\n{GOOD}\r\n".encode() + b"\xe9;\r\n" + GOOD.encode()))
    first, fault, last = reader.transactions(path, 0)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(fault, Malformed)
    assert (fault.line, fault.reason) == (3, "byte 1 is not UTF-8")


def cut(data: bytes) -> bytes:
    return data[:-20]


def damage(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 40]) + data[middle + 40 :]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut, "cut off"),
        (damage, "damaged"),
        (lambda data: b"plain text", "not gzip"),
        (lambda data: b"", "empty"),
        (lambda data: gzip.compress(b"a;b\n1;2\n"), "the header is not trans_id;"),
        (lambda data: gzip.compress(berka_bank.TRANS.encode() + b"\n" + b"x" * 20_000), "longer than"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault_and_the_end_of_it(
    tmp_path: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    path = tmp_path / "trans_x.asc.gz"
    lines = berka_bank.make(2, accounts=10).transactions
    berka_bank.table(path, berka_bank.TRANS, lines)
    path.write_bytes(change(path.read_bytes()))
    found = list(reader.transactions(path, 0))
    assert isinstance(found[-1], Malformed)
    assert found[-1].fatal
    assert reason in found[-1].reason
    assert all(isinstance(row, Row) for row in found[:-1])


def test_the_small_files_are_read(tmp_path: Path) -> None:
    files = reader.find(berka_bank.write(tmp_path, berka_bank.make(1, accounts=2)))
    (client, _) = [row for _, row in _good(reader.clients(files.clients[0]))]
    assert (client.client_id, f"{client.birth_date}", client.sex) == (100, "1970-05-13", "M")
    assert [row.role for _, row in _good(reader.dispositions(files.dispositions[0]))] == ["owner", "owner", "user"]
    assert [row.amount for _, row in _good(reader.orders(files.orders[0]))] == [1250, 1250]
    assert [row.region for _, row in _good(reader.districts(files.districts[0]))] == ["Prague"]


def test_a_woman_has_fifty_added_to_the_month_of_her_birth_number(tmp_path: Path) -> None:
    path = tmp_path / "client.asc.gz"
    berka_bank.table(path, "client_id;birth_number;district_id", ['1;"706213";18', '2;"701313";18', '3;"705031";18'])
    found = list(reader.clients(path))
    ((_, woman),) = _good(found[:1])
    faults = [fault for fault in found if isinstance(fault, Malformed)]
    assert (f"{woman.birth_date}", woman.sex) == ("1970-12-13", "F")
    # A birth number is personal data: the fault does not show it.
    assert [(fault.line, fault.reason) for fault in faults] == [
        (3, "the birth number is no date"),
        (4, "the birth number is no date"),
    ]


def test_every_known_combination_has_a_counter_account() -> None:
    assert {code.counter_account for code in CODES} == set(COUNTER_ACCOUNTS) - {"berka-rounding"}
    assert CODES[place_of("withdrawal in cash", "withdrawal in cash", " ")].counter_account == "berka-cash-desk"
    assert CODES[place_of("VYDAJ", "VYBER", "SANKC. UROK")].counter_account == "berka-penalty-interest"


def test_a_folder_without_the_banks_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trans_x.txt").write_text("")
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(Invalid):
            reader.find(folder)


def test_rows_staged_in_any_order_come_back_sorted_however_small_the_runs(tmp_path: Path) -> None:
    rows = [row for row in read(tmp_path, *berka_bank.make(3).transactions) if isinstance(row, Row)]
    staging, ordered = Staging(run=7), OrderedRows()
    for row in rows:
        staging.add(row)
    assert list(staging.sorted()) == sorted(rows)
    assert list(ordered) == []
    staging.close()
    ordered.close()


def test_a_number_is_new_once() -> None:
    seen = SeenNumbers()
    numbers = [1, 7, 8, 1023, 1024, 10**17, 1, 1024, 10**17, 2]
    assert [seen.add(number) for number in numbers] == [True] * 6 + [False] * 3 + [True]


def _good(found: Iterable[Any]) -> list[tuple[int, Any]]:
    rows = list(found)
    assert not any(isinstance(row, Malformed) for row in rows)
    return rows
