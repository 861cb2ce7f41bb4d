"""The import as a whole: every balance equals the source's, nothing twice, nothing half, and kills change nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import customers, ledger
from tallystick.cli.berka import ImportRefused, Reconciliation, import_berka, last_line, render
from tallystick.cli.berka.codes import COUNTER_ACCOUNTS
from tallystick.db import Database, DatabaseSettings, migrate
from tallystick.kit import Conflict
from tests import berka_bank
from tests.command_line import command
from tests.conftest import ROOT, TestDatabase, allow_all

BANK = berka_bank.make(11)
ROWS = len(BANK.transactions)


def state(url: str) -> list[Any]:
    """Everything an import leaves, without the ids and times that differ from run to run."""
    queries = (
        "select a.name, a.kind, b.cr, b.dr, b.seq, b.floor from ledger.account a"
        " join ledger.balance b on b.account_id = a.id order by 1",
        "select a.name, j.ref_id, j.kind, j.actor, j.effective_at, j.meta::text, array_agg(e.amount order by e.seq) as amounts"
        " from ledger.journal j join ledger.entry e on e.journal_id = j.id"
        " join ledger.account a on a.id = e.account_id group by a.name, j.id order by 2, 1",
        "select a.name, e.seq, e.amount, e.cr_after - e.dr_after, j.ref_id from ledger.entry e"
        " join ledger.account a on a.id = e.account_id join ledger.journal j on j.id = e.journal_id"
        " where a.kind = 'customer' order by 1, 2",
        "select name, birth_date, sex, region from customers.customer order by 1",
        "select c.name, a.name, d.role from customers.disposition d join customers.customer c on c.id = d.customer_id"
        " join ledger.account a on a.id = d.account_id order by 1, 2",
        "select name, to_bank, to_account, amount, asset, purpose from customers.standing_order order by 1",
        "select scope, key, encode(hash, 'hex') from db.claim where scope <> 'import:berka' order by 1, 2",
        "select scope, key from db.claim order by 1, 2",
        "select count(*) from ledger.refusal",
    )
    with psycopg.connect(url) as connection:
        return [connection.execute(query.encode()).fetchall() for query in queries]


def is_proved(outcome: Reconciliation, bank: berka_bank.MadeBank = BANK) -> None:
    assert outcome.agrees
    assert last_line(outcome) == f"reconciled rows={len(bank.transactions)} differ=0 roundings={bank.roundings}"
    assert (outcome.rows, outcome.compared) == (len(bank.transactions), len(bank.transactions))
    assert outcome.lowest_floor == min(0, *bank.lowest.values())
    assert outcome.floors == sum(lowest < 0 for lowest in bank.lowest.values())


async def test_every_row_is_a_balanced_journal_and_leaves_the_banks_own_balance(db: Database, tmp_path: Path) -> None:
    outcome = await import_berka(db, berka_bank.write(tmp_path, BANK))
    is_proved(outcome)
    assert (outcome.journals_new, outcome.journals_before) == (ROWS, 0)
    assert (outcome.accounts, outcome.customers, outcome.dispositions, outcome.standing_orders) == (5, 5, 9, 5)
    rows = [line.replace('"', "").split(";") for line in BANK.transactions if line.split(";")[1] == "100"]
    async with db.read() as tx:
        account = await ledger.account(tx, "berka-100")
        entries = await ledger.entries(tx, account.id, order="asc", limit=1000)
        bank = await ledger.resolve(tx, COUNTER_ACCOUNTS)
        owners = await customers.owner_names(tx, [account.id])
        orders = await customers.standing_orders(tx, account.id)
        owner = await customers.get(tx, "berka-client-100")
        (trial,) = [asset for asset in await ledger.trial_balance(tx) if asset.asset == "CZK"]
    after = {entry.journal_id: entry for entry in entries}.values()
    assert [berka_bank.money(entry.balance_after) for entry in after] == [row[6] for row in rows]
    assert [f"{entry.effective_at:%y%m%d %H:%M}" for entry in after] == [f"{row[2]} 00:00" for row in rows]
    assert [(entry.meta or {}).get("bank", "") for entry in after] == [row[8] for row in rows]
    assert account.floor == min(0, BANK.lowest[100])
    assert {found.kind for found in bank.values()} == {"internal"}
    assert -bank["berka-rounding"].posted % 10 == 0
    assert owners == {account.id: "berka-client-100"}
    assert (f"{owner.birth_date}", owner.sex, owner.region) == ("1970-05-13", "M", "Prague")
    assert [(order.name, order.amount, order.purpose) for order in orders] == [("berka-order-100", 1250, "SIPO")]
    assert trial.difference == 0


async def test_personal_data_stays_out_of_the_books(db: Database, database: TestDatabase, tmp_path: Path) -> None:
    await import_berka(db, berka_bank.write(tmp_path, BANK))
    with psycopg.connect(database.owner_url) as connection:
        found = connection.execute("select distinct jsonb_object_keys(meta) from ledger.journal order by 1").fetchall()
    assert found == [("bank",), ("k_symbol",), ("operation",), ("type",)]


async def test_a_second_run_posts_nothing_and_changes_nothing(db: Database, database: TestDatabase, tmp_path: Path) -> None:
    folder = berka_bank.write(tmp_path, BANK)
    await import_berka(db, folder)
    before = state(database.owner_url)
    again = await import_berka(db, folder)
    is_proved(again)
    assert (again.journals_new, again.journals_before) == (0, ROWS)
    assert state(database.owner_url) == before


async def test_rows_may_stand_in_any_order_in_any_files_in_either_language(
    db: Database, database: TestDatabase, empty_database: TestDatabase, tmp_path: Path
) -> None:
    await import_berka(db, berka_bank.write(tmp_path / "one", BANK))
    lines = list(BANK.transactions)
    random.Random(2).shuffle(lines)
    files = {
        "trans_b.asc.gz": lines[:50],
        "trans_a.csv.gz": [berka_bank.translated(line) for line in lines[50:130]],
        "trans_c.asc.gz": lines[130:],
    }
    migrate(empty_database.owner_url, application_url=empty_database.app_url)
    await allow_all(empty_database.app_url)
    other = Database(empty_database.app_url, DatabaseSettings())
    await other.open()
    is_proved(await import_berka(other, berka_bank.write(tmp_path / "two", BANK, files), batch=7))
    await other.close()
    assert state(empty_database.owner_url) == state(database.owner_url)


async def test_a_later_import_goes_on_where_an_earlier_one_ended(db: Database, tmp_path: Path) -> None:
    day = sorted(BANK.transactions, key=lambda line: line.split(";")[2])[ROWS // 2].split(";")[2]
    early = [line for line in BANK.transactions if line.split(";")[2] < day]
    late = [line for line in BANK.transactions if line.split(";")[2] >= day]
    await import_berka(db, berka_bank.write(tmp_path / "one", BANK, {"trans_early.asc.gz": early}))
    alone = tmp_path / "two"
    alone.mkdir()
    berka_bank.table(alone / "trans_late.asc.gz", berka_bank.TRANS, late)
    outcome = await import_berka(db, alone)
    assert (outcome.journals_new, outcome.agrees) == (len(late), True)
    both = await import_berka(db, berka_bank.write(tmp_path / "three", BANK))
    is_proved(both)
    assert both.journals_before == ROWS


async def test_rows_older_than_what_was_imported_and_gaps_are_refused(db: Database, tmp_path: Path) -> None:
    half = [line for line in BANK.transactions if line.split(";")[1] == "100"]
    with pytest.raises(ImportRefused) as gap:
        await import_berka(db, berka_bank.write(tmp_path / "one", BANK, {"trans_late.asc.gz": half[20:]}))
    assert "does not follow from 0.00" in str(gap.value.problems.listed[0])
    await import_berka(db, berka_bank.write(tmp_path / "two", BANK, {"trans_early.asc.gz": half[:20]}))
    fields = half[20].split(";")
    older = ";".join([*fields[:2], "930101", *fields[3:]])
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, berka_bank.write(tmp_path / "three", BANK, {"trans_late.asc.gz": [older]}))
    (problem,) = refused.value.problems.listed
    assert (problem.file, problem.line) == ("trans_late.asc.gz", 2)
    assert "this row is older" in problem.reason


async def test_a_row_that_says_something_else_than_before_is_refused(db: Database, tmp_path: Path) -> None:
    await import_berka(db, berka_bank.write(tmp_path / "one", BANK))
    changed = [line.replace("VKLAD", "PREVOD Z UCTU") for line in BANK.transactions]
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, berka_bank.write(tmp_path / "two", BANK, {"trans_all.asc.gz": changed}))
    assert "was imported before, as another row" in refused.value.problems.listed[0].reason


async def test_an_account_that_others_have_posted_to_is_not_continued(db: Database, tmp_path: Path) -> None:
    async with db.write() as tx:
        mine, other = await ledger.open_accounts(
            tx, [ledger.AccountSpec("berka-100", "CZK"), ledger.AccountSpec("mint", "CZK", "internal", None)]
        )
        await ledger.post(tx, [ledger.Journal("t", ledger.transfer(debit=other.id, credit=mine.id, amount=5), "me")])
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, berka_bank.write(tmp_path, BANK))
    assert [problem.reason.split(";")[0] for problem in refused.value.problems.listed] == [
        "account 100 was posted to by others"
    ]


def _with(place: int, change: Callable[[list[str]], object]) -> list[str]:
    lines = list(BANK.transactions)
    fields = lines[place].split(";")
    change(fields)
    lines[place] = ";".join(fields)
    return lines


def _set(place: int, value: str) -> Callable[[list[str]], None]:
    return lambda fields: fields.__setitem__(place, value)


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        (_with(77, _set(5, "12.345")), 79, "amount '12.345' has more than two decimals"),
        (_with(77, _set(6, "1.00")), 79, "does not follow"),
        (_with(77, _set(1, "999")), 79, "unknown account 999"),
        (_with(77, _set(0, BANK.transactions[0].split(";")[0])), 79, "was read before"),
        (_with(77, lambda fields: fields.pop()), 79, "9 columns instead of 10"),
    ],
)
async def test_one_bad_row_and_nothing_at_all_is_written(
    db: Database, database: TestDatabase, tmp_path: Path, *, lines: list[str], line: int, reason: str
) -> None:
    before = state(database.owner_url)
    folder = berka_bank.write(tmp_path, BANK, {"trans_good.asc.gz": [], "trans_some.asc.gz": lines})
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, folder)
    listed = refused.value.problems.listed
    assert any((p.file, p.line) == ("trans_some.asc.gz", line) and reason in p.reason for p in listed), listed
    assert state(database.owner_url) == before


async def test_every_problem_is_counted_and_the_first_hundred_are_listed(db: Database, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, berka_bank.write(tmp_path, BANK, {"trans_x.asc.gz": ["nothing"] * 250}))
    assert (refused.value.problems.total, len(refused.value.problems.listed)) == (250, 100)
    assert str(refused.value.problems.listed[0]) == "trans_x.asc.gz:2: 1 columns instead of 10"


@pytest.mark.parametrize(
    ("name", "header", "lines", "reason"),
    [
        ("account.asc.gz", "account_id;district_id;frequency;date", ['100;1;"X";930101'] * 2, "number 100 stands twice"),
        ("client.asc.gz", "client_id;birth_number;district_id", ['100;"700513";2'], "unknown district 2"),
        ("disp.asc.gz", "disp_id;client_id;account_id;type", ['1;999;100;"OWNER"'], "unknown client 999"),
        ("disp.asc.gz", "disp_id;client_id;account_id;type", ['1;100;999;"OWNER"'], "unknown account 999"),
        ("disp.asc.gz", "disp_id;client_id;account_id;type", ['1;100;100;"BOSS"'], "unknown type 'BOSS'"),
        (
            "disp.asc.gz",
            "disp_id;client_id;account_id;type",
            ['1;100;100;"OWNER"', '2;101;100;"OWNER"'],
            "account 100 has a second owner",
        ),
        (
            "order.asc.gz",
            "order_id;account_id;bank_to;account_to;amount;k_symbol",
            ['1;999;"YZ";"1";1.00;"SIPO"'],
            "unknown account 999",
        ),
        (
            "order.asc.gz",
            "order_id;account_id;bank_to;account_to;amount;k_symbol",
            ['1;100;"YZ";"1";0.00;"SIPO"'],
            "a standing order over nothing",
        ),
    ],
)
async def test_the_small_files_are_checked_too(
    db: Database, database: TestDatabase, tmp_path: Path, *, name: str, header: str, lines: list[str], reason: str
) -> None:
    before = state(database.owner_url)
    berka_bank.write(tmp_path, BANK)
    berka_bank.table(tmp_path / name, header, lines)
    with pytest.raises(ImportRefused) as refused:
        await import_berka(db, tmp_path)
    assert any(p.file == name and reason in p.reason for p in refused.value.problems.listed), refused.value.problems.listed
    assert state(database.owner_url) == before


async def test_a_row_of_nothing_is_a_journal_too(db: Database, tmp_path: Path) -> None:
    lines = [
        '1;100;930101;"PRIJEM";"VKLAD";10.00;10.00;"";;',
        '2;100;930102;"PRIJEM";"";0.00;10.00;"UROK";;',
        '3;100;930103;"PRIJEM";"";0.00;10.10;"UROK";;',
    ]
    folder = berka_bank.write(tmp_path, BANK, {"trans_x.asc.gz": lines})
    for _ in range(2):
        assert last_line(await import_berka(db, folder)) == "reconciled rows=3 differ=0 roundings=1"


async def test_two_imports_at_once_post_each_row_once(db: Database, tmp_path: Path) -> None:
    folder = berka_bank.write(tmp_path, BANK)
    one, two = await asyncio.gather(import_berka(db, folder, batch=9), import_berka(db, folder, batch=9))
    is_proved(one)
    is_proved(two)
    assert one.journals_new + two.journals_new == ROWS


async def test_a_refusal_of_the_ledger_stops_the_import_and_does_not_stick(db: Database, tmp_path: Path) -> None:
    folder = berka_bank.write(tmp_path, BANK)
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec("berka-102", "CZK")])
        await ledger.set_status(tx, "berka-102", "frozen")
    with pytest.raises(Conflict) as refused:
        await import_berka(db, folder)
    assert refused.value.code == "row_refused"
    async with db.write() as tx:
        await ledger.set_status(tx, "berka-102", "open")
    is_proved(await import_berka(db, folder))


async def test_a_balance_that_is_not_the_banks_own_is_found(db: Database, database: TestDatabase, tmp_path: Path) -> None:
    folder = berka_bank.write(tmp_path, BANK)
    await import_berka(db, folder)
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "update ledger.entry set cr_after = cr_after + 1 where (account_id, seq) ="
            " (select e.account_id, e.seq from ledger.entry e join ledger.account a on a.id = e.account_id"
            " where a.name = 'berka-100' order by e.seq limit 1)"
        )
    outcome = await import_berka(db, folder)
    assert not outcome.agrees
    assert (outcome.differing, outcome.differences[0].balance) == (1, outcome.differences[0].wanted + 1)


_CUT_OFF = """
import asyncio, sys
from pathlib import Path
from tallystick.cli.berka import import_berka
from tallystick.db import Database, DatabaseSettings

