"""The end of a business day: what is refused, what accrues, what is written, and that it survives being killed anywhere."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import audit, closing, ledger
from tallystick.closing.interest import PARTS, days_between, parts_between, rate_on, whole_units
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError
from tests.conftest import TestDatabase
from tests.processes import python

# In March 2024 the 1st is a Friday, and the clocks of Prague go forward on the 31st, a Sunday; the 29th is a holiday here.
HOLIDAYS = {date(2024, 3, 29): "Good Friday", date(2024, 4, 1): "Easter Monday"}
FRIDAY, MONDAY, TUESDAY = date(2024, 3, 1), date(2024, 3, 4), date(2024, 3, 5)
CUT_OFF = {
    FRIDAY: datetime(2024, 3, 1, 16, tzinfo=UTC),
    MONDAY: datetime(2024, 3, 4, 16, tzinfo=UTC),
    TUESDAY: datetime(2024, 3, 5, 16, tzinfo=UTC),
}
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
async def ids(db: Database) -> dict[str, int]:
    """The calendar CZ, and the accounts BANK, COST (both the bank's own), ALICE, BOB in CZK and EURO."""
    return await _set_up(db)


async def _set_up(db: Database) -> dict[str, int]:
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


async def _pay(db: Database, debit: int, credit: int, amount: int, at: datetime) -> str | None:
    async with db.write() as tx:
        entries = ledger.transfer(debit=debit, credit=credit, amount=amount)
        (answer,) = await ledger.post(tx, [ledger.Journal("t", entries, "me", effective_at=at)])
    return answer.refusal


async def _end(db: Database, day: date, hooks: Sequence[closing.AccrualHook] | None = ()) -> closing.BusinessDay:
    return await closing.end_of_day(db, day, calendar="CZ", actor="me", hooks=hooks)


async def _balances(db: Database, ids: dict[str, int], day: date) -> dict[str, int]:
    async with db.read() as tx:
        return {name: await closing.balance_on(tx, account, day) for name, account in ids.items()}


async def test_a_closed_day_has_its_cut_off_its_steps_and_its_event(db: Database, ids: dict[str, int]) -> None:
    await _pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    day = await _end(db, FRIDAY, None)
    async with db.read() as tx:
        steps = await closing.steps(tx, day.id)
        event = await audit.latest(tx, subject_kind="business_day", subject_id=day.id)
        assert await ledger.closed_until(tx) == CUT_OFF[FRIDAY]
        assert await closing.days(tx) == [day] == [await closing.newest_day(tx)]
    assert (day.business_date, day.previous_date, day.calendar, day.started_by) == (FRIDAY, None, "CZ", "me")
    assert (day.cut_off_at, day.moved) == (CUT_OFF[FRIDAY], 2)
    assert day.closed_at is not None
    assert [step.step for step in steps] == ["accrue:interest", "close"]
    assert day.started_at <= steps[0].started_at <= steps[0].finished_at <= steps[1].started_at <= steps[1].finished_at
    assert event is not None
    assert (event.principal, event.verb, event.detail) == ("me", "closing.close_day", {"date": "2024-03-01", "moved": 2})


async def test_a_closed_day_is_answered_as_the_first_time(db: Database, ids: dict[str, int]) -> None:
    first = await _end(db, FRIDAY)
    second = await _end(db, MONDAY)
    assert await _end(db, FRIDAY) == first
    assert await _end(db, MONDAY) == second
    async with db.read() as tx:
        assert await closing.days(tx) == [second, first]
        assert await closing.days(tx, before=second.id, limit=1) == [first]


async def test_what_is_effective_at_the_cut_off_belongs_to_the_next_day(db: Database, ids: dict[str, int]) -> None:
    await _pay(db, ids["BANK"], ids["ALICE"], 1, CUT_OFF[FRIDAY] - MICROSECOND)
    await _pay(db, ids["BANK"], ids["ALICE"], 10, CUT_OFF[FRIDAY])
    await _pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[MONDAY])
    await _end(db, FRIDAY)
    assert await _pay(db, ids["BANK"], ids["ALICE"], 1000, CUT_OFF[FRIDAY] - MICROSECOND) == "period_closed"
    assert await _pay(db, ids["BANK"], ids["ALICE"], 20, CUT_OFF[FRIDAY]) is None
    await _end(db, MONDAY)
    assert (await _balances(db, ids, FRIDAY))["ALICE"] == 1
    assert (await _balances(db, ids, MONDAY))["ALICE"] == 31


