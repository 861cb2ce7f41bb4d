"""`/v1/principals`: agents, people and services; their roles, their reach, agents' versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import customers, identity, ledger
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathId, PathName, Strict
from tallystick.kit import Invalid, NotFound

router = APIRouter(route_class=ExactRoute, tags=["authority"])

Kind = Literal["agent", "person", "service"]
Role = Literal["agent", "operator", "approver", "auditor", "admin"]
Tier = Literal["low", "medium", "high"]
ALL = "all"

_KIND = "principals"
_VERSIONS = "versions of"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EXAMPLE: JsonDict = {
    "name": "payments-agent",
    "kind": "agent",
    "roles": ["agent"],
    "owner": "anna",
    "risk_tier": "high",
    "accounts": ["ACC123"],
    "customers": "all",
    "disabled_at": None,
    "created_at": "2026-11-21T12:34:56.789012Z",
}
_VERSION: JsonDict = {
    "agent": "payments-agent",
    "version": "2026-11-20",
    "model": "some-model-4",
    "prompt_digest": _DIGEST,
    "tools_digest": _DIGEST,
    "created_by": "eva",
    "created_at": "2026-11-21T12:34:56.789012Z",
}

_LOGIN: JsonDict = {
    "id": "1",
    "issuer": "https://login.bank.example",
    "subject": "248289761001",
    "created_at": "2026-11-21T12:34:56.789012Z",
}

Reach = Annotated[list[Name], Field(max_length=1000)] | Literal["all"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=[_DIGEST])]


class PrincipalBody(Strict):
    """A principal to make known. An agent has an owner, the person who answers for it, and sees nothing until it is let."""

    name: Name = Field(examples=["payments-agent"])
    kind: Kind = Field(examples=["agent"])
    roles: list[Role] | None = Field(default=None, max_length=5, examples=[["agent"]])
    owner: Name | None = Field(default=None, examples=["anna"])
    risk_tier: Tier | None = Field(default=None, examples=["high"])


class RolesBody(Strict):
    """The roles that a principal has from now on."""

    roles: list[Role] = Field(max_length=5, examples=[["operator", "approver"]])


class ReachBody(Strict):
    """The accounts and customers that a principal sees and touches from now on, by their names."""

    accounts: Reach = Field(examples=[["ACC123"]])
    customers: Reach = Field(examples=["all"])


class OwnerBody(Strict):
    """Who answers for an agent from now on."""

    owner: Name = Field(examples=["anna"])
    risk_tier: Tier | None = Field(default=None, examples=["low"])


class VersionBody(Strict):
    """What a version of an agent is made of; digests are SHA-256 in hexadecimal."""

    version: Name = Field(examples=["2026-11-20"])
    model: str = Field(min_length=1, max_length=200, examples=["some-model-4"])
    prompt_digest: Digest
    tools_digest: Digest


class LoginBody(Strict):
    """An account elsewhere: an issuer of OpenID Connect, and how it calls its subject."""

    issuer: str = Field(min_length=1, max_length=500, examples=["https://login.bank.example"])
    subject: str = Field(min_length=1, max_length=255, examples=["248289761001"])


class LoginAnswer(BaseModel):
    """An account elsewhere by which a principal is known."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LOGIN]})

    id: str
    issuer: str
    subject: str
    created_at: datetime


class Logins(BaseModel):
    """The accounts elsewhere by which a principal is known."""

    items: list[LoginAnswer]


class PrincipalAnswer(BaseModel):
    """A principal as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    kind: Kind
    roles: list[Role]
    owner: str | None
    risk_tier: Tier | None
    accounts: list[str] | Literal["all"]
    customers: list[str] | Literal["all"]
    disabled_at: datetime | None
    created_at: datetime


class PrincipalPage(BaseModel):
    """Principals, in the order they became known."""

    items: list[PrincipalAnswer]
    next_cursor: str | None


class VersionAnswer(BaseModel):
    """A version of an agent, which never changes."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VERSION]})

    agent: str
    version: str
    model: str
    prompt_digest: str
    tools_digest: str
    created_by: str
    created_at: datetime


