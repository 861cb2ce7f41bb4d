"""`/v1/nostros/{id}/statements` and `/v1/reconciliations`: other banks' statements beside our books."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from tallystick import actions, ledger, payments
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.problems import REQUEST_ID, problem
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, PathName, RequiredKey, Strict

router = APIRouter(route_class=ExactRoute, tags=["reconciliation"])
_KIND = "reconciliations"
_ITEMS = "items"
_FORMS: dict[str, Literal["camt053", "csv"]] = {"application/xml": "camt053", "text/xml": "camt053", "text/csv": "csv"}
_HEAD: JsonDict = {
    "id": "3",
    "nostro": "NOSTRO-KB",
    "statement_id": "2026-060",
    "currency": "CZK",
    "first_day": "2026-03-01",
    "last_day": "2026-03-01",
    "lines": 2,
    "imported_at": "2026-03-02T06:00:00.123456Z",
}
_NONE: JsonDict = {"count": 0, "theirs": "0.00", "ours": "0.00"}
_EXAMPLE: JsonDict = {
    **_HEAD,
    "agrees": False,
    "opening": {"theirs": "100.00", "ours": "100.00", "difference": "0.00"},
    "closing": {"theirs": "145.00", "ours": "150.00", "difference": "-5.00"},
    "unexplained_by_lines": "0.00",
    "outcomes": {
        "matched": {"count": 1, "theirs": "50.00", "ours": "50.00"},
        "differing": _NONE,
        "missing_in_ledger": {"count": 1, "theirs": "-5.00", "ours": "0.00"},
        "missing_in_statement": _NONE,
        "explained": _NONE,
    },
}
_ITEM: JsonDict = {
    "outcome": "missing_in_ledger",
    "line": 2,
    "amount": "-5.00",
    "booked_on": "2026-03-01",
    "valued_on": None,
    "end_to_end_id": None,
    "reference": "FEE-1",
    "text": "fee",
    "rule": None,
    "entry": None,
    "journal_id": None,
    "entry_amount": None,
    "payment_id": None,
    "person": None,
    "why": None,
    "decided_at": None,
}
_CSV = "reference,booked_on,amount,text,end_to_end_id\nFEE-1,2026-03-01,-5.00,fee,\n"
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A camt.053 message, or CSV; at most 1 MiB here, 64 MiB by `tallystick reconcile`.",
        "content": {
            "application/xml": {"schema": {"type": "string", "examples": ["<Document>…</Document>"]}},
            "text/csv": {"schema": {"type": "string", "examples": [_CSV]}},
        },
    }
}

Outcome = Literal["matched", "differing", "missing_in_ledger", "missing_in_statement", "explained"]


class HeadAnswer(BaseModel):
    """A statement that was imported."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HEAD]})

    id: str
    nostro: str
    statement_id: str
    currency: str
    first_day: date
    last_day: date
    lines: int
    imported_at: datetime


class HeadPage(BaseModel):
    """Statements that were imported, newest first."""

    items: list[HeadAnswer]
    next_cursor: str | None


class Compared(BaseModel):
    """A balance in their statement and in our books, mirrored; `null` where they do not tell it."""

    theirs: str | None
    ours: str
    difference: str | None


class TotalAnswer(BaseModel):
    """How many, what their lines come to, and what our entries come to, mirrored."""

    count: int
    theirs: str
    ours: str


class OutcomesAnswer(BaseModel):
    """Every line, and every entry that no line tells of, is in exactly one of these."""

    matched: TotalAnswer
    differing: TotalAnswer
    missing_in_ledger: TotalAnswer
    missing_in_statement: TotalAnswer
    explained: TotalAnswer


class ReconciliationAnswer(HeadAnswer):
    """A statement beside our books, as both stand now; `agrees` where nothing but what was explained is missing or differs."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    agrees: bool
    opening: Compared
    closing: Compared
    unexplained_by_lines: str | None
    outcomes: OutcomesAnswer


class ImportAnswer(BaseModel):
    """The reconciliations of the file's statements; how many sent payments they settled, and how many the books refused."""

    items: list[ReconciliationAnswer]
    settled: int
    not_settled: int


