"""`/v1/audit`: what the record says, and what shows it. `/record`: the checkpoint and the tiles, open to witnesses outside."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tallystick import audit, identity, timeline, tlog
from tallystick.http import access, guards
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.paging import Cursor, Limit, bound_of, bounds_of, cursor_of, page
from tallystick.http.record_files import csv_chunks, jsonl_chunks
from tallystick.http.services import CurrentCall, Services
from tallystick.http.shapes import Instant, Label, PathId, StringId
from tallystick.http.streaming import Stream, a_place, begun
from tallystick.kit import NotFound

router = APIRouter(route_class=ExactRoute, tags=["record"])

Order = Literal["desc", "asc"]
Form = Literal["jsonl", "csv"]

_MEDIA_TYPES: dict[Form, str] = {"jsonl": "application/jsonl", "csv": "text/csv; header=present"}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_FOR_NOW = {"Cache-Control": "public, max-age=60"}
_HASH = "a54d88e06612d820bc3be72877c74f257b561b19c3fcf8f4ea7d4f2f2b0a2b6e"
_EVENT: JsonDict = {
    "id": "12",
    "index": "11",
    "at": "2026-11-21T18:00:00.123456Z",
    "principal": "alice",
    "on_behalf_of": None,
    "verb": "ledger.post",
    "subject": {"kind": "journal", "id": "5"},
    "task_id": None,
    "step": None,
    "decision_id": None,
    "approval_id": None,
    "request_id": "5f0c1b2a9d8e7f60",
    "trace_id": None,
    "detail": {"journals": 1},
    "payload": None,
    "erased_by": None,
    "items": {"kind": "journal", "ids": ["5"]},
}
_LEAF = (
    '{"at":"2026-11-21T18:00:00.123456Z","detail":{"journals":1},"event":"12","items":{"count":1,"kind":"journal","root":"…"},'
    '"principal":"alice","request":"5f0c1b2a9d8e7f60","subject":{"id":"5","kind":"journal"},"verb":"ledger.post"}'
)
_RECEIPT: JsonDict = {
    "event_id": "12",
    "state": "sealed",
    "leaf": _LEAF,
    "leaf_hash": _HASH,
    "index": "11",
    "size": "20",
    "path": [_HASH],
    "checkpoint": "tallystick/5f0c1b2a9d8e7f60\n20\n3Tp…=\n\n— tallystick/5f0c1b2a9d8e7f60 Az3grl…=\n",
    "item": {"kind": "journal", "id": "5", "place": 0, "count": 1, "digest": _HASH, "path": [], "root": _HASH},
}
_STATUS: JsonDict = {
    "origin": "tallystick/5f0c1b2a9d8e7f60",
    "size": "20",
    "pending": 0,
    "oldest_pending_s": None,
    "signed_size": "20",
}
_ENTRY: JsonDict = {
    "at": "2026-11-21T18:00:00.123456Z",
    "event_id": "12",
    "index": "11",
    "verb": "tasks.record_step",
    "principal": "screening-agent:2026-11-20@host:7",
    "on_behalf_of": None,
    "what": "prompt",
    "task_id": "3",
    "step": "explain",
    "detail": {"kind": "model", "state": "done", "try": 1},
    "kind": "step",
    "id": "9",
    "text": '{"detail":{"gen_ai.request.model":"m"},"fence":"1","input":"…","kind":"model","name":"explain","output":"…"}',
    "state": "kept",
}


class Thing(BaseModel):
    """What an event is about."""

    kind: str
    id: str | None


class ItemsAnswer(BaseModel):
    """The things that one call changed."""

    kind: str
    ids: list[str]


class AuditEventAnswer(BaseModel):
    """One event of the record. `index` is its place in the sealed tree; `payload` is gone where `erased_by` names an event."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})

    id: str
    index: str | None
    at: datetime
    principal: str
    on_behalf_of: str | None
    verb: str
    subject: Thing
    task_id: str | None
    step: str | None
    decision_id: str | None
    approval_id: str | None
    request_id: str | None
    trace_id: str | None
    detail: dict[str, Any]
    payload: Any
    erased_by: str | None
    items: ItemsAnswer | None


class AuditEventPage(BaseModel):
    """Events of the record, newest first unless asked otherwise."""

    items: list[AuditEventAnswer]
    next_cursor: str | None


class ItemReceiptAnswer(BaseModel):
    """What binds one item to its event: the path, in the tree over the items' digests, from `place` to `root`."""

    kind: str
    id: str
    place: int
    count: int
    digest: str
    path: list[str]
    root: str


