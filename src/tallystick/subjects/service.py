"""The verbs of the subjects: erase, hold, keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tallystick import audit
from tallystick.db import Database, ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, TallystickError, check_name
from tallystick.subjects import store
from tallystick.subjects.model import KINDS, MAX_KEEP_MONTHS, Erased, LegalHold, Retention

MAX_ROWS = 100_000
_REASON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


async def erase(owner: Database, principal: str, customer: str, *, reason: str, limit: int = MAX_ROWS) -> Erased:
    """Erase what is known of a customer in every room, for good, without asking the gate, of which an event of its own tells.

    `owner` has the owner's role, and as much time as it takes.

    Refuses with `NotFound` (`unknown_customer`), `Invalid` (`reason_malformed`), and with `Conflict`: `already_erased`;
    `legal_hold`; `retention_period`; `subject_in_use` where business with the customer goes on; `too_many_rows` where more
    than `limit` would be redacted. Nothing has changed then; the last four leave an event of the record.
    """
    _check(customer, reason)
    async with owner.write() as tx:
        verdict = await store.erase(tx, principal, customer, reason=reason, limit=limit)
    # The event of a refusal is committed before it is raised.
    return _or_raised(outcome(verdict, customer))


async def rehearse(owner: Database, principal: str, customer: str, *, reason: str, limit: int = MAX_ROWS) -> Erased:
    """What `erase` would do, with the same refusals. Nothing of it stays."""
    _check(customer, reason)
    async with owner.write() as tx, tx.rehearsal():
        verdict = await store.erase(tx, principal, customer, reason=reason, limit=limit)
    return _or_raised(outcome(verdict, customer))


async def place_hold(tx: Tx, principal: str, customer: str, *, reason: str) -> LegalHold:
    """Keep a customer's data from being erased until the hold is lifted. An erasure at the same moment is waited for.

    Refuses with `NotFound` (`unknown_customer`) where nothing is kept under this name, and `Invalid` (`reason_malformed`).
    """
    _check(customer, reason)
    await store.lock_customer(tx, customer)
    found = await store.subject(tx, customer)
    if found.id is None and not found.has_cases:
        raise unknown_customer(customer)
    hold = await store.place_hold(tx, principal, customer, reason=reason)
    await _tell(tx, principal, "place", found.id, hold)
    return hold


async def lift_hold(tx: Tx, principal: str, hold_id: int) -> LegalHold:
    """Lift a legal hold. One that was lifted stays so. Refuses with `NotFound` (`unknown_legal_hold`)."""
    lifted = await store.lift_hold(tx, principal, hold_id)
    if lifted is None:
        before = await store.hold(tx, hold_id)
        if before is None:
            raise NotFound("unknown_legal_hold", f"there is no legal hold {hold_id}")
        return before
    found = await store.subject(tx, lifted.customer)
    await _tell(tx, principal, "lift", found.id, lifted)
    return lifted


async def holds(
    tx: ReadTx, *, customer: str | None = None, lifted: bool = False, after: int = 0, limit: int = 1000
) -> list[LegalHold]:
    """Legal holds above the id `after`, oldest first; those that were lifted too where `lifted`."""
    return await store.holds(tx, customer=customer, lifted=lifted, after=after, limit=limit)


async def retention(tx: ReadTx) -> list[Retention]:
    """How long each kind of data is kept."""
    return await store.retention(tx)


async def set_retention(tx: Tx, principal: str, kind: str, keep_months: int) -> Retention:
    """Change how long data of a kind is kept at least; for the owner. An event of the record tells of it.

    Refuses with `NotFound` (`unknown_kind`) and `Invalid` (`retention_out_of_range`).
    """
    if kind not in KINDS:
        raise NotFound("unknown_kind", f"kinds are {', '.join(KINDS)}")
    if not 0 <= keep_months <= MAX_KEEP_MONTHS:
        raise Invalid("retention_out_of_range", f"data is kept for 0 to {MAX_KEEP_MONTHS} months")
    before = await store.set_retention(tx, principal, kind, keep_months)
    detail = {"kind": kind, "months": keep_months, "before": before}
    await audit.append(tx, principal=principal, verb="retention.set", subject_kind="retention", detail=detail)
    (changed,) = [rule for rule in await store.retention(tx) if rule.kind == kind]
    return changed


async def _tell(tx: Tx, principal: str, what: str, customer_id: int | None, hold: LegalHold) -> None:
    await audit.append(
        tx,
        principal=principal,
        verb=f"legal_holds.{what}",
        subject_kind="customer",
        subject_id=customer_id,
        detail={"hold": str(hold.id), "reason": hold.reason},
    )


def _check(customer: str, reason: str) -> None:
    check_name(customer, "a customer's name")
    check_reason(reason)


def check_reason(reason: str) -> None:
    """Refuse with `Invalid` (`reason_malformed`) what is no code."""
    if not _REASON.fullmatch(reason):
        raise Invalid("reason_malformed", "a reason is a code of letters, digits and ._/-, without personal data: it is kept")


def outcome(verdict: store.Verdict, customer: str) -> Erased | TallystickError:
    """What became of an erasure: what was erased, or the refusal."""
    if verdict.code == "erased":
        assert verdict.event_id is not None
        return Erased(verdict.event_id, {table: count for table, count in verdict.detail.items() if count})
    return _refusal(verdict.code, verdict.detail, customer)


def _or_raised(became: Erased | TallystickError) -> Erased:
    if isinstance(became, TallystickError):
        raise became
    return became


def _refusal(code: str, about: Mapping[str, Any], customer: str) -> TallystickError:
    match code:
        case "unknown_customer":
            return unknown_customer(customer)
        case "already_erased":
            return Conflict(code, f"{customer} was erased by event {about['erased_by']}")
        case "legal_hold":
            return Conflict(code, f"{customer} is under legal hold {', '.join(about['holds'])} ({', '.join(about['reasons'])})")
        case "retention_period":
            return Conflict(code, f"the retention period of {customer} ({about['kind']}) lasts until {about['until']}")
        case "subject_in_use":
            return Conflict(
                code, f"business with {customer} goes on: {about['kind']} {about['first']} ({about['count']} in all)"
            )
        case "too_many_rows":
            return Conflict(code, f"more than {about['limit']} rows would be erased for {customer}; is this the right name?")
        case _:
            raise AssertionError(code)


def unknown_customer(customer: str) -> NotFound:
    """The refusal of a name that nobody has."""
    return NotFound("unknown_customer", f"there is no customer {customer}")
