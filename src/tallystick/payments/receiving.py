"""The verb of payments in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick import ledger
from tallystick.db import Tx
from tallystick.kit import Invalid, check_text
from tallystick.payments import mirrors, store
from tallystick.payments.booking import Answer, check_size, post_on_day, refused, start_of
from tallystick.payments.making import NewPayment, booked_on, known_nostro, make, new_payment, row_of
from tallystick.payments.model import Incoming, Nostro

_IN = "external_payment_in"


async def receive(tx: Tx, principal: str, payments: Sequence[Incoming]) -> list[Answer]:
    """Book payments that another bank has given to us; one answer each, in order; at most 4,096.

    The money is there, so it is always booked: to the customer's account (`received`), or to the suspense account of the
    nostro where no customer can take it (`unmatched`, with the reason `unknown_account`, `account_closed`, `account_frozen`,
    `currency_mismatch`, or `not_a_customer_account`). Errors are those of `send`; `Unavailable` (`contention`) is raised where
    an account was frozen or closed at the same moment.
    """
    check_size(payments)
    known = await mirrors.resolve(tx, (new.nostro for new in payments))
    accounts = await ledger.resolve(tx, (new.beneficiary for new in payments))

    def check(place: int, new: Incoming) -> NewPayment:
        return _check_incoming(place, new, known, accounts)

    return await make(tx, principal, payments, check, _post_incoming)


def _check_incoming(
    place: int, new: Incoming, known: Mapping[str, Nostro], accounts: Mapping[str, ledger.Account]
) -> NewPayment:
    nostro = known_nostro(known, new.nostro)
    if not new.beneficiary.strip():
        raise Invalid("text_malformed", "the beneficiary must be named, even where nobody knows the name")
    check_text(new.beneficiary, "the beneficiary", 100)
    account = accounts.get(new.beneficiary)
    reason = _why_unmatched(account, nostro)
    return new_payment(place, new, nostro, None if account is None or reason else account.id, reason)


def _why_unmatched(account: ledger.Account | None, nostro: Nostro) -> str | None:
    if account is None:
        return "unknown_account"
    if account.kind != "customer":
        return "not_a_customer_account"
    if account.asset != nostro.asset:
        return "currency_mismatch"
    return f"account_{account.status}" if account.status != "open" else None


async def _post_incoming(tx: Tx, principal: str, fresh: Sequence[NewPayment], ids: Mapping[int, int]) -> list[store.NewRow]:
    takers = [item.account if item.account is not None else item.nostro.suspense_id for item in fresh]
    journals = [
        ledger.Journal(
            kind=_IN,
            entries=ledger.transfer(debit=item.nostro.id, credit=taker, amount=item.amount),
            actor=principal,
            ref_id=ids[item.place],
            effective_at=start_of(booked_on(item.new)),
        )
        for item, taker in zip(fresh, takers, strict=True)
    ]
    rows = []
    for item, taker, posted in zip(fresh, takers, await post_on_day(tx, journals), strict=True):
        if posted.refusal is not None:
            raise refused(posted.refusal, raced=item.account is not None)
        status = "received" if item.account is not None else "unmatched"
        rows.append(row_of(item, ids[item.place], status, posted, taker))
    return rows
