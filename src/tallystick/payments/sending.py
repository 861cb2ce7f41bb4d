"""The verb of payments out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick import ledger
from tallystick.db import Tx
from tallystick.kit import Invalid
from tallystick.payments import mirrors, store
from tallystick.payments.booking import Answer, check_currency, check_size, unknown_account
from tallystick.payments.making import NewPayment, known_nostro, make, new_payment, row_of
from tallystick.payments.model import Nostro, Outgoing

_OUT = "external_payment_out"


async def send(tx: Tx, principal: str, payments: Sequence[Outgoing]) -> list[Answer]:
    """Make payments to accounts at other banks; one answer each, in order; at most 4,096.

    The money leaves the customer's account at once, for the clearing account of the nostro: the payment is `created`. One that
    the business refuses (`insufficient_funds`, `account_closed`, `account_frozen`) is stored as `failed` with its reason; no
    money has moved. An answer that is an error (`unknown_nostro`, `unknown_account`, `same_account`, `currency_mismatch`,
    `amount_…`, `counterparty_missing`, `text_…`, `key_reused`) stored nothing, and leaves its neighbours alone.
    """
    check_size(payments)
    known = await mirrors.resolve(tx, (new.nostro for new in payments))
    accounts = await ledger.references(tx, (new.account for new in payments))

    def check(place: int, new: Outgoing) -> NewPayment:
        return _check_outgoing(place, new, known, accounts)

    return await make(tx, principal, payments, check, _post_outgoing)


def _check_outgoing(
    place: int, new: Outgoing, known: Mapping[str, Nostro], accounts: Mapping[str, ledger.AccountRef]
) -> NewPayment:
    nostro = known_nostro(known, new.nostro)
    account = accounts.get(new.account)
    if account is None:
        raise unknown_account(new.account)
    if account.id in (nostro.id, nostro.clearing_id, nostro.suspense_id):
        raise Invalid("same_account", "a payment goes from an account that is not the nostro's own")
    check_currency(account.asset, nostro, account.name)
    payment = new_payment(place, new, nostro, account.id, None)
    if payment.counterparty.name is None or payment.counterparty.account is None:
        raise Invalid("counterparty_missing", "a payment out names the person and the account that it goes to")
    return payment


async def _post_outgoing(tx: Tx, principal: str, fresh: Sequence[NewPayment], ids: Mapping[int, int]) -> list[store.NewRow]:
    journals = [
        ledger.Journal(
            kind=_OUT,
            entries=ledger.transfer(debit=_payer(item), credit=item.nostro.clearing_id, amount=item.amount),
            actor=principal,
            ref_id=ids[item.place],
        )
        for item in fresh
    ]
    return [
        row_of(item, ids[item.place], "failed" if posted.refusal else "created", posted, item.account)
        for item, posted in zip(fresh, await ledger.post(tx, journals), strict=True)
    ]


def _payer(item: NewPayment) -> int:
    assert item.account is not None, "a payment out that names no account was refused"
    return item.account