async def test_only_accounts_that_moved_get_a_closing_balance_and_the_others_keep_theirs(
    db: Database, ids: dict[str, int]
) -> None:
    await _pay(db, ids["BANK"], ids["ALICE"], 5, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY)
    await _pay(db, ids["BANK"], ids["BOB"], 7, CUT_OFF[MONDAY] - MICROSECOND)
    assert (await _end(db, MONDAY)).moved == 2
    assert (await _end(db, TUESDAY)).moved == 0
    async with db.read() as tx:
        assert [(row.business_date, row.balance, row.entries) for row in await closing.closing_balances(tx, ids["BANK"])] == [
            (MONDAY, -12, 2),
            (FRIDAY, -5, 1),
        ]
        assert len(await closing.closing_balances(tx, ids["BANK"], until=date(2024, 3, 3))) == 1
        assert await closing.closing_balances(tx, ids["BANK"], until=date(2024, 2, 1)) == []
    assert await _balances(db, ids, TUESDAY) == {"BANK": -12, "COST": 0, "ALICE": 5, "BOB": 7, "EURO": 0}
    # On a Sunday the closing balances of Friday still hold.
    assert (await _balances(db, ids, date(2024, 3, 3)))["BANK"] == -5


async def test_a_balance_on_a_day_that_is_not_closed_is_refused(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], FRIDAY)
        await closing.begin(tx, FRIDAY, calendar="CZ", actor="me")
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], FRIDAY)
    await _end(db, FRIDAY)
    async with db.write() as tx:
        assert await closing.balance_on(tx, ids["ALICE"], FRIDAY) == 0
        await closing.begin(tx, MONDAY, calendar="CZ", actor="me")
        assert await closing.balance_on(tx, ids["ALICE"], FRIDAY) == 0
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], MONDAY)


async def test_days_are_closed_one_after_the_other(db: Database, ids: dict[str, int]) -> None:
    await _end(db, FRIDAY)
    for day, refusal, code in (
        (date(2024, 2, 29), Conflict, "business_day_out_of_order"),
        (date(2024, 3, 2), Invalid, "not_a_business_day"),
        (TUESDAY, Conflict, "business_day_out_of_order"),
        (date(2025, 1, 2), Invalid, "calendar_ends"),
    ):
        with pytest.raises(refusal, match=code):
            await _end(db, day)
    async with db.write() as tx:
        await closing.begin(tx, MONDAY, calendar="CZ", actor="me")
    with pytest.raises(Conflict, match="business_day_open"):
        await _end(db, TUESDAY)
    assert (await _end(db, MONDAY)).closed_at is not None
    assert (await _end(db, TUESDAY)).previous_date == MONDAY


async def test_a_day_whose_cut_off_is_to_come_is_refused(db: Database) -> None:
    async with db.write() as tx:
        now = datetime.now(UTC)
        spec = closing.CalendarSpec("NOW", now.date() - timedelta(days=400), now.date() + timedelta(days=400), "UTC", 1440, ())
        await closing.add_calendar(tx, "me", spec)
        due = await closing.due(tx, "NOW")
        with pytest.raises(Conflict, match="cut_off_to_come"):
            await closing.begin(tx, due + timedelta(days=2), calendar="NOW", actor="me")
        await closing.begin(tx, due, calendar="NOW", actor="me")
        assert await closing.due(tx, "NOW") == due


