"""End of day: a business day is begun, its hooks accrue, its closing balances are written and its period is closed.

The bank has one book, so that one day after the other is closed, all by one calendar. Each step is a transaction of its own and
leaves a fact: a run that was cut off anywhere goes on where it stopped when it is started again, and two at once take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from tallystick import audit, ledger
from tallystick.closing import store
from tallystick.closing.accruing import INTEREST
from tallystick.closing.hooks import ACTOR, AccrualHook, AccrualPage, in_order, known_hooks, register
from tallystick.closing.model import BusinessDay
from tallystick.closing.service import calendar as calendar_of
from tallystick.closing.service import day as day_of
from tallystick.closing.service import newest_day
from tallystick.db import Database, ReadTx, Tx
from tallystick.kit import Conflict, Invalid

PAGE_ACCOUNTS = 4000
_CLOSE = "close"
_CLOSE_TIMEOUT_MS = 600_000

Watch = Callable[[str, int], None]
"""Is told the step that a run is in, and how many accounts it has been through since it was told before."""

register(INTEREST)


async def end_of_day(
    database: Database,
    business_date: date,
    *,
    calendar: str,
    actor: str,
    hooks: Sequence[AccrualHook] | None = None,
    watch: Watch | None = None,
) -> BusinessDay:
    """Close a business day; one that is closed is answered as it was. `hooks` are all that are known where none are given.

    Refuses as `begin` does. Whatever stops it, the same call goes on.
    """
    day = await database.retrying(lambda tx: begin(tx, business_date, calendar=calendar, actor=actor))
    return await finish(database, day, actor=actor, hooks=hooks, watch=watch)


async def begin(tx: Tx, business_date: date, *, calendar: str, actor: str) -> BusinessDay:
    """Begin to close a business day by a calendar; one that was begun is answered as it stands.

    Refuses with `NotFound` (`unknown_calendar`); with `Invalid` a date that is no business day (`not_a_business_day`) or that
    the calendar says nothing of (`calendar_ends`); with `Conflict` another calendar than that of the days before
    (`another_calendar`), a day while the one before is not closed (`business_day_open`), a day that does not follow the last
    one (`business_day_out_of_order`), and one whose cut-off is still to come (`cut_off_to_come`).
    """
    await store.lock_book(tx)
    rules = await calendar_of(tx, calendar)
    known, newest = await store.day_of(tx, business_date), await newest_day(tx)
    if newest is not None and newest.calendar != calendar:
        raise Conflict("another_calendar", f"the bank's days are closed by the calendar {newest.calendar}")
    if known is not None:
        return known
    if newest is not None and newest.closed_at is None:
        raise Conflict("business_day_open", f"{newest.business_date} is to be closed first")
    if not rules.is_business_day(business_date):
        raise Invalid("not_a_business_day", f"{business_date} is no business day of {calendar}")
    if newest is not None and business_date != (due := rules.next_business_day(newest.business_date)):
        raise Conflict("business_day_out_of_order", f"the next day to close is {due}")
    cut_off_at, now = rules.cut_off(business_date), await store.clock(tx)
    if cut_off_at > now:
        raise Conflict("cut_off_to_come", f"{business_date} ends at {cut_off_at.isoformat()}")
    day_id = newest.id + 1 if newest is not None else 1
    await store.begin_day(
        tx,
        day_id=day_id,
        business_date=business_date,
        calendar_id=rules.rules_on(business_date).id,
        cut_off_at=cut_off_at,
        started_by=actor,
    )
    await _record(tx, actor, "closing.begin_day", day_id, {"date": business_date.isoformat(), "calendar": calendar})
    return await day_of(tx, business_date)


async def finish(
    database: Database,
    day: BusinessDay,
    *,
    actor: str,
    hooks: Sequence[AccrualHook] | None = None,
    watch: Watch | None = None,
) -> BusinessDay:
    """Do the steps of a day that was begun and are not done yet: every hook on every account, then the close."""
    tell = watch or _nobody
    if day.closed_at is None:
        for hook in known_hooks() if hooks is None else in_order(hooks):
            tell(_step_of(hook), 0)
            while (accounts := await database.retrying(lambda tx, hook=hook: accrue(tx, day, hook, actor=actor))) is not None:  # type: ignore[misc]
                tell(_step_of(hook), accounts)
        tell(_CLOSE, 0)
        await database.retrying(lambda tx: close(tx, day, actor=actor))
        tell(_CLOSE, 0)
    async with database.read() as tx:
        return await day_of(tx, day.business_date)


async def accrue(tx: Tx, day: BusinessDay, hook: AccrualHook, *, actor: str) -> int | None:
    """Run a hook on the next page of accounts; how many there were, or `None` where the hook has been through all of them."""
    await store.lock_book(tx)
    if await _is_done(tx, day, _step_of(hook)):
        return None
    so_far = await store.progress(tx, day.id, hook.name)
    # On the first day nothing was closed before it, so that there is nothing to accrue on.
    balances = (
        []
        if day.previous_date is None
        else await store.open_balances(tx, day_id=day.id, after=so_far.last_account, limit=PAGE_ACCOUNTS)
    )
    if not balances:
        await store.finish_accrual(tx, day.id, hook.name)
        await _record(tx, ACTOR, "closing.finish_accrual", day.id, {"hook": hook.name, "for": actor})
        return None
    page = AccrualPage(tx, day, hook.name, balances, posted_before=so_far.journals, on_behalf_of=actor)
    await hook.run(page)
    refused = sum(answer.refusal is not None for answer in page.answers)
    await store.add_page(
        tx,
        day_id=day.id,
        hook=hook.name,
        page=so_far.page + 1,
        last_account=balances[-1].account_id,
        accounts=len(balances),
        journals=len(page.answers),
        refused=refused,
    )
    detail = {"hook": hook.name, "page": so_far.page + 1, "journals": len(page.answers), "refused": refused, "for": actor}
    await _record(tx, ACTOR, "closing.accrue", day.id, detail)
    return len(balances)


async def close(tx: Tx, day: BusinessDay, *, actor: str) -> None:
    """Close the period of a day and write its closing balances, in one transaction."""
    await store.lock_book(tx)
    if await _is_done(tx, day, _CLOSE):
        return
    await store.allow_longer(tx, _CLOSE_TIMEOUT_MS)
    # First the period: whoever was posting into it has committed when we have its lock, and nobody can after that. Only then
    # the balances are added up, so that a journal with an effective date in there is either in them or refused.
    # Where somebody closed more of the books than that, they are closed.
    closed_until = await ledger.closed_until(tx)
    if closed_until is None or closed_until < day.cut_off_at:
        await ledger.close_period(tx, day.cut_off_at, actor=actor)
    moved = await store.write_balances(tx, day.id)
    await store.finish_close(tx, day.id, moved)
    await _record(tx, actor, "closing.close_day", day.id, {"date": day.business_date.isoformat(), "moved": moved})


async def due(tx: ReadTx, calendar: str) -> date:
    """The next business day to close: the one after the newest, that one where it is not closed yet, and where there is none
    the last business day whose cut-off is over. Its cut-off may be still to come.
    """
    rules, newest = await calendar_of(tx, calendar), await newest_day(tx)
    if newest is None:
        return rules.previous_business_day(rules.business_date_of(await store.clock(tx)))
    return newest.business_date if newest.closed_at is None else rules.next_business_day(newest.business_date)


async def _is_done(tx: ReadTx, day: BusinessDay, step: str) -> bool:
    return any(done.step in (step, _CLOSE) for done in await store.steps(tx, day.id))


def _step_of(hook: AccrualHook) -> str:
    return f"accrue:{hook.name}"


async def _record(tx: Tx, principal: str, verb: str, day_id: int, detail: dict[str, object]) -> None:
    await audit.append(tx, principal=principal, verb=verb, subject_kind="business_day", subject_id=day_id, detail=detail)


def _nobody(step: str, accounts: int) -> None:
    """Tell nobody."""