class ReceiptAnswer(BaseModel):
    """What shows that an event is in the record. Hashes are in hexadecimal; `path` leads from the leaf to the root.

    `pending`: no signed checkpoint covers the event yet; ask again in a moment.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_RECEIPT]})

    event_id: str
    state: Literal["sealed", "pending"]
    leaf: str
    leaf_hash: str
    index: str | None
    size: str | None
    path: list[str]
    checkpoint: str | None
    item: ItemReceiptAnswer | None


class ConsistencyAnswer(BaseModel):
    """The proof that the tree of `new` leaves continues that of `old` (RFC 6962, 2.1.2), in hexadecimal."""

    old: str = Field(examples=["10"])
    new: str = Field(examples=["20"])
    path: list[str] = Field(examples=[[_HASH]])


class RecordStatusAnswer(BaseModel):
    """How far sealing is behind: leaves in the tree, events that are not in it, and the newest checkpoint."""

    model_config = ConfigDict(json_schema_extra={"examples": [_STATUS]})

    origin: str | None
    size: str
    pending: int
    oldest_pending_s: float | None
    signed_size: str | None


class TimelineEntry(BaseModel):
    """An event of the record, or one of the things that it tells of, with what is kept readable of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ENTRY]})

    at: datetime
    event_id: str
    index: str | None
    verb: str
    principal: str
    on_behalf_of: str | None
    what: str
    task_id: str | None
    step: str | None
    detail: dict[str, Any]
    kind: str | None
    id: str | None
    text: str | None
    state: Literal["kept", "erased", "gone"] | None


class TimelinePage(BaseModel):
    """What became of a thing, oldest first. A page may be short, or empty, and still have a next one."""

    items: list[TimelineEntry]
    next_cursor: str | None


Principal = Annotated[Label | None, Query(description="Only what this principal did.")]
OnBehalfOf = Annotated[Label | None, Query(description="Only what was done for this one.")]
Kind = Annotated[Label | None, Query(description="Only what is about things of this kind.")]
ThingId = Annotated[StringId | None, Query(description="With `kind`: what is about this thing, or has it among its items.")]
Verb = Annotated[Label | None, Query(description="A verb, such as `ledger.post`, or how verbs begin, such as `tasks.`.")]
TaskId = Annotated[StringId | None, Query(description="Only what was done in this task.")]
RequestId = Annotated[Label | None, Query(description="Only what answered this request; needs `from` or another filter.")]
From = Annotated[Instant | None, Query(alias="from", description="Only what happened at this time or later.")]
To = Annotated[Instant | None, Query(description="Only what happened before this time.")]
Ordered = Annotated[Order, Query(description="`desc`: newest first; `asc`: oldest first.")]


def _asked(
    *,
    principal: Principal = None,
    on_behalf_of: OnBehalfOf = None,
    kind: Kind = None,
    id: ThingId = None,
    verb: Verb = None,
    task_id: TaskId = None,
    request_id: RequestId = None,
    start: From = None,
    to: To = None,
) -> audit.Filter:
    return audit.Filter(
        principal=principal,
        on_behalf_of=on_behalf_of,
        subject_kind=kind,
        subject_id=id,
        verb=verb,
        task_id=task_id,
        request_id=request_id,
        start=start,
        end=to,
    )


Asked = Annotated[audit.Filter, Depends(_asked)]
"""The filters of a request, taken together."""


