"""What the server answers, as values. Ids are strings, amounts are `Decimal`, times carry their zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands. `available` is `posted` less what is `held`, and may go down to minus `overdraft_limit`.

    `seq` is how many entries the account has.
    """

    id: str
    customer_id: str | None
    currency: str
    kind: str
    status: str
    posted: Decimal
    held: Decimal
    available: Decimal
    overdraft_limit: Decimal | None
    seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an account's statement; `balance_after` is what it left."""

    seq: int
    journal_id: str
    kind: str
    amount: Decimal
    balance_after: Decimal
    effective_at: datetime
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer: `posted`, `queued`, or `failed` with the `reason` of the business."""

    id: str
    status: str
    reason: str | None
    from_account: str
    to_account: str
    amount: Decimal
    currency: str
    settle: str
    description: str | None
    created_at: datetime
    settled_at: datetime | None
    journal_id: str | None


@dataclass(frozen=True, slots=True)
class TransferBatch:
    """What became of transfers that were asked for in one call, in order. Those of an `atomic` batch are one action.

    Where people are asked about it, they are asked by `approval_id`, and there are no transfers yet.
    """

    action_id: str | None
    approval_id: str | None
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a journal: `posted`, or `refused` by the books with the `reason`. Of a rehearsal there is no id."""

    id: str | None
    status: str
    reason: str | None
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a hold: `placed`, or `refused` by the books with the `reason`."""

    id: str | None
    status: str
    reason: str | None
    placed_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Released:
    """What became of a release: `released`, or `refused` with the `reason`."""

    id: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside: `open`, `captured`, `released` or `expired`. `remaining` is what it still binds."""

    id: str
    status: str
    account_id: str
    currency: str
    kind: str
    amount: Decimal
    captured: Decimal
    remaining: Decimal
    placed_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. `error` says why it failed."""

    id: str
    agent: str
    type: str
    payload: Mapping[str, Any]
    status: str
    result: Any
    error: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """A task that the caller holds until `deadline_at`. Its `fence` is what finishes it."""

    id: str
    fence: str
    agent: str
    type: str
    payload: Mapping[str, Any]
    attempts: int
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """A fact that an agent left for others."""

    id: str
    agent: str
    type: str
    payload: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Case:
    """A customer's request, with a JSON payload and in the end a `result`; or a customer's event, with a text."""

    id: str
    door: str
    customer_id: str
    type: str
    payload: Mapping[str, Any] | str
    status: str
    result: Mapping[str, Any] | None
    created_at: datetime
    changed_at: datetime
