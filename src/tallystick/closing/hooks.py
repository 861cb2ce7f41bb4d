"""Accrual hooks: functions that look at every account's balance once a business day, and may post.

A hook is known by `register`, or comes from an installed package by the entry point group `tallystick.accruals`, where each
entry point names an `AccrualHook`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

from tallystick import ledger
from tallystick.closing.model import BusinessDay, OpenBalance
from tallystick.db import Tx, key_reused
from tallystick.kit import Invalid, Unavailable

ENTRY_POINTS = "tallystick.accruals"
ACTOR = "end-of-day"
"""Who posts a hook's journals; nobody else can have this name."""

_KINDS = "accrued_"
ledger.keep_kind(_KINDS)

_JUST_BEFORE = timedelta(microseconds=1)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class AccrualJournal:
    """A journal that a hook wants posted; `entries` are `(account id, amount in minor units)` that sum to zero per asset.

    Its kind in the books is `accrued_` and `kind`: nobody else posts such journals, or takes them back.
    """

    kind: str
    entries: Sequence[tuple[int, int]]
    meta: Mapping[str, Any] = field(default_factory=dict)


class AccrualPage:
    """What a hook is given: a page of accounts with their closing balances of the business day before, and how to post.

    Those balances are facts that nothing changes any more, so that a page is the same however often it is read.
    """

    def __init__(
        self, tx: Tx, day: BusinessDay, hook: str, balances: Sequence[OpenBalance], *, posted_before: int, on_behalf_of: str
    ) -> None:
        assert day.previous_date is not None, "the first day has no closing balances before it"
        self.tx = tx
        self.day_id = day.id
        self.business_date: date = day.business_date
        self.previous_date: date = day.previous_date
        self.effective_at: datetime = day.cut_off_at - _JUST_BEFORE
        self.balances = balances
        self.answers: Sequence[ledger.Posted] = ()
        self._hook = hook
        self._first = posted_before + 1
        self._on_behalf_of = on_behalf_of
        self._done = False

    async def post(self, journals: Sequence[AccrualJournal]) -> Sequence[ledger.Posted]:
        """Post the page's journals, effective just before the cut-off; one answer each, in order. May be called once a page.

        The journals of a hook are numbered through the day, and each has the key `eod:<date>:<hook>:<number>`. A refusal is an
        answer, as of `ledger.post`.
        """
        if self._done:
            raise Invalid("accrual_malformed", f"the hook {self._hook} posts twice for one page")
        self._done = True
        prefix = f"eod:{self.business_date}:{self._hook}"
        self.answers = await ledger.post(
            self.tx,
            [
                ledger.Journal(
                    kind=f"{_KINDS}{journal.kind}",
                    entries=journal.entries,
                    actor=ACTOR,
                    key=f"{prefix}:{number}",
                    on_behalf_of=self._on_behalf_of,
                    effective_at=self.effective_at,
                    meta=journal.meta,
                )
                for number, journal in enumerate(journals, self._first)
            ],
        )
        if any(answer.refusal == "key_reused" for answer in self.answers):
            raise key_reused()
        return self.answers


@dataclass(frozen=True, slots=True)
class AccrualHook:
    """A function that runs on every page of accounts of a day. Hooks run by `order`, then by name.

    `run` is called in the transaction that commits what it did for the page, so it calls nothing outside of the database.
    """

    name: str
    order: int
    run: Callable[[AccrualPage], Awaitable[None]]


_registered: dict[str, AccrualHook] = {}


def register(hook: AccrualHook) -> None:
    """Make a hook known to this process. Refuses with `Invalid` (`accrual_malformed`) a bad name or one that is taken."""
    _check(hook, _registered)
    _registered[hook.name] = hook


def known_hooks() -> list[AccrualHook]:
    """Every hook that is registered or installed, in the order they run.

    Refuses with `Unavailable` (`accrual_broken`) where an installed one cannot be loaded: a day without it would be wrong.
    """
    found = dict(_registered)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            hook = point.load()
        except Exception as error:
            raise Unavailable("accrual_broken", f"the accrual hook {point.value} cannot be loaded: {error}") from error
        _check(hook, found)
        found[hook.name] = hook
    return in_order(found.values())


def in_order(hooks: Any) -> list[AccrualHook]:
    """The hooks in the order they run."""
    return sorted(hooks, key=lambda hook: (hook.order, hook.name))


def _check(hook: object, known: Mapping[str, AccrualHook]) -> None:
    if not isinstance(hook, AccrualHook) or not _NAME.fullmatch(hook.name):
        raise Invalid("accrual_malformed", "a hook has a name of up to 40 small letters, digits and dashes")
    if hook.name in known:
        raise Invalid("accrual_malformed", f"there are two accrual hooks of the name {hook.name}")
