"""The ledger in plain Python: what the books promise, one thing at a time, with nothing clever in it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

LIMIT = 10**15
Lines = tuple[tuple[str, int], ...]


@dataclass
class Account:
    asset: str
    floor: int | None
    status: str = "open"
    posted: int = 0
    held: int = 0
    entries: list[tuple[int, int]] = field(default_factory=list)

    @property
    def available(self) -> int:
        return self.posted - self.held


@dataclass
class Hold:
    account: str
    amount: int
    remaining: int
    due: bool
    captured: int = 0
    status: str = "open"

    @property
    def shown(self) -> tuple[int, int, str]:
        """Captured, remaining and status as anybody sees them: a hold whose time is over binds nothing."""
        if self.status == "open" and self.due:
            return self.captured, 0, "expired"
        return self.captured, self.remaining, self.status


@dataclass(frozen=True)
class Journal:
    lines: Lines
    key: str | None = None
    effective_at: datetime | None = None
    reverses: int | None = None
    hold: int | None = None
    final: bool = False
    guards: tuple[tuple[str, int | None, int | None], ...] = ()


@dataclass(frozen=True)
class NewHold:
    account: str
    amount: int
    due: bool = False
    key: str | None = None


@dataclass(frozen=True)
class Release:
    hold: int
    key: str | None = None


@dataclass
class Answer:
    """`number` is the thing's place among the model's journals or holds."""

    number: int | None = None
    refusal: str | None = None
    replayed: bool = False


@dataclass
class _Known:
    request: tuple[str, Any]
    answer: Answer


Decide = Callable[[Any], tuple[int | None, str | None]]


class Model:
    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts
        self.journals: list[Journal] = []
        self.holds: list[Hold] = []
        self.keys: dict[str, _Known] = {}
        self.closed_until: datetime | None = None

    def post(self, batch: Sequence[Journal], *, atomic: bool, dry_run: bool) -> list[Answer]:
        touched = {name for journal in batch for name, _ in journal.lines} | {
            name for journal in batch for name, _, _ in journal.guards
        }
        return self._run("journal", batch, lambda model: model._decide_journal, touched, atomic=atomic, dry_run=dry_run)

    def place(self, batch: Sequence[NewHold], *, atomic: bool, dry_run: bool) -> list[Answer]:
        touched = {hold.account for hold in batch}
        return self._run("hold", batch, lambda model: model._decide_hold, touched, atomic=atomic, dry_run=dry_run)

    def release(self, batch: Sequence[Release], *, atomic: bool, dry_run: bool) -> list[Answer]:
        touched = {self.holds[release.hold].account for release in batch if release.hold < len(self.holds)}
        return self._run("release", batch, lambda model: model._decide_release, touched, atomic=atomic, dry_run=dry_run)

    def sweep(self) -> int:
        return self._expire(set(self.accounts))

    def _run(
        self,
        kind: str,
        batch: Sequence[Any],
        verb: Callable[[Model], Decide],
        touched: set[str],
        *,
        atomic: bool,
        dry_run: bool,
    ) -> list[Answer]:
        work = copy.deepcopy(self)
        work._expire(touched)
        before = copy.deepcopy(work)
        answers, replays = work._carry_out(kind, batch, verb(work))
        if atomic and any(answer.refusal for answer in answers):
            # What was done is undone; what is refused stays refused, and remembered.
            work, keys = before, work.keys
            for answer in answers:
                if not answer.replayed and answer.refusal is None:
                    answer.refusal, answer.number = "batch_refused", None
            work.keys = keys
        for place, known in replays.items():
            answers[place] = Answer(known.answer.number, known.answer.refusal, replayed=True)
        if dry_run:
            for answer in answers:
                answer.number = answer.number if answer.replayed else None
        else:
            self.__dict__ = work.__dict__
        return answers

    def _carry_out(self, kind: str, batch: Sequence[Any], decide: Decide) -> tuple[list[Answer], dict[int, _Known]]:
        answers = [Answer() for _ in batch]
        fresh: list[int] = []
        replays: dict[int, _Known] = {}
        for place, item in enumerate(batch):
            request = (kind, _without_key(item))
            if item.key is None:
                fresh.append(place)
            elif item.key not in self.keys:
                self.keys[item.key] = _Known(request, answers[place])
                fresh.append(place)
            elif self.keys[item.key].request == request:
                known = replays[place] = self.keys[item.key]
                answers[place] = Answer(known.answer.number, known.answer.refusal, replayed=True)
            else:
                answers[place].refusal = "key_reused"
        for place in fresh:
            answers[place].number, answers[place].refusal = decide(batch[place])
        return answers, replays

    def _decide_journal(self, journal: Journal) -> tuple[int | None, str | None]:
        refusal = self._irreversible(journal) or self._malformed(journal) or self._unfit(journal) or self._apply(journal)
        if refusal is not None:
            return None, refusal
        self.journals.append(journal)
        return len(self.journals) - 1, None

    def _malformed(self, journal: Journal) -> str | None:
        if len(journal.lines) < 2:
            return "too_few_entries"
        sums: dict[str | None, int] = defaultdict(int)
        for name, amount in journal.lines:
            sums[self.accounts[name].asset if name in self.accounts else None] += amount
        if any(sums.values()):
            return "unbalanced"
        if journal.effective_at is not None and self.closed_until is not None and journal.effective_at < self.closed_until:
            return "period_closed"
        for name, amount in journal.lines:
            if name not in self.accounts:
                return "unknown_account"
            if amount == 0 or abs(amount) > LIMIT:
                return "amount_out_of_range"
            if self.accounts[name].status != "open":
                return f"account_{self.accounts[name].status}"
        return None

    def _irreversible(self, journal: Journal) -> str | None:
        if journal.reverses is None:
            return None
        if journal.reverses >= len(self.journals):
            return "unknown_journal"
        return "not_reversible" if self.journals[journal.reverses].reverses is not None else None

    def _unfit(self, journal: Journal) -> str | None:
        if journal.hold is not None:
            if journal.hold >= len(self.holds):
                return "unknown_hold"
            hold = self.holds[journal.hold]
            if hold.status != "open":
                return "hold_expired" if hold.status == "expired" else "hold_resolved"
            taken = -_net(journal.lines, hold.account)
            if taken <= 0:
                return "hold_mismatch"
            if taken > hold.remaining:
                return "hold_exceeded"
        for name, available, seq in journal.guards:
            if name not in self.accounts:
                return "unknown_account"
            account = self.accounts[name]
            if available is not None and account.available < available:
                return "guard_failed"
            if seq is not None and len(account.entries) != seq:
                return "guard_failed"
        return None

    def _apply(self, journal: Journal) -> str | None:
        after = copy.deepcopy(self.accounts)
        for name, amount in journal.lines:
            account = after[name]
            account.posted += amount
            account.entries.append((amount, account.posted))
        hold = self.holds[journal.hold] if journal.hold is not None else None
        taken = -_net(journal.lines, hold.account) if hold else 0
        freed = hold.remaining - taken if hold and journal.final else 0
        if hold:
            after[hold.account].held -= taken + freed
        for name in {name for name, _ in journal.lines}:
            floor = after[name].floor
            less = after[name].available < self.accounts[name].available
            if floor is not None and less and after[name].available < floor:
                return "insufficient_funds"
        if journal.reverses is not None:
            refusal = self._beyond_the_original(journal)
            if refusal is not None:
                return refusal
        self.accounts = after
        if hold:
            hold.captured += taken
            hold.remaining -= taken + freed
            if hold.remaining == 0:
                hold.status = "captured"
        return None

    def _beyond_the_original(self, journal: Journal) -> str | None:
        assert journal.reverses is not None
        original = self.journals[journal.reverses]
        left: dict[str, int] = {name: -_net(original.lines, name) for name, _ in original.lines}
        for earlier in self.journals:
            if earlier.reverses == journal.reverses:
                for name, amount in earlier.lines:
                    left[name] -= amount
        for name, amount in journal.lines:
            if name not in left:
                return "reversal_mismatch"
            if left[name] * amount <= 0 or abs(amount) > abs(left[name]):
                return "reversal_exceeded"
            left[name] -= amount
        return None

    def _decide_hold(self, new: NewHold) -> tuple[int | None, str | None]:
        account = self.accounts.get(new.account)
        if account is None:
            return None, "unknown_account"
        if not 0 < new.amount <= LIMIT:
            return None, "amount_out_of_range"
        if account.status != "open":
            return None, f"account_{account.status}"
        if account.floor is not None and account.available - new.amount < account.floor:
            return None, "insufficient_funds"
        account.held += new.amount
        self.holds.append(Hold(new.account, new.amount, new.amount, new.due))
        return len(self.holds) - 1, None

    def _decide_release(self, release: Release) -> tuple[int | None, str | None]:
        if release.hold >= len(self.holds):
            return None, "unknown_hold"
        hold = self.holds[release.hold]
        if hold.status != "open":
            return None, "hold_expired" if hold.status == "expired" else "hold_resolved"
        self._resolve(hold, "released")
        return release.hold, None

    def due_on(self, *accounts: str) -> list[Hold]:
        """The holds on accounts whose time is over and which nobody has resolved yet."""
        return [hold for hold in self.holds if hold.status == "open" and hold.due and hold.account in accounts]

    def expire_on(self, *accounts: str) -> None:
        self._expire(set(accounts))

    def _expire(self, touched: set[str]) -> int:
        due = self.due_on(*touched)
        for hold in due:
            self._resolve(hold, "expired")
        return len(due)

    def _resolve(self, hold: Hold, status: Literal["released", "expired"]) -> None:
        self.accounts[hold.account].held -= hold.remaining
        hold.remaining, hold.status = 0, status


def _net(lines: Lines, account: str) -> int:
    return sum(amount for name, amount in lines if name == account)


def _without_key(item: Any) -> Any:
    return tuple((name, value) for name, value in vars(item).items() if name != "key")
