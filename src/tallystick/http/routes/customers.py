"""`/v1/customers`: who the bank's customers are."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, customers
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathName, Strict, StringId
from tallystick.kit import Conflict, NotFound

router = APIRouter(route_class=ExactRoute, tags=["customers"])
_KIND = "customers"
_EXAMPLE: JsonDict = {
    "id": "CUST-1042",
    "number": "17",
    "full_name": "Jana Nováková",
    "birth_date": "1970-12-13",
    "sex": "F",
    "region": "Hl.m. Praha",
    "created_at": "2026-04-21T12:34:56.789012Z",
}


class CustomerBody(Strict):
    """A customer to add; what is left out is not known."""

    id: Name = Field(examples=["CUST-1042"])
    full_name: str | None = Field(default=None, max_length=200, examples=["Jana Nováková"])
    birth_date: datetime.date | None = Field(default=None, examples=["1970-12-13"])
    sex: Literal["F", "M"] | None = None
    region: str | None = Field(default=None, max_length=100, examples=["Hl.m. Praha"])


class CustomerAnswer(BaseModel):
    """A customer as the bank knows them. By `number` the record and questions about an erasure mean them."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    number: str
    full_name: str | None
    birth_date: datetime.date | None
    sex: str | None
    region: str | None
    created_at: datetime.datetime


class CustomerPage(BaseModel):
    """Customers, in the order they were added."""

    items: list[CustomerAnswer]
    next_cursor: str | None


@router.post("/v1/customers", status_code=201, response_model=CustomerAnswer)
async def add_customer(body: CustomerBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Add a customer."""

    async def create(tx: Tx) -> int:
        await _refuse_known(tx, body.id)
        new = customers.NewCustomer(body.id, body.full_name, body.birth_date, body.sex, body.region)
        (added,) = await customers.add(tx, [new], by=call.principal.name)
        return added.id

    async def read(tx: ReadTx, _: int) -> customers.Customer:
        return await customers.get(tx, body.id)

    request = body.model_dump(mode="json")
    payload = actions.SetUp("customer", body.id)
    made = await once(call, idempotency_key, kind="customer", request=request, create=create, read=read, payload=payload)
    return Json(_answer(made), 201)


@router.get("/v1/customers", response_model=CustomerPage)
async def list_customers(
    call: CurrentCall,
    number: Annotated[StringId | None, Query(description="Only the one with this number.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Customers, in the order they were added."""
    after = bound_of(cursor, _KIND) or 0
    async with call.database.read() as tx:
        ids = None if call.principal.customers is None else sorted(call.principal.customers)
        if number is not None:
            ids = [number] if ids is None or number in ids else []
        rows = await customers.page(tx, after=after, limit=limit + 1, ids=ids)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/customers/{customer_id}", response_model=CustomerAnswer)
async def get_customer(customer_id: PathName, call: CurrentCall) -> Response:
    """One customer."""
    async with call.database.read() as tx:
        return Json(_answer(await customers.get(tx, customer_id)))


async def _refuse_known(tx: ReadTx, name: str) -> None:
    try:
        await customers.get(tx, name)
    except NotFound:
        return
    raise Conflict("customer_exists", f"there is a customer {name} already")


def _answer(customer: customers.Customer) -> dict[str, Any]:
    return {
        "id": customer.name,
        "number": str(customer.id),
        "full_name": customer.full_name,
        "birth_date": customer.birth_date,
        "sex": customer.sex,
        "region": customer.region,
        "created_at": customer.created_at,
    }
