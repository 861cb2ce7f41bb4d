"""What every verb of payments does with the books: it posts on the other bank's day, and says why it could not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from tallystick import audit, ledger
from tallystick.db import Tx
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, Unavailable, check_text
from tallystick.payments.model import History, Nostro

MAX_BATCH = 4096
_CANNOT_TAKE = frozenset({"account_closed", "account_frozen"})
ledger.keep_kind("external_payment_")

Answer = History | TallystickError


def check_size(items: Sequence[object]) -> None:
    """Refuse with `Invalid` (`batch_too_large`) more than a call may hold."""
    if len(items) > MAX_BATCH:
        raise Invalid("batch_too_large", f"a batch may hold {MAX_BATCH} payments")


async def post_on_day(tx: Tx, journals: Sequence[ledger.Journal]) -> list[ledger.Posted]:
    """Post journals on the other bank's days; what it booked on a day that our books have closed is effective now."""
    answers = await ledger.post(tx, journals)
    # Whoever posts keeps the mark of closed periods where it is, and has locked the balances of what was refused too.
    closed = [place for place, answer in enumerate(answers) if answer.refusal == "period_closed"]
    again = await ledger.post(tx, [replace(journals[place], effective_at=None) for place in closed])
    later = dict(zip(closed, again, strict=True))
    return [later.get(place, answer) for place, answer in enumerate(answers)]


async def record(tx: Tx, principal: str, verb: str, subject_id: int, detail: Mapping[str, Any]) -> None:
    """One event of the record for a call, which tells of every payment in its detail."""
    await audit.append(
        tx, principal=principal, verb=verb, subject_kind="external_payment", subject_id=subject_id, detail=detail
    )


def refused(refusal: str, *, raced: bool) -> Conflict:
    """The books say no. Where an account was open a moment ago, the call is to be made again: it finds another way then."""
    if raced and refusal in _CANNOT_TAKE:
        raise Unavailable("contention", "an account was frozen or closed at the same moment; try again")
    return Conflict("posting_refused", f"the books refuse it: {refusal}")


def start_of(day: date | None) -> datetime | None:
    """The first instant of another bank's day, in UTC."""
    return None if day is None else datetime.combine(day, time.min, UTC)


def check_currency(asset: str, nostro: Nostro, name: str) -> None:
    """Refuse with `Invalid` (`currency_mismatch`) an account that holds another asset than the nostro."""
    if asset != nostro.asset:
        raise Invalid("currency_mismatch", f"{name} holds {asset} and the nostro holds {nostro.asset}")


def text_of(text: str | None, what: str, max_length: int) -> str | None:
    """Text without blanks around it; blank is none."""
    return check_text(text, what, max_length).strip() or None if text is not None else None


def unknown_account(name: str) -> NotFound:
    """The refusal of a name that no account has."""
    return NotFound("unknown_account", f"there is no account {name}")


def unknown_payment(payment_id: int) -> NotFound:
    """The refusal of a number that no payment has."""
    return NotFound("unknown_payment", f"there is no external payment {payment_id}")
