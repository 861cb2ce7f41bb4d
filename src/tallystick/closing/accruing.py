"""The hook that comes with Tallystick: interest, by the rates that were set on accounts."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tallystick import ledger
from tallystick.closing import store
from tallystick.closing.hooks import AccrualHook, AccrualJournal, AccrualPage
from tallystick.closing.interest import Accrual, InterestRate, added, parts_between, rate_on, whole_units
from tallystick.closing.model import OpenBalance


async def accrue_interest(page: AccrualPage) -> None:
    """Accrue interest from the business day before to this one on what each account held when that was closed.

    So the run of a Monday accrues three days on Friday's closing balance. Whole minor units are posted between the account and
    the one that its newest rate is paid from; what is refused (a frozen account, no funds) is owed on and tried again whenever
    interest accrues.
    """
    rates: dict[int, list[InterestRate]] = defaultdict(list)
    for rate in await store.rates_of(page.tx, [row.account_id for row in page.balances], before=page.business_date):
        rates[rate.account_id].append(rate)
    if not rates:
        return
    earlier = await store.last_accruals(page.tx, list(rates))
    accruals = [
        accrual
        for row in page.balances
        if row.account_id in rates and (accrual := _accrual(page, row, rates[row.account_id], earlier.get(row.account_id)))
    ]
    due = [accrual for accrual in accruals if accrual.owed]
    answers = await page.post([_journal(page, accrual, rates[accrual.account_id]) for accrual in due])
    posted = {accrual.account_id: answer for accrual, answer in zip(due, answers, strict=True)}
    await store.add_accruals(page.tx, page.day_id, page.previous_date, _settled(accruals, posted))


INTEREST = AccrualHook("interest", 100, accrue_interest)


def _accrual(page: AccrualPage, row: OpenBalance, rates: Sequence[InterestRate], earlier: Accrual | None) -> Accrual | None:
    """What accrues on one account; `None` where nothing does."""
    parts = parts_between(row.balance, rates, page.previous_date, page.business_date)
    if not parts:
        return None
    total = added(parts, earlier.total_parts) if earlier else parts
    posted = earlier.posted_total if earlier else 0
    owed = whole_units(total) - posted
    return Accrual(row.account_id, page.business_date, page.previous_date, row.balance, parts, total, owed, None, None, posted)


def _journal(page: AccrualPage, accrual: Accrual, rates: Sequence[InterestRate]) -> AccrualJournal:
    rate = max(rates, key=lambda rate: (rate.from_date, rate.id))
    assert rate_on(rates, page.business_date) == rate
    entries = [(rate.paid_from, -accrual.owed), (accrual.account_id, accrual.owed)]
    meta = {"from": page.previous_date.isoformat(), "to": page.business_date.isoformat()}
    return AccrualJournal("interest", entries, meta)


def _settled(accruals: Sequence[Accrual], posted: Mapping[int, ledger.Posted]) -> list[Accrual]:
    settled = []
    for accrual in accruals:
        answer = posted.get(accrual.account_id)
        if answer is None:
            settled.append(accrual)
        elif answer.refusal is not None:
            settled.append(dataclasses.replace(accrual, refusal=answer.refusal))
        else:
            total = accrual.posted_total + accrual.owed
            settled.append(dataclasses.replace(accrual, journal_id=answer.journal_id, posted_total=total))
    return settled
