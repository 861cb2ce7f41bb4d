"""`/v1/holds`: set money aside, capture it in parts, give it back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, ledger
from tallystick.db import Tx, key_reused
from tallystick.http.bodies import CaptureBody, HoldsBody, OneHoldBody, ReleaseBody
from tallystick.http.exact import BulkRoute, ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.routes.postings import PostedAnswer, all_read, answer_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import MoneyAnswer, Name, PathId, RequiredKey, money
from tallystick.kit import plain

router = APIRouter(route_class=ExactRoute, tags=["holds"])
bulk = APIRouter(route_class=BulkRoute, tags=["holds"])
_KIND = "holds"
_SHOWN = 200
_PLACED: JsonDict = {
    "id": "78",
    "status": "placed",
    "reason": None,
    "placed_at": "2026-04-21T12:34:56.789012Z",
    "expires_at": "2026-04-28T12:34:56.789012Z",
    "dry_run": False,
}
_RELEASED: JsonDict = {"id": "78", "status": "released", "reason": None, "dry_run": False}
_CZK: JsonDict = {"amount": "40.00", "currency": "CZK"}
_HOLD: JsonDict = {
    "id": "78",
    "status": "open",
    "account_id": "ACC123",
    "kind": "hold",
    "ref_id": None,
    "actor": "payments",
    "amount": {**_CZK, "amount": "100.00"},
    "captured": {**_CZK, "amount": "60.00"},
    "remaining": _CZK,
    "placed_at": "2026-04-21T12:34:56.789012Z",
    "expires_at": "2026-04-28T12:34:56.789012Z",
    "meta": None,
}
_CHANGE: JsonDict = {
    "n": 1,
    "kind": "captured",
    "taken": {**_CZK, "amount": "60.00"},
    "freed": {**_CZK, "amount": "0.00"},
    "journal_id": "79",
    "actor": "payments",
    "changed_at": "2026-04-22T12:34:56.789012Z",
}


class PlacedAnswer(BaseModel):
    """What became of a hold: `placed`, or `refused` by the books with the `reason`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PLACED]})

    id: str | None
    status: Literal["placed", "refused"]
    reason: str | None
    placed_at: datetime | None
    expires_at: datetime | None
    dry_run: bool


class PlacedBatch(BaseModel):
    """What became of each hold, in order."""

    results: list[PlacedAnswer]


class ReleasedAnswer(BaseModel):
    """What became of a release: `released`, or `refused` with the `reason`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RELEASED]})

    id: str
    status: Literal["released", "refused"]
    reason: str | None
    dry_run: bool


class HoldAnswer(BaseModel):
    """A hold as it stands. `remaining` is what it still binds."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOLD]})

    id: str
    status: Literal["open", "captured", "released", "expired"]
    account_id: str
    kind: str
    ref_id: str | None
    actor: str
    amount: MoneyAnswer
    captured: MoneyAnswer
    remaining: MoneyAnswer
    placed_at: datetime
    expires_at: datetime | None
    meta: dict[str, Any] | None


class HoldPage(BaseModel):
    """Holds, newest first."""

    items: list[HoldAnswer]
    next_cursor: str | None


class HoldChangeAnswer(BaseModel):
    """What became of a hold: `taken` was posted by a capture, `freed` became available again."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHANGE]})

    n: int
    kind: Literal["captured", "released", "expired"]
    taken: MoneyAnswer
    freed: MoneyAnswer
    journal_id: str | None
    actor: str
    changed_at: datetime


class HoldWithChanges(HoldAnswer):
    """A hold and what became of it; with `more_changes` these are the first 200."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_HOLD, "changes": [_CHANGE], "more_changes": False}]})

    changes: list[HoldChangeAnswer]
    more_changes: bool


