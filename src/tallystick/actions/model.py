"""Transfers, as they are proposed and as they stand."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallystick.kit import Asset

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


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as it stands: `queued`, `posted` (then `journal_id` says where) or `failed` (then `reason` says why).

    `amount` is in minor units of `asset`.
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

    @property
    def unit(self) -> Asset:
        return Asset(self.asset, self.scale)

    def as_first_answered(self) -> Transfer:
        """What the call that proposed it was told: whatever has become of a queued transfer, it was `queued` then."""
        if self.settle == "now":
            return self
        return dataclasses.replace(self, status="queued", reason=None, journal_id=None, settled_at=None)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a queued transfer: `posted`, or `failed` with its reason."""

    transfer_id: int
    status: str
    reason: str | None
