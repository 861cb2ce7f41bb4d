"""What the books hold, as values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any, Literal

from tallystick.kit import Asset

AccountKind = Literal["customer", "internal"]
AccountStatus = Literal["open", "frozen", "closed"]
Mode = Literal["independent", "atomic"]
"""Whether each thing of a batch has its own result, or one refusal refuses them all."""


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """An account to open. `floor` is in minor units; `None` is no floor, which is for the bank's own accounts."""

    name: str
    asset: str
    kind: AccountKind = "customer"
    floor: int | None = 0


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """An account that a call asked for; `opened` is false where it was there before."""

    ord: int
    id: int
    asset: str
    kind: str
    opened: bool


@dataclass(frozen=True, slots=True)
class AccountRef:
    """What never changes of an account: enough to name it in a journal and to read an amount."""

    id: int
    name: str
    asset: str
    scale: int
    kind: str

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands. `posted` is all that was given less all that was taken; `available` is less what is held."""

    id: int
    name: str
    asset: str
    scale: int
    kind: str
    status: str
    opened_at: datetime
    posted: int
    held: int
    floor: int | None
    seq: int

    def as_opened(self, floor: int | None) -> Account:
        """The account as the call that opened it with `floor` was told of it, whatever has become of it since."""
        return dataclasses.replace(self, status="open", posted=0, held=0, seq=0, floor=floor)

    @property
    def available(self) -> int:
        return self.posted - self.held

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class AccountChange:
    """A status and floor that an account had from `changed_at` on, and who gave it them; the first is that of its opening."""

    n: int
    status: str
    floor: int | None
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on an account just before a journal is posted: at least so much available, or so many entries, or both."""

    account_id: int
    available: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where something that is asked for comes from, as who asks for it says: under which key, for which thing (`ref_id`), from
    which task; `meta` is what else is to be kept of it. With `key` it is done once: the same call again answers as the first.

    For whom the actor acts (`on_behalf_of`) and who agreed (`approval_id`) are no part of it: identity and the gate say so.
    """

    key: str | None = None
    ref_id: int | None = None
    task_id: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedOrigin(Origin):
    """Where a journal comes from, and when its business happened; `None` means when it is posted."""

    effective_at: datetime | None = None


def origin_of(thing: Origin) -> dict[str, Any]:
    """What a thing says of its origin, for the thing that is made of it."""
    return {name: getattr(thing, name) for name in (_DATED_ORIGIN if isinstance(thing, DatedOrigin) else _ORIGIN)}


_ORIGIN = tuple(one.name for one in dataclasses.fields(Origin))
_DATED_ORIGIN = tuple(one.name for one in dataclasses.fields(DatedOrigin))


@dataclass(frozen=True, slots=True)
class Journal(DatedOrigin):
    """A set of entries to post whole or not at all: `(account id, amount)` each, summing to zero per asset.

    `ref_id` is the thing of `kind` that the journal is for. With `hold_id` it captures what it takes from that hold's account,
    and if `final` frees what remains of the hold. With `reverses` it takes back, account by account, some or all of what that
    journal did. It is posted only where every guard holds.
    """

    kind: str
    entries: Sequence[tuple[int, int]]
    actor: str
    _: KW_ONLY
    on_behalf_of: str | None = None
    approval_id: int | None = None
    reverses: int | None = None
    hold_id: int | None = None
    final: bool = False
    guards: Sequence[Guard] = ()


@dataclass(frozen=True, slots=True)
class Reversal(DatedOrigin):
    """A journal to take back: whole, or `amount` of it where it moved money between two accounts, or by `entries`."""

    journal_id: int
    actor: str
    amount: int | None = None
    entries: Sequence[tuple[int, int]] | None = None
    _: KW_ONLY
    on_behalf_of: str | None = None
    approval_id: int | None = None


@dataclass(frozen=True, slots=True)
class Original:
    """What a journal did to one account, net."""

    journal_id: int
    kind: str
    reverses: int | None
    account_id: int
    amount: int


@dataclass(frozen=True, slots=True)
class Reversed:
    """A journal (`original`) and one that takes it back."""

    original: int
    journal_id: int


@dataclass(frozen=True, slots=True)
class NewHold(Origin):
    """Money to set aside on an account (minor units, above zero), until `expires_at`, for `expires_in_s`, or until resolved."""

    account_id: int
    amount: int
    actor: str
    kind: str = "hold"
    _: KW_ONLY
    on_behalf_of: str | None = None
    approval_id: int | None = None
    expires_at: datetime | None = None
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of one hold of a batch: its id, or the code of the refusal. `replayed`: an earlier call's answer."""

    ord: int
    hold_id: int | None
    refusal: str | None
    replayed: bool
    placed_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Release:
    """A hold to give back, or what remains of it."""

    hold_id: int
    actor: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What became of one release of a batch: the hold's id, or the code of the refusal."""

    ord: int
    hold_id: int | None
    refusal: str | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it stands: `open`, `captured`, `released` or `expired`. `remaining` is what it still binds."""

    id: int
    account_id: int
    account: str
    asset: str
    scale: int
    kind: str
    ref_id: int | None
    actor: str
    amount: int
    captured: int
    remaining: int
    status: str
    placed_at: datetime
    expires_at: datetime | None
    meta: Mapping[str, Any] | None

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)


@dataclass(frozen=True, slots=True)
class HoldChange:
    """What became of a hold: `taken` was posted by a capture, `freed` became available again."""

    n: int
    kind: str
    taken: int
    freed: int
    journal_id: int | None
    actor: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class LockedBalance:
    """A balance that this transaction has locked, so that it stays what it is until it ends."""

    account_id: int
    status: str
    posted: int
    held: int
    floor: int | None


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of one journal of a batch: its id, or the code of the refusal. `replayed`: an earlier call's answer."""

    ord: int
    journal_id: int | None
    refusal: str | None
    replayed: bool
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an account's statement; `balance_after` is the account's balance that it left, in minor units."""

    seq: int
    journal_id: int
    kind: str
    amount: int
    balance_after: int
    effective_at: datetime
    posted_at: datetime
    meta: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """All accounts of one asset together: `dr` and `cr` are what was ever taken and given; in balance they are equal."""

    asset: str
    scale: int
    accounts: int
    dr: int
    cr: int

    @property
    def difference(self) -> int:
        return self.cr - self.dr


def transfer(*, debit: int, credit: int, amount: int) -> list[tuple[int, int]]:
    """The entries that move `amount` (minor units, above zero) from the account `debit` to the account `credit`."""
    return [(debit, -amount), (credit, amount)]