@router.post("/v1/holds", status_code=201, response_model=PlacedAnswer)
async def place_hold(body: OneHoldBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Set money aside. A refusal of the books is an answer, remembered under the key."""
    named, by = body.named(idempotency_key), call.principal

    async def place(tx: Tx) -> ledger.Placed:
        holds = all_read(await ledger.read_holds(tx, by.name, [named], on_behalf_of=by.on_behalf_of))
        (placed,) = await ledger.place_on_record(tx, holds, dry_run=body.dry_run)
        return placed

    payload = actions.PlaceHolds((actions.HoldPayload.of(named),))
    return Json(_placed(await perform(call, payload, place, key=idempotency_key, dry_run=body.dry_run), body.dry_run), 201)


@bulk.post("/v1/holds/batch", status_code=201, response_model=PlacedBatch)
async def place_holds(body: HoldsBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Set money aside up to 8,192 times in one transaction."""
    named, by = [hold.named(None) for hold in body.holds], call.principal

    async def place(tx: Tx) -> list[ledger.Placed]:
        holds = all_read(await ledger.read_holds(tx, by.name, named, on_behalf_of=by.on_behalf_of))

        async def carry_out(keyed: Sequence[ledger.NewHold]) -> list[ledger.Placed]:
            return await ledger.place_on_record(tx, keyed, mode=body.mode, dry_run=body.dry_run)

        return await ledger.once_per_batch(tx, holds, carry_out, key=idempotency_key, mode=body.mode, dry_run=body.dry_run)

    payload = actions.PlaceHolds(tuple(actions.HoldPayload.of(one) for one in named), body.mode)
    answers = await perform(call, payload, place, key=idempotency_key, dry_run=body.dry_run)
    return Json({"results": [_placed(answer, body.dry_run) for answer in answers]}, 201)


@router.post("/v1/holds/{hold_id}/captures", status_code=201, response_model=PostedAnswer)
async def capture_hold(hold_id: PathId, body: CaptureBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Take what was set aside, or a part of it, and give it to another account."""
    named = ledger.NamedCapture(
        hold_id,
        body.to_account,
        body.amount.amount,
        body.amount.currency,
        body.final,
        kind=body.kind,
        key=idempotency_key,
        effective_at=body.effective_at,
        **body.told(),
    )
    by = call.principal

    async def capture(tx: Tx) -> ledger.Posted:
        journal = await ledger.read_capture(tx, by.name, named, on_behalf_of=by.on_behalf_of)
        return await ledger.capture_on_record(tx, journal, dry_run=body.dry_run)

    payload = actions.CaptureHold(
        str(hold_id),
        named.to_account,
        plain(named.amount),
        named.currency,
        named.final,
        named.kind,
        named.effective_at,
        dict(named.meta) or None,
    )
    return Json(answer_of(await perform(call, payload, capture, key=idempotency_key, dry_run=body.dry_run), body.dry_run), 201)


@router.post("/v1/holds/{hold_id}/release", response_model=ReleasedAnswer)
async def release_hold(hold_id: PathId, body: ReleaseBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Give back what remains of a hold."""

    async def release(tx: Tx) -> ledger.Released:
        await ledger.hold(tx, hold_id)
        return await ledger.release_on_record(
            tx, ledger.Release(hold_id, call.principal.name, idempotency_key), dry_run=body.dry_run
        )

    payload = actions.ReleaseHold(str(hold_id))
    released = await perform(call, payload, release, key=idempotency_key, dry_run=body.dry_run)
    _check_key(released.refusal)
    return Json(
        {
            "id": str(hold_id),
            "status": "released" if released.refusal is None else "refused",
            "reason": released.refusal,
            "dry_run": body.dry_run,
        }
    )


@router.get("/v1/holds", response_model=HoldPage)
async def list_holds(
    call: CurrentCall,
    account_id: Annotated[Name | None, Query(description="Only those on this account.")] = None,
    open: Annotated[bool, Query(description="Only those that still bind something.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Holds, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        of = None if account_id is None else (await ledger.account(tx, account_id)).id
        among = await accounts_of(tx, call.principal)
        rows = await ledger.holds(tx, account_id=of, among=among, open_only=open, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_hold, bound=lambda row: row.id)


@router.get("/v1/holds/{hold_id}", response_model=HoldWithChanges)
async def get_hold(hold_id: PathId, call: CurrentCall) -> Response:
    """One hold, and what became of it."""
    async with call.database.snapshot() as tx:
        hold = await ledger.hold(tx, hold_id)
        changes = await ledger.hold_changes(tx, hold_id, limit=_SHOWN + 1)
    shown = [_change(hold, change) for change in changes[:_SHOWN]]
    return Json({**_hold(hold), "changes": shown, "more_changes": len(changes) > _SHOWN})


def _placed(placed: ledger.Placed, dry_run: bool) -> dict[str, Any]:
    _check_key(placed.refusal)
    done = placed.hold_id is not None
    return {
        "id": None if placed.hold_id is None else str(placed.hold_id),
        "status": "placed" if placed.refusal is None else "refused",
        "reason": placed.refusal,
        "placed_at": placed.placed_at if done else None,
        "expires_at": placed.expires_at if done else None,
        "dry_run": dry_run,
    }


def _check_key(refusal: str | None) -> None:
    if refusal == "key_reused":
        raise key_reused()


def _hold(hold: ledger.Hold) -> dict[str, Any]:
    return {
        "id": str(hold.id),
        "status": hold.status,
        "account_id": hold.account,
        "kind": hold.kind,
        "ref_id": None if hold.ref_id is None else str(hold.ref_id),
        "actor": hold.actor,
        "amount": money(hold.amount, hold.unit),
        "captured": money(hold.captured, hold.unit),
        "remaining": money(hold.remaining, hold.unit),
        "placed_at": hold.placed_at,
        "expires_at": hold.expires_at,
        "meta": hold.meta,
    }


def _change(hold: ledger.Hold, change: ledger.HoldChange) -> dict[str, Any]:
    return {
        "n": change.n,
        "kind": change.kind,
        "taken": money(change.taken, hold.unit),
        "freed": money(change.freed, hold.unit),
        "journal_id": None if change.journal_id is None else str(change.journal_id),
        "actor": change.actor,
        "changed_at": change.changed_at,
    }
