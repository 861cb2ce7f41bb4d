"""One function a query of the bank's day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from tallystick.closing.interest import Accrual, InterestRate
from tallystick.closing.model import BusinessDay, CalendarRules, CalendarSpec, ClosingBalance, DayStep, OpenBalance
from tallystick.db import Queries, ReadTx, Tx


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a hook has come with a day."""

    page: int
    last_account: int
    journals: int


_queries = Queries(__package__)
_LOCK_BOOK = _queries.command("lock_book")
_CLOCK = _queries.bind("clock", datetime)
_ALLOW_LONGER = _queries.command("allow_longer")
_ADD_CALENDAR = _queries.bind("add_calendar", int)
_ADD_HOLIDAYS = _queries.command("add_holidays")
_CALENDAR_RULES = _queries.bind("calendar_rules", CalendarRules)
_CALENDARS_AFTER = _queries.bind("calendars_after", CalendarRules)
_CALENDAR_NAMES = _queries.bind("calendar_names", str)
_COUNT_RULES = _queries.bind("count_rules", int)
_BEGIN_DAY = _queries.command("begin_day")
_DAYS_BEFORE = _queries.bind("days_before", BusinessDay)
_DAY_OF = _queries.bind("day_of", BusinessDay)
_STEPS = _queries.bind("steps", DayStep)
_FINISH_ACCRUAL = _queries.command("finish_accrual")
_FINISH_CLOSE = _queries.command("finish_close")
_PROGRESS = _queries.bind("progress", Progress)
_ADD_PAGE = _queries.command("add_page")
_OPEN_BALANCES = _queries.bind("open_balances", OpenBalance)
_WRITE_BALANCES = _queries.command("write_balances")
_BALANCES_UNTIL = _queries.bind("balances_until", ClosingBalance)
_ADD_RATE = _queries.bind("add_rate", InterestRate)
_RATE = _queries.bind("rate", InterestRate)
_RATES_OF = _queries.bind("rates_of", InterestRate)
_LAST_ACCRUALS = _queries.bind("last_accruals", Accrual)
_ACCRUALS_OF = _queries.bind("accruals_of", Accrual)
_ADD_ACCRUALS = _queries.command("add_accruals")


async def lock_book(tx: Tx) -> None:
    await tx.run(_LOCK_BOOK)


async def clock(tx: ReadTx) -> datetime:
    return await tx.single(_CLOCK)


async def allow_longer(tx: Tx, timeout_ms: int) -> None:
    await tx.run(_ALLOW_LONGER, {"timeout_ms": str(timeout_ms)})


async def add_calendar(tx: Tx, spec: CalendarSpec, created_by: str) -> int:
    calendar_id = await tx.single(
        _ADD_CALENDAR,
        {
            "name": spec.name,
            "valid_from": spec.valid_from,
            "valid_until": spec.valid_until,
            "time_zone": spec.time_zone,
            "cut_off_min": spec.cut_off_min,
            "weekend": sorted(spec.weekend),
            "created_by": created_by,
        },
    )
    days = sorted(spec.holidays)
    names = [spec.holidays[day] for day in days]
    await tx.run(_ADD_HOLIDAYS, {"calendar_id": calendar_id, "days": days, "names": names})
    return calendar_id


async def calendar_rules(tx: ReadTx, name: str, limit: int) -> list[CalendarRules]:
    return await tx.all(_CALENDAR_RULES, {"name": name, "limit": limit})


async def calendars_after(tx: ReadTx, *, after: int, limit: int, ids: Sequence[int] | None) -> list[CalendarRules]:
    return await tx.all(_CALENDARS_AFTER, {"after": after, "limit": limit, "ids": None if ids is None else list(ids)})


async def calendar_names(tx: ReadTx, limit: int) -> list[str]:
    return await tx.all(_CALENDAR_NAMES, {"limit": limit})


async def count_rules(tx: ReadTx, name: str) -> int:
    return await tx.single(_COUNT_RULES, {"name": name})


