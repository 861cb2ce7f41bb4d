"""`/v1/webhooks`: who is told of what becomes of questions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import approvals
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, PathId, Strict
from tallystick.kit import Forbidden

router = APIRouter(route_class=ExactRoute, tags=["approvals"])
_EXAMPLE: JsonDict = {
    "id": "3",
    "url": "https://desk.example/hooks/approvals",
    "events": ["asked", "expired"],
    "created_by": "root",
    "created_at": "2026-04-21T12:34:56.789012Z",
    "removed_at": None,
}

Told = Literal[
    "*", "asked", "amended", "voted", "commented", "approved", "rejected", "escalated", "expired", "withdrawn", "consumed",
    "glass_broken", "reviewed",
]  # fmt: skip


class WebhookBody(Strict):
    """Where notices are posted to, and of what they tell."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        examples=["https://desk.example/hooks/approvals"]
    )
    events: list[Told] = Field(default=["*"], min_length=1, max_length=20, examples=[["asked", "expired"]])


class WebhookAnswer(BaseModel):
    """Somebody who is told."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    url: str
    events: list[Told]
    created_by: str
    created_at: datetime
    removed_at: datetime | None


class NewWebhookAnswer(WebhookAnswer):
    """The same, with the secret that signs notices. It is shown this once: null where the request is repeated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_EXAMPLE, "secret": "tsw_…"}]})

    secret: str | None


class WebhookList(BaseModel):
    """All who are told, twenty at most."""

    items: list[WebhookAnswer]


@router.post("/v1/webhooks", status_code=201, response_model=NewWebhookAnswer)
async def add_webhook(body: WebhookBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Tell somebody of what becomes of questions, by signed notices. The secret is shown this once."""
    _check_admin(call)
    secret: list[str] = []

    async def create(tx: Tx) -> int:
        made = await approvals.add_webhook(tx, body.url, body.events, by=call.principal.name)
        secret[:] = [made.secret]
        return made.webhook.id

    request = [body.url, sorted(set(body.events))]
    made = await once(call, idempotency_key, kind="webhook", request=request, create=create, read=approvals.webhook)
    return Json({**_answer(made), "secret": secret[0] if secret else None}, 201)


@router.get("/v1/webhooks", response_model=WebhookList)
async def list_webhooks(call: CurrentCall) -> Response:
    """Who is told, oldest first; secrets are not known."""
    _check_admin(call)
    async with call.database.read() as tx:
        return Json({"items": [_answer(each) for each in await approvals.webhooks(tx)]})


@router.delete("/v1/webhooks/{webhook_id}", response_model=WebhookAnswer)
async def remove_webhook(webhook_id: PathId, call: CurrentCall) -> Response:
    """Tell somebody no more. Notices that are on their way are dropped."""
    _check_admin(call)
    async with call.database.write() as tx:
        return Json(_answer(await approvals.remove_webhook(tx, webhook_id, by=call.principal.name)))


def _check_admin(call: Call) -> None:
    if "admin" not in call.principal.roles:
        raise Forbidden("role_missing", "who is told is for an admin to say")


def _answer(webhook: approvals.Webhook) -> dict[str, Any]:
    return {
        "id": str(webhook.id),
        "url": webhook.url,
        "events": webhook.events,
        "created_by": webhook.created_by,
        "created_at": webhook.created_at,
        "removed_at": webhook.removed_at,
    }
