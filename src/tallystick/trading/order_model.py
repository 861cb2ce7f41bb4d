"""Portfolios, orders and fills, as values, and the rules of what an order is worth.

Quantities are integers of a millionth of a share (`SHARES`), prices exact decimals in the currency of the portfolio's cash
account, amounts integers of its minor units. Nothing is rounded but what an order has moved in all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, get_args

from tallystick.kit import Asset, Conflict, Invalid, NotFound, format_minor, parse_minor

Side = Literal["buy", "sell"]
OrderStatus = Literal["placed", "partly_filled", "filled", "cancelled"]
SIDES: tuple[Side, ...] = get_args(Side)
ORDER_STATUSES: tuple[OrderStatus, ...] = get_args(OrderStatus)
OPEN = ("placed", "partly_filled")

SHARES = Asset("shares", 6)
"""What quantities are counted in: a millionth of a share is one."""

MARGIN_PERCENT = 5
"""A buy without a limit sets aside what it costs at the latest price, and so much more."""

MAX_OPEN = 1_000
"""How many orders of a portfolio may be open at once, and how many instruments it may hold or have ordered."""

SYMBOL_PATTERN = r"[A-Z0-9][A-Z0-9.-]{0,11}"
_SYMBOL = re.compile(SYMBOL_PATTERN)
_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,8})?")
_DECIMALS = Asset("", SHARES.scale + 8)
"""As many decimals as a quantity times a price can have."""


@dataclass(frozen=True, slots=True)
class NewPortfolio:
    """A portfolio to open over a cash account; `settlement` is the bank's account by which it settles with the broker."""

    name: str
    account: str
    settlement: str
    shorts: bool = False


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A portfolio: its cash account, whose asset is its currency and whose owner is its customer, and where it settles.

    With `shorts` it may sell more than it holds.
    """

    id: int
    name: str
    account_id: int
    account: str
    account_kind: str
    settlement_id: int
    settlement: str
    customer_id: int | None
    customer: str | None
    asset: str
    scale: int
    shorts: bool
    opened_by: str
    opened_at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a portfolio holds of an instrument, what its open orders are to buy and to sell, and the latest price."""

    symbol: str
    quantity: int
    buying: int
    selling: int
    price: Decimal | None
    price_day: date | None

    @property
    def available(self) -> int:
        """What is free to be sold."""
        return self.quantity - self.selling

    @property
    def value(self) -> Fraction | None:
        """What it is worth at the latest price; below zero where it was sold short; `None` where there is no price."""
        if not self.quantity:
            return Fraction(0)
        return None if self.price is None else value_of(self.quantity, self.price)


@dataclass(frozen=True, slots=True)
class Book:
    """A portfolio with all that it holds and has ordered; `cash` is the balance of its cash account, with what is held."""

    portfolio: Portfolio
    cash: int
    open_orders: int
    holdings: Sequence[Holding]

    def holding(self, symbol: str) -> Holding | None:
        """What it holds of an instrument; `None` where it neither holds nor has ordered any."""
        return next((one for one in self.holdings if one.symbol == symbol), None)

    @property
    def value(self) -> Fraction | None:
        """What it is worth, cash included, in whole units of its currency; `None` where a price is missing."""
        values = [one.value for one in self.holdings]
        known = [value for value in values if value is not None]
        return Fraction(self.cash, 10**self.portfolio.scale) + sum(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to place; without `limit_price` it is carried out at whatever the market asks."""

    portfolio: str
    symbol: str
    side: Side
    quantity: int
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands. `worth` is the exact sum of the fills' quantities times their prices, `amount` what they moved."""

    id: int
    portfolio_id: int
    portfolio: str
    account: str
    asset: str
    scale: int
    symbol: str
    side: Side
    quantity: int
    limit_price: Decimal | None
    hold_id: int | None
    principal: str
    placed_at: datetime
    status: OrderStatus
    filled: int
    worth: Decimal
    amount: int
    changed_at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)

    @property
    def remaining(self) -> int:
        """What is not carried out yet."""
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    def as_placed(self) -> Order:
        """What the call that placed it was told, whatever has become of it since."""
        return replace(self, status="placed", filled=0, worth=Decimal(0), amount=0, changed_at=self.placed_at)

    def moves(self, quantity: int, price: Decimal) -> int:
        """What a fill moves, in minor units: so much that all fills together move their exact sum, rounded once, half up."""
        after = Fraction(self.worth) / 10**SHARES.scale + value_of(quantity, price)
        return _half_up(after * 10**self.scale) - self.amount


