"""`/v1/actions`: propose anything that has an effect, and see what became of what people were asked about."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, identity
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import HeldAnswer
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, Label, PathId, PathName, RequiredKey, Strict, StringId
from tallystick.kit import Conflict

router = APIRouter(route_class=ExactRoute, tags=["actions"])
_KIND = "actions"
_EXAMPLE: JsonDict = {
    "id": "12",
    "type": "customer.change",
    "principal": "assistant",
    "on_behalf_of": "anna",
    "payload": {"customer": "CUST-1042", "city": "Brno"},
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "status": "held",
    "reason": None,
    "result": None,
    "decision_id": "91",
    "approval_id": "7",
    "task_id": None,
    "proposed_at": "2026-04-21T12:34:56.789012Z",
    "ended_at": None,
}
_TYPES: JsonDict = {
    "items": [
        {
            "name": "payee.add",
            "proposable": True,
            "payload": {
                "type": "object",
                "properties": {"account": {"type": "string"}, "payee": {"type": "string"}},
                "required": ["account", "payee"],
            },
        }
    ]
}
Status = Literal["held", "executed", "failed", "rejected", "expired", "withdrawn"]


class ActionBody(Strict):
    """An action to propose. `GET /v1/action-types` says what the payload of each type holds."""

    type: Label = Field(examples=["customer.change"])
    payload: dict[str, Any] = Field(examples=[{"customer": "CUST-1042", "city": "Brno"}])


class AmendBody(Strict):
    """What a held action is to be about instead."""

    payload: dict[str, Any] = Field(examples=[{"customer": "CUST-1042", "city": "Olomouc"}])


class SecretBody(Strict):
    """By what a customer is to prove who they are from now on. It is written nowhere; a salted hash is kept."""

    secret: str = Field(min_length=8, max_length=200, examples=["correct horse battery"])


class ActionAnswer(BaseModel):
    """An action and what became of it. `decision_id` is what policy said of it, `approval_id` whom it was put to."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    type: str
    principal: str
    on_behalf_of: str | None
    payload: dict[str, Any]
    digest: str
    status: Status
    reason: str | None
    result: dict[str, Any] | None
    decision_id: str
    approval_id: str | None
    task_id: str | None
    proposed_at: datetime
    ended_at: datetime | None


class ActionPage(BaseModel):
    """Actions, newest first."""

    items: list[ActionAnswer]
    next_cursor: str | None


class TypeAnswer(BaseModel):
    """A type of action. `proposable` says whether `POST /v1/actions` takes it; others have a route of their own."""

    name: str
    proposable: bool
    payload: dict[str, Any]


class TypePage(BaseModel):
    """Every type of action."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TYPES]})

    items: list[TypeAnswer]


@router.get("/v1/action-types", response_model=TypePage)
async def list_types(call: CurrentCall) -> Response:
    """What can be proposed, with the JSON schema of each payload."""
    del call
    kinds = [actions.named(name) for name in actions.names()]
    return Json({"items": [{"name": kind.name, "proposable": kind.proposable, "payload": kind.schema()} for kind in kinds]})


@router.post(
    "/v1/actions",
    status_code=201,
    response_model=ActionAnswer,
    response_description="Carried out.",
    responses={202: {"model": HeldAnswer, "description": "Kept until people agree."}},
)
async def propose(body: ActionBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Propose an action: it is carried out at once, put to people (202), or denied (403)."""
    payload = actions.proposed(body.type, body.payload)
    return await propose_payload(call, payload, [body.type, body.payload], idempotency_key)


@router.post(
    "/v1/customers/{customer_id}/credential",
    status_code=201,
    response_model=ActionAnswer,
    responses={202: {"model": HeldAnswer, "description": "Kept until people agree."}},
)
async def change_credential(
    customer_id: PathName, body: SecretBody, call: CurrentCall, idempotency_key: RequiredKey
) -> Response:
    """Propose that a customer proves who they are by another secret: an action of type `customer.credential`."""
    payload = actions.ChangeCredential.of(customer_id, body.secret, under=idempotency_key)
    return await propose_payload(call, payload, ["customer.credential", customer_id, payload.hash], idempotency_key)


@router.get("/v1/actions", response_model=ActionPage)
async def list_actions(
    *,
    call: CurrentCall,
    type: Annotated[Label | None, Query(description="Only those of this type.")] = None,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    principal: Annotated[Label | None, Query(description="Only those that this principal proposed.")] = None,
    task_id: Annotated[StringId | None, Query(description="Only those of this task.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Actions that were put to people or proposed here, newest first. Who does not see everything sees their own."""
    before = bound_of(cursor, _KIND)
    if not identity.sees_all(call.principal):
        principal = call.principal.name
    async with call.database.read() as tx:
        rows = await actions.actions(
            tx, type=type, status=status, principal=principal, task_id=task_id, before=before, limit=limit + 1
        )
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/actions/{action_id}", response_model=ActionAnswer)
async def get_action(action_id: PathId, call: CurrentCall) -> Response:
    """One action."""
    async with call.database.read() as tx:
        return Json(_answer(_seen(call, await actions.action(tx, action_id))))


@router.patch("/v1/actions/{action_id}", response_model=ActionAnswer)
async def amend_action(action_id: PathId, body: AmendBody, call: CurrentCall) -> Response:
    """Let a held action be about something else: it is decided anew, and all votes are void."""

    async def work(tx: Tx) -> actions.Action:
        _seen(call, await actions.action(tx, action_id))
        return await actions.amend(tx, action_id, call.principal, body.payload)

    return Json(_answer(await call.database.retrying(work)))


@router.post("/v1/actions/{action_id}/withdraw", response_model=ActionAnswer)
async def withdraw_action(action_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Take a held action back."""

    async def create(tx: Tx) -> int:
        found = _seen(call, await actions.action(tx, action_id))
        if found.approval_id is None:
            raise Conflict("action_ended", f"the action is {found.status}")
        await actions.withdraw(tx, found.approval_id, call.principal)
        return action_id

    async def read(tx: ReadTx, id: int) -> actions.Action:
        return await actions.action(tx, id)

    request = [action_id]
    return Json(_answer(await once(call, idempotency_key, kind="action withdrawal", request=request, create=create, read=read)))


async def propose_payload(call: Call, payload: Any, request: Any, key: str) -> Response:
    """Propose an action; `request` is what tells requests under the key apart."""

    async def create(tx: Tx) -> int:
        return await actions.carry_out(tx, call.principal, payload)

    async def read(tx: ReadTx, action_id: int) -> actions.Action:
        return await actions.action(tx, action_id)

    done = await once(call, key, kind="executed action", request=request, create=create, read=read, payload=payload)
    return Json(_answer(done), 201)


def _seen(call: Call, action: actions.Action) -> actions.Action:
    """Who does not see everything sees their own actions; others are to them as if they were not there."""
    if not identity.sees_all(call.principal) and action.principal != call.principal.name:
        raise actions.unknown_action(action.id)
    return action


def _answer(action: actions.Action) -> dict[str, Any]:
    return {
        "id": str(action.id),
        "type": action.type,
        "principal": action.principal,
        "on_behalf_of": action.on_behalf_of,
        "payload": actions.named(action.type).shown(action.payload),
        "digest": action.digest.hex(),
        "status": action.status,
        "reason": action.reason,
        "result": action.result,
        "decision_id": str(action.decision_id),
        "approval_id": None if action.approval_id is None else str(action.approval_id),
        "task_id": None if action.task_id is None else str(action.task_id),
        "proposed_at": action.proposed_at,
        "ended_at": action.ended_at,
    }