async def test_another_calendar_an_unknown_one_and_an_unknown_day_are_refused(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        spec = closing.CalendarSpec("TARGET", date(2024, 1, 1), date(2024, 12, 31), "Europe/Berlin", 18 * 60)
        await closing.add_calendar(tx, "me", spec)
        with pytest.raises(NotFound, match="unknown_calendar"):
            await closing.begin(tx, FRIDAY, calendar="ELSE", actor="me")
        with pytest.raises(NotFound, match="unknown_business_day"):
            await closing.day(tx, FRIDAY)
    await _end(db, FRIDAY)
    for day in (FRIDAY, MONDAY):
        with pytest.raises(Conflict, match="another_calendar"):
            await closing.end_of_day(db, day, calendar="TARGET", actor="me")


async def test_a_day_in_a_period_that_was_closed_is_closed_and_what_accrues_is_owed_on(
    db: Database, ids: dict[str, int]
) -> None:
    await _rate(db, "ALICE", "0.0365")
    await _pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY, None)
    async with db.write() as tx:
        await ledger.close_period(tx, CUT_OFF[MONDAY] + timedelta(hours=1), actor="me")
    await _end(db, MONDAY, None)
    await _end(db, TUESDAY, None)
    async with db.read() as tx:
        tuesday, monday = await closing.accruals(tx, ids["ALICE"])
        assert await ledger.closed_until(tx) == CUT_OFF[TUESDAY]
    assert (monday.owed, monday.refusal) == (300, "period_closed")
    assert (tuesday.owed, tuesday.refusal) == (400, None)


async def test_a_journal_that_races_the_close_is_in_the_balance_or_refused(db: Database, ids: dict[str, int]) -> None:
    accepted = 0
    for day in (FRIDAY, MONDAY, TUESDAY):
        back_dated = CUT_OFF[day] - timedelta(hours=1)
        go = asyncio.Event()
        refused = Counter[str | None]()

        async def post(
            number: int, at: datetime = back_dated, go: asyncio.Event = go, seen: Counter[str | None] = refused
        ) -> None:
            async with db.write() as tx:
                entries = ledger.transfer(debit=ids["BANK"], credit=ids[("ALICE", "BOB")[number % 2]], amount=1)
                journals = [ledger.Journal("t", entries, "me", effective_at=at)]
                (answer,) = await ledger.post(tx, journals)
                go.set()
                # The transaction stays open for a while, so that the close finds it under way.
                await ledger.account(tx, "BANK")
            seen[answer.refusal] += 1

        async def close(day: date = day, go: asyncio.Event = go) -> None:
            await go.wait()
            await _end(db, day)

        await asyncio.gather(*(post(number) for number in range(30)), close(), *(post(number) for number in range(30)))
        accepted += refused[None]
        assert set(refused) <= {None, "period_closed"}
        assert (await _balances(db, ids, day))["BANK"] == -accepted
    assert accepted


async def test_the_close_waits_for_who_is_posting_and_stops_who_comes_after(
    db: Database, database: TestDatabase, ids: dict[str, int]
) -> None:
    at = CUT_OFF[FRIDAY] - timedelta(hours=1)
    async with db.write() as tx:
        entries = ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=9)
        await ledger.post(tx, [ledger.Journal("t", entries, "me", effective_at=at)])
        ending = asyncio.create_task(_end(db, FRIDAY))
        await _until_somebody_waits(database)
        late = asyncio.create_task(_pay(db, ids["BANK"], ids["BOB"], 5, at))
        await _until_somebody_waits(database, 2)
        assert not ending.done()
        assert not late.done()
    assert (await ending).moved == 2
    assert await late == "period_closed"
    assert await _balances(db, ids, FRIDAY) == {"BANK": -9, "COST": 0, "ALICE": 9, "BOB": 0, "EURO": 0}