@dataclass(frozen=True, slots=True)
class NewFill:
    """A part of an order that the broker has carried out."""

    order_id: int
    quantity: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Fill:
    """A part of an order that was carried out: the `n`-th, and the journal of its money, where that was not nothing."""

    id: int
    order_id: int
    n: int
    quantity: int
    price: Decimal
    amount: int
    asset: str
    scale: int
    journal_id: int | None
    principal: str
    at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class View:
    """What an order is in its portfolio: what policy is to see of it.

    `price` is the most that it is known to be worth a share: the higher of its limit and the latest price; of a sale with a
    limit alone nothing is known but the least, so it is `None`. `position` is what the portfolio would hold before it if every
    open order of its side were carried out: a limit holds however many orders are under way. `reserve` is what a buy sets
    aside, in minor units.
    """

    held: int
    position: int
    after: int
    price: Decimal | None
    value: Fraction | None
    short: bool
    _: KW_ONLY
    reserve: int | None

    @property
    def concentration(self) -> Fraction | None:
        """The share of the portfolio that the position has then; `None` where that is not known."""
        if self.price is None or self.value is None or self.value <= 0:
            return None
        return value_of(abs(self.after), self.price) / self.value


def view(book: Book, order: NewOrder, latest: Decimal | None) -> View:
    """What an order is in its portfolio. Refuses with `Conflict` (`no_price`) where it has no limit and there is no price."""
    found = book.holding(order.symbol) or Holding(order.symbol, 0, 0, 0, None, None)
    if order.limit_price is None and latest is None:
        raise no_price(order.symbol)
    reserve: int | None = None
    if order.side == "buy":
        price = order.limit_price if order.limit_price is not None else latest
        assert price is not None
        cost = value_of(order.quantity, price) * 10**book.portfolio.scale
        reserve = math.ceil(cost if order.limit_price is not None else cost * (100 + MARGIN_PERCENT) / 100)
    position = found.quantity + found.buying if order.side == "buy" else found.available
    after = position + order.quantity if order.side == "buy" else position - order.quantity
    return View(
        held=found.quantity,
        position=position,
        after=after,
        price=_most(order, latest),
        value=book.value,
        short=order.side == "sell" and after < 0,
        reserve=reserve,
    )


def _most(order: NewOrder, latest: Decimal | None) -> Decimal | None:
    if latest is None:
        return order.limit_price if order.side == "buy" else None
    return latest if order.limit_price is None else max(latest, order.limit_price)


def value_of(quantity: int, price: Decimal) -> Fraction:
    """What a quantity is worth at a price, exactly, in whole units of the currency."""
    return Fraction(quantity, 10**SHARES.scale) * Fraction(price)


def minor_of(value: Fraction, unit: Asset) -> int:
    """A value in minor units, rounded up."""
    return math.ceil(value * int(10**unit.scale))


def plain(value: Fraction) -> str:
    """A value as a plain decimal, exactly, if it is a quantity times a price; else to fourteen decimals."""
    text = format_minor(_half_up(value * 10**_DECIMALS.scale), _DECIMALS)
    return text.rstrip("0").rstrip(".")


def quantity_text(quantity: int) -> str:
    """A quantity as people write it: `10`, `0.5`."""
    return plain(Fraction(quantity, 10**SHARES.scale))


def read_quantity(quantity: Decimal | int | str) -> int:
    """A quantity as a number of millionths. Refuses with `Invalid` (`amount_…`) as amounts are."""
    return parse_minor(quantity, SHARES)


def read_price(price: Decimal | int | str) -> Decimal:
    """A price: above zero, of up to 9 and 8 digits. Refuses with `Invalid` (`price_malformed`)."""
    if not _PRICE.fullmatch(text := format(price, "f") if isinstance(price, Decimal) else str(price)) or not Decimal(text):
        raise Invalid("price_malformed", "a price is a plain decimal number above zero, of 9 and 8 digits")
    return Decimal(text)


def check_symbol(symbol: str) -> str:
    """The symbol of an instrument. Refuses with `Invalid` (`symbol_malformed`)."""
    if not _SYMBOL.fullmatch(symbol):
        raise Invalid("symbol_malformed", "a symbol is 1 to 12 capital letters, digits, dots or dashes")
    return symbol


def check_fill(order: Order, fill: NewFill) -> None:
    """Refuse with `Conflict` a fill that the order does not allow: `impossible_transition` where it is not open any more,
    `order_exceeded` where less of it is left, `fill_beyond_limit` where the price is worse than its limit.
    """
    if not order.is_open:
        raise Conflict("impossible_transition", f"the order is {order.status}")
    if fill.quantity > order.remaining:
        raise Conflict("order_exceeded", f"{quantity_text(order.remaining)} are left of the order")
    if order.limit_price is None:
        return
    worse = fill.price > order.limit_price if order.side == "buy" else fill.price < order.limit_price
    if worse:
        raise Conflict("fill_beyond_limit", f"the limit of the order is {order.limit_price}")


def no_price(symbol: str) -> Conflict:
    """The refusal of an order without a limit, of what has no price."""
    return Conflict("no_price", f"there is no price of {symbol}: say a limit")


def unknown_portfolio(name: str) -> NotFound:
    """The refusal of a name that no portfolio has."""
    return NotFound("unknown_portfolio", f"there is no portfolio {name}")


def unknown_order(order_id: int | str) -> NotFound:
    """The refusal of a number that no order has."""
    return NotFound("unknown_order", f"there is no order {order_id}")


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
