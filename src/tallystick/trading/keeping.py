"""Portfolios: opened over a cash account, locked, read."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import audit, ledger
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, check_name
from tallystick.trading import orders_store as store
from tallystick.trading.order_model import Book, NewPortfolio, Portfolio, unknown_portfolio


async def open_portfolio(tx: Tx, wanted: NewPortfolio, *, by: str) -> Portfolio:
    """Open a portfolio. Refuses as `check_portfolio`, and with `Conflict` (`portfolio_exists`) where the name is taken, or the
    cash account serves another one.
    """
    cash, settlement = await check_portfolio(tx, wanted)
    made = await store.insert_portfolio(
        tx, name=wanted.name, account_id=cash.id, settlement_id=settlement.id, shorts=wanted.shorts, principal=by
    )
    if made is None:
        raise Conflict("portfolio_exists", f"there is a portfolio {wanted.name}, or one over the account {wanted.account}")
    detail = {"account": cash.id, "settlement": settlement.id, "shorts": wanted.shorts}
    await audit.append(tx, principal=by, verb="portfolios.open", subject_kind="portfolio", subject_id=made, detail=detail)
    return await portfolio(tx, wanted.name)


async def check_portfolio(tx: ReadTx, wanted: NewPortfolio) -> tuple[ledger.Account, ledger.Account]:
    """The cash account and the account that it settles by. Refuses with `NotFound` (`unknown_account`) and `Invalid`:
    `name_malformed`, `same_account`, `currency_mismatch`, `settlement_not_internal` (it is an account of the bank's own).
    """
    check_name(wanted.name, "a portfolio's name")
    cash, settlement = await ledger.account(tx, wanted.account), await ledger.account(tx, wanted.settlement)
    if cash.id == settlement.id:
        raise Invalid("same_account", "a portfolio settles by another account than its own")
    if cash.asset != settlement.asset:
        raise Invalid("currency_mismatch", f"{cash.name} holds {cash.asset} and {settlement.name} holds {settlement.asset}")
    if settlement.kind != "internal":
        raise Invalid("settlement_not_internal", f"{settlement.name} is no account of the bank's own")
    return cash, settlement


async def lock(tx: Tx, name: str) -> Book:
    """Lock a portfolio, its cash account and the account that it settles by, so that all of it stays what it is until this
    transaction ends; what it is. Refuses with `NotFound` (`unknown_portfolio`).
    """
    if await store.lock(tx, name) is None:
        raise unknown_portfolio(name)
    return await book(tx, name)


async def portfolio(tx: ReadTx, name: str) -> Portfolio:
    """The portfolio of that name; refuses with `NotFound` (`unknown_portfolio`)."""
    found = await store.portfolios(tx, name=name)
    if not found:
        raise unknown_portfolio(name)
    return found[0]


async def book(tx: ReadTx, name: str) -> Book:
    """A portfolio with all that it holds and has ordered. Refuses with `NotFound` (`unknown_portfolio`)."""
    found = await portfolio(tx, name)
    (cash,) = await ledger.accounts(tx, ids=[found.account_id], limit=1)
    return Book(found, cash.posted, await store.open_orders(tx, found.id), await store.holdings(tx, found.id))


async def portfolios(
    tx: ReadTx, *, ids: Sequence[int] | None = None, among: Sequence[int] | None = None, after: int = 0, limit: int = 50
) -> list[Portfolio]:
    """A page of portfolios above the id `after`, in order; of some ids, and over some cash accounts (`among`), where given."""
    return await store.portfolios(tx, ids=ids, among=among, after=after, limit=limit)