async def begin_day(
    tx: Tx, *, day_id: int, business_date: date, calendar_id: int, cut_off_at: datetime, started_by: str
) -> None:
    await tx.run(
        _BEGIN_DAY,
        {
            "id": day_id,
            "business_date": business_date,
            "calendar_id": calendar_id,
            "cut_off_at": cut_off_at,
            "started_by": started_by,
        },
    )


async def days_before(tx: ReadTx, *, before: int, limit: int) -> list[BusinessDay]:
    return await tx.all(_DAYS_BEFORE, {"before": before, "limit": limit})


async def day_of(tx: ReadTx, business_date: date) -> BusinessDay | None:
    return await tx.one(_DAY_OF, {"business_date": business_date})


async def steps(tx: ReadTx, day_id: int) -> list[DayStep]:
    return await tx.all(_STEPS, {"day_id": day_id})


async def finish_accrual(tx: Tx, day_id: int, hook: str) -> None:
    await tx.run(_FINISH_ACCRUAL, {"day_id": day_id, "hook": hook})


async def finish_close(tx: Tx, day_id: int, moved: int) -> None:
    await tx.run(_FINISH_CLOSE, {"day_id": day_id, "moved": moved})


async def progress(tx: ReadTx, day_id: int, hook: str) -> Progress:
    return await tx.single(_PROGRESS, {"day_id": day_id, "hook": hook})


async def add_page(
    tx: Tx, *, day_id: int, hook: str, page: int, last_account: int, accounts: int, journals: int, refused: int
) -> None:
    await tx.run(
        _ADD_PAGE,
        {
            "day_id": day_id,
            "hook": hook,
            "page": page,
            "last_account": last_account,
            "accounts": accounts,
            "journals": journals,
            "refused": refused,
        },
    )


async def open_balances(tx: ReadTx, *, day_id: int, after: int, limit: int) -> list[OpenBalance]:
    return await tx.all(_OPEN_BALANCES, {"day_id": day_id, "after": after, "limit": limit})


async def write_balances(tx: Tx, day_id: int) -> int:
    return await tx.run(_WRITE_BALANCES, {"day_id": day_id})


async def balances_until(tx: ReadTx, account_id: int, *, until: date, limit: int) -> list[ClosingBalance]:
    return await tx.all(_BALANCES_UNTIL, {"account_id": account_id, "until": until, "limit": limit})


async def add_rate(
    tx: Tx, *, account_id: int, rate: Decimal, day_count: str, from_date: date, paid_from: int, created_by: str
) -> InterestRate:
    return await tx.single(
        _ADD_RATE,
        {
            "account_id": account_id,
            "rate": rate,
            "day_count": day_count,
            "from_date": from_date,
            "paid_from": paid_from,
            "created_by": created_by,
        },
    )


async def rate(tx: ReadTx, rate_id: int) -> InterestRate:
    return await tx.single(_RATE, {"rate_id": rate_id})


async def rates_of(tx: ReadTx, account_ids: Sequence[int], *, before: date) -> list[InterestRate]:
    return await tx.all(_RATES_OF, {"account_ids": list(account_ids), "before": before})


async def last_accruals(tx: ReadTx, account_ids: Sequence[int]) -> Mapping[int, Accrual]:
    return {row.account_id: row for row in await tx.all(_LAST_ACCRUALS, {"account_ids": list(account_ids)})}


async def accruals_of(tx: ReadTx, account_id: int, limit: int) -> list[Accrual]:
    return await tx.all(_ACCRUALS_OF, {"account_id": account_id, "limit": limit})


async def add_accruals(tx: Tx, day_id: int, from_date: date, accruals: Sequence[Accrual]) -> None:
    await tx.run(
        _ADD_ACCRUALS,
        {
            "day_id": day_id,
            "from_date": from_date,
            "account_ids": [accrual.account_id for accrual in accruals],
            "balances": [accrual.balance for accrual in accruals],
            "parts": [accrual.parts for accrual in accruals],
            "totals": [accrual.total_parts for accrual in accruals],
            "owed": [accrual.owed for accrual in accruals],
            "journal_ids": [accrual.journal_id for accrual in accruals],
            "refusals": [accrual.refusal for accrual in accruals],
            "posted": [accrual.posted_total for accrual in accruals],
        },
    )
