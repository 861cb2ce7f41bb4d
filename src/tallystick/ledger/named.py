"""What is to be posted as the world outside names it: accounts by name, amounts as decimals in the account's asset.

What cannot be read (no such account, a part of a minor unit) is an error; what the books then refuse is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from tallystick.db import ReadTx
from tallystick.kit import Asset, Invalid, TallystickError, check_text, dumps, parse_minor, parse_signed_minor
from tallystick.ledger import history, holds, kinds, service, store
from tallystick.ledger.model import AccountRef, DatedOrigin, Guard, Journal, NewHold, Origin, Reversal, origin_of

Number = Decimal | int | str
Read = TypeVar("Read")
MAX_META_BYTES = 16_384
_MAX_KIND = 50


@dataclass(frozen=True, slots=True)
class NamedGuard:
    """A condition on an account just before a journal is posted; `available` is in the account's asset."""

    account: str
    available: Number | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class NamedJournal(DatedOrigin):
    """A journal whose entries are `(account's name, decimal amount)`: above zero gives, below zero takes. See `Journal`."""

    kind: str
    entries: Sequence[tuple[str, Number]]
    _: KW_ONLY
    guards: Sequence[NamedGuard] = ()


@dataclass(frozen=True, slots=True)
class NamedHold(Origin):
    """Money to set aside on the account of that name, in `currency` where that is said. See `NewHold`."""

    account: str
    amount: Number
    currency: str | None = None
    kind: str = "hold"
    _: KW_ONLY
    expires_at: datetime | None = None
    expires_in_s: int | None = None


@dataclass(frozen=True, slots=True)
class NamedReversal(DatedOrigin):
    """A journal to take back: whole, or `amount` of it (in `currency` where that is said), or by entries. See `Reversal`."""

    journal_id: int
    amount: Number | None = None
    currency: str | None = None
    entries: Sequence[tuple[str, Number]] | None = None


@dataclass(frozen=True, slots=True)
class NamedCapture(DatedOrigin):
    """`amount` of a hold to give to the account `to_account`; with `final`, what then remains of it is freed."""

    hold_id: int
    to_account: str
    amount: Number
    currency: str | None = None
    final: bool = False
    kind: str = "capture"


async def read_journals(
    tx: ReadTx, actor: str, named: Sequence[NamedJournal], *, on_behalf_of: str | None = None
) -> list[Journal | TallystickError]:
    """The journals that are meant, each with `actor` and whom they act for, or why one cannot be.

    The reasons: `unknown_account`, `amount_…`, `meta_too_large`, `kind_missing`, `reserved_kind` (a room keeps that kind).
    """
    names = (name for one in named for name in [*(name for name, _ in one.entries), *(guard.account for guard in one.guards)])
    known = await service.references(tx, names)
    return [_or_error(partial(_journal, one, actor, on_behalf_of, known)) for one in named]


async def read_holds(
    tx: ReadTx, actor: str, named: Sequence[NamedHold], *, on_behalf_of: str | None = None
) -> list[NewHold | TallystickError]:
    """The holds that are meant, each with `actor` and whom they act for, or why one cannot be.

    The reasons: as `read_journals`, and `currency_mismatch`.
    """
    known = await service.references(tx, (one.account for one in named))
    return [_or_error(partial(_hold, one, actor, on_behalf_of, known)) for one in named]


async def read_reversal(tx: ReadTx, actor: str, named: NamedReversal, *, on_behalf_of: str | None = None) -> Reversal:
    """The reversal that is meant. An amount is in the asset of the two accounts between which the journal moved money, net.

    Refuses as `read_journals` does, and with `unknown_journal`, `amount_or_entries`, `currency_mismatch`, `ambiguous_part`, and
    `not_reversible` where the journal moved nothing.
    """
    _check("reversal", named.meta)
    if named.amount is not None and named.entries is not None:
        raise Invalid("amount_or_entries", "a part of a journal is an amount or entries, not both")
    await history.journal(tx, named.journal_id)
    amount = None if named.entries is not None else await _part(tx, named)
    known = await service.references(tx, (name for name, _ in named.entries or ()))
    entries = None if named.entries is None else _entries(named.entries, known)
    return Reversal(named.journal_id, actor, amount, entries, on_behalf_of=on_behalf_of, **origin_of(named))


