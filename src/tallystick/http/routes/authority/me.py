"""`/v1/me`: who the caller is, and what it may do with the key in use."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick.http.exact import ExactRoute, Json
from tallystick.http.reach import customers_of
from tallystick.http.routes.authority.principals import ALL, Kind, Role
from tallystick.http.services import CurrentCall

router = APIRouter(route_class=ExactRoute, tags=["authority"])
_EXAMPLE: JsonDict = {
    "name": "payments-agent",
    "kind": "agent",
    "roles": ["agent"],
    "owner": "anna",
    "risk_tier": "high",
    "version": "2026-11-20",
    "on_behalf_of": "jan",
    "mandate_id": "3",
    "mandate_until": "2027-01-01T00:00:00Z",
    "accounts": ["ACC123"],
    "customers": "all",
}


class MeAnswer(BaseModel):
    """The caller. `accounts` and `customers` are the only ones that it sees and touches."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    kind: Kind
    roles: list[Role]
    owner: str | None
    risk_tier: str | None
    version: str | None
    on_behalf_of: str | None
    mandate_id: str | None
    mandate_until: datetime | None
    accounts: list[str] | Literal["all"]
    customers: list[str] | Literal["all"]


@router.get("/v1/me", response_model=MeAnswer)
async def get_me(call: CurrentCall) -> Response:
    """Who the caller is, and what it may do with the key in use."""
    me = call.principal
    async with call.database.read() as tx:
        customers = await customers_of(tx, me)
    return Json(
        {
            "name": me.name,
            "kind": me.kind,
            "roles": sorted(me.roles),
            "owner": me.owner,
            "risk_tier": me.risk_tier,
            "version": me.version,
            "on_behalf_of": me.on_behalf_of,
            "mandate_id": None if me.mandate is None else str(me.mandate.id),
            "mandate_until": None if me.mandate is None else me.mandate.until,
            "accounts": ALL if me.accounts is None else sorted(me.accounts),
            "customers": ALL if customers is None else customers,
        }
    )
