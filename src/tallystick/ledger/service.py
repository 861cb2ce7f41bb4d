"""The verbs of the books."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from tallystick.db import ReadTx, Tx
from tallystick.kit import Asset, Conflict, Invalid, NotFound, check_name
from tallystick.ledger import store
from tallystick.ledger.model import (
    Account,
    AccountRef,
    AccountSpec,
    AccountStatus,
    Entry,
    Journal,
    OpenedAccount,
    Posted,
    TrialBalance,
)

MAX_BATCH = 8192
MAX_ENTRIES = 65_536
_NEWEST = 2**63 - 1
_CHANGES: dict[str, frozenset[str]] = {
    "open": frozenset({"frozen", "closed"}),
    "frozen": frozenset({"open", "closed"}),
    "closed": frozenset(),
}


async def post(tx: Tx, journals: Sequence[Journal]) -> list[Posted]:
    """Post a batch: each journal whole or not at all, one answer each, in order; at most 8,192 journals.

    A refusal (`insufficient_funds`, `account_closed`, `account_frozen`, `unbalanced`, `too_few_entries`, `unknown_account`,
    `amount_out_of_range`, `key_reused`) is an answer, changes nothing, and is remembered under the journal's key. The floor of
    an account holds after every journal of the batch, in order. Locks claims and balances, in the order of the house.
    """
    if not journals:
        return []
    if len(journals) > MAX_BATCH or sum(len(journal.entries) for journal in journals) > MAX_ENTRIES:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} journals and {MAX_ENTRIES} entries")
    return await store.post(tx, journals)


async def open_accounts(tx: Tx, specs: Sequence[AccountSpec]) -> list[OpenedAccount]:
    """Open accounts, or find those that exist under the name; one answer each, in order.

    Refuses with `Conflict` (`account_exists`) where an account of that name holds another asset or is of another kind.
    """
    for spec in specs:
        check_name(spec.name, "an account's name")
    opened = await store.open_accounts(tx, specs)
    for spec, account in zip(specs, opened, strict=True):
        if (account.asset, account.kind) != (spec.asset, spec.kind):
            raise Conflict("account_exists", f"{spec.name} exists as a {account.kind} account in {account.asset}")
    return opened


async def set_status(tx: Tx, name: str, status: AccountStatus) -> Account:
    """Freeze, reopen or close an account. Closing needs a balance of zero (`account_not_empty`) and is for good."""
    found = await account(tx, name)
    if found.status == status:
        return found
    if status not in _CHANGES[found.status]:
        raise Conflict("impossible_transition", f"an account that is {found.status} does not become {status}")
    if not await store.set_status(tx, found.id, old=found.status, new=status):
        raise Conflict("concurrent_change", "the account changed at the same moment")
    changed = await account(tx, name)
    # The lock of the balance is ours by now, so what it holds stays so until we commit.
    if status == "closed" and (changed.posted or changed.held):
        raise Conflict("account_not_empty", "an account is closed when it holds nothing")
    return changed


async def lower_floors(tx: Tx, floors: Sequence[tuple[int, int]]) -> int:
    """Let accounts (`(id, floor)`, minor units) go further down; the number whose floor changed."""
    return await store.lower_floors(tx, floors)


async def account(tx: ReadTx, name: str) -> Account:
    """The account of that name; refuses with `NotFound` (`unknown_account`)."""
    found = await store.accounts_by_name(tx, [name])
    if not found:
        raise unknown_account(name)
    return found[0]


async def resolve(tx: ReadTx, names: Iterable[str]) -> dict[str, Account]:
    """The accounts of those names that exist."""
    return {found.name: found for found in await store.accounts_by_name(tx, sorted(set(names)))}


async def references(tx: ReadTx, names: Iterable[str]) -> dict[str, AccountRef]:
    """What never changes of the accounts of those names that exist; cheaper than `resolve`."""
    return {found.name: found for found in await store.references_by_name(tx, sorted(set(names)))}


async def accounts(
    tx: ReadTx, *, after: int = 0, limit: int = 50, kind: str | None = None, ids: Sequence[int] | None = None
) -> list[Account]:
    """A page of accounts in id order, beginning after the id `after`; among `ids` where given."""
    return await store.accounts_after(tx, after=after, limit=limit, kind=kind, ids=ids)


async def entries(
    tx: ReadTx, account_id: int, *, order: Literal["asc", "desc"] = "desc", bound: int | None = None, limit: int = 50
) -> list[Entry]:
    """A page of an account's entries by sequence number: above `bound` in order `asc`, below it in order `desc`."""
    start = bound if bound is not None else (0 if order == "asc" else _NEWEST)
    return await store.entries(tx, account_id, order=order, bound=start, limit=limit)


async def assets(tx: ReadTx) -> list[Asset]:
    """Every asset that accounts may hold."""
    return await store.assets(tx)


async def asset(tx: ReadTx, code: str) -> Asset:
    """The asset of that code; refuses with `Invalid` (`unknown_currency`)."""
    for known in await store.assets(tx):
        if known.code == code:
            return known
    raise Invalid("unknown_currency", "no account can hold this currency")


async def trial_balance(tx: ReadTx) -> list[TrialBalance]:
    """Per asset, all that was ever taken and given; their difference is zero, or the books are broken."""
    return await store.trial_balance(tx)


def unknown_account(name: str) -> NotFound:
    """The refusal of a name that no account has."""
    return NotFound("unknown_account", f"there is no account {name}")