async def read_capture(tx: ReadTx, actor: str, named: NamedCapture, *, on_behalf_of: str | None = None) -> Journal:
    """The journal that captures what is meant. As `read_holds`, and refuses `unknown_hold`, `same_account`, `reserved_kind`."""
    _check(named.kind, named.meta)
    kinds.check_free(named.kind)
    hold = await holds.hold(tx, named.hold_id)
    kinds.check_free(hold.kind)
    credit = _known(named.to_account, await service.references(tx, [named.to_account]))
    if credit.id == hold.account_id:
        raise Invalid("same_account", "what a hold sets aside is captured for another account")
    _check_currency(named.currency, credit.name, credit.asset)
    _check_currency(hold.asset, credit.name, credit.asset)
    amount = parse_minor(named.amount, credit.unit)
    journal = holds.capture(hold, credit=credit.id, amount=amount, actor=actor, final=named.final, kind=named.kind)
    return replace(journal, on_behalf_of=on_behalf_of, **origin_of(named))


async def _part(tx: ReadTx, named: NamedReversal) -> int | None:
    moved = [original.account_id for original in await store.originals(tx, [named.journal_id]) if original.amount]
    if not moved:
        raise Invalid("not_reversible", f"journal {named.journal_id} moved nothing between accounts, so nothing is taken back")
    if named.amount is None:
        return None
    if len(moved) != 2:
        raise Invalid("ambiguous_part", "the journal moved money between more than two accounts: name the entries to post")
    # The two balance each other, so they hold the same asset.
    (account,) = await service.accounts(tx, ids=moved[:1])
    _check_currency(named.currency, account.name, account.asset)
    return parse_minor(named.amount, account.unit)


def _or_error(read: Callable[[], Read]) -> Read | TallystickError:
    try:
        return read()
    except TallystickError as refusal:
        return refusal


def _journal(named: NamedJournal, actor: str, on_behalf_of: str | None, known: Mapping[str, AccountRef]) -> Journal:
    _check(named.kind, named.meta)
    kinds.check_free(named.kind)
    return Journal(
        kind=named.kind,
        entries=_entries(named.entries, known),
        actor=actor,
        on_behalf_of=on_behalf_of,
        **origin_of(named),
        guards=[_guard(guard, known) for guard in named.guards],
    )


def _guard(named: NamedGuard, known: Mapping[str, AccountRef]) -> Guard:
    account = _known(named.account, known)
    available = None if named.available is None else or_zero(named.available, account.unit)
    return Guard(account.id, available, named.seq)


def _hold(named: NamedHold, actor: str, on_behalf_of: str | None, known: Mapping[str, AccountRef]) -> NewHold:
    _check(named.kind, named.meta)
    kinds.check_free(named.kind)
    account = _known(named.account, known)
    _check_currency(named.currency, account.name, account.asset)
    return NewHold(
        account_id=account.id,
        amount=parse_minor(named.amount, account.unit),
        actor=actor,
        kind=named.kind,
        expires_at=named.expires_at,
        expires_in_s=named.expires_in_s,
        on_behalf_of=on_behalf_of,
        **origin_of(named),
    )


def _check_currency(currency: str | None, account: str, asset: str) -> None:
    if currency is not None and currency != asset:
        raise Invalid("currency_mismatch", f"the amount is in {currency} and {account} holds {asset}")


def _check(kind: str, meta: Mapping[str, Any]) -> None:
    if not kind:
        raise Invalid("kind_missing", "say of what kind it is")
    check_text(kind, "the kind", _MAX_KIND)
    if meta and len(dumps(meta)) > MAX_META_BYTES:
        raise Invalid("meta_too_large", f"meta may have {MAX_META_BYTES} bytes")


def _entries(named: Sequence[tuple[str, Number]], known: Mapping[str, AccountRef]) -> list[tuple[int, int]]:
    entries = []
    for name, amount in named:
        account = _known(name, known)
        entries.append((account.id, parse_signed_minor(amount, account.unit)))
    return entries


def _known(name: str, known: Mapping[str, AccountRef]) -> AccountRef:
    found = known.get(name)
    if found is None:
        raise service.unknown_account(name)
    return found


def or_zero(amount: Number, asset: Asset) -> int:
    """As `parse_signed_minor`, and zero is zero."""
    try:
        return parse_signed_minor(amount, asset)
    except Invalid as refusal:
        if refusal.code != "amount_is_zero":
            raise
        return 0