@router.get("/v1/audit/events", response_model=AuditEventPage)
async def list_audit_events(
    *,
    call: CurrentCall,
    asked: Asked,
    order: Ordered = "desc",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What the record says, newest first. Filters are taken together."""
    list_kind = f"audit events {order}"
    bound = bound_of(cursor, list_kind)
    async with call.database.read() as tx:
        rows = await audit.page(tx, asked, bound=bound, ascending=order == "asc", limit=limit + 1)
    return page(rows, limit, list_kind, item=audit.event_json, bound=lambda row: row.id)


@router.get(
    "/v1/audit/events/export",
    response_model=AuditEventAnswer,
    responses={200: {"content": {"application/jsonl": {}, "text/csv": {}}, "description": "An event a line."}},
)
async def export_audit_events(
    *,
    call: CurrentCall,
    asked: Asked,
    order: Ordered = "asc",
    form: Annotated[Form, Query(alias="format", description="JSON Lines or CSV.")] = "jsonl",
) -> Response:
    """All events that are asked for as one file, oldest first. A file that came to its end is whole."""
    async with AsyncExitStack() as resources:
        await resources.enter_async_context(a_place(call.services))
        tx = await resources.enter_async_context(call.database.snapshot())
        writer = csv_chunks if form == "csv" else jsonl_chunks
        chunks = await begun(writer(audit.stream(tx, asked, ascending=order == "asc")))
        return Stream(chunks, resources.pop_all(), media_type=_MEDIA_TYPES[form], filename=f"audit-events.{form}")
    raise AssertionError("nothing in here is swallowed")


@router.get("/v1/audit/events/{event_id}", response_model=AuditEventAnswer)
async def get_audit_event(event_id: PathId, call: CurrentCall) -> Response:
    """One event of the record."""
    async with call.database.read() as tx:
        return Json(audit.event_json(await audit.get(tx, event_id)))


@router.get("/v1/audit/events/{event_id}/receipt", response_model=ReceiptAnswer)
async def get_receipt(
    event_id: PathId,
    call: CurrentCall,
    item: Annotated[StringId | None, Query(description="The id of one of the event's items, to be shown as well.")] = None,
) -> Response:
    """What shows that an event is in the record, to be checked without us."""
    async with call.database.snapshot() as tx:
        return Json(audit.receipt_json(await audit.receipt(tx, event_id, item=item)))


@router.get("/v1/audit/receipts", response_model=ReceiptAnswer)
async def find_receipt(
    call: CurrentCall,
    kind: Annotated[Label, Query(description="The kind of a thing, such as `journal`.")],
    id: Annotated[StringId, Query(description="Its id.")],
) -> Response:
    """The receipt of the event that tells of a thing: of the call that made it."""
    async with call.database.snapshot() as tx:
        return Json(audit.receipt_json(await audit.find_receipt(tx, kind=kind, id=id)))


@router.get("/v1/audit/consistency", response_model=ConsistencyAnswer)
async def get_consistency(
    call: CurrentCall,
    old: Annotated[StringId, Query(description="The size of a tree that you know.")],
    new: Annotated[StringId, Query(description="The size of a later one.")],
) -> Response:
    """What shows that the record only grew between two sizes."""
    async with call.database.snapshot() as tx:
        path = await audit.consistency_proof(tx, old, new)
    return Json({"old": str(old), "new": str(new), "path": [step.hex() for step in path]})


@router.get("/v1/audit/timeline", response_model=TimelinePage)
async def get_timeline(
    *,
    call: CurrentCall,
    kind: Annotated[timeline.Kind, Query(description="What the thing is.")],
    id: Annotated[Label, Query(description="Its number; of an agent or an account, its name.")],
    start: From = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many events a page may hold.")] = 50,
    cursor: Cursor = None,
) -> Response:
    """Every prompt, step, decision, vote, posting and event of a thing, in the order of the record."""
    list_kind = f"timeline {kind}"
    bounds = bounds_of(cursor, list_kind, 2)
    after = None if bounds is None else timeline.Mark(*bounds)
    async with call.database.snapshot() as tx:
        found = await timeline.page(tx, kind, id, after=after, start=start, limit=limit)
    following = None if found.next is None else cursor_of(list_kind, found.next.event_id, found.next.seq)
    return Json({"items": [timeline.entry_json(entry) for entry in found.entries], "next_cursor": following})


@router.get("/v1/audit/status", response_model=RecordStatusAnswer)
async def get_record_status(call: CurrentCall) -> Response:
    """How far sealing is behind."""
    async with call.database.snapshot() as tx:
        lag = await audit.lag(tx)
        origin = await audit.origin(tx)
    return Json(
        {
            "origin": origin.name if origin else None,
            "size": str(lag.size),
            "pending": lag.pending,
            "oldest_pending_s": None if lag.oldest_s is None else round(lag.oldest_s, 3),
            "signed_size": None if lag.signed is None else str(lag.signed),
        }
    )


def routes() -> list[BaseRoute]:
    """What witnesses outside read, by C2SP tlog-checkpoint and tlog-tiles: open to everybody, but for the leaves themselves."""
    return [Route("/record/checkpoint", _checkpoint), Route("/record/tile/{path:path}", _tile)]


async def _checkpoint(request: Request) -> Response:
    services: Services = request.app.state.services
    async with services.database.read() as tx:
        newest = await audit.checkpoint(tx)
    return Response(newest.note, media_type="text/plain; charset=utf-8")


async def _tile(request: Request) -> Response:
    services: Services = request.app.state.services
    tile = tlog.Tile.parse(f"tile/{request.path_params['path']}")
    if tile is not None and tile.level is None:
        # Leaves say who did what, so they are for those who may ask for events.
        principal = await services.gatekeeper.principal(request.scope)
        access.LEAVES.check_role(principal)
        if not identity.sees_all(principal):
            raise guards.reach_missing()
    if tile is None:
        raise NotFound("unknown_tile", "this is no path of a tile")
    async with services.database.snapshot() as tx:
        found = await (audit.entries(tx, tile) if tile.level is None else audit.tile(tx, tile))
    is_full = tile.width == tlog.TILE_WIDTH
    kept = {} if tile.level is None else _FOR_EVER if is_full else _FOR_NOW
    return Response(found, media_type="application/octet-stream", headers=kept)
