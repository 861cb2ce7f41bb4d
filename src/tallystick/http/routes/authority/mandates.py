"""`/v1/mandates`: what people let agents do for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import identity, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, Instant, Money, MoneyAnswer, Name, PathId, Strict, money
from tallystick.kit import Asset, Forbidden, Invalid, NotFound, parse_minor

router = APIRouter(route_class=ExactRoute, tags=["authority"])

_KIND = "mandates"
_EXAMPLE: JsonDict = {
    "id": "3",
    "person": "jan",
    "agent": "payments-agent",
    "operations": ["transfer"],
    "accounts": ["ACC123"],
    "max_amount": [{"amount": "100.00", "currency": "CZK"}],
    "total": None,
    "payees": ["ACC999", "COBADEFF/DE89370400440532013000"],
    "until": "2027-01-01T00:00:00Z",
    "beyond": "ask",
    "granted_by": "jan",
    "granted_at": "2026-11-21T12:34:56.789012Z",
    "revoked_by": None,
    "revoked_at": None,
}

Operation = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_.-]{0,99})$")]
Amounts = Annotated[list[Money], Field(max_length=20)]


class MandateBody(Strict):
    """What an agent may do for a person. What is left out is not bounded.

    `operations` are types of actions, `*` is all; `max_amount` bounds one action, `total` all of them. What lies `beyond` it is
    refused, or people are asked.
    """

    agent: Name = Field(examples=["payments-agent"])
    person: Name | None = Field(default=None, description="Left out: the caller. Admins may name another.", examples=["jan"])
    operations: list[Operation] = Field(min_length=1, max_length=100, examples=[["transfer"]])
    accounts: list[Name] | None = Field(default=None, max_length=1000, examples=[["ACC123"]])
    max_amount: Amounts | None = Field(default=None, examples=[[{"amount": "100.00", "currency": "CZK"}]])
    total: Amounts | None = None
    payees: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        default=None,
        max_length=1000,
        description="Accounts of the bank by their names; others as BANK/ACCOUNT, or /ACCOUNT where no bank is named.",
        examples=[["ACC999", "COBADEFF/DE89370400440532013000"]],
    )
    until: Instant
    beyond: Literal["deny", "ask"] = "deny"


class MandateAnswer(BaseModel):
    """A mandate as it was granted, and whether it was revoked."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    person: str
    agent: str
    operations: list[str]
    accounts: list[str] | None
    max_amount: list[MoneyAnswer] | None
    total: list[MoneyAnswer] | None
    payees: list[str] | None
    until: datetime
    beyond: Literal["deny", "ask"]
    granted_by: str
    granted_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None


class MandatePage(BaseModel):
    """Mandates, newest first."""

    items: list[MandateAnswer]
    next_cursor: str | None


