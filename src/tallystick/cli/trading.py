"""`tallystick portfolios` and `tallystick orders`: what is held, and what is ordered."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tallystick import trading
from tallystick.cli.options import Data, known_number
from tallystick.cli.runtime import connected, run
from tallystick.kit import format_minor

portfolios = typer.Typer(help="Portfolios: what is held of instruments, over which cash account.", no_args_is_help=True)
orders = typer.Typer(help="Orders: what is to be bought and sold, and what was.", no_args_is_help=True)
_FILLS = 1_000

Most = Annotated[int, typer.Option(min=1, max=10_000, help="How many.")]


@portfolios.command("list")
def list_portfolios(limit: Most = 1_000, data: Data = None) -> None:
    """List portfolios as JSON lines, in the order they were opened."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await trading.portfolios(tx, limit=limit)
        for portfolio in found:
            typer.echo(json.dumps(_portfolio(portfolio)))

    run(work)


@portfolios.command("show")
def show_portfolio(
    name: Annotated[str, typer.Argument(metavar="PORTFOLIO", help="Name of the portfolio.")], data: Data = None
) -> None:
    """Show a portfolio with its positions at the latest prices, as JSON."""

    async def work() -> None:
        async with connected(data) as database, database.snapshot() as tx:
            book = await trading.book(tx, name)
        value = book.value
        told = {
            **_portfolio(book.portfolio),
            "cash": format_minor(book.cash, book.portfolio.unit),
            "value": None if value is None else trading.plain(value),
            "open_orders": book.open_orders,
            "positions": [_position(holding) for holding in book.holdings],
        }
        typer.echo(json.dumps(told, indent=2))

    run(work)


@orders.command("list")
def list_orders(
    *,
    portfolio: Annotated[str | None, typer.Option(help="Only those of this portfolio.", show_default=False)] = None,
    instrument: Annotated[str | None, typer.Option(help="Only those of this instrument.", show_default=False)] = None,
    side: Annotated[str | None, typer.Option(help="buy or sell.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option(help="placed, partly_filled, filled or cancelled.", show_default=False)] = None,
    limit: Most = 50,
    data: Data = None,
) -> None:
    """List orders as JSON lines, newest first."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await trading.orders(tx, portfolio=portfolio, symbol=instrument, side=side, status=status, limit=limit)
        for order in found:
            typer.echo(json.dumps(_order(order)))

    run(work)


@orders.command("show")
def show_order(
    order: Annotated[int, typer.Argument(metavar="ORDER", min=1, help="Number of the order.")], data: Data = None
) -> None:
    """Show an order with its fills (the first thousand), as JSON."""

    async def work() -> None:
        number = known_number(order, "unknown_order")
        async with connected(data) as database, database.snapshot() as tx:
            found = await trading.order(tx, number)
            fills = await trading.fills(tx, number, limit=_FILLS)
        typer.echo(json.dumps({**_order(found), "fills": [_fill(fill) for fill in fills]}, indent=2))

    run(work)


def _portfolio(portfolio: trading.Portfolio) -> dict[str, Any]:
    return {
        "portfolio": portfolio.name,
        "account": portfolio.account,
        "settlement": portfolio.settlement,
        "customer": portfolio.customer,
        "currency": portfolio.asset,
        "shorts": portfolio.shorts,
        "opened_at": portfolio.opened_at.isoformat(),
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
        "price_day": None if holding.price_day is None else holding.price_day.isoformat(),
        "value": None if value is None else trading.plain(value),
    }


def _order(order: trading.Order) -> dict[str, Any]:
    return {
        "id": str(order.id),
        "portfolio": order.portfolio,
        "instrument": order.symbol,
        "side": order.side,
        "quantity": trading.quantity_text(order.quantity),
        "limit_price": None if order.limit_price is None else f"{order.limit_price:f}",
        "status": order.status,
        "filled": trading.quantity_text(order.filled),
        "amount": format_minor(order.amount, order.unit),
        "currency": order.asset,
        "principal": order.principal,
        "placed_at": order.placed_at.isoformat(),
    }


def _fill(fill: trading.Fill) -> dict[str, Any]:
    return {
        "n": fill.n,
        "quantity": trading.quantity_text(fill.quantity),
        "price": f"{fill.price:f}",
        "amount": format_minor(fill.amount, fill.unit),
        "journal": None if fill.journal_id is None else str(fill.journal_id),
        "principal": fill.principal,
        "at": fill.at.isoformat(),
    }
