"""What else the books do at somebody's word: reversals, holds, and what an account is and may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from tallystick import customers, ledger
from tallystick.actions.inside import between
from tallystick.actions.postings import EntryPayload, money_facts, refusal_of_all
from tallystick.actions.registry import ActionType, Seconds, number_of, register
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Asset, Conflict, TallystickError, parse_minor, plain


@dataclass(frozen=True, slots=True)
class ReverseJournal:
    """A journal to take back: whole, or `amount` of it, or by entries; see `ledger.NamedReversal`."""

    journal: str
    amount: str | None = None
    currency: str | None = None
    entries: tuple[EntryPayload, ...] | None = None
    effective_at: datetime | None = None
    meta: dict[str, Any] | None = None

    def named(self) -> ledger.NamedReversal:
        """The reversal that is meant."""
        return ledger.NamedReversal(
            number_of(self.journal, "journal"),
            amount=self.amount,
            currency=self.currency,
            entries=None if self.entries is None else [(entry.account, entry.amount) for entry in self.entries],
            effective_at=self.effective_at,
            meta=self.meta or {},
        )


@dataclass(frozen=True, slots=True)
class HoldPayload:
    """Money to set aside; see `ledger.NamedHold`."""

    account: str
    amount: str
    currency: str | None = None
    kind: str = "hold"
    expires_at: datetime | None = None
    expires_in_s: Seconds | None = None
    meta: dict[str, Any] | None = None

    @classmethod
    def of(cls, named: ledger.NamedHold) -> HoldPayload:
        """The payload of a hold that is named."""
        return cls(
            named.account,
            plain(named.amount),
            named.currency,
            named.kind,
            named.expires_at,
            named.expires_in_s,
            dict(named.meta) or None,
        )

    def named(self) -> ledger.NamedHold:
        """The hold that is meant."""
        return ledger.NamedHold(
            self.account,
            self.amount,
            self.currency,
            self.kind,
            expires_at=self.expires_at,
            expires_in_s=self.expires_in_s,
            meta=self.meta or {},
        )


@dataclass(frozen=True, slots=True)
class PlaceHolds:
    """Money to set aside; in mode `atomic` all of it or nothing."""

    holds: tuple[HoldPayload, ...]
    mode: str = "independent"


@dataclass(frozen=True, slots=True)
class CaptureHold:
    """What to take of a hold, for whom; see `ledger.NamedCapture`."""

    hold: str
    to_account: str
    amount: str
    currency: str | None = None
    final: bool = False
    kind: str = "capture"
    effective_at: datetime | None = None
    meta: dict[str, Any] | None = None

    def named(self) -> ledger.NamedCapture:
        """The capture that is meant."""
        return ledger.NamedCapture(
            number_of(self.hold, "hold"),
            self.to_account,
            self.amount,
            self.currency,
            self.final,
            kind=self.kind,
            effective_at=self.effective_at,
            meta=self.meta or {},
        )


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """A hold whose remainder is given back."""

    hold: str


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """An account to open, for a customer where it is theirs."""

    account: str
    currency: str
    kind: Literal["customer", "internal"] = "customer"
    customer: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """An account to freeze, to open again or to close."""

    account: str
    status: Literal["open", "frozen", "closed"]


@dataclass(frozen=True, slots=True)
class ChangeLimit:
    """How far an account may be overdrawn, a decimal in its asset; without one, without end."""

    account: str
    limit: str | None = None


async def _reversal_facts(tx: ReadTx, payload: ReverseJournal) -> Mapping[str, Any]:
    reversal = await ledger.read_reversal(tx, "", payload.named())
    original = await ledger.journal(tx, reversal.journal_id)
    legs = await ledger.legs(tx, [original.id])
    accounts = sorted({leg.account for leg in legs})
    facts: dict[str, Any] = {"accounts": accounts, "journal_kinds": [original.kind]}
    units = {Asset(leg.asset, leg.scale) for leg in legs}
    if len(units) == 1:
        (unit,) = units
        whole = sum(max(0, leg.amount) for leg in legs)
        amount = whole if payload.amount is None else parse_minor(payload.amount, unit)
        facts |= {"asset": unit.code, "scale": unit.scale, "amount": amount}
    return facts


async def _reversal_locks(_: ReadTx, payload: ReverseJournal) -> Iterable[str]:
    return [entry.account for entry in payload.entries or ()]


async def _reverse(tx: Tx, by: Principal, payload: ReverseJournal) -> ledger.Posted:
    reversal = await ledger.read_reversal(tx, by.name, payload.named(), on_behalf_of=by.on_behalf_of)
    return await ledger.reverse_on_record(tx, replace(reversal, approval_id=tx.approval))


async def _hold_facts(tx: ReadTx, payload: PlaceHolds) -> Mapping[str, Any]:
    facts = await money_facts(tx, [[(hold.account, hold.amount)] for hold in payload.holds], parse_minor)
    if len(facts["accounts"]) == 1:
        facts["account"] = facts["accounts"][0]
    return {**facts, "count": len(payload.holds)}


async def _place(tx: Tx, by: Principal, payload: PlaceHolds) -> list[ledger.Placed]:
    named = [hold.named() for hold in payload.holds]
    read = await ledger.read_holds(tx, by.name, named, on_behalf_of=by.on_behalf_of)
    for one in read:
        if isinstance(one, TallystickError):
            raise one
    holds = [replace(one, approval_id=tx.approval) for one in read if isinstance(one, ledger.NewHold)]
    return await ledger.place_on_record(tx, holds, mode="atomic" if payload.mode == "atomic" else "independent")


async def _capture_facts(tx: ReadTx, payload: CaptureHold) -> Mapping[str, Any]:
    hold = await ledger.hold(tx, number_of(payload.hold, "hold"))
    facts = await money_facts(tx, [[(payload.to_account, payload.amount)]], parse_minor)
    (account,) = await ledger.accounts(tx, ids=[hold.account_id], limit=1)
    around = await between(tx, account.name, payload.to_account)
    return {**facts, "accounts": [account.name], "account": account.name, "counterparty": payload.to_account, **around}


async def _capture(tx: Tx, by: Principal, payload: CaptureHold) -> ledger.Posted:
    journal = await ledger.read_capture(tx, by.name, payload.named(), on_behalf_of=by.on_behalf_of)
    return await ledger.capture_on_record(tx, replace(journal, approval_id=tx.approval))


async def _release_facts(tx: ReadTx, payload: ReleaseHold) -> Mapping[str, Any]:
    hold = await ledger.hold(tx, number_of(payload.hold, "hold"))
    # What an order has set aside is freed with the order.
    ledger.check_free(hold.kind)
    (account,) = await ledger.accounts(tx, ids=[hold.account_id], limit=1)
    return {"accounts": [account.name], "account": account.name}


async def _release(tx: Tx, by: Principal, payload: ReleaseHold) -> ledger.Released:
    return await ledger.release_on_record(tx, ledger.Release(number_of(payload.hold, "hold"), by.name))


async def _open_facts(tx: ReadTx, payload: OpenAccount) -> Mapping[str, Any]:
    facts: dict[str, Any] = {"new_account": payload.account, "account_kind": payload.kind, "asset": payload.currency}
    if payload.customer is not None:
        facts["customer"] = str((await customers.get(tx, payload.customer)).id)
    return facts


async def open_account(tx: Tx, by: Principal, payload: OpenAccount) -> int:
    """Open an account and make its customer the owner; its id. Refuses with `Conflict` (`account_exists`)."""
    await ledger.asset(tx, payload.currency)
    owner = await customers.get(tx, payload.customer) if payload.customer is not None else None
    floor = 0 if payload.kind == "customer" else None
    spec = ledger.AccountSpec(payload.account, payload.currency, payload.kind, floor)
    (opened,) = await ledger.open_accounts(tx, [spec], actor=by.name)
    if not opened.opened:
        raise Conflict("account_exists", f"there is an account {payload.account} already")
    if owner is not None:
        await customers.add_dispositions(tx, [customers.Disposition(owner.id, opened.id, "owner")], by=by.name)
    return opened.id


async def _account_facts(tx: ReadTx, payload: ChangeStatus | ChangeLimit) -> Mapping[str, Any]:
    account = await ledger.account(tx, payload.account)
    facts: dict[str, Any] = {"account": account.name, "account_kind": account.kind}
    if isinstance(payload, ChangeStatus):
        return {**facts, "status": payload.status}
    if payload.limit is not None:
        facts["amount"] = ledger.limit_in(account, payload.limit)
        facts |= {"asset": account.asset, "scale": account.scale}
    return facts


async def _change_status(tx: Tx, by: Principal, payload: ChangeStatus) -> ledger.AccountChange:
    return await ledger.change_status(tx, payload.account, payload.status, actor=by.name)


async def _change_limit(tx: Tx, by: Principal, payload: ChangeLimit) -> ledger.AccountChange:
    return await ledger.change_limit(tx, payload.account, payload.limit, actor=by.name)


def _tell_posted(posted: ledger.Posted) -> Mapping[str, Any]:
    return {"journal": None if posted.journal_id is None else str(posted.journal_id), "reason": posted.refusal}


def _refusal(answer: ledger.Posted | ledger.Released) -> str | None:
    return answer.refusal


register(
    ActionType(
        "journal.reverse", ReverseJournal, _reversal_facts, _reverse, _tell_posted, locks=_reversal_locks, refused=_refusal
    )
)
register(
    ActionType(
        "hold.place",
        PlaceHolds,
        _hold_facts,
        _place,
        lambda placed: {"holds": [[None if one.hold_id is None else str(one.hold_id), one.refusal] for one in placed[:200]]},
        refused=refusal_of_all,
    )
)
register(ActionType("hold.capture", CaptureHold, _capture_facts, _capture, _tell_posted, refused=_refusal))
register(
    ActionType(
        "hold.release",
        ReleaseHold,
        _release_facts,
        _release,
        lambda released: {"reason": released.refusal},
        refused=_refusal,
    )
)
register(ActionType("account.open", OpenAccount, _open_facts, open_account, lambda id: {"account": str(id)}))
register(ActionType("account.status", ChangeStatus, _account_facts, _change_status, lambda change: {"change": change.n}))
register(ActionType("account.limit", ChangeLimit, _account_facts, _change_limit, lambda change: {"change": change.n}))
