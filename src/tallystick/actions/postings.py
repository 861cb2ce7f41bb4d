"""What the books do at somebody's word: journals, their reversal, holds, and what accounts may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tallystick import ledger
from tallystick.actions import gate
from tallystick.actions.inside import between
from tallystick.actions.model import Denied, Held
from tallystick.actions.registry import ActionType, Count, Whole, register
from tallystick.db import ReadTx, Tx, key_reused
from tallystick.identity import Principal
from tallystick.kit import Asset, TallystickError, parse_signed_minor, plain

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class EntryPayload:
    """A decimal amount for an account: above zero gives, below zero takes."""

    account: str
    amount: str


@dataclass(frozen=True, slots=True)
class GuardPayload:
    """A condition on an account, as `ledger.NamedGuard`."""

    account: str
    available: str | None = None
    seq: Count | None = None


@dataclass(frozen=True, slots=True)
class JournalPayload:
    """A journal, as `ledger.NamedJournal`."""

    kind: str
    entries: tuple[EntryPayload, ...]
    effective_at: datetime | None = None
    ref_id: Whole | None = None
    task_id: Whole | None = None
    meta: dict[str, Any] | None = None
    guards: tuple[GuardPayload, ...] = ()

    @classmethod
    def of(cls, named: ledger.NamedJournal) -> JournalPayload:
        """The payload of a journal that is named; its key is not part of it."""
        return cls(
            named.kind,
            tuple(EntryPayload(account, plain(amount)) for account, amount in named.entries),
            named.effective_at,
            named.ref_id,
            named.task_id,
            dict(named.meta) or None,
            tuple(
                GuardPayload(guard.account, None if guard.available is None else plain(guard.available), guard.seq)
                for guard in named.guards
            ),
        )

    def named(self) -> ledger.NamedJournal:
        """The journal that is meant."""
        return ledger.NamedJournal(
            self.kind,
            [(entry.account, entry.amount) for entry in self.entries],
            effective_at=self.effective_at,
            ref_id=self.ref_id,
            task_id=self.task_id,
            meta=self.meta or {},
            guards=[ledger.NamedGuard(guard.account, guard.available, guard.seq) for guard in self.guards],
        )


@dataclass(frozen=True, slots=True)
class PostJournals:
    """Journals to post; in mode `atomic` all of them or none."""

    journals: tuple[JournalPayload, ...]
    mode: str = "independent"


async def post_journals(
    tx: Tx, by: Principal, named: Sequence[ledger.NamedJournal]
) -> list[ledger.Posted | Held | Denied | TallystickError]:
    """Have single journals of one principal decided, and post those that may be, in one batch; one answer each, in order.

    What cannot be read is refused on its own, and leaves its neighbours alone.
    """
    answers: dict[int, ledger.Posted | Held | Denied | TallystickError] = {}
    read = await ledger.read_journals(tx, by.name, named, on_behalf_of=by.on_behalf_of)
    meant = [place for place, one in enumerate(read) if not isinstance(one, TallystickError)]
    entered = await gate.enter_many(tx, by, [(PostJournals((JournalPayload.of(named[at]),)), named[at].key) for at in meant])
    passed: list[tuple[int, ledger.Journal, int]] = []
    for place, one in zip(meant, entered, strict=True):
        journal = read[place]
        if isinstance(one, gate.Passed) and isinstance(journal, ledger.Journal):
            passed.append((place, journal, one.decision_id or 0))
        else:
            assert not isinstance(one, gate.Passed)
            answers[place] = one
    posted = await ledger.post_on_record(
        tx, [journal for _, journal, _ in passed], decisions=[decision_id for _, _, decision_id in passed]
    )
    for (place, _, _), answer in zip(passed, posted, strict=True):
        answers[place] = key_reused() if answer.refusal == "key_reused" else answer
    for place, unread in enumerate(read):
        if isinstance(unread, TallystickError):
            answers[place] = unread
    return [answers[place] for place in range(len(named))]


async def _journal_facts(tx: ReadTx, payload: PostJournals) -> Mapping[str, Any]:
    entries = [[(entry.account, entry.amount) for entry in journal.entries] for journal in payload.journals]
    facts = await money_facts(tx, entries)
    # Where one account gives and one takes, rules of payees see a journal as they see a transfer.
    takers = sorted(set(facts["accounts"]) - {facts.get("account")})
    if "account" in facts and len(takers) == 1:
        facts |= await between(tx, facts["account"], takers[0])
    return {**facts, "count": len(payload.journals), "journal_kinds": sorted({journal.kind for journal in payload.journals})}


async def _locks(_: ReadTx, payload: PostJournals) -> Iterable[str]:
    # The balances of guards are locked with those of entries.
    return [guard.account for journal in payload.journals for guard in journal.guards]


async def money_facts(
    tx: ReadTx, items: Sequence[Sequence[tuple[str, Any]]], read: Callable[[Any, Asset], int] = parse_signed_minor
) -> dict[str, Any]:
    """What policy sees of the entries of some things: the accounts, and what they move in all, where it is one asset.

    Refuses with `Invalid` an amount that cannot be `read` (`amount_…`): policy never takes it for none.
    """
    listed = [entry for entries in items for entry in entries]
    known = await ledger.references(tx, (name for name, _ in listed))
    facts: dict[str, Any] = {"accounts": sorted({name for name, _ in listed})}
    units = {known[name].unit for name, _ in listed if name in known}
    if len(units) == 1 and all(name in known for name, _ in listed):
        (unit,) = units
        moved = []
        for place, entries in enumerate(items):
            try:
                moved += [read(amount, unit) for _, amount in entries]
            except TallystickError as error:
                raise error if len(items) == 1 else error.of_number(place) from None
        facts |= {"asset": unit.code, "scale": unit.scale, "amount": sum(amount for amount in moved if amount > 0)}
    taken = sorted({name for name, amount in listed if str(amount).startswith("-")})
    if len(taken) == 1:
        facts["account"] = taken[0]
    return facts


async def _post(tx: Tx, by: Principal, payload: PostJournals) -> list[ledger.Posted]:
    named = [journal.named() for journal in payload.journals]
    read = await ledger.read_journals(tx, by.name, named, on_behalf_of=by.on_behalf_of)
    for one in read:
        if isinstance(one, TallystickError):
            raise one
    journals = [replace(one, approval_id=tx.approval) for one in read if isinstance(one, ledger.Journal)]
    return await ledger.post_on_record(tx, journals, mode="atomic" if payload.mode == "atomic" else "independent")


def _tell_posted(posted: Sequence[ledger.Posted]) -> Mapping[str, Any]:
    return {"journals": [[None if one.journal_id is None else str(one.journal_id), one.refusal] for one in posted[:_SHOWN]]}


def refusal_of_all(answers: Sequence[ledger.Posted | ledger.Placed]) -> str | None:
    """Why the books did nothing of all that there was to do: for the first that was refused for itself."""
    reasons = [one.refusal for one in answers]
    if any(reason is None for reason in reasons):
        return None
    return next((reason for reason in reasons if reason != "batch_refused"), None)


register(ActionType("journal.post", PostJournals, _journal_facts, _post, _tell_posted, locks=_locks, refused=refusal_of_all))
