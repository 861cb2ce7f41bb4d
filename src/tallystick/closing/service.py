"""The verbs of the bank's day: calendars, rates of interest, and what was closed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from tallystick import audit, ledger
from tallystick.closing import store
from tallystick.closing.interest import DAY_COUNTS, MAX_RATE, MIN_RATE, RATE_DECIMALS, Accrual, InterestRate
from tallystick.closing.model import (
    FIRST_DAY,
    LAST_DAY,
    MAX_HOLIDAYS,
    BusinessDay,
    Calendar,
    CalendarRules,
    CalendarSpec,
    ClosingBalance,
    DayStep,
    time_zones,
)
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text

MAX_RULES = 1000
MAX_CALENDARS = 1000
_NEWEST = 2**63 - 1


async def add_calendar(tx: Tx, principal: str, spec: CalendarSpec) -> CalendarRules:
    """Add a calendar, or add to one: what it says of a stretch of days, over what it said of them before.

    Refuses with `Invalid` (`name_malformed`, `calendar_malformed`, `unknown_time_zone`), and with `Conflict`
    (`business_day_begun`) where the stretch begins on or before the newest business day that was begun by this calendar.
    """
    _check(spec)
    await store.lock_book(tx)
    if await store.count_rules(tx, spec.name) >= MAX_RULES:
        raise Invalid("calendar_malformed", f"a calendar may be changed {MAX_RULES} times")
    newest = await newest_day(tx)
    if newest is not None and newest.calendar == spec.name and spec.valid_from <= newest.business_date:
        raise Conflict("business_day_begun", f"by {spec.name} the bank has closed or is closing {newest.business_date}")
    calendar_id = await store.add_calendar(tx, spec, principal)
    detail = {
        "name": spec.name,
        "from": spec.valid_from.isoformat(),
        "until": spec.valid_until.isoformat(),
        "holidays": len(spec.holidays),
    }
    await audit.append(
        tx,
        principal=principal,
        verb="closing.add_calendar",
        subject_kind="calendar",
        subject_id=calendar_id,
        detail=detail,
    )
    return await calendar_rules(tx, calendar_id)


async def calendar(tx: ReadTx, name: str) -> Calendar:
    """The calendar of that name; refuses with `NotFound` (`unknown_calendar`)."""
    rules = await store.calendar_rules(tx, name, MAX_RULES)
    if not rules:
        raise NotFound("unknown_calendar", f"there is no calendar {name}")
    return Calendar(name, rules)


async def calendar_rules(tx: ReadTx, calendar_id: int) -> CalendarRules:
    """What was added to a calendar by one call."""
    (found,) = await store.calendars_after(tx, after=0, limit=1, ids=[calendar_id])
    return found


async def calendars(tx: ReadTx, *, after: int = 0, limit: int = 50) -> list[CalendarRules]:
    """A page of all that was added to calendars, in that order, above the id `after`."""
    return await store.calendars_after(tx, after=after, limit=limit, ids=None)


async def calendar_names(tx: ReadTx) -> list[str]:
    """The names of the first thousand calendars."""
    return await store.calendar_names(tx, MAX_CALENDARS)


async def newest_day(tx: ReadTx) -> BusinessDay | None:
    """The newest business day that was closed or is being closed; `None` before the first."""
    return next(iter(await store.days_before(tx, before=_NEWEST, limit=1)), None)


async def days(tx: ReadTx, *, before: int | None = None, limit: int = 50) -> list[BusinessDay]:
    """A page of business days that were closed or are being closed, newest first, below the id `before`."""
    return await store.days_before(tx, before=_NEWEST if before is None else before, limit=limit)


async def day(tx: ReadTx, business_date: date) -> BusinessDay:
    """The business day of that date; refuses with `NotFound` (`unknown_business_day`) one that was not begun."""
    found = await store.day_of(tx, business_date)
    if found is None:
        raise NotFound("unknown_business_day", f"the bank has not begun to close {business_date}")
    return found


async def steps(tx: ReadTx, day_id: int) -> list[DayStep]:
    """The steps of a day that are done, in the order they were done."""
    return await store.steps(tx, day_id)


async def balance_on(tx: ReadTx, account_id: int, business_date: date) -> int:
    """The closing balance (minor units) of an account on a business day, or on the last one before that date.

    Refuses with `Conflict` (`business_day_open`) a date that the bank has not closed.
    """
    closed = [row for row in await store.days_before(tx, before=_NEWEST, limit=2) if row.closed_at is not None]
    if not closed or closed[0].business_date < business_date:
        raise Conflict("business_day_open", f"the bank has not closed {business_date}")
    found = await closing_balances(tx, account_id, until=business_date, limit=1)
    return found[0].balance if found else 0


async def closing_balances(tx: ReadTx, account_id: int, *, until: date | None = None, limit: int = 50) -> list[ClosingBalance]:
    """A page of an account's closing balances on the days it moved, newest first; up to the date `until` where given."""
    return await store.balances_until(tx, account_id, until=until or LAST_DAY, limit=limit)