async def _until_somebody_waits(database: TestDatabase, count: int = 1) -> None:
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        query = """
            select count(*) from pg_locks
             where not granted and locktype = 'advisory'
               and database = (select oid from pg_database where datname = current_database())
        """
        while True:
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0] >= count:
                return


moves = st.lists(
    st.tuples(
        st.sampled_from(["ALICE", "BOB", "COST"]),
        st.integers(1, 500),
        st.integers(-3000, 6000).map(lambda minutes: CUT_OFF[FRIDAY] + timedelta(minutes=minutes)),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=moves, between=moves, after=moves, accrue=st.booleans())
def test_closing_balances_are_the_fold_of_the_entries_for_ever(
    database: TestDatabase, before: list[tuple[str, int, datetime]], between: list[tuple[str, int, datetime]],
    after: list[tuple[str, int, datetime]], accrue: bool,
) -> None:  # fmt: skip
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        # A test's owner steps over the triggers of the facts between examples.
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "truncate ledger.entry, ledger.journal, ledger.refusal, ledger.balance, ledger.account, ledger.closed_period,"
            " closing.day, closing.calendar, db.claim restart identity cascade"
        )
    asyncio.run(_fold(database, [before, between, after], accrue))


async def _fold(database: TestDatabase, rounds: list[list[tuple[str, int, datetime]]], accrue: bool) -> None:
    db = Database(database.app_url)
    await db.open()
    try:
        ids = await _set_up(db)
        if accrue:
            await _rate(db, "ALICE", "0.5")
        written: dict[date, dict[str, int]] = {}
        for day, posted in zip((FRIDAY, MONDAY, TUESDAY), rounds, strict=True):
            for name, amount, at in posted:
                assert await _pay(db, ids["BANK"], ids[name], amount, at) in (None, "period_closed")
            await _end(db, day, None)
            written[day] = await _balances(db, ids, day)
            for known, balances in written.items():
                assert await _balances(db, ids, known) == balances == await _folded(database, ids, known)
    finally:
        await db.close()


async def _folded(database: TestDatabase, ids: dict[str, int], day: date) -> dict[str, int]:
    query = """
        select e.account_id, sum(e.amount)::bigint
          from ledger.entry e join ledger.journal j on j.id = e.journal_id
         where j.effective_at < %s group by e.account_id
    """
    async with await psycopg.AsyncConnection.connect(database.owner_url) as connection:
        sums: dict[int, int] = dict(await (await connection.execute(query, (CUT_OFF[day],))).fetchall())
    return {name: sums.get(account, 0) for name, account in ids.items()}


# Interest


async def _rate(db: Database, account: str, rate: str, day_count: str = "ACT/365", begin: date = date(2024, 1, 1)) -> None:
    async with db.write() as tx:
        await closing.set_interest_rate(
            tx, "me", account=account, paid_from="COST", rate=Decimal(rate), day_count=day_count, from_date=begin
        )


async def test_a_weekend_accrues_on_mondays_run_on_fridays_closing_balance(db: Database, ids: dict[str, int]) -> None:
    await _rate(db, "ALICE", "0.0365")
    await _pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY, None)
    await _pay(db, ids["BANK"], ids["ALICE"], 5_000_000, CUT_OFF[MONDAY] - timedelta(hours=60))
    await _end(db, MONDAY, None)
    await _end(db, TUESDAY, None)
    async with db.read() as tx:
        tuesday, monday = await closing.accruals(tx, ids["ALICE"])
        newest = (await ledger.entries(tx, ids["ALICE"], limit=1))[0]
        cost = await ledger.account(tx, "COST")
    # 10,000.00 at 3.65 % is 1.00 a day.
    assert (monday.from_date, monday.balance, monday.owed, monday.posted_total) == (FRIDAY, 1_000_000, 300, 300)
    assert (tuesday.from_date, tuesday.balance, tuesday.owed, tuesday.posted_total) == (MONDAY, 6_000_300, 600, 900)
    assert tuesday.parts == Decimal("6000300") * 72 * Decimal("0.0365")
    assert (newest.kind, newest.amount, newest.effective_at) == ("accrued_interest", 600, CUT_OFF[TUESDAY] - MICROSECOND)
    assert newest.meta == {"from": "2024-03-04", "to": "2024-03-05"}
    assert (newest.journal_id, cost.posted) == (tuesday.journal_id, -900)


