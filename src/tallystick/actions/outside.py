"""Money that leaves the bank or comes in: external payments, and what becomes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from tallystick import ledger, payments, policy
from tallystick.actions import store
from tallystick.actions.registry import ActionType, register
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import NotFound, TallystickError, parse_minor, plain


@dataclass(frozen=True, slots=True)
class Party:
    """The other side of a payment; it is known as a payee by its `bank` and its `account` together."""

    name: str | None = None
    account: str | None = None
    bank: str | None = None

    @property
    def payee(self) -> str:
        """Whom it is known as; no account of the bank has such a name."""
        return policy.outside_form(self.bank, self.account)


@dataclass(frozen=True, slots=True)
class SendPayment:
    """A payment to another bank; see `payments.Outgoing`."""

    nostro: str
    account: str
    amount: str
    counterparty: Party
    currency: str | None = None
    end_to_end_id: str | None = None
    remittance: str | None = None

    @classmethod
    def of(cls, wanted: payments.Outgoing) -> SendPayment:
        """The payload of a payment; its key is not part of it."""
        other = wanted.counterparty
        return cls(
            wanted.nostro,
            wanted.account,
            plain(wanted.amount),
            Party(other.name, other.account, other.bank),
            wanted.currency,
            wanted.end_to_end_id,
            wanted.remittance,
        )

    def outgoing(self) -> payments.Outgoing:
        """The payment that is meant."""
        other = self.counterparty
        return payments.Outgoing(
            self.nostro,
            self.account,
            self.amount,
            payments.Counterparty(other.name, other.account, other.bank),
            self.currency,
            self.end_to_end_id,
            self.remittance,
        )


@dataclass(frozen=True, slots=True)
class ReceivePayment:
    """A payment that came in; see `payments.Incoming`."""

    nostro: str
    beneficiary: str
    amount: str
    counterparty: Party = Party()
    currency: str | None = None
    end_to_end_id: str | None = None
    remittance: str | None = None
    booked_on: date | None = None

    @classmethod
    def of(cls, wanted: payments.Incoming) -> ReceivePayment:
        """The payload of a payment that came in; its key is not part of it."""
        other = wanted.counterparty
        return cls(
            wanted.nostro,
            wanted.beneficiary,
            plain(wanted.amount),
            Party(other.name, other.account, other.bank),
            wanted.currency,
            wanted.end_to_end_id,
            wanted.remittance,
            wanted.booked_on,
        )

    def incoming(self) -> payments.Incoming:
        """The payment that is meant."""
        other = self.counterparty
        return payments.Incoming(
            self.nostro,
            self.beneficiary,
            self.amount,
            payments.Counterparty(other.name, other.account, other.bank),
            self.currency,
            self.end_to_end_id,
            self.remittance,
            self.booked_on,
        )


@dataclass(frozen=True, slots=True)
class MovePayment:
    """A change of a payment's status; see `payments.Move`."""

    payment: str
    status: str
    reason: str | None = None
    account: str | None = None
    booked_on: date | None = None

    @classmethod
    def of(cls, wanted: payments.Move) -> MovePayment:
        """The payload of a move; its key is not part of it."""
        return cls(str(wanted.payment_id), wanted.status, wanted.reason, wanted.account, wanted.booked_on)

    def move(self) -> payments.Move:
        """The move that is meant."""
        if not re.fullmatch(r"[1-9][0-9]{0,17}", self.payment):
            raise NotFound("unknown_payment", f"there is no external payment {self.payment[:100]}")
        return payments.Move(int(self.payment), self.status, self.reason, self.account, self.booked_on)


async def _sending_facts(tx: ReadTx, payload: SendPayment) -> Mapping[str, Any]:
    account = await ledger.account(tx, payload.account)
    amount = parse_minor(payload.amount, account.unit)
    money = {"amount": amount, "asset": account.asset, "scale": account.scale}
    return await payment_facts(tx, account, payload.counterparty) | money


async def _sending_locks(tx: ReadTx, payload: SendPayment) -> Iterable[str]:
    try:
        return [(await payments.nostro(tx, payload.nostro)).clearing]
    except NotFound:
        # It is refused when it is sent, if policy lets it come to that.
        return []