class ItemAnswer(BaseModel):
    """A line with its entry, or an entry that no line tells of. `entry_amount` is mirrored; `rule` says what joined them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})

    outcome: Outcome
    line: int | None
    amount: str | None
    booked_on: date | None
    valued_on: date | None
    end_to_end_id: str | None
    reference: str | None
    text: str | None
    rule: Literal["end_to_end_id", "reference", "amount_and_date", "hand"] | None
    entry: int | None
    journal_id: str | None
    entry_amount: str | None
    payment_id: str | None
    person: str | None
    why: str | None
    decided_at: datetime | None


class ItemPage(BaseModel):
    """Lines in order, then entries without a line."""

    items: list[ItemAnswer]
    next_cursor: str | None


Number = Annotated[int, Field(ge=1, le=1_000_000, examples=[2])]
Seq = Annotated[int, Field(ge=1, le=2**62, examples=[17])]
Why = Annotated[str, Field(min_length=1, max_length=500, examples=["their fee of March"])]


class MatchBody(Strict):
    """A line and the entry that it tells of."""

    line: Number
    entry: Seq
    why: Why


class ExplainBody(Strict):
    """A line, or an entry, that has no counterpart or another amount."""

    line: Number | None = None
    entry: Seq | None = None
    why: Why


@router.post("/v1/nostros/{nostro_id}/statements", status_code=201, response_model=ImportAnswer, openapi_extra=_UPLOAD)
async def import_statement(
    *,
    nostro_id: PathName,
    request: Request,
    call: CurrentCall,
    settle: Annotated[bool, Query(description="Settle the sent payments that the statement shows.")] = False,
    tolerance_days: Annotated[int, Query(ge=0, le=31, description="How far apart days may be without a reference.")] = 3,
    idempotency_key: RequiredKey,
) -> Response:
    """Import another bank's statement and match it. The same file again is matched again."""
    async with call.database.read() as tx:
        nostro = await payments.nostro(tx, nostro_id)
        scales = {asset.code: asset.scale for asset in await ledger.assets(tx)}
    form = _FORMS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    if form is None:
        request_id = request.scope.get(REQUEST_ID)
        return problem(415, "unsupported_media_type", "send application/xml or text/csv", request_id=request_id)
    data = await request.body()
    files = await asyncio.to_thread(payments.read_file, data, form=form, nostro=nostro, scales=scales)

    async def work(tx: Tx) -> payments.Imported:
        return await payments.import_statements(
            tx,
            call.principal.name,
            nostro.name,
            files,
            file_digest=hashlib.sha256(data).digest(),
            tolerance_days=tolerance_days,
            settle=settle,
            key=idempotency_key,
        )

    imported = await perform(call, actions.ImportStatement(nostro.name, settle), work, key=idempotency_key)
    items = [payments.reconciliation_json(reconciliation) for reconciliation in imported.reconciliations]
    return Json({"items": items, "settled": imported.settled, "not_settled": imported.not_settled}, 201)


@router.get("/v1/reconciliations", response_model=HeadPage)
async def list_reconciliations(
    call: CurrentCall,
    nostro: Annotated[Name | None, Query(description="Only those of this nostro.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Statements that were imported, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        rows = await payments.heads(tx, nostro=nostro, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=payments.head_json, bound=lambda row: row.id)


@router.get("/v1/reconciliations/{reconciliation_id}", response_model=ReconciliationAnswer)
async def get_reconciliation(reconciliation_id: PathId, call: CurrentCall) -> Response:
    """A statement beside our books, as both stand now."""
    async with call.database.snapshot() as tx:
        return Json(payments.reconciliation_json(await payments.reconciliation(tx, reconciliation_id)))


@router.get("/v1/reconciliations/{reconciliation_id}/items", response_model=ItemPage)
async def list_items(
    reconciliation_id: PathId,
    call: CurrentCall,
    outcome: Annotated[Outcome | None, Query(description="Only those with this outcome.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What is compared: lines in order, then entries that no line tells of."""
    kind = f"{_ITEMS} {reconciliation_id}"
    after = bound_of(cursor, kind) or 0
    async with call.database.snapshot() as tx:
        unit = (await payments.head(tx, reconciliation_id)).unit
        rows = await payments.items(tx, reconciliation_id, outcome=outcome, after=after, limit=limit + 1)
    return page(rows, limit, kind, item=lambda row: payments.item_json(row, unit), bound=lambda row: row.place)


@router.post("/v1/reconciliations/{reconciliation_id}/matches", status_code=201, response_model=ReconciliationAnswer)
async def match_by_hand(
    reconciliation_id: PathId, body: MatchBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say that a line tells of an entry, and why. It is for good."""

    async def create(tx: Tx) -> int:
        await payments.match_by_hand(
            tx, call.principal.name, reconciliation_id, number=body.line, entry_seq=body.entry, why=body.why
        )
        return reconciliation_id

    request = [reconciliation_id, body.line, body.entry, body.why]
    found = await once(
        call, idempotency_key, kind="statement_match", request=request, create=create, read=payments.reconciliation
    )
    return Json(payments.reconciliation_json(found), 201)


@router.post("/v1/reconciliations/{reconciliation_id}/explanations", status_code=201, response_model=ReconciliationAnswer)
async def explain(
    reconciliation_id: PathId, body: ExplainBody, call: CurrentCall, idempotency_key: IdempotencyKey = None
) -> Response:
    """Say why a line or an entry has no counterpart, or another amount. It is for good."""

    async def create(tx: Tx) -> int:
        await payments.explain(tx, call.principal.name, reconciliation_id, number=body.line, entry_seq=body.entry, why=body.why)
        return reconciliation_id

    request = [reconciliation_id, body.line, body.entry, body.why]
    found = await once(
        call, idempotency_key, kind="statement_explanation", request=request, create=create, read=payments.reconciliation
    )
    return Json(payments.reconciliation_json(found), 201)