async def test_what_is_no_whole_unit_is_carried(db: Database, ids: dict[str, int]) -> None:
    await _rate(db, "ALICE", "0.01")
    await _pay(db, ids["BANK"], ids["ALICE"], 12_000, CUT_OFF[FRIDAY] - MICROSECOND)
    days = [FRIDAY, MONDAY, TUESDAY, *(date(2024, 3, day) for day in (6, 7, 8, 11))]
    for day in days:
        await _end(db, day, None)
    async with db.read() as tx:
        found = (await closing.accruals(tx, ids["ALICE"]))[::-1]
    # 120.00 at 1 % is a third of a heller a day, a little less: 3, 1, 1, 1, 1 and 3 days.
    assert [accrual.owed for accrual in found] == [0, 1, 0, 0, 0 + 1, 1]
    assert sum(accrual.owed for accrual in found) == 3
    assert [accrual.journal_id is not None for accrual in found] == [False, True, False, False, True, True]


async def test_what_is_refused_is_owed_on(db: Database, ids: dict[str, int]) -> None:
    await _rate(db, "ALICE", "0.0365")
    await _pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY, None)
    async with db.write() as tx:
        await ledger.set_status(tx, "ALICE", "frozen")
    day = await _end(db, MONDAY, None)
    async with db.write() as tx:
        (refused,) = await closing.accruals(tx, ids["ALICE"])
        step = (await closing.steps(tx, day.id))[0]
        await ledger.set_status(tx, "ALICE", "open")
    await _end(db, TUESDAY, None)
    async with db.read() as tx:
        posted = (await closing.accruals(tx, ids["ALICE"]))[0]
    assert (refused.owed, refused.refusal, refused.posted_total, refused.journal_id) == (300, "account_frozen", 0, None)
    assert step.detail == {"accounts": 2, "journals": 1, "refused": 1}
    assert (posted.owed, posted.refusal, posted.posted_total) == (400, None, 400)


async def test_a_balance_below_zero_owes_interest(db: Database, ids: dict[str, int]) -> None:
    await _rate(db, "BANK", "0.0365")
    await _pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY, None)
    await _end(db, MONDAY, None)
    async with db.read() as tx:
        (accrual,) = await closing.accruals(tx, ids["BANK"])
        assert (await ledger.account(tx, "COST")).posted == 300
    assert accrual.owed == -300


