"""What payments out and in have in common: they are checked, keyed, posted and stored, many in one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from tallystick import ledger
from tallystick.db import Tx, key_reused
from tallystick.kit import Invalid, TallystickError, digest, parse_minor
from tallystick.payments import mirrors, store
from tallystick.payments.booking import Answer, record, text_of
from tallystick.payments.model import Counterparty, Incoming, Nostro, Outgoing

_NOT_PROVIDED = "NOTPROVIDED"

New = TypeVar("New", Outgoing, Incoming)


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment that makes sense: its nostro is known, its amount exact. `account` is the customer's, where one can take it."""

    place: int
    nostro: Nostro
    account: int | None
    amount: int
    new: Outgoing | Incoming
    counterparty: Counterparty
    end_to_end_id: str | None
    remittance: str | None
    reason: str | None = None

    @property
    def direction(self) -> str:
        return "out" if isinstance(self.new, Outgoing) else "in"

    def hash(self) -> bytes:
        """What has to be the same where a key is used again."""
        new, other = self.new, self.counterparty
        named = new.account if isinstance(new, Outgoing) else new.beneficiary
        booked = None if isinstance(new, Outgoing) or new.booked_on is None else new.booked_on.isoformat()
        said = [self.end_to_end_id, other.name, other.account, other.bank, self.remittance, booked]
        return digest([self.direction, self.nostro.id, named, self.amount, said])


async def make(
    tx: Tx,
    principal: str,
    payments: Sequence[New],
    check: Callable[[int, New], NewPayment],
    post: Callable[[Tx, str, Sequence[NewPayment], Mapping[int, int]], Awaitable[list[store.NewRow]]],
) -> list[Answer]:
    """Make what `check` lets through and `post` has moved the money of; one answer each, in order.

    A payment that a key has made before is answered as it was then.
    """
    answers: dict[int, Answer] = {}
    checked: list[NewPayment] = []
    for place, new in enumerate(payments):
        try:
            checked.append(check(place, new))
        except TallystickError as refusal:
            answers[place] = refusal
    keys = [item.new.key for item in checked]
    hashes = [None if item.new.key is None else item.hash() for item in checked]
    claims = await store.take_keys(tx, principal, keys, hashes) if checked else []
    ids = {item.place: claimed.ref_id for item, claimed in zip(checked, claims, strict=True) if claimed.state != "reused"}
    fresh = [item for item, claimed in zip(checked, claims, strict=True) if claimed.state == "fresh"]
    if fresh:
        rows = await post(tx, principal, fresh, ids)
        await store.insert(tx, principal, rows)
        detail = {"payments": [[row.id, row.status] for row in rows]}
        verb = "payments.send" if rows[0].direction == "out" else "payments.receive"
        await record(tx, principal, verb, rows[0].id, detail)
    found = await store.histories(tx, sorted(set(ids.values())))
    for item in checked:
        answers[item.place] = found[ids[item.place]].as_first_answered() if item.place in ids else key_reused()
    return [answers[place] for place in range(len(payments))]


def new_payment(place: int, new: Outgoing | Incoming, nostro: Nostro, account: int | None, reason: str | None) -> NewPayment:
    """The payment as it is to be made; refuses a currency, an amount or a text that makes no sense."""
    if new.currency is not None and new.currency != nostro.asset:
        raise Invalid("currency_mismatch", f"the amount is in {new.currency} and the nostro holds {nostro.asset}")
    other = new.counterparty
    return NewPayment(
        place,
        nostro=nostro,
        account=account,
        amount=parse_minor(new.amount, nostro.unit),
        new=new,
        counterparty=Counterparty(
            text_of(other.name, "the counterparty's name", 140),
            text_of(other.account, "the counterparty's account", 64),
            text_of(other.bank, "the counterparty's bank", 100),
        ),
        end_to_end_id=_reference(new.end_to_end_id),
        remittance=text_of(new.remittance, "the remittance text", 500),
        reason=reason,
    )


def row_of(item: NewPayment, payment_id: int, status: str, posted: ledger.Posted, step_account: int | None) -> store.NewRow:
    """The payment as it is stored, after its journal was posted or refused."""
    reference = item.end_to_end_id
    return store.NewRow(
        id=payment_id,
        direction=item.direction,
        nostro_id=item.nostro.id,
        account_id=item.account,
        beneficiary=item.new.beneficiary if isinstance(item.new, Incoming) else None,
        amount=item.amount,
        asset=item.nostro.asset,
        end_to_end_id=reference or (f"TALLYSTICK{payment_id}" if item.direction == "out" else None),
        counterparty=item.counterparty,
        remittance=item.remittance,
        status=status,
        reason=posted.refusal or item.reason,
        journal_id=posted.journal_id,
        step_account=step_account,
        booked_on=booked_on(item.new),
    )


def booked_on(new: Outgoing | Incoming) -> date | None:
    """The day on which another bank has booked it, where it did."""
    return new.booked_on if isinstance(new, Incoming) else None


def known_nostro(known: Mapping[str, Nostro], name: str) -> Nostro:
    """The nostro of that name; refuses with `NotFound` (`unknown_nostro`)."""
    if name not in known:
        raise mirrors.unknown_nostro(name)
    return known[name]


def _reference(text: str | None) -> str | None:
    """An end-to-end id of ISO 20022: up to 35 characters; `NOTPROVIDED` stands for none."""
    given = text_of(text, "the end-to-end id", 35)
    return None if given is None or given == _NOT_PROVIDED else given
