"""`/v1/keys`: API keys. What is secret about a key is in the answer that made it, once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import identity
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.routes.authority.principals import Role
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, Strict, StringId

router = APIRouter(route_class=ExactRoute, tags=["authority"])

_KIND = "keys"
_MAX_LIFE_S = 10 * 366 * 86_400
_EXAMPLE: JsonDict = {
    "id": "3",
    "principal": "payments-agent",
    "prefix": "ts_Zk3vQ9a",
    "scopes": ["agent"],
    "version": "2026-11-20",
    "mandate_id": None,
    "follows": None,
    "created_at": "2026-11-21T12:34:56.789012Z",
    "expires_at": "2027-02-19T12:34:56.789012Z",
    "revoked_at": None,
    "used_at": None,
}
_SECRET = "ts_Zk3vQ9a…"  # noqa: S105 - an example

Seconds = Annotated[int, Field(ge=1, le=_MAX_LIFE_S)]


class KeyBody(Strict):
    """A key to make, for a principal who is known: with `scopes`, for those of its roles alone; for one version of an agent;
    under a mandate."""

    principal: Name = Field(examples=["payments-agent"])
    scopes: list[Role] | None = Field(default=None, max_length=5, examples=[["agent"]])
    expires_in_s: Seconds | None = Field(default=None, examples=[7_776_000])
    version: Name | None = Field(default=None, examples=["2026-11-20"])
    mandate_id: StringId | None = None


class RotationBody(Strict):
    """How long the old key goes on working, and how long the new one lasts: by default as long as the old one did."""

    overlap_s: int = Field(default=0, ge=0, le=_MAX_LIFE_S, examples=[3600])
    expires_in_s: Seconds | None = None


class KeyAnswer(BaseModel):
    """What is known of a key. `used_at` is right to a minute or so; `follows` is the key that it took the place of."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    principal: str
    prefix: str
    scopes: list[Role] | None
    version: str | None
    mandate_id: str | None
    follows: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


class NewKeyAnswer(KeyAnswer):
    """A key that was made. `secret` is told once: the same request again under its Idempotency-Key is answered with `null`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_EXAMPLE, "secret": _SECRET}]})

    secret: str | None


class KeyPage(BaseModel):
    """Keys, newest first."""

    items: list[KeyAnswer]
    next_cursor: str | None


@router.post("/v1/keys", status_code=201, response_model=NewKeyAnswer)
async def create_key(body: KeyBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a key. Its secret is told this once."""
    made: list[identity.NewKey] = []

    async def create(tx: Tx) -> int:
        await identity.get(tx, body.principal)
        key = await identity.create_key(
            tx,
            body.principal,
            by=call.principal.name,
            scopes=body.scopes,
            expires_in_s=body.expires_in_s,
            version=body.version,
            mandate_id=body.mandate_id,
        )
        made[:] = [key]
        return key.id

    request = body.model_dump(mode="json")
    info = await once(call, idempotency_key, kind="api_key", request=request, create=create, read=identity.key)
    return Json(_new(info, made), 201)


@router.post("/v1/keys/{key_id}/rotate", status_code=201, response_model=NewKeyAnswer)
async def rotate_key(key_id: PathId, body: RotationBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a key that takes the place of another, with all it has. Its secret is told this once."""
    made: list[identity.NewKey] = []

    async def create(tx: Tx) -> int:
        key = await identity.rotate_key(
            tx, key_id, by=call.principal.name, overlap_s=body.overlap_s, expires_in_s=body.expires_in_s
        )
        made[:] = [key]
        return key.id

    request = [key_id, body.model_dump(mode="json")]
    info = await once(call, idempotency_key, kind="api_key_rotation", request=request, create=create, read=identity.key)
    return Json(_new(info, made), 201)


@router.post("/v1/keys/{key_id}/revoke", response_model=KeyAnswer)
async def revoke_key(key_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a key useless; servers notice within seconds."""

    async def create(tx: Tx) -> int:
        await identity.revoke_key(tx, key_id, by=call.principal.name)
        return key_id

    return Json(
        _answer(await once(call, idempotency_key, kind="api_key_end", request=[key_id], create=create, read=identity.key))
    )


@router.get("/v1/keys", response_model=KeyPage)
async def list_keys(
    call: CurrentCall,
    principal: Annotated[Name | None, Query(description="Only those of this principal.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Keys, newest first; their secrets are not known."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        rows = await identity.keys(tx, principal=principal, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


def _new(info: identity.KeyInfo, made: list[identity.NewKey]) -> dict[str, Any]:
    # An attempt that was undone has left another key here, whose secret is worth nothing.
    told = next((key.secret for key in made if key.id == info.id), None)
    return {**_answer(info), "secret": told}


def _answer(info: identity.KeyInfo) -> dict[str, Any]:
    return {
        "id": str(info.id),
        "principal": info.principal,
        "prefix": info.prefix,
        "scopes": info.scopes,
        "version": info.version,
        "mandate_id": None if info.mandate_id is None else str(info.mandate_id),
        "follows": None if info.follows is None else str(info.follows),
        "created_at": info.created_at,
        "expires_at": info.expires_at,
        "revoked_at": info.revoked_at,
        "used_at": info.used_at,
    }