async def test_a_rate_holds_from_its_day_until_the_next_one(db: Database, ids: dict[str, int]) -> None:
    await _rate(db, "ALICE", "0.0365")
    await _rate(db, "ALICE", "0.5", begin=date(2024, 3, 3))
    await _rate(db, "ALICE", "0.073", begin=date(2024, 3, 3))
    await _rate(db, "ALICE", "0", begin=TUESDAY)
    await _pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    for day in (FRIDAY, MONDAY, TUESDAY, date(2024, 3, 6)):
        await _end(db, day, None)
    async with db.read() as tx:
        assert [accrual.owed for accrual in await closing.accruals(tx, ids["ALICE"])] == [200, 400]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"account": "NOBODY"}, "unknown_account"),
        ({"paid_from": "NOBODY"}, "unknown_account"),
        ({"paid_from": "BOB"}, "account_not_internal"),
        ({"account": "COST"}, "same_account"),
        ({"account": "EURO"}, "currency_mismatch"),
        ({"rate": Decimal("10.000000000001")}, "rate_malformed"),
        ({"rate": Decimal("-1.1")}, "rate_malformed"),
        ({"rate": Decimal("0.0000000000001")}, "rate_malformed"),
        ({"rate": Decimal("NaN")}, "rate_malformed"),
        ({"rate": Decimal("Infinity")}, "rate_malformed"),
        ({"day_count": "ACT/ACT"}, "rate_malformed"),
        ({"from_date": date(1800, 1, 1)}, "rate_malformed"),
        ({"from_date": date(9999, 1, 1)}, "rate_malformed"),
        ({"from_date": date(2024, 2, 29)}, "business_day_begun"),
    ],
)
async def test_a_rate_that_makes_no_sense_is_refused(
    db: Database, ids: dict[str, int], changes: dict[str, object], code: str
) -> None:
    good: dict[str, object] = {
        "account": "ALICE", "paid_from": "COST", "rate": Decimal("0.01"), "day_count": "ACT/360", "from_date": FRIDAY,
    }  # fmt: skip
    await _end(db, FRIDAY)
    async with db.write() as tx:
        with pytest.raises((Invalid, NotFound, Conflict), match=code):
            await closing.set_interest_rate(tx, "me", **(good | changes))  # type: ignore[arg-type]
        made = await closing.set_interest_rate(tx, "me", **good)  # type: ignore[arg-type]
        assert await closing.interest_rate(tx, made.id) == made
        event = await audit.latest(tx, subject_kind="account", subject_id=ids["ALICE"])
    assert (made.rate, made.day_count, made.paid_from) == (Decimal("0.01"), "ACT/360", ids["COST"])
    assert event is not None
    assert event.detail["rate"] == "0.01"


some_days = st.dates(date(2023, 1, 1), date(2026, 12, 31))
some_rates = st.decimals(Decimal(-1), Decimal(10), places=12, allow_nan=False)


def _interest_rate(number: int, rate: Decimal, day_count: str, begin: date) -> closing.InterestRate:
    return closing.InterestRate(number, 1, rate, day_count, begin, 2, "me", datetime(2024, 1, 1, tzinfo=UTC))


@given(st.sampled_from(list(closing.DAY_COUNTS)), st.lists(some_days, min_size=3, max_size=3).map(sorted))
def test_days_of_interest_add_up(day_count: str, days: list[date]) -> None:
    first, second, third = days
    assert days_between(first, second, day_count) + days_between(second, third, day_count) == days_between(
        first, third, day_count
    )


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (date(2024, 2, 28), date(2024, 3, 1), 3),
        (date(2023, 2, 28), date(2023, 3, 1), 3),
        (date(2024, 1, 30), date(2024, 1, 31), 0),
        (date(2024, 1, 31), date(2024, 2, 1), 1),
        (date(2024, 1, 15), date(2025, 1, 15), 360),
        (date(2024, 8, 31), date(2025, 2, 28), 178),
    ],
)
def test_months_have_thirty_days_by_30e_360(start: date, end: date, days: int) -> None:
    assert days_between(start, end, "30E/360") == days


@given(
    st.integers(-(10**18), 10**18),
    st.lists(st.tuples(some_rates, st.sampled_from(list(closing.DAY_COUNTS)), some_days), max_size=5),
    some_days,
    st.integers(0, 40),
)
def test_interest_is_exact_for_each_day_by_the_rate_of_that_day(
    balance: int, made: list[tuple[Decimal, str, date]], start: date, length: int
) -> None:
    rates = [_interest_rate(number, *one) for number, one in enumerate(made)]
    end = start + timedelta(days=length)
    exact = Fraction(0)
    for offset in range(length):
        day = start + timedelta(days=offset)
        rate = rate_on(rates, day)
        if rate is not None:
            year = 365 if rate.day_count == "ACT/365" else 360
            exact += Fraction(rate.rate) * balance * days_between(day, day + timedelta(days=1), rate.day_count) / year
    assert Fraction(parts_between(balance, rates, start, end)) / PARTS == exact