class Telling:
    def begin(self, stage, total):
        print(stage, flush=True)
        sys.stdin.readline()
    def advance(self, count):
        print("some", flush=True)
        sys.stdin.readline()

async def main(url, folder):
    database = Database(url, DatabaseSettings())
    await database.open()
    await import_berka(database, Path(folder), watcher=Telling(), batch=10)

asyncio.run(main(*sys.argv[1:]))
"""


def _run_until(stage: str, steps: int, url: str, folder: Path) -> None:
    """Run an import in a process of its own and kill it (-9) at the given step of a stage."""
    with subprocess.Popen(
        [sys.executable, "-c", _CUT_OFF, url, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inside = False
        for line in process.stdout:
            inside = inside or line.strip() == stage
            steps -= inside
            if steps < 0:
                process.kill()
                break
            process.stdin.write("go on\n")
            process.stdin.flush()
        else:
            pytest.fail(f"the import ended before step {steps} of {stage}")


@pytest.mark.faults
async def test_an_import_that_was_killed_again_and_again_ends_in_the_same_state(
    db: Database, database: TestDatabase, empty_database: TestDatabase, tmp_path: Path
) -> None:
    folder = berka_bank.write(tmp_path, BANK)
    for stage, steps in (("chaining", 1), ("posting", 0), ("posting", 3), ("posting", 1), ("posting", 7), ("comparing", 0)):
        _run_until(stage, steps, database.app_url, folder)
    is_proved(await import_berka(db, folder))
    migrate(empty_database.owner_url, application_url=empty_database.app_url)
    await allow_all(empty_database.app_url)
    other = Database(empty_database.app_url, DatabaseSettings())
    await other.open()
    await import_berka(other, folder)
    await other.close()
    assert state(database.owner_url) == state(empty_database.owner_url)


@pytest.mark.faults
def test_the_command_prints_the_table_and_the_last_line_and_its_status_tells(database: TestDatabase, tmp_path: Path) -> None:
    done = command(database, "import", "berka", str(berka_bank.write(tmp_path / "good", BANK)))
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"reconciled rows={ROWS} differ=0 roundings={BANK.roundings}"
    assert "Reconciliation" in done.stdout
    bad = berka_bank.write(tmp_path / "bad", BANK, {"trans_x.asc.gz": ["nothing"]})
    refused = command(database, "import", "berka", str(bad))
    assert refused.exit_code == 1
    assert "trans_x.asc.gz:2: 1 columns instead of 10" in refused.stderr
    assert "reconciled" not in refused.stdout
    (bad / "trans_x.asc.gz").write_bytes(gzip.compress(b""))
    assert command(database, "import", "berka", str(bad)).exit_code == 1


def _real_data() -> Path:
    return Path(os.environ.get("TALLYSTICK_TEST_DATA") or ROOT.parent / "shared" / "data") / "berka"


@pytest.mark.faults
async def test_the_real_bank_is_proved_to_the_haler(db: Database) -> None:
    folder = _real_data()
    if not (folder / "account.asc.gz").exists():
        pytest.skip(f"the real data is not at {folder}: set TALLYSTICK_TEST_DATA")
    outcome = await import_berka(db, folder)
    assert last_line(outcome) == "reconciled rows=62481 differ=0 roundings=2683"
    assert outcome.agrees
    assert (outcome.accounts, outcome.customers, outcome.standing_orders) == (4500, 5369, 6471)
    assert (outcome.floors, outcome.lowest_floor) == (34, -1_703_040)
    assert render(outcome).row_count > 15
    again = await import_berka(db, folder)
    assert (again.journals_new, last_line(again)) == (0, last_line(outcome))
