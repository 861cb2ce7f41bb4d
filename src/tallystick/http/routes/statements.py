"""`/v1/accounts/{id}/balance` and `/statement`, `/v1/trial-balance`: the books at a time and through a period."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tallystick import ledger, statements
from tallystick.db import ReadTx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bounds_of, cursor_of
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import MAX_ID, Instant, PathName
from tallystick.http.streaming import Stream, a_place, begun
from tallystick.kit import Invalid, digest, format_minor

router = APIRouter(route_class=ExactRoute, tags=["statements"])

By = Literal["posted", "effective"]
Form = Literal["json", "csv", "camt053"]

_MEDIA_TYPES: dict[Form, str] = {"json": "application/json", "csv": "text/csv; header=present", "camt053": "application/xml"}
_SUFFIXES: dict[Form, str] = {"json": "json", "csv": "csv", "camt053": "xml"}
_ACCEPTED: dict[str, Form] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "text/csv": "csv",
    "text/*": "csv",
    "application/xml": "camt053",
    "text/xml": "camt053",
}
_MAX_ACCEPT = 1000
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]")

_SUM: JsonDict = {"count": 2, "sum": "1000.00"}
_HEAD: JsonDict = {
    "id": "S5f0c1b2a9d8e7f605f0c1b2a9d8e7f60",
    "account_id": "ACC123",
    "currency": "CZK",
    "from": "2026-11-01T00:00:00Z",
    "to": "2026-12-01T00:00:00Z",
    "by": "posted",
    "version": 7,
    "made_at": "2026-12-01T04:00:00.123456Z",
    "opening": "250.75",
    "closing": "1238.25",
    "debits": {"count": 1, "sum": "12.50"},
    "credits": _SUM,
}
_LINE: JsonDict = {
    "seq": 7,
    "journal_id": "77",
    "kind": "transfer",
    "amount": "-12.50",
    "balance": "1238.25",
    "posted_at": "2026-11-21T12:34:56.789012Z",
    "effective_at": "2026-11-21T12:34:56.789012Z",
    "reverses": None,
    "text": "INVOICE 7",
    "end_to_end_id": None,
}
_BALANCE: JsonDict = {
    "account_id": "ACC123",
    "currency": "CZK",
    "balance": "1238.25",
    "debits": "12.50",
    "credits": "1250.75",
    "entries": 7,
    "at": "2026-11-30T00:00:00Z",
    "by": "posted",
}
_TRIAL: JsonDict = {
    "currency": "CZK",
    "accounts": 12,
    "debits": "5250.75",
    "credits": "5250.75",
    "debit_balances": "4000.00",
    "credit_balances": "4000.00",
    "difference": "0.00",
}


class Sum(BaseModel):
    """How many entries, and how much together, above zero."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUM]})

    count: int
    sum: str


class HeadAnswer(BaseModel):
    """What stands above the entries of a statement: `opening` and the sums give `closing`, which is checked."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HEAD]})

    id: str
    account_id: str
    currency: str
    from_: datetime = Field(alias="from")
    to: datetime
    by: By
    version: int
    made_at: datetime
    opening: str
    closing: str
    debits: Sum
    credits: Sum


class LineAnswer(BaseModel):
    """One entry of a statement; `balance` is that after it, in the order of the statement."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LINE]})

    seq: int
    journal_id: str
    kind: str
    amount: str
    balance: str
    posted_at: datetime
    effective_at: datetime
    reverses: str | None
    text: str | None
    end_to_end_id: str | None


class StatementPage(BaseModel):
    """A page of a statement. The first one has its head; the others belong to the same, whatever was posted in between."""

    statement: HeadAnswer | None
    items: list[LineAnswer]
    next_cursor: str | None


class BalanceAnswer(BaseModel):
    """An account as it stood, `entries` counted; `debits` and `credits` are all that it was made of."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BALANCE]})

    account_id: str
    currency: str
    balance: str
    debits: str
    credits: str
    entries: int
    at: datetime | None
    by: By


class TrialLine(BaseModel):
    """All accounts in one currency: what was ever taken and given, and the balances that they come to."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRIAL]})

    currency: str
    accounts: int
    debits: str
    credits: str
    debit_balances: str
    credit_balances: str
    difference: str


class TrialBalanceAnswer(BaseModel):
    """The books as they stood: every `difference` is zero."""

    at: datetime | None
    by: By
    items: list[TrialLine]


At = Annotated[Instant | None, Query(description="As it stood right after this time; without it, now.")]
ByTime = Annotated[By, Query(description="`posted`: by the time it was booked; `effective`: by its value date.")]


