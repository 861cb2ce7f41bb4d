"""`/v1/orders`: placed, filled in parts, cancelled."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, trading
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import Amount, MoneyAnswer, Name, PathId, RequiredKey, Strict, money
from tallystick.kit import plain

router = APIRouter(route_class=ExactRoute, tags=["trading"])
_KIND = "orders"
_SHOWN = 200
_USD: JsonDict = {"amount": "1002.50", "currency": "USD"}
_ORDER: JsonDict = {
    "id": "7",
    "portfolio": "GROWTH-7",
    "account_id": "ACC123",
    "instrument": "AAPL",
    "side": "buy",
    "quantity": "25",
    "limit_price": "101",
    "status": "partly_filled",
    "filled": "10",
    "remaining": "15",
    "amount": _USD,
    "hold_id": "78",
    "principal": "trader-bot",
    "placed_at": "2026-04-21T12:34:56.789012Z",
    "changed_at": "2026-04-21T12:40:00.123456Z",
}
_FILL: JsonDict = {
    "id": "9",
    "order_id": "7",
    "n": 1,
    "quantity": "10",
    "price": "100.25",
    "amount": _USD,
    "journal_id": "91",
    "principal": "broker-desk",
    "at": "2026-04-21T12:40:00.123456Z",
}

Symbol = Annotated[str, Field(pattern=f"^{trading.SYMBOL_PATTERN}$", examples=["AAPL"])]


class TradeOrderBody(Strict):
    """An order. Without `limit_price` it is carried out at whatever the market asks."""

    portfolio: Name = Field(examples=["GROWTH-7"])
    instrument: Symbol
    side: trading.Side
    quantity: Amount = Field(description="Of shares, with up to 6 decimals.", examples=["25"])
    limit_price: Amount | None = Field(default=None, description="With up to 8 decimals.", examples=["101"])


class FillBody(Strict):
    """A part of an order that the broker has carried out."""

    quantity: Amount = Field(examples=["10"])
    price: Amount = Field(examples=["100.25"])


class TradeOrderAnswer(BaseModel):
    """An order as it stands. `amount` is what its fills moved in all, `hold_id` is by what a buy has set its money aside."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ORDER]})

    id: str
    portfolio: str
    account_id: str
    instrument: str
    side: trading.Side
    quantity: str
    limit_price: str | None
    status: trading.OrderStatus
    filled: str
    remaining: str
    amount: MoneyAnswer
    hold_id: str | None
    principal: str
    placed_at: datetime
    changed_at: datetime


class TradeOrderPage(BaseModel):
    """Orders, newest first."""

    items: list[TradeOrderAnswer]
    next_cursor: str | None


class FillAnswer(BaseModel):
    """The `n`-th fill of an order, and the journal of what it moved; one that moved nothing has none."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FILL]})

    id: str
    order_id: str
    n: int
    quantity: str
    price: str
    amount: MoneyAnswer
    journal_id: str | None
    principal: str
    at: datetime


class TradeOrderWithFills(TradeOrderAnswer):
    """An order and its fills; with `more_fills` these are the first 200."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ORDER, "fills": [_FILL], "more_fills": False}]})

    fills: list[FillAnswer]
    more_fills: bool


