"""The books as they were: balances, entries and trial balances at a time or a version, and journals.

A time is asked for in one of two ways. By `posted`, the past is fixed: what was so at a time stays so. By `effective`, a
journal that is posted today may belong to last week, so the past is what is known of it by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from tallystick.db import Database, Queries, ReadTx
from tallystick.kit import Invalid, NotFound, Unavailable
from tallystick.ledger.history_model import (
    BalanceAt,
    By,
    Leg,
    PastEntry,
    PastJournal,
    PlacedJournal,
    Span,
    Totals,
    TrialBalanceAt,
)

WRITERS = 7331003
"""The advisory lock that every posting transaction shares, from before it takes `posted_at` until it ends."""

_WAIT_S = 10.0
_INSTANT = timedelta(microseconds=1)
_LAST = 2**63 - 1
_BATCH = 2000

_queries = Queries(__package__, "history.sql")
_RUNNING_WRITERS = _queries.bind("running_writers", str)
_BALANCE_POSTED = _queries.bind("balance_posted", BalanceAt)
_BALANCE_EFFECTIVE = _queries.bind("balance_effective", BalanceAt)
_TOTALS_POSTED = _queries.bind("totals_posted", Totals)
_TOTALS_EFFECTIVE = _queries.bind("totals_effective", Totals)
_ENTRIES_POSTED = _queries.bind("entries_posted", PastEntry)
_ENTRIES_EFFECTIVE = _queries.bind("entries_effective", PastEntry)
_EFFECTIVE_AT = _queries.bind("effective_at", datetime)
_MADE_AT = _queries.bind("made_at", datetime)
_TRIAL_BALANCE_POSTED = _queries.bind("trial_balance_posted", TrialBalanceAt)
_TRIAL_BALANCE_EFFECTIVE = _queries.bind("trial_balance_effective", TrialBalanceAt)
_JOURNAL_BY_ID = _queries.bind("journal_by_id", PastJournal)
_JOURNAL_LEGS = _queries.bind("journal_legs", Leg)
_JOURNALS_BEFORE = _queries.bind("journals_before", PlacedJournal)
_JOURNALS_OF_ACCOUNT_BEFORE = _queries.bind("journals_of_account_before", PlacedJournal)


@asynccontextmanager
async def report(database: Database, *, as_of: datetime | None = None) -> AsyncIterator[ReadTx]:
    """A snapshot that misses no journal posted at or before `as_of`; where that is `None` or to come, none posted before now.

    A journal takes its `posted_at` some time before it commits, so a report may begin in between and never see it, though the
    same report a moment later would. So a report first waits for the transactions that hold the lock of writers and are old
    enough to have posted by then. Those that begin while it waits post later, hence nobody ever waits for a report, and one of
    the distant past waits for nobody. (Asking for the lock itself would do too, and would hold up every posting behind it.)

    Refuses with `Unavailable` (`writers_running`) after ten seconds.
    """
    async with database.read() as tx:
        await _older_writers_ended(tx, as_of)
    async with database.snapshot() as tx:
        yield tx


async def _older_writers_ended(tx: ReadTx, as_of: datetime | None) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    pause_s = 0.002
    among: list[str] | None = None
    while among := await tx.all(_RUNNING_WRITERS, {"lock": WRITERS, "as_of": as_of, "among": among}):
        if loop.time() > deadline:
            raise Unavailable("writers_running", "postings of that time are still being made; ask again")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.1)


async def made_at(tx: ReadTx) -> datetime:
    """The database's time."""
    return await tx.single(_MADE_AT)


async def balance_at(tx: ReadTx, account_id: int, *, at: datetime, by: By = "posted") -> BalanceAt:
    """The account as it stood right after `at`: of what was posted, or effective, by then. Costs as `balance_before` does."""
    return await balance_before(tx, account_id, before=at + _INSTANT, by=by)


async def balance_before(
    tx: ReadTx, account_id: int, *, before: datetime | None, by: By = "posted", version: int | None = None
) -> BalanceAt:
    """The account as it stood right before a time (`None`: now), of its entries up to number `version` where that is given.

    By posted time, its last entry then says it all, and is found by halving: some twenty look-ups among a million entries. By
    effective time the account's entries are added up, each with its journal: that takes time in proportion to their number.
    """
    if by == "posted":
        return await tx.single(_BALANCE_POSTED, {"account_id": account_id, "before": before, "version": version})
    return await _balance_effective(tx, account_id, until=before, until_seq=0, version=version)


async def balance_at_version(tx: ReadTx, account_id: int, version: int) -> BalanceAt:
    """The account right after its entry number `version`; refuses with `NotFound` (`unknown_version`) one that is to come."""
    found = await balance_before(tx, account_id, before=None, version=version)
    if found.entries != version:
        raise NotFound("unknown_version", f"the account's version is {found.entries}")
    return found


async def _balance_effective(
    tx: ReadTx, account_id: int, *, until: datetime | None, until_seq: int, version: int | None
) -> BalanceAt:
    parameters = {"account_id": account_id, "until": until, "until_seq": until_seq, "version": version}
    return await tx.single(_BALANCE_EFFECTIVE, parameters)


