"""The verbs of the books on record: each call that changes something leaves one event."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tallystick import audit
from tallystick.db import Key, Tx, claim_one, claimed, key_reused
from tallystick.kit import Invalid, digest
from tallystick.ledger import holds, service, store
from tallystick.ledger.model import (
    Account,
    AccountChange,
    AccountStatus,
    Journal,
    Mode,
    NewHold,
    Placed,
    Posted,
    Release,
    Released,
    Reversal,
)
from tallystick.ledger.named import Number, or_zero

Thing = TypeVar("Thing", Journal, NewHold)
Answer = TypeVar("Answer", Posted, Placed, Released)
_LISTED = 200


async def post_on_record(
    tx: Tx,
    journals: Sequence[Journal],
    *,
    mode: Mode = "independent",
    dry_run: bool = False,
    decisions: Sequence[int] | None = None,
) -> list[Posted]:
    """`post` journals of one actor, with one event of the record for the call."""
    if not journals:
        return []
    answers = await service.post(tx, journals, mode=mode, dry_run=dry_run, decisions=decisions)
    await _tell(tx, journals[0].actor, "journals.post", _outcomes(answers), of="journal", dry_run=dry_run)
    return answers


async def reverse_on_record(tx: Tx, reversal: Reversal, *, dry_run: bool = False) -> Posted:
    """Take one journal back, with an event of the record."""
    (answer,) = await service.reverse(tx, [reversal], dry_run=dry_run)
    about = {"reverses": reversal.journal_id}
    await _tell(tx, reversal.actor, "journals.reverse", _outcomes([answer]), of="journal", dry_run=dry_run, about=about)
    return answer


async def capture_on_record(tx: Tx, journal: Journal, *, dry_run: bool = False) -> Posted:
    """Post one capture of a hold, with an event of the record."""
    (answer,) = await service.post(tx, [journal], dry_run=dry_run)
    about = {"hold": journal.hold_id, "final": journal.final}
    await _tell(tx, journal.actor, "holds.capture", _outcomes([answer]), of="journal", dry_run=dry_run, about=about)
    return answer


async def place_on_record(
    tx: Tx, wanted: Sequence[NewHold], *, mode: Mode = "independent", dry_run: bool = False
) -> list[Placed]:
    """`place_holds` of one actor, with one event of the record for the call."""
    if not wanted:
        return []
    answers = await holds.place_holds(tx, wanted, mode=mode, dry_run=dry_run)
    outcomes = [(answer.hold_id, answer.refusal) for answer in answers if not answer.replayed]
    await _tell(tx, wanted[0].actor, "holds.place", outcomes, of="hold", dry_run=dry_run)
    return answers


async def release_on_record(tx: Tx, release: Release, *, dry_run: bool = False) -> Released:
    """Give one hold back, with an event of the record."""
    (answer,) = await holds.release_holds(tx, [release], dry_run=dry_run)
    outcomes = [] if answer.replayed else [(release.hold_id, answer.refusal)]
    await _tell(tx, release.actor, "holds.release", outcomes, of="hold", dry_run=dry_run)
    return answer


async def expire_on_record(tx: Tx, actor: str, *, limit: int) -> int:
    """Resolve holds whose time is over, with an event of the record where there were any; how many there were."""
    expired = await holds.expire_holds(tx, limit=limit)
    if expired:
        await audit.append(tx, principal=actor, verb="holds.expire", subject_kind="hold", detail={"expired": expired})
    return expired


async def once_per_batch(
    tx: Tx, things: Sequence[Thing], carry_out: Callable[[Sequence[Thing]], Awaitable[list[Answer]]], *,
    key: str, mode: Mode, dry_run: bool,
) -> list[Answer]:  # fmt: skip
    """Carry a batch of one actor out under one key: the same batch again is answered as the first time.

    Each thing gets a key of its own that no caller can send, as it holds a space. Refuses with `Invalid` (`key_reused`) a key
    of another batch, one that is longer or shorter too, and of another request.
    """
    if not things:
        return []
    kind = f"{type(things[0]).__name__.lower()} batch"
    wanted = Key(things[0].actor, key, digest([kind, mode, [_hash(thing).hex() for thing in things]]))
    if dry_run:
        await claimed(tx, wanted, kind=kind)
    else:
        # A batch is no row of its own; its number only tells this claim from every other one.
        await claim_one(tx, wanted, kind=kind, ref_id=secrets.randbits(62))
    stem = hashlib.sha256(key.encode()).hexdigest()
    answers = await carry_out([replace(thing, key=f"batch {stem} {place}") for place, thing in enumerate(things)])
    if any(answer.refusal == "key_reused" for answer in answers):
        raise key_reused()
    return answers


async def change_status(tx: Tx, name: str, status: AccountStatus, *, actor: str) -> AccountChange:
    """`set_status`; the change that the account's status stands by."""
    return await _changed(tx, name, lambda: service.set_status(tx, name, status, actor=actor))


async def change_limit(tx: Tx, name: str, limit: Number | None, *, actor: str) -> AccountChange:
    """Let an account be overdrawn up to `limit` (decimal, in its asset), or without end where that is `None`.

    See `set_floor`. The change that the account's limit stands by.
    """
    found = await service.account(tx, name)
    floor = None if limit is None else -limit_in(found, limit)
    return await _changed(tx, name, lambda: service.set_floor(tx, name, floor, actor=actor))


async def _changed(tx: Tx, name: str, change: Callable[[], Awaitable[Account]]) -> AccountChange:
    found = await service.account(tx, name)
    await service.lock(tx, [found.id])
    await change()
    (after,) = await service.account_changes(tx, found.id, limit=1)
    return after


def limit_in(account: Account, limit: Number) -> int:
    """A limit as minor units of the account's asset; refuses with `Invalid` (`amount_not_positive`) one below zero."""
    parsed = or_zero(limit, account.unit)
    if parsed < 0:
        raise Invalid("amount_not_positive", "a limit is zero or more")
    return parsed


def _hash(thing: Journal | NewHold) -> bytes:
    return store.journal_hash(thing) if isinstance(thing, Journal) else store.hold_hash(thing)


def _outcomes(answers: Iterable[Posted]) -> list[tuple[int | None, str | None]]:
    return [(answer.journal_id, answer.refusal) for answer in answers if not answer.replayed]


async def _tell(
    tx: Tx,
    actor: str,
    verb: str,
    outcomes: Sequence[tuple[int | None, str | None]],
    *,
    of: str,
    dry_run: bool,
    about: Mapping[str, Any] | None = None,
) -> None:
    """One event for what a call did; none for what it rehearsed, or answered from memory."""
    new = [(id, refusal) for id, refusal in outcomes if refusal != "key_reused"]
    if dry_run or not new:
        return
    done = [id for id, refusal in new if refusal is None]
    detail: dict[str, Any] = {**(about or {}), "done": len(done), "refused": len(new) - len(done)}
    # A batch may be large and an event is small: it then holds the digest of the results in place of them.
    listed = [[id, refusal] for id, refusal in new]
    detail["results"] = listed if len(listed) <= _LISTED else digest(listed).hex()
    await audit.append(tx, principal=actor, verb=verb, subject_kind=of, subject_id=done[0] if done else None, detail=detail)
