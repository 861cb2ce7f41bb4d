"""What accounts owe and are owed at the end of a business day, exact to the last part of a unit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import audit, closing, ledger
from tallystick.closing.interest import PARTS, days_between, parts_between, rate_on, whole_units
from tallystick.db import Database
from tallystick.kit import Conflict, Invalid, NotFound
from tests.bank_days import (
    CUT_OFF,
    FRIDAY,
    MICROSECOND,
    MONDAY,
    TUESDAY,
    end_day,
    pay,
    set_rate,
    set_up,
)


@pytest.fixture
async def ids(db: Database) -> dict[str, int]:
    """See `set_up`."""
    return await set_up(db)


async def test_a_weekend_accrues_on_mondays_run_on_fridays_closing_balance(db: Database, ids: dict[str, int]) -> None:
    await set_rate(db, "ALICE", "0.0365")
    await pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY, None)
    await pay(db, ids["BANK"], ids["ALICE"], 5_000_000, CUT_OFF[MONDAY] - timedelta(hours=60))
    await end_day(db, MONDAY, None)
    await end_day(db, TUESDAY, None)
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
    await set_rate(db, "ALICE", "0.01")
    await pay(db, ids["BANK"], ids["ALICE"], 12_000, CUT_OFF[FRIDAY] - MICROSECOND)
    days = [FRIDAY, MONDAY, TUESDAY, *(date(2024, 3, day) for day in (6, 7, 8, 11))]
    for day in days:
        await end_day(db, day, None)
    async with db.read() as tx:
        found = (await closing.accruals(tx, ids["ALICE"]))[::-1]
    # 120.00 at 1 % is a third of a heller a day, a little less: 3, 1, 1, 1, 1 and 3 days.
    assert [accrual.owed for accrual in found] == [0, 1, 0, 0, 0 + 1, 1]
    assert sum(accrual.owed for accrual in found) == 3
    assert [accrual.journal_id is not None for accrual in found] == [False, True, False, False, True, True]


async def test_what_is_refused_is_owed_on(db: Database, ids: dict[str, int]) -> None:
    await set_rate(db, "ALICE", "0.0365")
    await pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY, None)
    async with db.write() as tx:
        await ledger.set_status(tx, "ALICE", "frozen")
    day = await end_day(db, MONDAY, None)
    async with db.write() as tx:
        (refused,) = await closing.accruals(tx, ids["ALICE"])
        step = (await closing.steps(tx, day.id))[0]
        await ledger.set_status(tx, "ALICE", "open")
    await end_day(db, TUESDAY, None)
    async with db.read() as tx:
        posted = (await closing.accruals(tx, ids["ALICE"]))[0]
    assert (refused.owed, refused.refusal, refused.posted_total, refused.journal_id) == (300, "account_frozen", 0, None)
    assert step.detail == {"accounts": 2, "journals": 1, "refused": 1}
    assert (posted.owed, posted.refusal, posted.posted_total) == (400, None, 400)


async def test_a_balance_below_zero_owes_interest(db: Database, ids: dict[str, int]) -> None:
    await set_rate(db, "BANK", "0.0365")
    await pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    await end_day(db, FRIDAY, None)
    await end_day(db, MONDAY, None)
    async with db.read() as tx:
        (accrual,) = await closing.accruals(tx, ids["BANK"])
        assert (await ledger.account(tx, "COST")).posted == 300
    assert accrual.owed == -300


async def test_a_rate_holds_from_its_day_until_the_next_one(db: Database, ids: dict[str, int]) -> None:
    await set_rate(db, "ALICE", "0.0365")
    await set_rate(db, "ALICE", "0.5", begin=date(2024, 3, 3))
    await set_rate(db, "ALICE", "0.073", begin=date(2024, 3, 3))
    await set_rate(db, "ALICE", "0", begin=TUESDAY)
    await pay(db, ids["BANK"], ids["ALICE"], 1_000_000, CUT_OFF[FRIDAY] - MICROSECOND)
    for day in (FRIDAY, MONDAY, TUESDAY, date(2024, 3, 6)):
        await end_day(db, day, None)
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
    await end_day(db, FRIDAY)
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
