"""The verbs of the nostro accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick import audit, ledger
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text
from tallystick.payments import store
from tallystick.payments.model import Nostro

_MAX_NAME = 80
_MAX_BANK = 100
_MAX_ACCOUNT = 64


async def register(tx: Tx, principal: str, *, name: str, bank: str, their_account: str, currency: str) -> Nostro:
    """Mirror the account `their_account` at `bank` by the internal account `name`, which is opened where it does not exist.

    Two more internal accounts are opened with it: `name:clearing` for what was sent and is not settled yet, and
    `name:suspense` for what came in and belongs to nobody we know. Refuses with `Invalid` (`name_malformed`,
    `text_too_long`, `text_malformed`, `unknown_currency`) and with `Conflict` (`account_exists`: the name is that of another
    kind of account; `nostro_exists`: the account is a nostro already, or theirs is mirrored by another).
    """
    check_name(name, "a nostro's name")
    if len(name) > _MAX_NAME:
        raise Invalid("text_too_long", f"a nostro's name may have {_MAX_NAME} characters")
    bank, their_account = _said(bank, "the bank", _MAX_BANK), normal(_said(their_account, "their account", _MAX_ACCOUNT))
    await ledger.asset(tx, currency)
    wanted = [name, f"{name}:clearing", f"{name}:suspense"]
    mirror, clearing, suspense = await ledger.open_accounts(
        tx, [ledger.AccountSpec(each, currency, "internal", None) for each in wanted]
    )
    registered = await store.register(
        tx,
        principal,
        account_id=mirror.id,
        clearing_id=clearing.id,
        suspense_id=suspense.id,
        asset=currency,
        bank=bank,
        their_account=their_account,
    )
    if not registered:
        raise Conflict("nostro_exists", "this account is a nostro already, or their account is mirrored by another")
    await audit.append(tx, principal=principal, verb="payments.register_nostro", subject_kind="nostro", subject_id=mirror.id)
    return await nostro(tx, name)


async def nostro(tx: ReadTx, name: str) -> Nostro:
    """The nostro of that name; refuses with `NotFound` (`unknown_nostro`)."""
    found = await store.nostros_by_name(tx, [name])
    if not found:
        raise unknown_nostro(name)
    return found[0]


async def resolve(tx: ReadTx, names: Iterable[str]) -> dict[str, Nostro]:
    """The nostros of those names that exist."""
    return {found.name: found for found in await store.nostros_by_name(tx, sorted(set(names)))}


async def nostros(tx: ReadTx, *, after: int = 0, limit: int = 50, ids: Sequence[int] | None = None) -> list[Nostro]:
    """A page of nostros, beginning after the id `after`; among `ids` where given."""
    return await store.nostros_after(tx, after=after, ids=ids, limit=limit)


def normal(account: str) -> str:
    """An account number without the spaces that people write into an IBAN."""
    return "".join(account.split()).upper()


def unknown_nostro(name: str) -> NotFound:
    """The refusal of a name that no nostro has."""
    return NotFound("unknown_nostro", f"there is no nostro account {name}")


def _said(text: str, what: str, max_length: int) -> str:
    text = check_text(text, what, max_length).strip()
    if not text:
        raise Invalid("text_malformed", f"{what} must be named")
    return text
