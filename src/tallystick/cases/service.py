"""The verbs of the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick import audit
from tallystick.cases import store
from tallystick.cases.model import EVENT_STATUSES, STATUSES, Case, Door, may_become
from tallystick.db import ReadTx, Tx
from tallystick.kit import Conflict, Invalid, NotFound, check_name, check_text

MAX_TEXT = 65_536
_NEWEST = 2**63 - 1


async def open_request(tx: Tx, principal: str, *, customer: str, type: str, payload: Mapping[str, Any]) -> Case:
    """Take in a request of a customer; it is `received`. Refuses with `Invalid` (`name_malformed`)."""
    _check_names(customer, type)
    case = await store.open_case(
        tx, principal, door="request", customer=customer, type=type, status="received", payload=payload
    )
    return await _opened(tx, principal, case)


async def open_event(tx: Tx, principal: str, *, customer: str, type: str, payload_text: str) -> Case:
    """Take in an event of a customer, with any text of up to 64 KiB; it is `queued`.

    Refuses with `Invalid` (`name_malformed`, `text_too_long`, `text_malformed`).
    """
    _check_names(customer, type)
    check_text(payload_text, "the payload", MAX_TEXT)
    if len(payload_text.encode()) > MAX_TEXT:
        raise Invalid("text_too_long", f"the payload may have {MAX_TEXT} bytes")
    case = await store.open_case(
        tx, principal, door="event", customer=customer, type=type, status="queued", payload_text=payload_text
    )
    return await _opened(tx, principal, case)


async def get(tx: ReadTx, case_id: int, door: Door | None = None) -> Case:
    """The case with that id that came in by `door`, or by any; refuses with `NotFound` (`unknown_case`)."""
    return _known(await store.get(tx, case_id, door), case_id)


async def lock(tx: Tx, case_id: int, door: Door | None = None) -> Case:
    """The same, and nobody else changes it until this transaction ends."""
    return _known(await store.lock(tx, case_id, door), case_id)


async def set_status(tx: Tx, principal: str, case_id: int, status: str) -> Case:
    """Move an event forward: queued, processing, approved or rejected, completed or failed; steps may be left out.

    The status it has already is fine and changes nothing. Refuses with `Invalid` (`unknown_status`), with `NotFound`
    (`unknown_case`), and with `Conflict` (`impossible_transition`) a step back or aside.
    """
    if status not in EVENT_STATUSES:
        raise Invalid("unknown_status", f"an event is {', '.join(EVENT_STATUSES)}")
    case = await lock(tx, case_id, "event")
    if case.status == status:
        return case
    if not may_become(case.status, status):
        raise Conflict("impossible_transition", f"an event that is {case.status} does not become {status}")
    changed = await store.set_status(tx, case_id, old=case.status, new=status)
    assert changed is not None, "the row is locked"
    detail = {"from": case.status, "to": status}
    await audit.append(tx, principal=principal, verb="cases.set_status", subject_kind="case", subject_id=case_id, detail=detail)
    return changed


async def record_result(tx: Tx, principal: str, case_id: int, result: Mapping[str, Any]) -> Case:
    """Write what came of a request, with an audit event `processed` that holds the result, in one transaction.

    A request that has a result keeps it: the case comes back as it is. Refuses with `NotFound` (`unknown_case`).
    """
    changed = await store.record_result(tx, case_id, result)
    if changed is None:
        return await get(tx, case_id, "request")
    await audit.append(tx, principal=principal, verb="processed", subject_kind="case", subject_id=case_id, payload=result)
    return changed


async def pending_events(tx: ReadTx, limit: int, after: int | None = None, *, among: Sequence[str] | None = None) -> list[Case]:
    """Events that are `queued`, above the id `after`, oldest first; those of customers `among` some where that is given."""
    return await store.pending_events(tx, among=among, after=after or 0, limit=limit)


async def page(
    tx: ReadTx,
    *,
    customer: str | None = None,
    among: Sequence[str] | None = None,
    door: Door | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Case]:
    """A page of cases below the id `before`, newest first; of one customer or `among` some, door or status where given.

    Refuses with `Invalid` (`unknown_status`).
    """
    if status is not None and status not in STATUSES:
        raise Invalid("unknown_status", f"a case is {', '.join(sorted(STATUSES))}")
    bound = _NEWEST if before is None else before
    return await store.page(tx, customer=customer, among=among, door=door, status=status, before=bound, limit=limit)


async def _opened(tx: Tx, principal: str, case: Case) -> Case:
    detail = {"door": case.door, "type": case.type}
    await audit.append(
        tx,
        principal=principal,
        verb="cases.open",
        subject_kind="case",
        subject_id=case.id,
        detail=detail,
        items=await store.items(tx, case.id),
    )
    return case


def _check_names(customer: str, type: str) -> None:
    check_name(customer, "a customer's name")
    check_name(type, "a case's type")


def _known(case: Case | None, case_id: int) -> Case:
    if case is None:
        raise NotFound("unknown_case", f"there is no case {case_id}")
    return case