class VersionPage(BaseModel):
    """An agent's versions, newest first."""

    items: list[VersionAnswer]
    next_cursor: str | None


@router.post("/v1/principals", status_code=201, response_model=PrincipalAnswer)
async def add_principal(body: PrincipalBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a principal known."""
    if body.kind == "agent" and body.owner is None:
        raise Invalid("owner_missing", "an agent has an owner, the person who answers for it")

    async def create(tx: Tx) -> int:
        made = await identity.add_principal(
            tx,
            body.name,
            kind=body.kind,
            by=call.principal.name,
            roles=body.roles,
            owner=body.owner,
            risk_tier=body.risk_tier,
        )
        return made.id

    async def read(tx: ReadTx, _: int) -> dict[str, Any]:
        return await _answer(tx, await identity.get(tx, body.name))

    request = body.model_dump(mode="json")
    return Json(await once(call, idempotency_key, kind="principal", request=request, create=create, read=read), 201)


@router.get("/v1/principals", response_model=PrincipalPage)
async def list_principals(
    call: CurrentCall,
    kind: Annotated[Kind | None, Query(description="Only those of this kind.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Principals, in the order they became known."""
    after = bound_of(cursor, _KIND) or 0
    async with call.database.read() as tx:
        rows = await identity.principals(tx, kind=kind, after=after, limit=limit + 1)
        answers = {row.id: await _answer(tx, row) for row in rows[:limit]}
    return page(rows, limit, _KIND, item=lambda row: answers[row.id], bound=lambda row: row.id)


@router.get("/v1/principals/{name}", response_model=PrincipalAnswer)
async def get_principal(name: PathName, call: CurrentCall) -> Response:
    """One principal."""
    async with call.database.read() as tx:
        return Json(await _answer(tx, await identity.get(tx, name)))


@router.put("/v1/principals/{name}/roles", response_model=PrincipalAnswer)
async def set_roles(name: PathName, body: RolesBody, call: CurrentCall) -> Response:
    """Give a principal these roles and no others. Nobody changes their own."""
    return await _changed(call, lambda tx: identity.set_roles(tx, name, body.roles, by=call.principal.name))


@router.put("/v1/principals/{name}/reach", response_model=PrincipalAnswer)
async def set_reach(name: PathName, body: ReachBody, call: CurrentCall) -> Response:
    """Let a principal see and touch these accounts and customers and no others. Nobody changes their own."""

    async def change(tx: Tx) -> identity.PrincipalInfo:
        if body.accounts != ALL:
            for account in body.accounts:
                await ledger.account(tx, account)
        ids = None if body.customers == ALL else [(await customers.get(tx, each)).id for each in body.customers]
        accounts = None if body.accounts == ALL else list(body.accounts)
        return await identity.set_reach(tx, name, accounts=accounts, customers=ids, by=call.principal.name)

    return await _changed(call, change)


@router.put("/v1/principals/{name}/owner", response_model=PrincipalAnswer)
async def set_owner(name: PathName, body: OwnerBody, call: CurrentCall) -> Response:
    """Have another person answer for an agent."""
    return await _changed(
        call, lambda tx: identity.set_owner(tx, name, body.owner, by=call.principal.name, risk_tier=body.risk_tier)
    )


@router.post("/v1/principals/{name}/disable", response_model=PrincipalAnswer)
async def disable_principal(name: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let a principal in no more, nor agents that a person owns or that act for them."""
    return await _switched(call, name, idempotency_key, "disable", identity.disable)


@router.post("/v1/principals/{name}/enable", response_model=PrincipalAnswer)
async def enable_principal(name: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let a principal in again."""
    return await _switched(call, name, idempotency_key, "enable", identity.enable)


@router.post("/v1/principals/{name}/versions", status_code=201, response_model=VersionAnswer)
async def add_version(name: PathName, body: VersionBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Keep what a version of an agent is made of, for good. The same again is fine, something else is a conflict."""

    async def create(tx: Tx) -> int:
        made = await identity.add_version(
            tx,
            name,
            body.version,
            model=body.model,
            prompt_digest=bytes.fromhex(body.prompt_digest),
            tools_digest=bytes.fromhex(body.tools_digest),
            by=call.principal.name,
        )
        return made.id

    async def read(tx: ReadTx, _: int) -> identity.AgentVersion:
        return await identity.version(tx, name, body.version)

    request = [name, body.model_dump(mode="json")]
    made = await once(call, idempotency_key, kind="agent_version", request=request, create=create, read=read)
    return Json(_version(made), 201)


@router.get("/v1/principals/{name}/versions", response_model=VersionPage)
async def list_versions(name: PathName, call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """An agent's versions, newest first."""
    kind = f"{_VERSIONS} {name}"
    before = bound_of(cursor, kind)
    async with call.database.read() as tx:
        rows = await identity.versions(tx, name, before=before, limit=limit + 1)
    return page(rows, limit, kind, item=_version, bound=lambda row: row.id)


@router.post("/v1/principals/{name}/logins", status_code=201, response_model=LoginAnswer)
async def add_login(name: PathName, body: LoginBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let a principal be known by an account elsewhere: people sign in with it, services bring its tokens."""

    async def create(tx: Tx) -> int:
        return (await identity.add_login(tx, name, issuer=body.issuer, subject=body.subject, by=call.principal.name)).id

    async def read(tx: ReadTx, login_id: int) -> dict[str, Any]:
        for login in await identity.logins(tx, name):
            if login.id == login_id:
                return _login(login)
        raise NotFound("unknown_login", f"{name} has no login {login_id}")

    request = [name, body.issuer, body.subject]
    return Json(await once(call, idempotency_key, kind="login", request=request, create=create, read=read), 201)


@router.get("/v1/principals/{name}/logins", response_model=Logins)
async def list_logins(name: PathName, call: CurrentCall) -> Response:
    """By which accounts elsewhere a principal is known."""
    async with call.database.read() as tx:
        return Json({"items": [_login(login) for login in await identity.logins(tx, name)]})


@router.delete("/v1/principals/{name}/logins/{login_id}", response_model=Logins)
async def remove_login(name: PathName, login_id: PathId, call: CurrentCall) -> Response:
    """Let a principal be known by an account no more, and sign it out everywhere; what is left."""
    async with call.database.write() as tx:
        await identity.remove_login(tx, name, login_id, by=call.principal.name)
        return Json({"items": [_login(login) for login in await identity.logins(tx, name)]})


def _login(login: identity.Login) -> dict[str, Any]:
    return {"id": str(login.id), "issuer": login.issuer, "subject": login.subject, "created_at": login.created_at}


async def _changed(call: Call, change: Callable[[Tx], Awaitable[identity.PrincipalInfo]]) -> Response:
    async with call.database.write() as tx:
        return Json(await _answer(tx, await change(tx)))


async def _switched(
    call: Call, name: str, key: str | None, verb: str, switch: Callable[..., Awaitable[identity.PrincipalInfo]]
) -> Response:
    async def create(tx: Tx) -> int:
        return (await switch(tx, name, by=call.principal.name)).id

    async def read(tx: ReadTx, _: int) -> dict[str, Any]:
        return await _answer(tx, await identity.get(tx, name))

    return Json(await once(call, key, kind=f"principal_{verb}", request=[name], create=create, read=read))


async def _answer(tx: ReadTx, info: identity.PrincipalInfo) -> dict[str, Any]:
    named: list[str] | str = ALL
    if info.customers is not None:
        named = [customer.name for customer in await customers.page(tx, ids=info.customers, limit=len(info.customers))]
    return {
        "name": info.name,
        "kind": info.kind,
        "roles": info.roles,
        "owner": info.owner,
        "risk_tier": info.risk_tier,
        "accounts": ALL if info.accounts is None else info.accounts,
        "customers": named,
        "disabled_at": info.disabled_at,
        "created_at": info.created_at,
    }


def _version(version: identity.AgentVersion) -> dict[str, Any]:
    return {
        "agent": version.agent,
        "version": version.version,
        "model": version.model,
        "prompt_digest": version.prompt_digest.hex(),
        "tools_digest": version.tools_digest.hex(),
        "created_by": version.created_by,
        "created_at": version.created_at,
    }
