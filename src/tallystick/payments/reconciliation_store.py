"""One function a query of the reconciliation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tallystick.db import Claimed, Queries, ReadTx, Tx
from tallystick.payments.reconciliation_model import ENTRY_BASE, Item, StatementHead
from tallystick.statements import StatementLine


@dataclass(frozen=True, slots=True)
class Matched:
    """How many pairs a rule found."""

    rule: str
    differs: bool
    lines: int


@dataclass(frozen=True, slots=True)
class LineSum:
    outcome: str
    lines: int
    amount: int
    entry_amount: int


@dataclass(frozen=True, slots=True)
class EntrySum:
    outcome: str
    lines: int
    entry_amount: int


@dataclass(frozen=True, slots=True)
class Ours:
    opening: int
    closing: int


@dataclass(frozen=True, slots=True)
class ToSettle:
    """A sent payment that a line tells of, booked on that day."""

    id: int
    booked_on: date | None


_queries = Queries(__package__, "reconciliation.sql")
_LOCK_NOSTRO = _queries.command("lock_nostro")
_CLAIM_IMPORT = _queries.bind("claim_import", Claimed)
_BY_DIGEST = _queries.bind("by_digest", int)
_INSERT_STATEMENT = _queries.bind("insert_statement", int)
_INSERT_LINES = _queries.command("insert_lines")
_MATCH = _queries.bind("match", Matched)
_MATCH_BY_HAND = _queries.bind("match_by_hand", bool)
_EXPLAIN_LINE = _queries.bind("explain_line", int)
_EXPLAIN_ENTRY = _queries.bind("explain_entry", int)
_TO_SETTLE = _queries.bind("to_settle", ToSettle)
_HEADS = _queries.bind("heads", StatementHead)
_LINE_SUMS = _queries.bind("line_sums", LineSum)
_ENTRY_SUMS = _queries.bind("entry_sums", EntrySum)
_OURS = _queries.bind("ours", Ours)
_LINE_ITEMS = _queries.bind("line_items", Item)
_ENTRY_ITEMS = _queries.bind("entry_items", Item)


async def lock_nostro(tx: Tx, nostro_id: int) -> None:
    await tx.run(_LOCK_NOSTRO, {"nostro_id": nostro_id})


async def claim_import(tx: Tx, scope: str, key: str, hash: bytes) -> Claimed:
    return await tx.single(_CLAIM_IMPORT, {"scope": scope, "key": key, "hash": hash})


async def by_digest(tx: ReadTx, nostro_id: int, digest: bytes) -> list[int]:
    return await tx.all(_BY_DIGEST, {"nostro_id": nostro_id, "digest": digest})


async def insert_statement(
    tx: Tx,
    principal: str,
    *,
    nostro_id: int,
    statement_id: str,
    digest: bytes,
    opening: int | None,
    opening_on: date | None,
    closing: int | None,
    closing_on: date | None,
    lines: int,
) -> int | None:
    return await tx.one(
        _INSERT_STATEMENT,
        {
            "nostro_id": nostro_id,
            "statement_id": statement_id,
            "digest": digest,
            "opening": opening,
            "opening_on": opening_on,
            "closing": closing,
            "closing_on": closing_on,
            "lines": lines,
            "principal": principal,
        },
    )


async def insert_lines(tx: Tx, statement_id: int, lines: Sequence[StatementLine]) -> None:
    await tx.run(
        _INSERT_LINES,
        {
            "statement_id": statement_id,
            "numbers": [line.number for line in lines],
            "amounts": [line.amount for line in lines],
            "booked_on": [line.booked_on for line in lines],
            "valued_on": [line.valued_on for line in lines],
            "end_to_end_ids": [line.end_to_end_id for line in lines],
            "references": [line.reference for line in lines],
            "texts": [line.text for line in lines],
        },
    )


async def match(tx: Tx, principal: str, *, statement_id: int, tolerance_days: int) -> list[Matched]:
    parameters = {"statement_id": statement_id, "tolerance_days": tolerance_days, "principal": principal}
    return await tx.all(_MATCH, parameters)


async def match_by_hand(tx: Tx, principal: str, *, statement_id: int, number: int, entry_seq: int, why: str) -> bool | None:
    return await tx.one(
        _MATCH_BY_HAND,
        {"statement_id": statement_id, "number": number, "entry_seq": entry_seq, "principal": principal, "why": why},
    )


async def explain_line(tx: Tx, principal: str, *, statement_id: int, number: int, why: str) -> int | None:
    parameters = {"statement_id": statement_id, "number": number, "principal": principal, "why": why}
    return await tx.one(_EXPLAIN_LINE, parameters)


async def explain_entry(tx: Tx, principal: str, *, statement_id: int, entry_seq: int, why: str) -> int | None:
    parameters = {"statement_id": statement_id, "entry_seq": entry_seq, "principal": principal, "why": why}
    return await tx.one(_EXPLAIN_ENTRY, parameters)


async def to_settle(tx: ReadTx, *, nostro_id: int, statement_id: int) -> list[ToSettle]:
    return await tx.all(_TO_SETTLE, {"nostro_id": nostro_id, "statement_id": statement_id})


async def heads(
    tx: ReadTx, *, ids: Sequence[int] | None, nostro_id: int | None, before: int, limit: int
) -> list[StatementHead]:
    parameters = {"ids": None if ids is None else list(ids), "nostro_id": nostro_id, "before": before, "limit": limit}
    return await tx.all(_HEADS, parameters)


async def line_sums(tx: ReadTx, statement_id: int) -> list[LineSum]:
    return await tx.all(_LINE_SUMS, {"statement_id": statement_id})


async def entry_sums(tx: ReadTx, head: StatementHead) -> list[EntrySum]:
    return await tx.all(_ENTRY_SUMS, _days(head))


async def ours(tx: ReadTx, head: StatementHead) -> Ours:
    return await tx.single(_OURS, _days(head))


async def line_items(tx: ReadTx, statement_id: int, *, outcome: str | None, after: int, limit: int) -> list[Item]:
    parameters = {"statement_id": statement_id, "outcome": outcome, "after": after, "limit": limit}
    return await tx.all(_LINE_ITEMS, parameters)


async def entry_items(tx: ReadTx, head: StatementHead, *, outcome: str | None, after: int, limit: int) -> list[Item]:
    return await tx.all(_ENTRY_ITEMS, _days(head) | {"outcome": outcome, "after": after, "limit": limit, "base": ENTRY_BASE})


def _days(head: StatementHead) -> dict[str, object]:
    return {"nostro_id": head.nostro_id, "opening_on": head.opening_on, "closing_on": head.closing_on}
