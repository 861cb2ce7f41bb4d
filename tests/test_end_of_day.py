"""The end of a business day: what is refused, what is written, and that it survives being killed anywhere."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import audit, closing, ledger
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound
from tests.bank_days import (
    CUT_OFF,
    FRIDAY,
    MICROSECOND,
    MONDAY,
    TUESDAY,
    balances_on,
    end_day,
    folded,
    pay,
    set_rate,
    set_up,
)
from tests.conftest import TestDatabase
from tests.permitted import PermittedDatabase
from tests.processes import python


@pytest.fixture
async def ids(db: Database) -> dict[str, int]:
    """See `set_up`."""
    return await set_up(db)


async def test_a_closed_day_has_its_cut_off_its_steps_and_its_event(db: Database, ids: dict[str, int]) -> None:
    await pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[FRIDAY] - MICROSECOND)
    day = await end_day(db, FRIDAY, None)
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
    first = await end_day(db, FRIDAY)
    second = await end_day(db, MONDAY)
    assert await end_day(db, FRIDAY) == first
    assert await end_day(db, MONDAY) == second
    async with db.read() as tx:
        assert await closing.days(tx) == [second, first]
        assert await closing.days(tx, before=second.id, limit=1) == [first]


async def test_what_is_effective_at_the_cut_off_belongs_to_the_next_day(db: Database, ids: dict[str, int]) -> None:
    await pay(db, ids["BANK"], ids["ALICE"], 1, CUT_OFF[FRIDAY] - MICROSECOND)
    await pay(db, ids["BANK"], ids["ALICE"], 10, CUT_OFF[FRIDAY])
    await pay(db, ids["BANK"], ids["ALICE"], 100, CUT_OFF[MONDAY])
    await end_day(db, FRIDAY)
    assert await pay(db, ids["BANK"], ids["ALICE"], 1000, CUT_OFF[FRIDAY] - MICROSECOND) == "period_closed"
    assert await pay(db, ids["BANK"], ids["ALICE"], 20, CUT_OFF[FRIDAY]) is None
    await end_day(db, MONDAY)
    assert (await balances_on(db, ids, FRIDAY))["ALICE"] == 1
    assert (await balances_on(db, ids, MONDAY))["ALICE"] == 31


async def test_only_accounts_that_moved_get_a_closing_balance_and_the_others_keep_theirs(
    db: Database, ids: dict[str, int]
) -> None:
    await pay(db, ids["BANK"], ids["ALICE"], 5, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY)
    await pay(db, ids["BANK"], ids["BOB"], 7, CUT_OFF[MONDAY] - MICROSECOND)
    assert (await end_day(db, MONDAY)).moved == 2
    assert (await end_day(db, TUESDAY)).moved == 0
    async with db.read() as tx:
        assert [(row.business_date, row.balance, row.entries) for row in await closing.closing_balances(tx, ids["BANK"])] == [
            (MONDAY, -12, 2),
            (FRIDAY, -5, 1),
        ]
        assert len(await closing.closing_balances(tx, ids["BANK"], until=date(2024, 3, 3))) == 1
        assert await closing.closing_balances(tx, ids["BANK"], until=date(2024, 2, 1)) == []
    assert await balances_on(db, ids, TUESDAY) == {"BANK": -12, "COST": 0, "ALICE": 5, "BOB": 7, "EURO": 0}
    # On a Sunday the closing balances of Friday still hold.
    assert (await balances_on(db, ids, date(2024, 3, 3)))["BANK"] == -5


async def test_a_balance_on_a_day_that_is_not_closed_is_refused(db: Database, ids: dict[str, int]) -> None:
    async with db.write() as tx:
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], FRIDAY)
        await closing.begin(tx, FRIDAY, calendar="CZ", actor="me")
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], FRIDAY)
    await end_day(db, FRIDAY)
    async with db.write() as tx:
        assert await closing.balance_on(tx, ids["ALICE"], FRIDAY) == 0
        await closing.begin(tx, MONDAY, calendar="CZ", actor="me")
        assert await closing.balance_on(tx, ids["ALICE"], FRIDAY) == 0
        with pytest.raises(Conflict, match="business_day_open"):
            await closing.balance_on(tx, ids["ALICE"], MONDAY)


async def test_days_are_closed_one_after_the_other(db: Database, ids: dict[str, int]) -> None:
    await end_day(db, FRIDAY)
    for day, refusal, code in (
        (date(2024, 2, 29), Conflict, "business_day_out_of_order"),
        (date(2024, 3, 2), Invalid, "not_a_business_day"),
        (TUESDAY, Conflict, "business_day_out_of_order"),
        (date(2025, 1, 2), Invalid, "calendar_ends"),
    ):
        with pytest.raises(refusal, match=code):
            await end_day(db, day)
    async with db.write() as tx:
        await closing.begin(tx, MONDAY, calendar="CZ", actor="me")
    with pytest.raises(Conflict, match="business_day_open"):
        await end_day(db, TUESDAY)
    assert (await end_day(db, MONDAY)).closed_at is not None
    assert (await end_day(db, TUESDAY)).previous_date == MONDAY


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
    await end_day(db, FRIDAY)
    for day in (FRIDAY, MONDAY):
        with pytest.raises(Conflict, match="another_calendar"):
            await closing.end_of_day(db, day, calendar="TARGET", actor="me")


async def test_a_day_in_a_period_that_was_closed_is_closed_and_what_accrues_is_owed_on(
    db: Database, ids: dict[str, int]
) -> None:
    await set_rate(db, "ALICE", "0.0365")
    await pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY, None)
    async with db.write() as tx:
        await ledger.close_period(tx, CUT_OFF[MONDAY] + timedelta(hours=1), actor="me")
    await end_day(db, MONDAY, None)
    await end_day(db, TUESDAY, None)
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
            await end_day(db, day)

        await asyncio.gather(*(post(number) for number in range(30)), close(), *(post(number) for number in range(30)))
        accepted += refused[None]
        assert set(refused) <= {None, "period_closed"}
        assert (await balances_on(db, ids, day))["BANK"] == -accepted
    assert accepted


async def test_the_close_waits_for_who_is_posting_and_stops_who_comes_after(
    db: Database, database: TestDatabase, ids: dict[str, int]
) -> None:
    at = CUT_OFF[FRIDAY] - timedelta(hours=1)
    async with db.write() as tx:
        entries = ledger.transfer(debit=ids["BANK"], credit=ids["ALICE"], amount=9)
        await ledger.post(tx, [ledger.Journal("t", entries, "me", effective_at=at)])
        ending = asyncio.create_task(end_day(db, FRIDAY))
        await _until_somebody_waits(database)
        late = asyncio.create_task(pay(db, ids["BANK"], ids["BOB"], 5, at))
        await _until_somebody_waits(database, 2)
        assert not ending.done()
        assert not late.done()
    assert (await ending).moved == 2
    assert await late == "period_closed"
    assert await balances_on(db, ids, FRIDAY) == {"BANK": -9, "COST": 0, "ALICE": 9, "BOB": 0, "EURO": 0}


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
    db = PermittedDatabase(database.app_url)
    await db.open()
    try:
        ids = await set_up(db)
        if accrue:
            await set_rate(db, "ALICE", "0.5")
        written: dict[date, dict[str, int]] = {}
        for day, posted in zip((FRIDAY, MONDAY, TUESDAY), rounds, strict=True):
            for name, amount, at in posted:
                assert await pay(db, ids["BANK"], ids[name], amount, at) in (None, "period_closed")
            await end_day(db, day, None)
            written[day] = await balances_on(db, ids, day)
            for known, balances in written.items():
                assert await balances_on(db, ids, known) == balances == await folded(database, ids, known)
    finally:
        await db.close()


# Killed

_KILLED = """
import asyncio, os, signal, sys
from datetime import date
from tallystick import closing, ledger
from tests.permitted import PermittedDatabase

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
    db = PermittedDatabase(url)
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
        await pay(db, ids["BANK"], account.id, 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
        ids[f"A{account.ord}"] = account.id
    await set_rate(db, "A1", "0.0365")
    await end_day(db, FRIDAY)
    process = await asyncio.to_thread(python, _KILLED, database.app_url, str(ids["COST"]))
    output, _ = await asyncio.to_thread(process.communicate, timeout=120)
    *killed, last = map(int, output.split())
    assert (last, set(killed)) == (0, {-signal.SIGKILL})
    assert len(killed) >= 4
    wanted = await folded(database, ids, MONDAY)
    assert await balances_on(db, ids, MONDAY) == wanted
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
