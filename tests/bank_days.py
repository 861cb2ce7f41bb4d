"""A bank of five accounts in the first days of March 2024, for the tests of its days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg

from tallystick import closing, ledger
from tallystick.db import Database
from tests.conftest import TestDatabase

# In March 2024 the 1st is a Friday, and the clocks of Prague go forward on the 31st, a Sunday; the 29th is a holiday here.
HOLIDAYS = {date(2024, 3, 29): "Good Friday", date(2024, 4, 1): "Easter Monday"}
FRIDAY, MONDAY, TUESDAY = date(2024, 3, 1), date(2024, 3, 4), date(2024, 3, 5)
CUT_OFF = {
    FRIDAY: datetime(2024, 3, 1, 16, tzinfo=UTC),
    MONDAY: datetime(2024, 3, 4, 16, tzinfo=UTC),
    TUESDAY: datetime(2024, 3, 5, 16, tzinfo=UTC),
}
MICROSECOND = timedelta(microseconds=1)


async def set_up(db: Database) -> dict[str, int]:
    """The calendar CZ, and the accounts BANK, COST (both the bank's own), ALICE, BOB in CZK and EURO; their ids."""
    spec = closing.CalendarSpec("CZ", date(2024, 1, 1), date(2024, 12, 31), "Europe/Prague", 17 * 60, holidays=HOLIDAYS)
    accounts = [
        ledger.AccountSpec("BANK", "CZK", "internal", None),
        ledger.AccountSpec("COST", "CZK", "internal", None),
        ledger.AccountSpec("ALICE", "CZK"),
        ledger.AccountSpec("BOB", "CZK"),
        ledger.AccountSpec("EURO", "EUR"),
    ]
    async with db.write() as tx:
        await closing.add_calendar(tx, "me", spec)
        opened = await ledger.open_accounts(tx, accounts)
    return {spec.name: account.id for spec, account in zip(accounts, opened, strict=True)}


async def pay(db: Database, debit: int, credit: int, amount: int, at: datetime) -> str | None:
    """Post a payment that is effective at a time; its refusal, if any."""
    async with db.write() as tx:
        entries = ledger.transfer(debit=debit, credit=credit, amount=amount)
        (answer,) = await ledger.post(tx, [ledger.Journal("t", entries, "me", effective_at=at)])
    return answer.refusal


async def end_day(db: Database, day: date, hooks: Sequence[closing.AccrualHook] | None = ()) -> closing.BusinessDay:
    """End a day by the calendar CZ, with these hooks, or all that are known where they are `None`."""
    return await closing.end_of_day(db, day, calendar="CZ", actor="me", hooks=hooks)


async def balances_on(db: Database, ids: dict[str, int], day: date) -> dict[str, int]:
    """The closing balance of each account on a day, by name."""
    async with db.read() as tx:
        return {name: await closing.balance_on(tx, account, day) for name, account in ids.items()}


async def folded(database: TestDatabase, ids: dict[str, int], day: date) -> dict[str, int]:
    """What the closing balances of a day have to be: the sums of what was effective before its cut-off."""
    query = """
        select e.account_id, sum(e.amount)::bigint
          from ledger.entry e join ledger.journal j on j.id = e.journal_id
         where j.effective_at < %s group by e.account_id
    """
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        sums: dict[int, int] = dict(await (await connection.execute(query, (CUT_OFF[day],))).fetchall())
    return {name: sums.get(account, 0) for name, account in ids.items()}


async def set_rate(db: Database, account: str, rate: str, day_count: str = "ACT/365", begin: date = date(2024, 1, 1)) -> None:
    """Have an account owe or be owed interest, paid from COST."""
    async with db.write() as tx:
        await closing.set_interest_rate(
            tx, "me", account=account, paid_from="COST", rate=Decimal(rate), day_count=day_count, from_date=begin
        )