async def span(
    tx: ReadTx, account_id: int, *, start: datetime, end: datetime, by: By = "posted", version: int | None = None
) -> Span:
    """The account's entries in `[start, end)`, with the balances around them; of the entries up to `version`, by default all.

    Refuses with `Invalid` (`period_malformed`) a period that ends before it begins, and with `NotFound` (`unknown_version`).
    """
    if end < start:
        raise Invalid("period_malformed", "the period ends before it begins")
    if version is None:
        version = (await balance_before(tx, account_id, before=None)).entries
    else:
        await balance_at_version(tx, account_id, version)
    opening = await balance_before(tx, account_id, before=start, by=by, version=version)
    closing = await balance_before(tx, account_id, before=end, by=by, version=version)
    return Span(account_id, start, end, by, version, opening, closing)


async def totals(tx: ReadTx, span: Span) -> Totals:
    """Debits and credits of a span, added up entry by entry: of the span, or by effective time of all of the account."""
    if span.by == "posted":
        return await tx.single(_TOTALS_POSTED, _between(span, span.opening.entries))
    return await tx.single(_TOTALS_EFFECTIVE, _effective(span))


def entries_of(tx: ReadTx, span: Span) -> AsyncIterator[PastEntry]:
    """The entries of a span of any length, in the order of its time, then of their numbers; needs a snapshot."""
    if span.by == "posted":
        return tx.stream(_ENTRIES_POSTED, {**_between(span, span.opening.entries), "limit": None}, batch=_BATCH)
    return tx.stream(_ENTRIES_EFFECTIVE, {**_effective(span), **_FROM_THE_FIRST, "limit": None}, batch=_BATCH)


async def page_of(tx: ReadTx, span: Span, *, after: int | None, limit: int) -> tuple[BalanceAt, list[PastEntry]]:
    """The balance right after the entry number `after` (`None`: the opening), and the next of the span, at most `limit`.

    By posted time that costs as much as the page; by effective time, as much as the account's entries. An entry that is not of
    the account is refused with `NotFound` (`unknown_version`).
    """
    if span.by == "posted":
        before = span.opening if after is None else await balance_at_version(tx, span.account_id, after)
        return before, await tx.all(_ENTRIES_POSTED, {**_between(span, before.entries), "limit": limit})
    if after is None:
        return span.opening, await tx.all(_ENTRIES_EFFECTIVE, {**_effective(span), **_FROM_THE_FIRST, "limit": limit})
    at: datetime | None = await tx.one(_EFFECTIVE_AT, {"account_id": span.account_id, "seq": after})
    if at is None:
        raise NotFound("unknown_version", f"the account has no entry {after}")
    before = await _balance_effective(tx, span.account_id, until=at, until_seq=after, version=span.version)
    place = {"after_at": at, "after_seq": after, "limit": limit}
    return before, await tx.all(_ENTRIES_EFFECTIVE, {**_effective(span), **place})


def _between(span: Span, above: int) -> dict[str, object]:
    return {"account_id": span.account_id, "above": above, "version": span.closing.entries}


_FROM_THE_FIRST: dict[str, object] = {"after_at": None, "after_seq": None}


def _effective(span: Span) -> dict[str, object]:
    return {"account_id": span.account_id, "start": span.start, "end": span.end, "version": span.version}


async def trial_balance_at(tx: ReadTx, *, at: datetime | None, by: By = "posted") -> list[TrialBalanceAt]:
    """Per asset, all accounts as they stood right after `at` (`None`: by all there is); `difference` is zero at any time.

    By posted time, all entries of a journal have one and the same, so no time falls between them; it costs a few look-ups an
    account. By effective time every entry is added up.
    """
    query = _TRIAL_BALANCE_POSTED if by == "posted" else _TRIAL_BALANCE_EFFECTIVE
    # Sums over all accounts may be wider than 64 bits, and come as decimals.
    return [
        replace(
            row,
            dr=int(row.dr),
            cr=int(row.cr),
            debit_balances=int(row.debit_balances),
            credit_balances=int(row.credit_balances),
        )
        for row in await tx.all(query, {"before": None if at is None else at + _INSTANT})
    ]


async def journal(tx: ReadTx, journal_id: int) -> PastJournal:
    """The journal of that number; refuses with `NotFound` (`unknown_journal`)."""
    found = await tx.one(_JOURNAL_BY_ID, {"id": journal_id})
    if found is None:
        raise NotFound("unknown_journal", f"there is no journal {journal_id}")
    return found


async def legs(tx: ReadTx, journal_ids: Sequence[int], *, most: int | None = None) -> list[Leg]:
    """The entries of journals, by journal, account and number; of each journal at most `most`, by default all."""
    return await tx.all(_JOURNAL_LEGS, {"ids": list(journal_ids), "most": most})


async def journals(
    tx: ReadTx,
    *,
    account_id: int | None = None,
    among: Sequence[int] | None = None,
    kind: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    place: int | None = None,
    limit: int = 50,
) -> list[PlacedJournal]:
    """A page of journals, newest first, that were posted in `[start, end)`: of an account, `among` accounts, or all.

    The next page begins at the `place` of the last. With an account, the period is found by halving. Without one, journals are
    walked through from the newest, as there is no index on time or kind that every posting would have to keep.
    """
    parameters = {
        "account_id": account_id,
        "among": None if among is None else list(among),
        "kind": kind,
        "start": start,
        "end": end,
        "place": _LAST if place is None else place,
        "limit": limit,
    }
    return await tx.all(_JOURNALS_BEFORE if account_id is None else _JOURNALS_OF_ACCOUNT_BEFORE, parameters)
