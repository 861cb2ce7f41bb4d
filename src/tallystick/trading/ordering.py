"""The verbs of orders: placed, filled in parts, cancelled; each under the lock of its portfolio.

Locks go in the order of the house: the mark of closed periods, then the portfolio, then balances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tallystick import audit, ledger
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound
from tallystick.trading import keeping
from tallystick.trading import orders_store as store
from tallystick.trading.order_model import (
    MAX_OPEN,
    ORDER_STATUSES,
    SIDES,
    Book,
    Fill,
    NewFill,
    NewOrder,
    Order,
    Portfolio,
    View,
    check_fill,
    check_symbol,
    unknown_order,
    view,
)
from tallystick.trading.service import latest_price

_NEWEST = 2**63 - 1
_RESERVE = "order_reserve"
_FILL = "order_fill"
ledger.keep_kind("order_")


@dataclass(frozen=True, slots=True)
class Seen:
    """An order that is about to be placed, and what it is in its portfolio, which is locked."""

    book: Book
    view: View


async def see(tx: Tx, wanted: NewOrder) -> Seen:
    """Lock the portfolio of an order that is about to be placed, and say what the order is in it.

    Refuses with `NotFound` (`unknown_portfolio`), `Invalid` (`symbol_malformed`, `unknown_side`) and `Conflict` (`no_price`).
    """
    check_symbol(wanted.symbol)
    if wanted.side not in SIDES:
        raise Invalid("unknown_side", "an order buys or sells")
    book = await keeping.lock(tx, wanted.portfolio)
    return Seen(book, view(book, wanted, await _price(tx, book, wanted.symbol)))


async def place(tx: Tx, wanted: NewOrder, *, by: str, on_behalf_of: str | None = None) -> Order:
    """Place an order. A buy sets its money aside, a sale the units that are to be sold.

    Refuses as `see`, and with `Conflict`: `insufficient_position` where more would be sold than is free, and the portfolio may
    not; `portfolio_full` at 1,000 open orders or instruments; `posting_refused` where the books do not set the money aside.
    """
    seen = await see(tx, wanted)
    found = seen.book.portfolio
    if seen.book.open_orders >= MAX_OPEN or (len(seen.book.holdings) >= MAX_OPEN and seen.book.holding(wanted.symbol) is None):
        raise Conflict("portfolio_full", f"a portfolio has at most {MAX_OPEN} open orders, and as many instruments")
    order_id = await store.next_order(tx)
    hold_id = None
    if seen.view.reserve is not None:
        hold_id = await _reserve(tx, found, order_id, seen.view.reserve, by=by, on_behalf_of=on_behalf_of)
    if not await store.place_order(tx, order_id, found.id, wanted, hold_id=hold_id, principal=by):
        raise Conflict("insufficient_position", f"{found.name} may not sell more of {wanted.symbol} than it has free")
    detail = {"portfolio": found.id, "symbol": wanted.symbol, "side": wanted.side, "quantity": wanted.quantity, "hold": hold_id}
    await audit.append(
        tx, principal=by, on_behalf_of=on_behalf_of, verb="orders.place", subject_kind="order", subject_id=order_id,
        detail=detail,
    )  # fmt: skip
    return await order(tx, order_id)


async def see_order(tx: Tx, order_id: int) -> tuple[Order, Book]:
    """Lock the portfolio of an order; the order, and the portfolio. Refuses with `NotFound` (`unknown_order`)."""
    book = await keeping.lock(tx, (await order(tx, order_id)).portfolio)
    return await order(tx, order_id), book


async def cancel(tx: Tx, order_id: int, *, by: str, on_behalf_of: str | None = None) -> Order:
    """Have what is left of an order be carried out no more; what it had set aside is free again.

    One that is cancelled already stays so. Refuses with `NotFound` (`unknown_order`) and `Conflict` (`impossible_transition`)
    where it is filled.
    """
    found, _ = await see_order(tx, order_id)
    if found.status == "cancelled":
        return found
    if not await store.cancel_order(tx, order_id):
        raise Conflict("impossible_transition", f"an order that is {found.status} is not cancelled")
    if found.hold_id is not None:
        await _release(tx, found.hold_id, by=by)
    await audit.append(
        tx, principal=by, on_behalf_of=on_behalf_of, verb="orders.cancel", subject_kind="order", subject_id=order_id,
        detail={"left": found.remaining},
    )  # fmt: skip
    return await order(tx, order_id)


async def fill(tx: Tx, wanted: NewFill, *, by: str, on_behalf_of: str | None = None) -> Fill:
    """Note that a part of an order was carried out: its money moves between the cash account and the one that it settles by, in
    one journal, and the position follows.

    Refuses as `check_fill`, and with `NotFound` (`unknown_order`) and `Conflict`: `reserve_exceeded` where a buy without a
    limit costs more than it has set aside, `posting_refused` where the books do not allow it.
    """
    found, book = await see_order(tx, wanted.order_id)
    check_fill(found, wanted)
    amount = found.moves(wanted.quantity, wanted.price)
    final = wanted.quantity == found.remaining
    journal_id = await _move(tx, found, book.portfolio, amount, final=final, by=by, on_behalf_of=on_behalf_of)
    made = await store.fill_order(
        tx,
        found.id,
        quantity=wanted.quantity,
        price=wanted.price,
        amount=amount,
        journal_id=journal_id,
        principal=by,
    )
    assert made is not None, "the order is locked"
    await audit.append(
        tx, principal=by, on_behalf_of=on_behalf_of, verb="orders.fill", subject_kind="order", subject_id=found.id,
        detail={"fill": made, "quantity": wanted.quantity, "price": str(wanted.price), "amount": amount, "journal": journal_id},
    )  # fmt: skip
    return await fill_of(tx, made)


async def order(tx: ReadTx, order_id: int) -> Order:
    """The order with that id; refuses with `NotFound` (`unknown_order`)."""
    found = await store.orders(tx, ids=[order_id])
    if not found:
        raise unknown_order(order_id)
    return found[0]


async def orders(
    tx: ReadTx,
    *,
    portfolio: str | None = None,
    symbol: str | None = None,
    side: str | None = None,
    status: str | None = None,
    among: Sequence[int] | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Order]:
    """A page of orders below the id `before`, newest first; of one portfolio, instrument, side or status, and of portfolios
    over some cash accounts (`among`), where given.

    Refuses with `NotFound` (`unknown_portfolio`) and `Invalid` (`unknown_status`, `unknown_side`).
    """
    if status is not None and status not in ORDER_STATUSES:
        raise Invalid("unknown_status", f"an order is {', '.join(ORDER_STATUSES)}")
    if side is not None and side not in SIDES:
        raise Invalid("unknown_side", "an order buys or sells")
    return await store.orders(
        tx,
        portfolio_id=None if portfolio is None else (await keeping.portfolio(tx, portfolio)).id,
        symbol=symbol,
        side=side,
        status=status,
        among=among,
        before=_NEWEST if before is None else before,
        limit=limit,
    )


async def fills(tx: ReadTx, order_id: int, *, after: int = 0, limit: int = 200) -> list[Fill]:
    """Fills of an order above the number `after`, in order."""
    return await store.fills(tx, order_id=order_id, after=after, limit=limit)


async def fill_of(tx: ReadTx, fill_id: int) -> Fill:
    """The fill with that id; refuses with `NotFound` (`unknown_fill`)."""
    found = await store.fills(tx, id=fill_id)
    if not found:
        raise NotFound("unknown_fill", f"there is no fill {fill_id}")
    return found[0]


async def _price(tx: ReadTx, book: Book, symbol: str) -> Decimal | None:
    known = book.holding(symbol)
    if known is not None:
        return known.price
    latest = await latest_price(tx, symbol)
    return None if latest is None else latest.close


async def _reserve(tx: Tx, found: Portfolio, order_id: int, amount: int, *, by: str, on_behalf_of: str | None) -> int:
    hold = ledger.NewHold(
        account_id=found.account_id,
        amount=amount,
        actor=by,
        kind=_RESERVE,
        ref_id=order_id,
        on_behalf_of=on_behalf_of,
        approval_id=tx.approval,
    )
    (placed,) = await ledger.place_holds(tx, [hold])
    if placed.hold_id is None:
        raise _refused(placed.refusal)
    return placed.hold_id


async def _release(tx: Tx, hold_id: int, *, by: str) -> None:
    (released,) = await ledger.release_holds(tx, [ledger.Release(hold_id, by)])
    # Nobody else frees it; of parts of a minor unit, a few fills may have taken all of it before the last.
    if released.refusal not in (None, "hold_resolved"):
        raise _refused(released.refusal)


async def _move(
    tx: Tx, found: Order, of: Portfolio, amount: int, *, final: bool, by: str, on_behalf_of: str | None
) -> int | None:
    if amount == 0:
        if final and found.hold_id is not None:
            await _release(tx, found.hold_id, by=by)
        return None
    debit, credit = (of.account_id, of.settlement_id) if found.side == "buy" else (of.settlement_id, of.account_id)
    journal = ledger.Journal(
        kind=_FILL,
        entries=ledger.transfer(debit=debit, credit=credit, amount=amount),
        actor=by,
        ref_id=found.id,
        on_behalf_of=on_behalf_of,
        approval_id=tx.approval,
        hold_id=found.hold_id,
        final=final and found.hold_id is not None,
    )
    (posted,) = await ledger.post(tx, [journal])
    if posted.refusal == "hold_exceeded":
        raise Conflict("reserve_exceeded", "the fill costs more than its order has set aside")
    if posted.refusal is not None:
        raise _refused(posted.refusal)
    return posted.journal_id


def _refused(refusal: str | None) -> Conflict:
    return Conflict("posting_refused", f"the books refuse it: {refusal}")
