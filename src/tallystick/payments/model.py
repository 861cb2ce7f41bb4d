"""Nostro accounts and external payments, as values, and the rule of their lifecycle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from tallystick.kit import Asset

Direction = Literal["out", "in"]
Status = Literal[
    "created", "failed", "sent", "settled", "rejected", "returned", "cancelled", "received", "unmatched", "assigned"
]
STATUSES = frozenset(
    {"created", "failed", "sent", "settled", "rejected", "returned", "cancelled", "received", "unmatched", "assigned"}
)

MOVES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "out": {
        "created": frozenset({"sent", "cancelled"}),
        "sent": frozenset({"settled", "rejected", "returned"}),
        "settled": frozenset({"returned"}),
    },
    "in": {"unmatched": frozenset({"assigned", "returned"})},
}
"""What a payment of each direction may become; what is not named here is where it ends."""


@dataclass(frozen=True, slots=True)
class Nostro:
    """Our account at another bank, mirrored: `name` is the account in our books, `their_account` the account in theirs.

    `clearing` and `suspense` are accounts of ours too: what was sent and is not settled, and what came in for nobody we know.
    """

    id: int
    name: str
    clearing_id: int
    clearing: str
    suspense_id: int
    suspense: str
    asset: str
    scale: int
    bank: str
    their_account: str
    registered_by: str
    registered_at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class Counterparty:
    """The other side of a payment, as far as it is known."""

    name: str | None = None
    account: str | None = None
    bank: str | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A payment to make: from `account` of ours by way of `nostro`. `amount` is a decimal in `currency`, which is that of both.

    `end_to_end_id` travels with the payment to the statement; without it the payment gets one of its own.
    """

    nostro: str
    account: str
    amount: Decimal | int | str
    counterparty: Counterparty
    currency: str | None = None
    end_to_end_id: str | None = None
    remittance: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A payment that another bank says it has given to us for `beneficiary`, an account of ours or nothing that we know."""

    nostro: str
    beneficiary: str
    amount: Decimal | int | str
    counterparty: Counterparty = Counterparty()
    currency: str | None = None
    end_to_end_id: str | None = None
    remittance: str | None = None
    booked_on: date | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A change of status to make. `reason` belongs to `rejected` and `returned`, `account` to `assigned`.

    `booked_on` is the day on which the other bank booked it; without it, or where it is closed, the books take the present.
    """

    payment_id: int
    status: str
    reason: str | None = None
    account: str | None = None
    booked_on: date | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """An external payment as it stands; `amount` is in minor units of `asset`, `account` the customer's, once it is known."""

    id: int
    direction: str
    nostro: str
    account: str | None
    beneficiary: str | None
    amount: int
    asset: str
    scale: int
    end_to_end_id: str | None
    counterparty_name: str | None
    counterparty_account: str | None
    counterparty_bank: str | None
    remittance: str | None
    principal: str
    created_at: datetime
    status: str
    reason: str | None
    changed_at: datetime

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to a payment: the status it came to, and the journal that moved the money, where money moved.

    `account` is the account of ours, beside the nostro and its clearing, that the money came from or went to.
    `booked_on` is the day on which the other bank booked it, where that is told.
    """

    payment_id: int
    status: str
    journal_id: int | None
    account: str | None
    reason: str | None
    booked_on: date | None
    principal: str
    at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """A payment and its steps, oldest first."""

    payment: Payment
    steps: tuple[Step, ...]

    def has_been(self, status: str) -> bool:
        """Whether the payment ever came to `status`."""
        return any(step.status == status for step in self.steps)

    def as_of(self, status: str) -> History:
        """The payment as the call that brought it to `status` was told of it, whatever has become of it since."""
        place = next((place for place, step in enumerate(self.steps) if step.status == status), None)
        if place is None:
            return self
        step = self.steps[place]
        account = None if status == "unmatched" else self.payment.account
        payment = dataclasses.replace(self.payment, status=status, reason=step.reason, changed_at=step.at, account=account)
        return History(payment, self.steps[: place + 1])

    def as_first_answered(self) -> History:
        """The payment as the call that made it was told of it."""
        return self.as_of(self.steps[0].status)


def may_become(direction: str, old: str, new: str) -> bool:
    """Whether a payment of `direction` that is `old` may become `new`."""
    return new in MOVES[direction].get(old, frozenset())
