"""The bodies of what is asked of the books: journals, reversals, holds, captures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tallystick import ledger
from tallystick.http.shapes import Instant, Money, Name, SignedAmount, Strict, StringId
from tallystick.kit import Invalid

MAX_BATCH = 8192
MAX_ENTRIES = 8192
_MAX_GUARDS = 100
_MAX_SEQ = 2**63 - 1
_MAX_SECONDS = 10 * 365 * 86_400

Kind = Annotated[str, Field(min_length=1, max_length=50, examples=["invoice"])]
Mode = Annotated[
    Literal["independent", "atomic"], Field(description="`atomic`: where one is refused, all are, with `batch_refused`.")
]
DryRun = Annotated[bool, Field(description="Answer as it would be answered now, and change nothing.")]


class About(Strict):
    """What surrounds a posting. Who acts, for whom and with whose approval is not said here: the key and the gate know."""

    ref_id: StringId | None = Field(default=None, description="The thing of this kind that it is for.")
    task_id: StringId | None = None
    meta: dict[str, Any] = Field(
        default_factory=dict, description="Codes and references for machines, up to 16 KiB; no personal data."
    )

    def told(self) -> dict[str, Any]:
        """As the ledger calls them."""
        return {name: getattr(self, name) for name in ("ref_id", "task_id", "meta")}


class EntryBody(Strict):
    """What an account is given (above zero) or what is taken from it (below zero), in its own currency."""

    account: Name = Field(examples=["ACC123"])
    amount: SignedAmount = Field(examples=["-12.50"])


class GuardBody(Strict):
    """A condition on an account just before the journal: at least so much available, or exactly so many entries, or both."""

    account: Name = Field(examples=["ACC123"])
    available: SignedAmount | None = Field(default=None, examples=["100.00"])
    seq: int | None = Field(default=None, ge=0, le=_MAX_SEQ, strict=True, examples=[3])


class JournalBody(About):
    """A journal: entries that sum to zero for each currency, posted whole or not at all."""

    kind: Kind
    entries: list[EntryBody] = Field(max_length=MAX_ENTRIES)
    effective_at: Instant | None = Field(default=None, description="When the business happened; by default when it is posted.")
    guards: list[GuardBody] = Field(default_factory=list, max_length=_MAX_GUARDS)

    def named(self, key: str | None) -> ledger.NamedJournal:
        """As the ledger takes it."""
        return ledger.NamedJournal(
            kind=self.kind,
            entries=[(entry.account, entry.amount) for entry in self.entries],
            key=key,
            effective_at=self.effective_at,
            guards=[ledger.NamedGuard(guard.account, guard.available, guard.seq) for guard in self.guards],
            **self.told(),
        )


class OneJournalBody(JournalBody):
    """A journal to post, or to rehearse."""

    dry_run: DryRun = False


class JournalsBody(Strict):
    """Journals to post, in this order: each by itself, or all of them or none."""

    mode: Mode = "independent"
    dry_run: DryRun = False
    journals: list[JournalBody] = Field(min_length=1, max_length=MAX_BATCH)


class ReversalBody(About):
    """How much of a journal to take back: all of it, or an amount where it moved money between two accounts, or entries."""

    amount: Money | None = Field(default=None, examples=[{"amount": "4.00", "currency": "CZK"}])
    entries: list[EntryBody] | None = Field(default=None, max_length=MAX_ENTRIES)
    effective_at: Instant | None = None
    dry_run: DryRun = False


class HoldBody(About):
    """Money to set aside on an account: until a time, for some seconds, or until it is captured or released."""

    account: Name = Field(examples=["ACC123"])
    amount: Money
    kind: Kind = "hold"
    expires_at: Instant | None = None
    expires_in_s: int | None = Field(default=None, ge=1, le=_MAX_SECONDS, strict=True, examples=[604_800])

    def named(self, key: str | None) -> ledger.NamedHold:
        """As the ledger takes it."""
        if self.expires_at is not None and self.expires_in_s is not None:
            raise Invalid("expiry_twice", "a hold expires at a time or after some seconds, not both")
        return ledger.NamedHold(
            self.account,
            self.amount.amount,
            self.amount.currency,
            kind=self.kind,
            key=key,
            expires_at=self.expires_at,
            expires_in_s=self.expires_in_s,
            **self.told(),
        )


class OneHoldBody(HoldBody):
    """A hold to place, or to rehearse."""

    dry_run: DryRun = False


class HoldsBody(Strict):
    """Holds to place, in this order: each by itself, or all of them or none."""

    mode: Mode = "independent"
    dry_run: DryRun = False
    holds: list[HoldBody] = Field(min_length=1, max_length=MAX_BATCH)


class CaptureBody(About):
    """What to take of a hold, for whom; with `final`, what then remains is freed."""

    to_account: Name = Field(examples=["ACC999"])
    amount: Money
    final: bool = False
    kind: Kind = "capture"
    effective_at: Instant | None = None
    dry_run: DryRun = False


class ReleaseBody(Strict):
    """Nothing needs to be said."""

    dry_run: DryRun = Field(default=False, examples=[False])
