"""What is known of customers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Sex = Literal["F", "M"]
Role = Literal["owner", "user"]


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer to add. `name` is what the bank calls them (`CUST-1042`); what is `None` is not known."""

    name: str
    full_name: str | None = None
    birth_date: date | None = None
    sex: Sex | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the bank knows them."""

    id: int
    name: str
    full_name: str | None
    birth_date: date | None
    sex: str | None
    region: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Disposition:
    """A customer may use an account: as its one `owner`, or as another `user` whom the owner lets in."""

    customer_id: int
    account_id: int
    role: Role


@dataclass(frozen=True, slots=True)
class NewStandingOrder:
    """A standing order to add: `amount` (minor units of `asset`, above zero) from an account to one at another bank.

    `name` is the bank's own for the order; `purpose` is a code, as `SIPO` for the household.
    """

    name: str
    account_id: int
    to_bank: str
    to_account: str
    amount: int
    asset: str
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """A standing order of an account."""

    id: int
    name: str
    account_id: int
    to_bank: str
    to_account: str
    amount: int
    asset: str
    purpose: str | None