@router.post("/v1/mandates", status_code=201, response_model=MandateAnswer)
async def grant_mandate(body: MandateBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let an agent act for the caller, or, as admin, for another person."""
    person = body.person or call.principal.name
    if not _is_admin(call) and (call.principal.kind != "person" or person != call.principal.name):
        raise Forbidden("role_missing", "people give mandates for themselves, and admins for others")

    async def create(tx: Tx) -> int:
        if not identity.may_touch(call.principal, *(body.accounts or ())):
            outside = next(name for name in body.accounts or () if not identity.may_touch(call.principal, name))
            raise NotFound("unknown_account", f"there is no account {outside}")
        for account in body.accounts or ():
            await ledger.account(tx, account)
        new = identity.NewMandate(
            person,
            body.agent,
            body.operations,
            body.until,
            body.accounts,
            await _amounts(tx, body.max_amount),
            await _amounts(tx, body.total),
            body.payees,
            body.beyond,
        )
        return (await identity.grant_mandate(tx, new, by=call.principal.name)).id

    request = [person, body.model_dump(mode="python")]
    return Json(await once(call, idempotency_key, kind="mandate", request=request, create=create, read=_read), 201)


@router.get("/v1/mandates", response_model=MandatePage)
async def list_mandates(
    *,
    call: CurrentCall,
    person: Annotated[Name | None, Query(description="Only those of this person.")] = None,
    agent: Annotated[Name | None, Query(description="Only those of this agent.")] = None,
    in_force: Annotated[bool, Query(description="Only those that are neither over nor revoked.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Mandates, newest first: a person's own, an agent's own; all of them for admins and auditors."""
    before = bound_of(cursor, _KIND)
    me = call.principal
    if not _sees_all(call):
        mine, named = ("agent", agent) if me.kind == "agent" else ("person", person)
        own = me.name if named in (None, me.name) else ""
        person, agent = (person, own) if mine == "agent" else (own, agent)
    async with call.database.read() as tx:
        rows = await identity.mandates(tx, person=person, agent=agent, in_force=in_force, before=before, limit=limit + 1)
        units = await _units(tx)
    return page(rows, limit, _KIND, item=lambda row: _answer(row, units), bound=lambda row: row.id)


@router.get("/v1/mandates/{mandate_id}", response_model=MandateAnswer)
async def get_mandate(mandate_id: PathId, call: CurrentCall) -> Response:
    """One mandate."""
    async with call.database.read() as tx:
        found = await _mine(tx, call, mandate_id)
        return Json(_answer(found, await _units(tx)))


@router.post("/v1/mandates/{mandate_id}/revoke", response_model=MandateAnswer)
async def revoke_mandate(mandate_id: PathId, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """End a mandate; keys that name it let nobody in from then on. Its person may, its agent, and admins."""

    async def create(tx: Tx) -> int:
        found = await _mine(tx, call, mandate_id)
        if not _is_admin(call) and call.principal.name not in (found.person, found.agent):
            raise Forbidden("role_missing", "this needs one of the roles: admin")
        await identity.revoke_mandate(tx, mandate_id, by=call.principal.name)
        return mandate_id

    return Json(await once(call, idempotency_key, kind="mandate_end", request=[mandate_id], create=create, read=_read))


async def _mine(tx: ReadTx, call: Call, mandate_id: int) -> identity.MandateInfo:
    found = await identity.mandate(tx, mandate_id)
    if not _sees_all(call) and call.principal.name not in (found.person, found.agent):
        raise NotFound("unknown_mandate", f"there is no mandate {mandate_id}")
    return found


def _is_admin(call: Call) -> bool:
    return "admin" in call.principal.roles


def _sees_all(call: Call) -> bool:
    return not call.principal.roles.isdisjoint({"admin", "auditor"})


async def _read(tx: ReadTx, mandate_id: int) -> dict[str, Any]:
    return _answer(await identity.mandate(tx, mandate_id), await _units(tx))


async def _amounts(tx: ReadTx, given: list[Money] | None) -> dict[str, int] | None:
    if given is None:
        return None
    found = {each.currency: parse_minor(each.amount, await ledger.asset(tx, each.currency)) for each in given}
    if len(found) != len(given):
        raise Invalid("mandate_malformed", "a mandate bounds each currency once")
    return found


async def _units(tx: ReadTx) -> dict[str, Asset]:
    return {asset.code: asset for asset in await ledger.assets(tx)}


def _answer(mandate: identity.MandateInfo, units: Mapping[str, Asset]) -> dict[str, Any]:
    return {
        "id": str(mandate.id),
        "person": mandate.person,
        "agent": mandate.agent,
        "operations": mandate.operations,
        "accounts": mandate.accounts,
        "max_amount": _told(mandate.max_amount, units),
        "total": _told(mandate.total, units),
        "payees": mandate.payees,
        "until": mandate.until,
        "beyond": mandate.beyond,
        "granted_by": mandate.granted_by,
        "granted_at": mandate.granted_at,
        "revoked_by": mandate.revoked_by,
        "revoked_at": mandate.revoked_at,
    }


def _told(amounts: Mapping[str, int] | None, units: Mapping[str, Asset]) -> list[dict[str, str]] | None:
    return None if amounts is None else [money(minor, units[asset]) for asset, minor in amounts.items()]
