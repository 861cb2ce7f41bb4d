"""`/v1/journals`: what was posted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import identity, ledger
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import Instant, Label, Name, PathId
from tallystick.kit import Asset, Invalid, format_minor

router = APIRouter(route_class=ExactRoute, tags=["journals"])
_KIND = "journals"
_SHOWN = 20
_REVERSALS = 100
_LEG: JsonDict = {
    "account_id": "ACC123",
    "currency": "CZK",
    "seq": 7,
    "amount": "-12.50",
    "balance_after": "1238.25",
}
_EXAMPLE: JsonDict = {
    "id": "77",
    "kind": "transfer",
    "ref_id": "5",
    "actor": "payments",
    "on_behalf_of": None,
    "task_id": None,
    "approval_id": None,
    "reverses": None,
    "reversed_by": [],
    "hold_id": None,
    "effective_at": "2026-11-21T12:34:56.789012Z",
    "posted_at": "2026-11-21T12:34:56.789012Z",
    "meta": None,
    "entries": [_LEG, {**_LEG, "account_id": "ACC999", "seq": 3, "amount": "12.50", "balance_after": "20.00"}],
    "more_entries": False,
}


class LegAnswer(BaseModel):
    """One entry: what the journal gave to an account (above zero) or took from it, and the balance that it left."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LEG]})

    account_id: str
    currency: str
    seq: int
    amount: str
    balance_after: str


class JournalAnswer(BaseModel):
    """A journal and its entries, which sum to zero for each currency. With `more_entries` a list shows the first 20 of them.

    `reversed_by` are the journals that take it back, the first 100 of them.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    kind: str
    ref_id: str | None
    actor: str
    on_behalf_of: str | None
    task_id: str | None
    approval_id: str | None
    reverses: str | None
    reversed_by: list[str]
    hold_id: str | None
    effective_at: datetime
    posted_at: datetime
    meta: dict[str, Any] | None
    entries: list[LegAnswer]
    more_entries: bool


class JournalPage(BaseModel):
    """Journals, newest first."""

    items: list[JournalAnswer]
    next_cursor: str | None


@router.get("/v1/journals", response_model=JournalPage)
async def list_journals(
    *,
    call: CurrentCall,
    account_id: Annotated[Name | None, Query(description="Only those with an entry in this account.")] = None,
    kind: Annotated[Label | None, Query(description="Only those of this kind.")] = None,
    start: Annotated[Instant | None, Query(alias="from", description="Only those posted at this time or later.")] = None,
    end: Annotated[Instant | None, Query(alias="to", description="Only those posted before this time.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Journals, newest first."""
    if start is not None and end is not None and end < start:
        raise Invalid("period_malformed", "the period ends before it begins")
    # With an account, a page begins at one of its entries; without one, at a journal.
    list_kind = _KIND if account_id is None else f"{_KIND} of {account_id}"
    place = bound_of(cursor, list_kind)
    async with call.database.snapshot() as tx:
        account = None if account_id is None else (await ledger.account(tx, account_id)).id
        among = await accounts_of(tx, call.principal)
        rows = await ledger.journals(
            tx, account_id=account, among=among, kind=kind, start=start, end=end, place=place, limit=limit + 1
        )
        legs = _seen(call, await ledger.legs(tx, [row.id for row in rows], most=_SHOWN + 1))
        reversals = await ledger.reversals(tx, [row.id for row in rows], most=_REVERSALS)
    return page(rows, limit, list_kind, item=lambda row: _answer(row, legs, _SHOWN, reversals), bound=lambda row: row.place)


@router.get("/v1/journals/{journal_id}", response_model=JournalAnswer)
async def get_journal(journal_id: PathId, call: CurrentCall) -> Response:
    """One journal with its entries."""
    async with call.database.snapshot() as tx:
        found = await ledger.journal(tx, journal_id)
        legs = _seen(call, await ledger.legs(tx, [found.id]))
        reversals = await ledger.reversals(tx, [found.id], most=_REVERSALS)
    return Json(_answer(found, legs, len(legs), reversals))


def _seen(call: Call, legs: list[ledger.Leg]) -> list[ledger.Leg]:
    """The entries in accounts that the caller sees: an entry tells what its account holds."""
    return [leg for leg in legs if identity.may_touch(call.principal, leg.account)]


def _answer(
    journal: ledger.PastJournal, legs: list[ledger.Leg], shown: int, reversals: Mapping[int, list[int]]
) -> dict[str, Any]:
    own = [leg for leg in legs if leg.journal_id == journal.id]
    return {
        "id": str(journal.id),
        "kind": journal.kind,
        "ref_id": _id(journal.ref_id),
        "actor": journal.actor,
        "on_behalf_of": journal.on_behalf_of,
        "task_id": _id(journal.task_id),
        "approval_id": _id(journal.approval_id),
        "reverses": _id(journal.reverses),
        "reversed_by": [str(id) for id in reversals.get(journal.id, ())],
        "hold_id": _id(journal.hold_id),
        "effective_at": journal.effective_at,
        "posted_at": journal.posted_at,
        "meta": journal.meta,
        "entries": [_leg(leg) for leg in own[:shown]],
        "more_entries": len(own) > shown,
    }


def _leg(leg: ledger.Leg) -> dict[str, Any]:
    unit = Asset(leg.asset, leg.scale)
    return {
        "account_id": leg.account,
        "currency": leg.asset,
        "seq": leg.seq,
        "amount": format_minor(leg.amount, unit),
        "balance_after": format_minor(leg.balance_after, unit),
    }


def _id(number: int | None) -> str | None:
    return None if number is None else str(number)
