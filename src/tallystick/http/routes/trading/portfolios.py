"""`/v1/portfolios`: what is held of instruments, over which cash account."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter
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
from tallystick.http.shapes import IdempotencyKey, MoneyAnswer, Name, PathName, Strict, money

router = APIRouter(route_class=ExactRoute, tags=["trading"])
_KIND = "portfolios"
_EXAMPLE: JsonDict = {
    "id": "GROWTH-7",
    "account_id": "ACC123",
    "settlement_account": "BROKER-USD",
    "customer_id": "CUST-1042",
    "currency": "USD",
    "shorts": False,
    "opened_at": "2026-04-21T12:34:56.789012Z",
}
_POSITION: JsonDict = {
    "instrument": "AAPL",
    "quantity": "250",
    "available": "200",
    "buying": "10",
    "selling": "50",
    "price": "100.25",
    "price_day": "2026-04-20",
    "value": "25062.5",
}
_CASH: JsonDict = {"amount": "12000.00", "currency": "USD"}


class PortfolioBody(Strict):
    """A portfolio to open over a cash account, and the account of the bank by which it settles with the broker."""

    id: Name = Field(examples=["GROWTH-7"])
    account_id: Name = Field(examples=["ACC123"])
    settlement_account: Name = Field(examples=["BROKER-USD"])
    shorts: Annotated[bool, Field(strict=True, description="Whether it may sell more than it holds.")] = False


class PortfolioAnswer(BaseModel):
    """A portfolio. Its currency is that of its cash account, its customer the owner of that."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    account_id: str
    settlement_account: str
    customer_id: str | None
    currency: str
    shorts: bool
    opened_at: datetime


class PortfolioPage(BaseModel):
    """Portfolios, in the order they were opened."""

    items: list[PortfolioAnswer]
    next_cursor: str | None


class PositionAnswer(BaseModel):
    """What is held of an instrument: `available` is free to be sold, `buying` and `selling` are what open orders are to do.

    `value` is the quantity at the latest price, exactly, below zero where it was sold short; `null` where there is no price.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_POSITION]})

    instrument: str
    quantity: str
    available: str
    buying: str
    selling: str
    price: str | None
    price_day: date | None
    value: str | None


class PortfolioWithPositions(PortfolioAnswer):
    """A portfolio with its positions. `value` is its cash and what they are worth; `null` where a price is missing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {**_EXAMPLE, "cash": _CASH, "value": "37062.5", "open_orders": 2, "positions": [_POSITION]},
            ]
        }
    )

    cash: MoneyAnswer
    value: str | None
    open_orders: int
    positions: list[PositionAnswer]


@router.post("/v1/portfolios", status_code=201, response_model=PortfolioAnswer)
async def open_portfolio(body: PortfolioBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Open a portfolio over a cash account, which serves no other."""
    payload = actions.OpenPortfolio(body.id, body.account_id, body.settlement_account, body.shorts)

    async def create(tx: Tx) -> int:
        return (await trading.open_portfolio(tx, payload.new(), by=call.principal.name)).id

    async def read(tx: ReadTx, portfolio_id: int) -> trading.Portfolio:
        (found,) = await trading.portfolios(tx, ids=[portfolio_id], limit=1)
        return found

    opened = await once(
        call, idempotency_key, kind="portfolio", request=body.model_dump(), create=create, read=read, payload=payload
    )
    return Json(_portfolio(opened), 201)


@router.get("/v1/portfolios", response_model=PortfolioPage)
async def list_portfolios(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Portfolios, in the order they were opened."""
    after = bound_of(cursor, _KIND) or 0
    async with call.database.read() as tx:
        among = await accounts_of(tx, call.principal)
        rows = await trading.portfolios(tx, among=among, after=after, limit=limit + 1)
    return page(rows, limit, _KIND, item=_portfolio, bound=lambda row: row.id)


@router.get("/v1/portfolios/{portfolio_id}", response_model=PortfolioWithPositions)
async def get_portfolio(portfolio_id: PathName, call: CurrentCall) -> Response:
    """One portfolio, with what it holds at the latest prices."""
    async with call.database.snapshot() as tx:
        book = await trading.book(tx, portfolio_id)
    value = book.value
    return Json(
        {
            **_portfolio(book.portfolio),
            "cash": money(book.cash, book.portfolio.unit),
            "value": None if value is None else trading.plain(value),
            "open_orders": book.open_orders,
            "positions": [_position(holding) for holding in book.holdings],
        }
    )


def _portfolio(portfolio: trading.Portfolio) -> dict[str, Any]:
    return {
        "id": portfolio.name,
        "account_id": portfolio.account,
        "settlement_account": portfolio.settlement,
        "customer_id": portfolio.customer,
        "currency": portfolio.asset,
        "shorts": portfolio.shorts,
        "opened_at": portfolio.opened_at,
    }


def _position(holding: trading.Holding) -> dict[str, Any]:
    value = holding.value
    return {
        "instrument": holding.symbol,
        "quantity": trading.quantity_text(holding.quantity),
        "available": trading.quantity_text(holding.available),
        "buying": trading.quantity_text(holding.buying),
        "selling": trading.quantity_text(holding.selling),
        "price": None if holding.price is None else f"{holding.price:f}",
        "price_day": holding.price_day,
        "value": None if value is None else trading.plain(value),
    }
