"""Transfers, as they are proposed and as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from tallystick.kit import Asset, loads_stored
from tallystick.policy import Reason, Verdict

Settle = Literal["now", "queued"]

SETTLEMENT_AGENT = "settlement-agent"
SETTLE_TASK = "settle_transfer"


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """A proposed transfer. `amount` is a decimal in `currency`; `None` is the currency of the account it comes from.

    `settle="now"` posts it in the call; `"queued"` stores it with a task for the settlement agent. With `key` the same call
    again answers as the first did.
    """

    from_account: str
    to_account: str
    amount: Decimal | int | str
    currency: str | None = None
    settle: Settle = "now"
    description: str | None = None
    key: str | None = None


class Transfer(NamedTuple):
    """A transfer as it stands: `queued`, `held` (people are asked by `approval_id`), `posted` (then `journal_id` says where) or
    `failed` (then `reason` says why; `denied` is policy's).

    `amount` is in minor units of `asset`. `decision_id` is what policy said of it, `reasons` why, where it did not let it pass.
    """

    id: int
    principal: str
    from_account: str
    to_account: str
    amount: int
    asset: str
    scale: int
    description: str | None
    settle: str
    status: str
    reason: str | None
    journal_id: int | None
    task_id: int | None
    created_at: datetime
    settled_at: datetime | None
    decision_id: int | None = None
    approval_id: int | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)

    def as_first_answered(self) -> Transfer:
        """What the call that proposed it was told: whatever has become of a queued transfer, it was `queued` then."""
        if self.approval_id is not None:
            return self._replace(status="held", reason=None, journal_id=None, settled_at=None)
        if self.settle == "now" or self.reason == "denied":
            return self
        return self._replace(status="queued", reason=None, journal_id=None, settled_at=None)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a queued transfer: `posted`, or `failed` with its reason."""

    transfer_id: int
    status: str
    reason: str | None


def reasons_of(verdict: str) -> tuple[Reason, ...]:
    """What rules said, out of a verdict's text."""
    unsaid = {"observed": None, "limit": None, "change": None}
    return tuple(Reason(**unsaid | one) for one in loads_stored(verdict)["reasons"])


class Asked(NamedTuple):
    """An action that policy is asked about: its type, the digest of type and payload (32 bytes), and the facts of it.

    `touches` are the names of the accounts that it may move, which are locked before it is decided.
    """

    type: str
    digest: bytes
    facts: Mapping[str, Any]
    touches: frozenset[str] = frozenset()


class Decided(NamedTuple):
    """What was decided of an action: `outcome` is `allow`, `hold` or `deny`; the decision is kept under `id`.

    `sha256` is that of its salt, facts and verdict, as they are kept.
    """

    id: int
    outcome: str
    verdict: Verdict
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Payee:
    """Whom an account knows, by which name, since when and by whom: an account of the bank, or an address outside of it."""

    payee: str
    label: str | None
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Held:
    """The action waits for people, who are asked by `approval_id`."""

    action_id: int
    approval_id: int
    decision_id: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """Policy does not let the action pass."""

    decision_id: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """An action that people were asked about: `held`, `executed`, `failed` (then `reason` says why), `rejected`, `expired` or
    `withdrawn`. `executed_by` is the decision under which it was carried out, `result` what came of it.
    """

    id: int
    type: str
    principal: str
    on_behalf_of: str | None
    payload: Mapping[str, Any]
    digest: bytes
    decision_id: int
    approval_id: int | None
    task_id: int | None
    proposed_at: datetime
    status: str
    reason: str | None
    result: Mapping[str, Any] | None
    executed_by: int | None
    ended_at: datetime | None