async def set_interest_rate(
    tx: Tx, principal: str, *, account: str, paid_from: str, rate: Decimal, day_count: str, from_date: date
) -> InterestRate:
    """Set the interest that accrues on an account from a date on: `rate` is what 1 earns in a year, 0.035 for 3.5 %.

    It holds until the next rate of the account begins; of several that begin on one day the last counts. A rate of zero ends
    interest. Refuses with `NotFound` (`unknown_account`), with `Invalid` (`rate_malformed`, `currency_mismatch`,
    `same_account`, `account_not_internal`), and with `Conflict` (`business_day_begun`) a date before the newest business day
    that was begun: interest up to there has accrued.
    """
    _check_rate(rate, day_count, from_date)
    found, source = await ledger.account(tx, account), await ledger.account(tx, paid_from)
    if found.id == source.id:
        raise Invalid("same_account", "interest is paid from another account")
    if source.kind != "internal":
        raise Invalid("account_not_internal", f"interest is paid from an account of the bank's own; {paid_from} is none")
    if found.asset != source.asset:
        raise Invalid("currency_mismatch", f"{account} holds {found.asset}, {paid_from} holds {source.asset}")
    await store.lock_book(tx)
    newest = await newest_day(tx)
    if newest is not None and from_date < newest.business_date:
        raise Conflict("business_day_begun", f"interest has accrued up to {newest.business_date}")
    made = await store.add_rate(
        tx,
        account_id=found.id,
        rate=rate,
        day_count=day_count,
        from_date=from_date,
        paid_from=source.id,
        created_by=principal,
    )
    detail = {"rate": str(rate), "day_count": day_count, "from": from_date.isoformat(), "paid_from": source.id}
    await audit.append(
        tx,
        principal=principal,
        verb="closing.set_interest_rate",
        subject_kind="account",
        subject_id=found.id,
        detail=detail,
    )
    return made


async def interest_rate(tx: ReadTx, rate_id: int) -> InterestRate:
    """A rate of interest by its id."""
    return await store.rate(tx, rate_id)


async def accruals(tx: ReadTx, account_id: int, *, limit: int = 50) -> list[Accrual]:
    """The newest of what accrued on an account."""
    return await store.accruals_of(tx, account_id, limit)


def _check(spec: CalendarSpec) -> None:
    check_name(spec.name, "a calendar's name")
    if not FIRST_DAY <= spec.valid_from <= spec.valid_until <= LAST_DAY:
        raise _malformed(f"its days are in order, from {FIRST_DAY} to {LAST_DAY}")
    if spec.time_zone not in time_zones():
        raise Invalid("unknown_time_zone", "the time zone is one of the IANA names, such as Europe/Prague")
    if not 1 <= spec.cut_off_min <= 1440:
        raise _malformed("its cut-off is a time of the day")
    if not set(spec.weekend) < set(range(1, 8)) or len(set(spec.weekend)) != len(spec.weekend):
        raise _malformed("its weekend is up to six different days of the week")
    _check_holidays(spec)


def _check_holidays(spec: CalendarSpec) -> None:
    holidays: Mapping[date, str] = spec.holidays
    if len(holidays) > MAX_HOLIDAYS:
        raise _malformed(f"it has at most {MAX_HOLIDAYS} holidays")
    for holiday, name in holidays.items():
        if not spec.valid_from <= holiday <= spec.valid_until:
            raise _malformed(f"the holiday {holiday} is not among its days")
        if not check_text(name, "a holiday's name", 200).strip():
            raise _malformed(f"the holiday {holiday} has a name")


def _check_rate(rate: Decimal, day_count: str, from_date: date) -> None:
    _, _, exponent = rate.as_tuple()
    if not rate.is_finite() or not isinstance(exponent, int) or -exponent > RATE_DECIMALS or not MIN_RATE <= rate <= MAX_RATE:
        raise Invalid("rate_malformed", f"a rate is from {MIN_RATE} to {MAX_RATE}, with up to {RATE_DECIMALS} decimals")
    if day_count not in DAY_COUNTS:
        raise Invalid("rate_malformed", f"days are counted by {', '.join(DAY_COUNTS)}")
    if not FIRST_DAY <= from_date <= LAST_DAY:
        raise Invalid("rate_malformed", f"a rate begins from {FIRST_DAY} to {LAST_DAY}")


def _malformed(rule: str) -> Invalid:
    return Invalid("calendar_malformed", f"a calendar is not of this shape: {rule}")