@given(st.lists(st.decimals(-(10**9), 10**9, places=12, allow_nan=False), max_size=40))
def test_all_that_is_posted_is_the_exact_sum_cut_off_toward_zero(accrued: list[Decimal]) -> None:
    total, posted = Decimal(0), 0
    for parts in accrued:
        total = closing.interest.added(total, parts)
        posted += whole_units(total) - posted
        exact = sum(map(Fraction, accrued[: accrued.index(parts) + 1]), Fraction(0)) if accrued.count(parts) == 1 else None
        if exact is not None:
            assert posted == int(exact / PARTS)
    assert posted == int(sum(map(Fraction, accrued), Fraction(0)) / PARTS)


# Hooks


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
        await _pay(db, ids["BANK"], ids[name], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    hooks = [watching("c", 5), _charging(ids), watching("b", 5), watching("a", 9)]
    await _end(db, FRIDAY, hooks)
    assert seen == []
    await _end(db, MONDAY, hooks)
    assert seen == [f"{name} 2024-03-01 [-200, 100, 100]" for name in "bca"]
    with psycopg.connect(database_url(db)) as connection:
        keys = connection.execute("select scope, key from db.claim order by key").fetchall()
        journals = connection.execute(
            "select distinct actor, on_behalf_of, effective_at from ledger.journal where kind = 'accrued_fee'"
        ).fetchall()
    assert keys == [("end-of-day", "eod:2024-03-04:charge:1"), ("end-of-day", "eod:2024-03-04:charge:2")]
    assert journals == [("end-of-day", "me", CUT_OFF[MONDAY] - MICROSECOND)]
    assert (await _balances(db, ids, MONDAY))["COST"] == 4


def database_url(db: Database) -> str:
    return db.url


async def test_a_hook_that_fails_leaves_the_day_open_and_nothing_of_its_page(db: Database, ids: dict[str, int]) -> None:
    async def fail(page: closing.AccrualPage) -> None:
        entries = ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=50)
        await page.post([closing.AccrualJournal("gift", entries)])
        raise ZeroDivisionError

    await _pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY)
    with pytest.raises(ZeroDivisionError):
        await _end(db, MONDAY, [_charging(ids, "before", 1), closing.AccrualHook("bad", 2, fail), _charging(ids, "never", 3)])
    async with db.read() as tx:
        day = await closing.day(tx, MONDAY)
        assert [step.step for step in await closing.steps(tx, day.id)] == ["accrue:before"]
    assert day.closed_at is None
    await _end(db, MONDAY, [_charging(ids, "before", 1), _charging(ids, "after", 3)])
    assert await _balances(db, ids, MONDAY) == {"BANK": -100, "COST": 4, "ALICE": 96, "BOB": 0, "EURO": 0}


async def test_a_hook_posts_once_a_page_and_never_under_a_key_that_was_used(db: Database, ids: dict[str, int]) -> None:
    gift = closing.AccrualJournal("gift", ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=50))

    async def twice(page: closing.AccrualPage) -> None:
        await page.post([gift])
        await page.post([gift])

    async def once(page: closing.AccrualPage) -> None:
        await page.post([gift])

    await _pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY)
    with pytest.raises(Invalid, match="accrual_malformed"):
        await _end(db, MONDAY, [closing.AccrualHook("twice", 1, twice)])
    async with db.write() as tx:
        other = ledger.transfer(debit=ids["BANK"], credit=ids["BOB"], amount=1)
        await ledger.post(tx, [ledger.Journal("t", other, "end-of-day", key="eod:2024-03-04:once:1")])
    with pytest.raises(Invalid, match="key_reused"):
        await _end(db, MONDAY, [closing.AccrualHook("once", 1, once)])
    assert (await _end(db, MONDAY)).closed_at is not None


