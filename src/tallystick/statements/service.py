"""The verbs of statements. All of them read; a snapshot by `ledger.report` sees a whole period."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from tallystick import ledger
from tallystick.db import ReadTx
from tallystick.statements.model import Line, Statement, running


async def statement(
    tx: ReadTx, account: ledger.AccountRef, *, start: datetime, end: datetime, by: ledger.By = "posted"
) -> Statement:
    """The head of the account's statement for `[start, end)`, as it stands now.

    That opening balance and entries give the closing balance is checked, not assumed (`BooksBroken`). Takes time in proportion
    to the entries of the period, and by value date to those of the account. Refuses as `ledger.span` does.
    """
    span = await ledger.span(tx, account.id, start=start, end=end, by=by)
    return Statement(account, span, await ledger.totals(tx, span), await ledger.made_at(tx))


def lines(tx: ReadTx, statement: Statement) -> AsyncIterator[Line]:
    """All lines of a statement, of any number, with running balances; checked at the end against its head."""
    return running(statement, ledger.entries_of(tx, statement.span))


async def page(tx: ReadTx, span: ledger.Span, *, after: int | None, limit: int) -> list[Line]:
    """The lines of a statement after the entry number `after` (`None`: from the first), at most `limit`."""
    before, entries = await ledger.page_of(tx, span, after=after, limit=limit)
    found, balance = [], before.amount
    for entry in entries:
        balance += entry.amount
        found.append(Line(entry, balance))
    return found
