"""What the books held, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tallystick.kit import Asset, format_minor

By = Literal["posted", "effective"]
"""The two times of a journal: when it was posted, as the database says, and when the business happened, as its maker says."""


@dataclass(frozen=True, slots=True)
class BalanceAt:
    """An account as it stood, in minor units; `entries` is how many were counted, which by posted time is also its version."""

    entries: int
    dr: int
    cr: int

    @property
    def amount(self) -> int:
        return self.cr - self.dr


@dataclass(frozen=True, slots=True)
class Span:
    """An account's entries in a period `[start, end)`, with the balances around them.

    Only entries up to number `version` belong to it. As entries never change, neither does a span of one version, whatever is
    posted later; so it can be read in pages.
    """

    account_id: int
    start: datetime
    end: datetime
    by: By
    version: int
    opening: BalanceAt
    closing: BalanceAt


@dataclass(frozen=True, slots=True)
class Totals:
    """Entries of a period: how many took (debits) and gave (credits), and how much, in minor units above zero."""

    debits: int
    debited: int
    credits: int
    credited: int


@dataclass(frozen=True, slots=True)
class PastEntry:
    """One entry of an account. `text` and `end_to_end_id` are what its journal's `meta` says for the account's holder."""

    seq: int
    journal_id: int
    kind: str
    amount: int
    effective_at: datetime
    posted_at: datetime
    reverses: int | None
    text: str | None
    end_to_end_id: str | None


@dataclass(frozen=True, slots=True)
class TrialBalanceAt:
    """All accounts of one asset at a time. `dr` and `cr` are all that was taken and given until then; accounts whose balance
    was below zero add up to `debit_balances`, the others to `credit_balances`. In balance, each pair is equal."""

    asset: str
    scale: int
    accounts: int
    dr: int
    cr: int
    debit_balances: int
    credit_balances: int

    @property
    def difference(self) -> int:
        return self.cr - self.dr

    def told(self) -> dict[str, Any]:
        """JSON of it, amounts as decimals."""
        unit = Asset(self.asset, self.scale)
        return {
            "currency": self.asset,
            "accounts": self.accounts,
            "debits": format_minor(self.dr, unit),
            "credits": format_minor(self.cr, unit),
            "debit_balances": format_minor(self.debit_balances, unit),
            "credit_balances": format_minor(self.credit_balances, unit),
            "difference": format_minor(self.difference, unit),
        }


@dataclass(frozen=True, slots=True)
class Leg:
    """One entry of a journal, with the balance that it left."""

    journal_id: int
    account: str
    asset: str
    scale: int
    seq: int
    amount: int
    balance_after: int


@dataclass(frozen=True, slots=True)
class PastJournal:
    """A journal that was posted. `reverses` is the journal that it takes back, `hold_id` the hold that it captures."""

    id: int
    kind: str
    ref_id: int | None
    actor: str
    on_behalf_of: str | None
    task_id: int | None
    approval_id: int | None
    reverses: int | None
    hold_id: int | None
    effective_at: datetime
    posted_at: datetime
    meta: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class PlacedJournal(PastJournal):
    """A journal in a list; `place` is where the next page begins."""

    place: int
