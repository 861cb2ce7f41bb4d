"""The verbs of holds: money that is set aside on an account until it is captured, released or its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tallystick.db import ReadTx, Tx
from tallystick.kit import Invalid, NotFound
from tallystick.ledger import store
from tallystick.ledger.model import Hold, HoldChange, Journal, Mode, NewHold, Placed, Release, Released, transfer

_NEWEST = 2**63 - 1
_MAX_BATCH = 8192
_MAX_EXPIRED = 1000


async def place_holds(tx: Tx, holds: Sequence[NewHold], *, mode: Mode = "independent", dry_run: bool = False) -> list[Placed]:
    """Set money aside: one answer each, in order; at most 8,192 at once.

    A refusal (`insufficient_funds`, `account_closed`, `account_frozen`, `unknown_account`, `amount_out_of_range`,
    `expiry_is_over`, `key_reused`, in mode `atomic` also `batch_refused`) is an answer, changes nothing, and is remembered
    under the hold's key. A hold is captured by posting a journal that names it (see `capture`).
    """
    if not holds:
        return []
    _check(len(holds))
    if not dry_run:
        return await store.place_holds(tx, holds, atomic=mode == "atomic")
    async with tx.rehearsal():
        answers = await store.place_holds(tx, holds, atomic=mode == "atomic")
    return [answer if answer.replayed else replace(answer, hold_id=None) for answer in answers]


async def release_holds(
    tx: Tx, releases: Sequence[Release], *, mode: Mode = "independent", dry_run: bool = False
) -> list[Released]:
    """Give back what remains of holds: one answer each, in order; at most 8,192 at once.

    Refusals, which are answers: `unknown_hold`, `hold_resolved`, `hold_expired`, `key_reused`, `batch_refused`.
    """
    if not releases:
        return []
    _check(len(releases))
    if not dry_run:
        return await store.release_holds(tx, releases, atomic=mode == "atomic")
    async with tx.rehearsal():
        return await store.release_holds(tx, releases, atomic=mode == "atomic")


async def expire_holds(tx: Tx, *, limit: int = _MAX_EXPIRED) -> int:
    """Resolve holds whose time is over, the oldest first; how many were. They bind nothing from that time on in any case."""
    return await store.expire_holds(tx, limit=limit)


async def hold(tx: ReadTx, hold_id: int) -> Hold:
    """The hold of that id; refuses with `NotFound` (`unknown_hold`)."""
    found = await store.holds(tx, account_id=None, among=None, ids=[hold_id], open_only=False, before=_NEWEST, limit=1)
    if not found:
        raise NotFound("unknown_hold", f"there is no hold {hold_id}")
    return found[0]


async def holds(
    tx: ReadTx,
    *,
    account_id: int | None = None,
    among: Sequence[int] | None = None,
    ids: Sequence[int] | None = None,
    open_only: bool = False,
    before: int | None = None,
    limit: int = 50,
) -> list[Hold]:
    """A page of holds, newest first, below the id `before`; on one account, or `among` accounts."""
    bound = _NEWEST if before is None else before
    return await store.holds(tx, account_id=account_id, among=among, ids=ids, open_only=open_only, before=bound, limit=limit)


async def hold_changes(tx: ReadTx, hold_id: int, *, limit: int = 1000) -> list[HoldChange]:
    """What became of a hold, in order; the first `limit` changes."""
    return await store.hold_changes(tx, hold_id, limit=limit)


def capture(
    hold: Hold, *, credit: int, amount: int, actor: str, final: bool = False, kind: str = "capture", key: str | None = None
) -> Journal:
    """The journal that takes `amount` of a hold and gives it to the account `credit`; `final` frees what then remains."""
    entries = transfer(debit=hold.account_id, credit=credit, amount=amount)
    return Journal(kind=kind, entries=entries, actor=actor, key=key, hold_id=hold.id, final=final)


def _check(count: int) -> None:
    if count > _MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {_MAX_BATCH}")
