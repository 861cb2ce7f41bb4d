"""External payments, read. Those that are sent, received and moved on stand in `sending`, `receiving` and `moving`.

Locks go in the order of the house: idempotency keys, then the rows of payments in id order, then balances.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick import ledger
from tallystick.db import ReadTx
from tallystick.kit import Invalid
from tallystick.payments import mirrors, store
from tallystick.payments.booking import unknown_payment
from tallystick.payments.model import STATUSES, History

_NEWEST = 2**63 - 1


async def get(tx: ReadTx, payment_id: int) -> History:
    """The payment with that id, and its steps; refuses with `NotFound` (`unknown_payment`)."""
    found = await store.histories(tx, [payment_id])
    if payment_id not in found:
        raise unknown_payment(payment_id)
    return found[payment_id]


async def page(
    tx: ReadTx,
    *,
    nostro: str | None = None,
    account: str | None = None,
    among: Sequence[int] | None = None,
    direction: str | None = None,
    status: str | None = None,
    end_to_end_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[History]:
    """A page of payments below the id `before`, newest first; of one nostro, account, direction, status or reference, and
    `among` accounts, by id, where that is given.

    Refuses with `Invalid` (`unknown_status`) and `NotFound` (`unknown_nostro`, `unknown_account`).
    """
    if status is not None and status not in STATUSES:
        raise Invalid("unknown_status", f"a payment is {', '.join(sorted(STATUSES))}")
    return await store.page(
        tx,
        nostro_id=None if nostro is None else (await mirrors.nostro(tx, nostro)).id,
        account_id=None if account is None else (await ledger.account(tx, account)).id,
        among=among,
        direction=direction,
        status=status,
        end_to_end_id=end_to_end_id,
        before=before or _NEWEST,
        limit=limit,
    )
