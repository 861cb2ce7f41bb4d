"""What the source holds, as values. Amounts are in haler (CZK has two decimals), days are counted from 1 January 1900."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from tallystick.customers import Role, Sex
from tallystick.kit import Asset, TallystickError, format_minor

CZK = Asset("CZK", 2)
ROUNDING = 10
"""The source rounds: a step of its balances may be off by exactly this much, either way."""

FIRST_DAY = date(1900, 1, 1)
_LISTED = 100


class Row(NamedTuple):
    """One transaction of the source: `amount` is above zero where the account was given money; `code` indexes `codes.CODES`.

    The first three fields are the order in which rows are staged. `file` is the number of the file it was read from.
    """

    account_id: int
    day: int
    trans_id: int
    amount: int
    balance: int
    code: int
    bank: str
    file: int
    line: int


class Ordered(NamedTuple):
    """A row in its place: `rounding` (-10, 0 or 10) is what the source's balance after it is off by.

    `known` rows are in the books already; they are compared, and not posted.
    """

    row: Row
    rounding: int
    known: bool


class AccountRow(NamedTuple):
    """An account that the bank keeps."""

    account_id: int


class Client(NamedTuple):
    """A customer; `district_id` leads to the region."""

    client_id: int
    birth_date: date
    sex: Sex
    district_id: int


class Right(NamedTuple):
    """Who may use which account."""

    client_id: int
    account_id: int
    role: Role


class Order(NamedTuple):
    """A standing order, in haler."""

    order_id: int
    account_id: int
    to_bank: str
    to_account: str
    amount: int
    purpose: str


class District(NamedTuple):
    """A district and the region that it lies in."""

    district_id: int
    region: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that cannot be taken in: where it stands, and what is wrong with it."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Place(NamedTuple):
    """Where something stands."""

    file: str
    line: int

    def problem(self, reason: str) -> Problem:
        return Problem(self.file, self.line, reason)


class Problems:
    """The problems that were found: all are counted, the first hundred are kept."""

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.total = 0

    def add(self, problem: Problem) -> None:
        self.total += 1
        if len(self.listed) < _LISTED:
            self.listed.append(problem)


class ImportRefused(TallystickError):
    """The files hold something that cannot be taken in, and so nothing of them was."""

    def __init__(self, problems: Problems) -> None:
        super().__init__("import_refused", f"{problems.total} problems; nothing was imported")
        self.problems = problems


def midnight(day: int) -> datetime:
    """The start of a day, UTC: when a row of that day takes effect."""
    moment = FIRST_DAY + timedelta(days=day)
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)


def day_of(moment: datetime) -> int:
    """The day of a moment, UTC."""
    return (moment.astimezone(UTC).date() - FIRST_DAY).days


def written(haler: int) -> str:
    """An amount as people write it."""
    return format_minor(haler, CZK)