@router.get("/v1/accounts/{account_id}/balance", response_model=BalanceAnswer)
async def get_balance(
    account_id: PathName,
    call: CurrentCall,
    at: At = None,
    by: ByTime = "posted",
    version: Annotated[int | None, Query(ge=0, le=MAX_ID, description="Right after the entry of this number.")] = None,
) -> Response:
    """The account's balance now, at a time, or at a version."""
    if version is not None and (at is not None or by != "posted"):
        raise Invalid("at_or_version", "ask for a time or for a version, not for both")
    async with ledger.report(call.database, as_of=at) as tx:
        account = await _account(tx, account_id)
        if version is not None:
            found = await ledger.balance_at_version(tx, account.id, version)
        elif at is not None:
            found = await ledger.balance_at(tx, account.id, at=at, by=by)
        else:
            found = await ledger.balance_before(tx, account.id, before=None, by=by)
    return Json(
        {
            "account_id": account.name,
            "currency": account.asset,
            "balance": format_minor(found.amount, account.unit),
            "debits": format_minor(found.dr, account.unit),
            "credits": format_minor(found.cr, account.unit),
            "entries": found.entries,
            "at": at,
            "by": by,
        }
    )


@router.get(
    "/v1/accounts/{account_id}/statement",
    response_model=StatementPage,
    responses={
        200: {"content": {"text/csv": {}, "application/xml": {}}, "description": "A page as JSON, or the whole as a file."},
        406: {
            "description": "None of the media types that `Accept` names.",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    },
)
async def get_statement(
    *,
    account_id: PathName,
    call: CurrentCall,
    start: Annotated[Instant, Query(alias="from", description="Where the period begins.")],
    end: Annotated[Instant, Query(alias="to", description="Where it ends; this moment itself is not in it.")],
    by: ByTime = "posted",
    form: Annotated[Form | None, Query(alias="format", description="Goes before the header `Accept`.")] = None,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The account's statement for a period: pages as JSON, or whole as CSV or camt.053.001.08.

    `Accept` chooses among `application/json`, `text/csv` and `application/xml`; the files are streamed.
    """
    wanted = form or _accepted(accept)
    if wanted == "json":
        return await _page(call, account_id=account_id, start=start, end=end, by=by, limit=limit, cursor=cursor)
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(a_place(call.services))
        tx = await resources.enter_async_context(ledger.report(call.database, as_of=end))
        statement = await statements.statement(tx, await _account(tx, account_id), start=start, end=end, by=by)
        writer = statements.csv_chunks if wanted == "csv" else statements.camt053_chunks
        chunks = await begun(writer(statement, statements.lines(tx, statement)))
        name = f"statement-{_UNSAFE.sub('_', account_id)}-{start:%Y%m%d}-{end:%Y%m%d}.{_SUFFIXES[wanted]}"
        return Stream(chunks, resources.pop_all(), media_type=_MEDIA_TYPES[wanted], filename=name)
    raise AssertionError("nothing in here is swallowed")


async def _page(
    call: Call, *, account_id: str, start: datetime, end: datetime, by: By, limit: int, cursor: str | None
) -> Response:
    kind = f"statement {digest([account_id, start, end, by]).hex()[:32]}"
    bounds = bounds_of(cursor, kind, 2)
    async with ledger.report(call.database, as_of=end) as tx:
        account = await _account(tx, account_id)
        head: dict[str, Any] | None = None
        if bounds is None:
            statement = await statements.statement(tx, account, start=start, end=end, by=by)
            head, span, after = statements.head(statement), statement.span, None
        else:
            version, after = bounds
            span = await ledger.span(tx, account.id, start=start, end=end, by=by, version=version)
        lines = await statements.page(tx, span, after=after, limit=limit + 1)
    shown = lines[:limit]
    more = len(lines) > limit
    return Json(
        {
            "statement": head,
            "items": [statements.line(line, account.unit) for line in shown],
            "next_cursor": cursor_of(kind, span.version, shown[-1].entry.seq) if more else None,
        }
    )


@router.get("/v1/trial-balance", response_model=TrialBalanceAnswer)
async def get_trial_balance(call: CurrentCall, at: At = None, by: ByTime = "posted") -> Response:
    """Every account of the books together, for each currency."""
    async with ledger.report(call.database, as_of=at) as tx:
        found = await ledger.trial_balance_at(tx, at=at, by=by)
    return Json({"at": at, "by": by, "items": [line.told() for line in found]})


async def _account(tx: ReadTx, name: str) -> ledger.AccountRef:
    account = await ledger.account(tx, name)
    return ledger.AccountRef(account.id, account.name, account.asset, account.scale, account.kind)


def _accepted(accept: str | None) -> Form:
    """The best of our forms that `Accept` names (RFC 9110, 12.5.1); JSON where it is not sent."""
    if not accept:
        return "json"
    best: tuple[float, Form] | None = None
    for part in accept[:_MAX_ACCEPT].split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        form = _ACCEPTED.get(media_type)
        weight = _weight(parameters)
        if form is not None and weight > 0 and (best is None or weight > best[0]):
            best = (weight, form)
    if best is None:
        raise HTTPException(406)
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if found := re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", parameter):
            return float(found[1])
    return 1.0