async def payment_facts(tx: ReadTx, account: ledger.Account, payee: Party) -> dict[str, Any]:
    """What policy sees of an account and of somebody outside whom it is to pay."""
    named = payee.account or payee.name
    around = await store.payee_of(tx, account.id, payee.payee)
    facts: dict[str, Any] = {
        "account": account.name,
        "account_kind": account.kind,
        "counterparty_kind": "external",
        "payee": payee.payee,
        "payee_known_s": None if around.known_since is None else max(0, int((around.at - around.known_since).total_seconds())),
    }
    told = {
        "counterparty": named,
        "counterparty_name": payee.name,
        "payee_label": around.label,
        "customer": None if around.customer is None else str(around.customer),
    }
    return facts | {name: value for name, value in told.items() if value is not None}


async def _send(tx: Tx, by: Principal, payload: SendPayment) -> payments.History:
    history = await send_payment(tx, by, payload.outgoing())
    if isinstance(history, TallystickError):
        raise history
    return history


async def send_payment(tx: Tx, by: Principal, wanted: payments.Outgoing) -> payments.History | TallystickError:
    """Make one payment, whose payee the account knows from then on."""
    (history,) = await payments.send(tx, by.name, [wanted])
    if isinstance(history, payments.History) and history.payment.status != "failed":
        account = await ledger.account(tx, wanted.account)
        payee = SendPayment.of(wanted).counterparty.payee
        await store.know_payee(tx, account.id, payee, label=wanted.counterparty.name, by=by.name)
    return history


async def _receiving_facts(tx: ReadTx, payload: ReceivePayment) -> Mapping[str, Any]:
    nostro = await payments.nostro(tx, payload.nostro)
    facts: dict[str, Any] = {
        "counterparty_kind": "external",
        "amount": parse_minor(payload.amount, nostro.unit),
        "asset": nostro.asset,
        "scale": nostro.scale,
        "beneficiary": payload.beneficiary,
    }
    if payload.counterparty.name is not None:
        facts["counterparty_name"] = payload.counterparty.name
    return facts


async def _receiving_locks(tx: ReadTx, payload: ReceivePayment) -> Iterable[str]:
    nostro = await payments.nostro(tx, payload.nostro)
    return [nostro.name, nostro.suspense, payload.beneficiary]


async def _receive(tx: Tx, by: Principal, payload: ReceivePayment) -> payments.History:
    (history,) = await payments.receive(tx, by.name, [payload.incoming()])
    if isinstance(history, TallystickError):
        raise history
    return history


async def _moving_facts(tx: Tx, payload: MovePayment) -> Mapping[str, Any]:
    # The row of a payment is locked before balances, by whoever moves it.
    payment = await payments.see(tx, payload.move().payment_id)
    facts: dict[str, Any] = {
        "status": payload.status,
        "direction": payment.direction,
        "amount": payment.amount,
        "asset": payment.asset,
        "scale": payment.scale,
    }
    account = payload.account or payment.account
    if account is not None:
        facts["account"] = account
    return facts


async def _moving_locks(tx: ReadTx, payload: MovePayment) -> Iterable[str]:
    payment = (await payments.get(tx, payload.move().payment_id)).payment
    nostro = await payments.nostro(tx, payment.nostro)
    # Where the money is by now and where it goes is said by its status; all of it is its own or the nostro's.
    own = [] if payment.account is None else [payment.account]
    return [nostro.name, nostro.clearing, nostro.suspense, *own] if payload.status != "sent" else []


async def _move(tx: Tx, by: Principal, payload: MovePayment) -> payments.History:
    (history,) = await payments.move(tx, by.name, [replace(payload.move(), key=None)])
    if isinstance(history, TallystickError):
        raise history
    return history


def _tell(history: payments.History) -> Mapping[str, Any]:
    return {"payment": str(history.payment.id), "status": history.payment.status, "reason": history.payment.reason}


def _refusal(history: payments.History) -> str | None:
    return history.payment.reason if history.payment.status == "failed" else None


register(ActionType("payment.send", SendPayment, _sending_facts, _send, _tell, locks=_sending_locks, refused=_refusal))
# Money that came in is always booked; and a step that the books refuse is a refusal that is raised.
register(ActionType("payment.receive", ReceivePayment, _receiving_facts, _receive, _tell, locks=_receiving_locks))
register(ActionType("payment.move", MovePayment, _moving_facts, _move, _tell, locks=_moving_locks))