async def test_pages_of_accounts_are_gone_through_once_each(
    db: Database, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing.run, "PAGE_ACCOUNTS", 3)
    specs = [ledger.AccountSpec(f"A{number}", "CZK") for number in range(10)]
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, specs)
    for account in opened:
        await _pay(db, ids["BANK"], account.id, 100, CUT_OFF[FRIDAY] - MICROSECOND)
    await _end(db, FRIDAY)
    day = await _end(db, MONDAY, [_charging(ids)])
    async with db.read() as tx:
        assert (await closing.steps(tx, day.id))[0].detail == {"accounts": 11, "journals": 10, "refused": 0}
    assert (await _balances(db, ids, MONDAY))["COST"] == 20


async def test_runs_at_once_do_everything_once(db: Database, ids: dict[str, int]) -> None:
    await _pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    answers = await asyncio.gather(*(_end(db, FRIDAY) for _ in range(4)))
    assert len(set(map(repr, answers))) == 1
    answers = await asyncio.gather(*(_end(db, MONDAY, [_charging(ids)]) for _ in range(4)))
    assert len(set(map(repr, answers))) == 1
    assert (await _balances(db, ids, MONDAY))["COST"] == 2


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


# Killed

_KILLED = """
import asyncio, os, signal, sys
from datetime import date
from tallystick import closing, ledger
from tallystick.db import Database

url, cost = sys.argv[1], int(sys.argv[2])
closing.run.PAGE_ACCOUNTS = 3
left = 0

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

async def charge(page):
    count()
    rows = [row for row in page.balances if row.kind == "customer"]
    entries = [ledger.transfer(debit=row.account_id, credit=cost, amount=2) for row in rows]
    await page.post([closing.AccrualJournal("fee", lines) for lines in entries])
    count()

async def main():
    db = Database(url)
    await db.open()
    hooks = [closing.AccrualHook("charge", 1, charge), *closing.known_hooks()]
    await closing.end_of_day(db, date(2024, 3, 4), calendar="CZ", actor="me", hooks=hooks, watch=count)
    await db.close()

# Each run is a process of its own, and gets one step further than the one before until one comes to its end.
for calls in range(1, 40):
    child = os.fork()
    if child == 0:
        left = calls
        asyncio.run(main())
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, flush=True)
    if ended != -signal.SIGKILL:
        break
"""


async def test_a_run_that_is_killed_anywhere_is_finished_by_the_next_one(
    db: Database, database: TestDatabase, ids: dict[str, int]
) -> None:
    specs = [ledger.AccountSpec(f"A{number}", "CZK") for number in range(5)]
    async with db.write() as tx:
        opened = await ledger.open_accounts(tx, specs)
    for account in opened:
        await _pay(db, ids["BANK"], account.id, 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
        ids[f"A{account.ord}"] = account.id
    await _rate(db, "A1", "0.0365")
    await _end(db, FRIDAY)
    process = await asyncio.to_thread(python, _KILLED, database.app_url, str(ids["COST"]))
    output, _ = await asyncio.to_thread(process.communicate, timeout=120)
    *killed, last = map(int, output.split())
    assert (last, set(killed)) == (0, {-signal.SIGKILL})
    assert len(killed) >= 4
    wanted = await _folded(database, ids, MONDAY)
    assert await _balances(db, ids, MONDAY) == wanted
    # Five fees of 2, and three days of interest on 10,000.00 at 3.65 %.
    assert wanted["COST"] == 5 * 2 - 300
    async with db.read() as tx:
        day = await closing.day(tx, MONDAY)
        steps = await closing.steps(tx, day.id)
    assert {step.step: step.detail for step in steps} == {
        "accrue:charge": {"accounts": 6, "journals": 5, "refused": 0},
        "accrue:interest": {"accounts": 6, "journals": 1, "refused": 0},
        "close": {"moved": 6},
    }
