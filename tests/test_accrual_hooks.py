"""What runs at the end of a business day beside our own interest: in order, under keys, once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psycopg
import pytest

from tallystick import closing, ledger
from tallystick.db import Database
from tallystick.kit import Invalid, TallystickError
from tests.bank_days import (
    CUT_OFF,
    FRIDAY,
    MICROSECOND,
    MONDAY,
    balances_on,
    end_day,
    pay,
    set_up,
)


@pytest.fixture
async def ids(db: Database) -> dict[str, int]:
    """See `set_up`."""
    return await set_up(db)


def _charging(ids: dict[str, int], name: str = "charge", order: int = 1, amount: int = 2) -> closing.AccrualHook:
    """A hook that takes a fee from every customer's account, from each page in one journal an account."""

    async def run(page: closing.AccrualPage) -> None:
        customers = [row for row in page.balances if row.kind == "customer"]
        await page.post(
            [
                closing.AccrualJournal("fee", ledger.transfer(debit=row.account_id, credit=ids["COST"], amount=amount))
                for row in customers
            ]
        )

    return closing.AccrualHook(name, order, run)


async def test_hooks_run_in_order_and_post_under_keys_just_before_the_cut_off(db: Database, ids: dict[str, int]) -> None:
    seen: list[str] = []

    def watching(name: str, order: int) -> closing.AccrualHook:
        async def run(page: closing.AccrualPage) -> None:
            seen.append(f"{name} {page.previous_date} {sorted(row.balance for row in page.balances)}")

        return closing.AccrualHook(name, order, run)

    for name in ("ALICE", "BOB"):
        await pay(db, ids["BANK"], ids[name], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    hooks = [watching("c", 5), _charging(ids), watching("b", 5), watching("a", 9)]
    await end_day(db, FRIDAY, hooks)
    assert seen == []
    await end_day(db, MONDAY, hooks)
    assert seen == [f"{name} 2024-03-01 [-200, 100, 100]" for name in "bca"]
    with psycopg.connect(db.url) as connection:
        keys = connection.execute("select scope, key from db.claim order by key").fetchall()
        journals = connection.execute(
            "select distinct actor, on_behalf_of, effective_at from ledger.journal where kind = 'accrued_fee'"
        ).fetchall()
    assert keys == [("end-of-day", "eod:2024-03-04:charge:1"), ("end-of-day", "eod:2024-03-04:charge:2")]
    assert journals == [("end-of-day", "me", CUT_OFF[MONDAY] - MICROSECOND)]
    assert (await balances_on(db, ids, MONDAY))["COST"] == 4


async def test_a_hook_that_fails_leaves_the_day_open_and_nothing_of_its_page(db: Database, ids: dict[str, int]) -> None:
    async def fail(page: closing.AccrualPage) -> None:
        entries = ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=50)
        await page.post([closing.AccrualJournal("gift", entries)])
        raise ZeroDivisionError

    await pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY)
    with pytest.raises(ZeroDivisionError):
        await end_day(
            db, MONDAY, [_charging(ids, "before", 1), closing.AccrualHook("bad", 2, fail), _charging(ids, "never", 3)]
        )
    async with db.read() as tx:
        day = await closing.day(tx, MONDAY)
        assert [step.step for step in await closing.steps(tx, day.id)] == ["accrue:before"]
    assert day.closed_at is None
    await end_day(db, MONDAY, [_charging(ids, "before", 1), _charging(ids, "after", 3)])
    assert await balances_on(db, ids, MONDAY) == {"BANK": -100, "COST": 4, "ALICE": 96, "BOB": 0, "EURO": 0}


async def test_a_hook_posts_once_a_page_and_never_under_a_key_that_was_used(db: Database, ids: dict[str, int]) -> None:
    gift = closing.AccrualJournal("gift", ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=50))

    async def twice(page: closing.AccrualPage) -> None:
        await page.post([gift])
        await page.post([gift])

    async def once(page: closing.AccrualPage) -> None:
        await page.post([gift])

    await pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY)
    with pytest.raises(Invalid, match="accrual_malformed"):
        await end_day(db, MONDAY, [closing.AccrualHook("twice", 1, twice)])
    async with db.write() as tx:
        other = ledger.transfer(debit=ids["BANK"], credit=ids["BOB"], amount=1)
        await ledger.post(tx, [ledger.Journal("t", other, "end-of-day", key="eod:2024-03-04:once:1")])
    with pytest.raises(Invalid, match="key_reused"):
        await end_day(db, MONDAY, [closing.AccrualHook("once", 1, once)])
    assert (await end_day(db, MONDAY)).closed_at is not None


async def test_pages_of_accounts_are_gone_through_once_each(
    db: Database, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing.run, "PAGE_ACCOUNTS", 3)
    specs = [ledger.AccountSpec(f"A{number}", "CZK") for number in range(10)]
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, specs)
    for account in opened:
        await pay(db, ids["BANK"], account.id, 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY)
    day = await end_day(db, MONDAY, [_charging(ids)])
    async with db.read() as tx:
        assert (await closing.steps(tx, day.id))[0].detail == {"accounts": 11, "journals": 10, "refused": 0}
    assert (await balances_on(db, ids, MONDAY))["COST"] == 20


async def test_runs_at_once_do_everything_once(db: Database, ids: dict[str, int]) -> None:
    await pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    answers = await asyncio.gather(*(end_day(db, FRIDAY) for _ in range(4)))
    assert len(set(map(repr, answers))) == 1
    answers = await asyncio.gather(*(end_day(db, MONDAY, [_charging(ids)]) for _ in range(4)))
    assert len(set(map(repr, answers))) == 1
    assert (await balances_on(db, ids, MONDAY))["COST"] == 2


@pytest.mark.parametrize("name", ["", "Interest", "1st", "a_b", "x" * 41, "interest"])
def test_a_hook_of_a_bad_name_or_one_that_is_taken_is_refused(name: str) -> None:
    async def run(page: closing.AccrualPage) -> None:
        """Do nothing."""

    with pytest.raises(Invalid, match="accrual_malformed"):
        closing.register(closing.AccrualHook(name, 1, run))
    assert [hook.name for hook in closing.known_hooks()] == ["interest"]


_INSTALLED = """
from tallystick import closing
async def run(page): pass
hook = closing.AccrualHook("fees", 5, run)
"""


@pytest.mark.parametrize(
    ("target", "module", "answer"),
    [
        ("fees_of_ours:hook", _INSTALLED, "['fees', 'interest']"),
        ("fees_of_ours:run", _INSTALLED, "accrual_malformed"),
        ("fees_of_ours:nothing", _INSTALLED, "accrual_broken"),
        ("fees_of_ours:hook", "1 / 0", "accrual_broken"),
        ("fees_of_ours:hook", _INSTALLED.replace("fees", "interest"), "accrual_malformed"),
    ],
)
def test_a_hook_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, module: str, answer: str
) -> None:
    (tmp_path / "fees_of_ours.py").write_text(module)
    info = tmp_path / "fees_of_ours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fees-of-ours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tallystick.accruals]\nfees = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fees_of_ours", raising=False)
    try:
        found = str([hook.name for hook in closing.known_hooks()])
    except TallystickError as refusal:
        found = refusal.code
    finally:
        sys.modules.pop("fees_of_ours", None)
    assert found == answer
