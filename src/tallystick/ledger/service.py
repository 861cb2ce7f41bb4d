"""The verbs of the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from tallystick.db import ReadTx, Tx
from tallystick.kit import Asset, Conflict, Invalid, NotFound, check_name
from tallystick.ledger import kinds, store
from tallystick.ledger.model import (
    Account,
    AccountChange,
    AccountRef,
    AccountSpec,
    AccountStatus,
    Entry,
    Journal,
    LockedBalance,
    Mode,
    OpenedAccount,
    Original,
    Posted,
    Reversal,
    TrialBalance,
    origin_of,
)

MAX_BATCH = 8192
MAX_ENTRIES = 65_536
_NEWEST = 2**63 - 1
_NEWEST_CHANGE = 2**31 - 1
_CHANGES: dict[str, frozenset[str]] = {
    "open": frozenset({"frozen", "closed"}),
    "frozen": frozenset({"open", "closed"}),
    "closed": frozenset(),
}


async def post(
    tx: Tx,
    journals: Sequence[Journal],
    *,
    mode: Mode = "independent",
    dry_run: bool = False,
    decisions: Sequence[int] | None = None,
) -> list[Posted]:
    """Post a batch: each journal whole or not at all, one answer each, in order; at most 8,192 journals.

    A refusal (the list stands in repeatable/20_post.sql and docs/ledger.md) is an answer, changes nothing, and is remembered
    under the journal's key. The floor of an account holds after every journal of the batch, in order. In mode `atomic` one
    refusal refuses them all (`batch_refused`). A `dry_run` answers as the batch would be answered now, and changes nothing,
    keys included. Locks the mark of closed periods, claims and balances, in the order of the house.

    What is posted needs a decision that allows it, and consumes it: `tx.decision` for all of them, or `decisions`, one for
    each. Without one it is refused with `Forbidden` (`decision_needed`).
    """
    if not journals:
        return []
    if len(journals) > MAX_BATCH or sum(len(journal.entries) for journal in journals) > MAX_ENTRIES:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} journals and {MAX_ENTRIES} entries")
    if any(journal.reverses is not None and journal.hold_id is not None for journal in journals):
        raise Invalid("reversal_of_a_hold", "a journal either takes another back or captures a hold")
    if not dry_run:
        return await store.post(tx, journals, atomic=mode == "atomic", decisions=decisions)
    async with tx.rehearsal():
        answers = await store.post(tx, journals, atomic=mode == "atomic", decisions=decisions)
    return [answer if answer.replayed else replace(answer, journal_id=None, posted_at=None) for answer in answers]


async def reverse(tx: Tx, reversals: Sequence[Reversal], *, mode: Mode = "independent", dry_run: bool = False) -> list[Posted]:
    """Take journals back, wholly or in part, by journals that say so; the originals stay as they are.

    In sum, and account by account, a journal is taken back once (`reversal_exceeded`, `reversal_mismatch`); a reversal itself
    is not taken back (`not_reversible`), nor is a journal of a kind that a room keeps as its own (`keep_kind`): the room itself
    undoes what it did. As a kind never changes, that answer needs no memory under the key. Refuses with `Invalid`
    (`ambiguous_part`) a part given as an amount where the journal moved money between more than two accounts, and
    (`amount_not_positive`) one that is not above zero.
    """
    originals: dict[int, list[Original]] = defaultdict(list)
    for original in await store.originals(tx, sorted({reversal.journal_id for reversal in reversals})):
        originals[original.journal_id].append(original)
    kept = {id for id, each in originals.items() if any(kinds.is_kept(original.kind) for original in each)}
    wanted = [(place, reversal, reversal.journal_id in kept) for place, reversal in enumerate(reversals, 1)]
    if kept and mode == "atomic":
        return [_refused(place, "not_reversible" if is_kept else "batch_refused") for place, _, is_kept in wanted]
    journals = [_reversing(reversal, originals[reversal.journal_id]) for _, reversal, is_kept in wanted if not is_kept]
    answers = iter(await post(tx, journals, mode=mode, dry_run=dry_run))
    return [_refused(place, "not_reversible") if is_kept else replace(next(answers), ord=place) for place, _, is_kept in wanted]


async def reversals(tx: ReadTx, journal_ids: Sequence[int], *, most: int) -> dict[int, list[int]]:
    """For journals that were taken back, those that did so, oldest first; at most `most` of each."""
    found: dict[int, list[int]] = defaultdict(list)
    for one in await store.reversals(tx, journal_ids, most=most):
        found[one.original].append(one.journal_id)
    return found


def _refused(place: int, why: str) -> Posted:
    return Posted(place, None, why, replayed=False, posted_at=None)


def _reversing(reversal: Reversal, originals: Sequence[Original]) -> Journal:
    return Journal(
        kind="reversal",
        entries=reversal.entries if reversal.entries is not None else _taking_back(reversal.amount, originals),
        actor=reversal.actor,
        on_behalf_of=reversal.on_behalf_of,
        approval_id=reversal.approval_id,
        reverses=reversal.journal_id,
        **origin_of(reversal),
    )


def _taking_back(amount: int | None, originals: Sequence[Original]) -> list[tuple[int, int]]:
    moved = [original for original in originals if original.amount]
    if amount is None or not moved:
        return [(original.account_id, -original.amount) for original in moved]
    if amount <= 0:
        raise Invalid("amount_not_positive", "the part of a journal to take back is an amount above zero")
    if len(moved) != 2:
        raise Invalid("ambiguous_part", "the journal moved money between more than two accounts: name the entries to post")
    return [(original.account_id, -amount if original.amount > 0 else amount) for original in moved]


async def open_accounts(tx: Tx, specs: Sequence[AccountSpec], *, actor: str = "bank") -> list[OpenedAccount]:
    """Open accounts, or find those that exist under the name; one answer each, in order.

    Refuses with `Conflict` (`account_exists`) where an account of that name holds another asset or is of another kind.
    """
    for spec in specs:
        check_name(spec.name, "an account's name")
    opened = await store.open_accounts(tx, specs, actor=actor)
    for spec, account in zip(specs, opened, strict=True):
        if (account.asset, account.kind) != (spec.asset, spec.kind):
            raise Conflict("account_exists", f"{spec.name} exists as a {account.kind} account in {account.asset}")
    return opened


async def set_status(tx: Tx, name: str, status: AccountStatus, *, actor: str = "bank") -> Account:
    """Freeze, reopen or close an account. Closing needs a balance of zero (`account_not_empty`) and is for good.

    A frozen account neither gives nor takes, and no money is set aside on it; what is held on it stays held.
    """
    (ref,) = await _references(tx, [name])
    (locked,) = await lock(tx, [ref.id])
    if locked.status != status:
        if status not in _CHANGES[locked.status]:
            raise Conflict("impossible_transition", f"an account that is {locked.status} does not become {status}")
        if status == "closed" and (locked.posted or locked.held):
            raise Conflict("account_not_empty", "an account is closed when it holds nothing")
        await store.set_statuses(tx, [(ref.id, status)], actor=actor)
    return await account(tx, name)


async def set_floor(tx: Tx, name: str, floor: int | None, *, actor: str = "bank") -> Account:
    """Set how far down (minor units) an account's available balance may be taken; `None` is no floor.

    A floor above what is available takes nothing back: the account gives nothing more until it is above it again, and what is
    paid in is never stopped. An account of a customer always has a floor (`Invalid` `floor_needed`).
    """
    found = await account(tx, name)
    if floor is None and found.kind == "customer":
        raise Invalid("floor_needed", "an account of a customer always has a floor")
    await store.set_floors(tx, [(found.id, floor)], actor=actor)
    return await account(tx, name)


async def lower_floors(tx: Tx, floors: Sequence[tuple[int, int]], *, actor: str = "bank") -> int:
    """Let accounts (`(id, floor)`, minor units) go further down; the number whose floor changed."""
    locked = {balance.account_id: balance.floor for balance in await lock(tx, [id for id, _ in floors])}
    lower = [(id, floor) for id, floor in floors if (known := locked.get(id)) is not None and floor < known]
    return len(await store.set_floors(tx, lower, actor=actor)) if lower else 0


async def lock(tx: Tx, account_ids: Sequence[int]) -> list[LockedBalance]:
    """Lock the balances of accounts, in id order, so that they stay what they are until this transaction ends.

    It may go before `post`, where a rule has to read facts first; claims are taken before any balance is locked.
    """
    return await store.lock(tx, account_ids)


async def account_changes(tx: ReadTx, account_id: int, *, before: int | None = None, limit: int = 50) -> list[AccountChange]:
    """A page of the statuses and floors that an account had, newest first, below the number `before`."""
    return await store.account_changes(tx, account_id, before=before or _NEWEST_CHANGE, limit=limit)


async def close_period(tx: Tx, until: datetime, *, actor: str) -> datetime:
    """Close the books up to a time: from then on nothing is posted with an effective date before it.

    Waits for whoever is posting, and they wait for this transaction. Refuses with `Invalid` (`period_not_over`) a time to
    come, with `Conflict` (`period_closed`) a time up to which the books are closed already.
    """
    if await store.close_period(tx, until, actor=actor) is not None:
        return until
    known = await store.closed_until(tx)
    if known is not None and until <= known:
        raise Conflict("period_closed", f"the books are closed up to {known.isoformat()} already")
    raise Invalid("period_not_over", "only a time that is over can be closed")


async def closed_until(tx: ReadTx) -> datetime | None:
    """Up to when the books are closed; `None` where they never were."""
    return await store.closed_until(tx)


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


async def _references(tx: ReadTx, names: Sequence[str]) -> list[AccountRef]:
    found = await references(tx, names)
    for name in names:
        if name not in found:
            raise unknown_account(name)
    return [found[name] for name in names]


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