@router.post("/v1/orders", status_code=201, response_model=TradeOrderAnswer)
async def place_order(body: TradeOrderBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Place an order: a buy sets its money aside, a sale the units."""
    limit_price = None if body.limit_price is None else plain(body.limit_price)
    payload = actions.PlaceOrder(body.portfolio, body.instrument, body.side, plain(body.quantity), limit_price)

    async def create(tx: Tx) -> int:
        by = call.principal
        return (await trading.place(tx, payload.new(), by=by.name, on_behalf_of=by.on_behalf_of)).id

    async def read(tx: ReadTx, order_id: int) -> trading.Order:
        return (await trading.order(tx, order_id)).as_placed()

    request = [body.portfolio, body.instrument, body.side, payload.quantity, limit_price]
    placed = await once(call, idempotency_key, kind="order", request=request, create=create, read=read, payload=payload)
    return Json(_order(placed), 201)


@router.get("/v1/orders", response_model=TradeOrderPage)
async def list_orders(
    *,
    call: CurrentCall,
    portfolio: Annotated[Name | None, Query(description="Only those of this portfolio.")] = None,
    instrument: Annotated[Symbol | None, Query(description="Only those of this instrument.")] = None,
    side: Annotated[trading.Side | None, Query()] = None,
    status: Annotated[trading.OrderStatus | None, Query(description="Only those in this status.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Orders, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        rows = await trading.orders(
            tx,
            portfolio=portfolio,
            symbol=instrument,
            side=side,
            status=status,
            among=await accounts_of(tx, call.principal),
            before=before,
            limit=limit + 1,
        )
    return page(rows, limit, _KIND, item=_order, bound=lambda row: row.id)


@router.get("/v1/orders/{order_id}", response_model=TradeOrderWithFills)
async def get_order(order_id: PathId, call: CurrentCall) -> Response:
    """One order, and its fills."""
    async with call.database.snapshot() as tx:
        found = await trading.order(tx, order_id)
        fills = await trading.fills(tx, order_id, limit=_SHOWN + 1)
    return Json({**_order(found), "fills": [_fill(fill) for fill in fills[:_SHOWN]], "more_fills": len(fills) > _SHOWN})


@router.post("/v1/orders/{order_id}/cancel", response_model=TradeOrderAnswer)
async def cancel_order(order_id: PathId, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """What is left of an order is carried out no more; what it had set aside is free again."""

    async def create(tx: Tx) -> int:
        by = call.principal
        return (await trading.cancel(tx, order_id, by=by.name, on_behalf_of=by.on_behalf_of)).id

    cancelled = await once(
        call, idempotency_key, kind="order_cancel", request=[order_id], create=create, read=trading.order,
        payload=actions.CancelOrder(str(order_id)),
    )  # fmt: skip
    return Json(_order(cancelled))


@router.post("/v1/orders/{order_id}/fills", status_code=201, response_model=FillAnswer)
async def fill_order(order_id: PathId, body: FillBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """A part of an order was carried out: its money moves, and the position follows."""
    payload = actions.FillOrder(str(order_id), plain(body.quantity), plain(body.price))

    async def create(tx: Tx) -> int:
        by = call.principal
        return (await trading.fill(tx, payload.new(), by=by.name, on_behalf_of=by.on_behalf_of)).id

    request = [order_id, payload.quantity, payload.price]
    filled = await once(
        call, idempotency_key, kind="order_fill", request=request, create=create, read=trading.fill_of, payload=payload
    )
    return Json(_fill(filled), 201)


def _order(order: trading.Order) -> dict[str, Any]:
    return {
        "id": str(order.id),
        "portfolio": order.portfolio,
        "account_id": order.account,
        "instrument": order.symbol,
        "side": order.side,
        "quantity": trading.quantity_text(order.quantity),
        "limit_price": None if order.limit_price is None else f"{order.limit_price:f}",
        "status": order.status,
        "filled": trading.quantity_text(order.filled),
        "remaining": trading.quantity_text(order.remaining),
        "amount": money(order.amount, order.unit),
        "hold_id": None if order.hold_id is None else str(order.hold_id),
        "principal": order.principal,
        "placed_at": order.placed_at,
        "changed_at": order.changed_at,
    }


def _fill(fill: trading.Fill) -> dict[str, Any]:
    return {
        "id": str(fill.id),
        "order_id": str(fill.order_id),
        "n": fill.n,
        "quantity": trading.quantity_text(fill.quantity),
        "price": f"{fill.price:f}",
        "amount": money(fill.amount, fill.unit),
        "journal_id": None if fill.journal_id is None else str(fill.journal_id),
        "principal": fill.principal,
        "at": fill.at,
    }
