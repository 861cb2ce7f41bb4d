"""Erasure as an action: proposed, decided by policy, put to people where it says so, and carried out under the decision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tallystick import actions
from tallystick.db import ReadTx, Tx
from tallystick.identity import Principal
from tallystick.kit import Invalid, NotFound, TallystickError, check_name
from tallystick.subjects import service, store
from tallystick.subjects.model import Erased

TYPE = "subject.erase"
MOST_ROWS = 10_000_000
_SUBJECT = re.compile(r"(?:(case) )?([1-9][0-9]{0,17})")
# An erasure reads all history once.
_PATIENCE_MS = 12 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class EraseSubject:
    """A customer to erase, of at most `most_rows` rows. `reason` is a code.

    `subject` is the customer's number, or `case` and the number of a case where they are known by cases alone: what is kept of
    the question must not hold the name that goes.
    """

    subject: str
    reason: str
    most_rows: Annotated[int, Field(le=2**62)] = service.MAX_ROWS


async def subject_of(tx: ReadTx, customer: str) -> str:
    """By what a customer is meant in `EraseSubject`. Refuses with `NotFound` (`unknown_customer`)."""
    check_name(customer, "a customer's name")
    found = await store.pseudonym(tx, customer)
    if found is None:
        raise service.unknown_customer(customer)
    return found


async def _facts(tx: ReadTx, payload: EraseSubject) -> Mapping[str, Any]:
    service.check_reason(payload.reason)
    meant = _SUBJECT.fullmatch(payload.subject)
    if meant is None:
        raise Invalid("subject_malformed", "a subject is the number of a customer, or case and the number of one")
    if not 1 <= payload.most_rows <= MOST_ROWS:
        raise Invalid("limit_out_of_range", f"an erasure is of 1 to {MOST_ROWS} rows at most")
    number = int(meant[2])
    holds = await store.holds_against(tx, number=None if meant[1] else number, case_id=number if meant[1] else None)
    if holds is None:
        raise NotFound("unknown_customer", f"there is no customer {payload.subject}")
    return {
        "subject": payload.subject,
        "reason": payload.reason,
        "most_rows": payload.most_rows,
        "legal_holds": holds,
        "amount": None,
        "account": None,
        "counterparty": None,
    }


async def _erase(tx: Tx, by: Principal, payload: EraseSubject) -> Erased | TallystickError:
    """A refusal is given back, so that its event stays."""
    assert tx.decision is not None, "what is carried out was let pass"
    await tx.wait_for_answers(_PATIENCE_MS)
    verdict = await store.erase_decided(
        tx, tx.decision, payload.subject, principal=by.name, reason=payload.reason, limit=payload.most_rows
    )
    return service.outcome(verdict, payload.subject)


actions.register(
    actions.ActionType(
        TYPE,
        EraseSubject,
        _facts,
        _erase,
        lambda erased: {"event": str(erased.event_id), "rows": dict(erased.rows)},
        roles=frozenset({"operator"}),
    )
)
