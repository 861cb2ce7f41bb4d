"""One function a query of the subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallystick.db import Queries, ReadTx, Tx
from tallystick.subjects.model import LegalHold, Retention


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of an erasure, by the code of the database's function."""

    code: str
    detail: Any
    event_id: int | None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is there under a customer's name."""

    id: int | None
    has_cases: bool


_queries = Queries(__package__)
_ERASE = _queries.bind("erase", Verdict)
_ERASE_DECIDED = _queries.bind("erase_decided", Verdict)
_PSEUDONYM = _queries.bind("pseudonym", str)
_HOLDS_AGAINST = _queries.bind("holds_against", int)
_LOCK_CUSTOMER = _queries.bind("lock_customer", bool)
_SUBJECT = _queries.bind("subject", Subject)
_PLACE_HOLD = _queries.bind("place_hold", LegalHold)
_LIFT_HOLD = _queries.bind("lift_hold", LegalHold)
_HOLD = _queries.bind("hold", LegalHold)
_HOLDS = _queries.bind("holds", LegalHold)
_RETENTION = _queries.bind("retention", Retention)
_SET_RETENTION = _queries.bind("set_retention", int)


async def erase(tx: Tx, principal: str, customer: str, *, reason: str, limit: int) -> Verdict:
    return await tx.single(_ERASE, {"customer": customer, "principal": principal, "reason": reason, "limit": limit})


async def erase_decided(tx: Tx, decision_id: int, subject: str, *, principal: str, reason: str, limit: int) -> Verdict:
    values = {"decision_id": decision_id, "subject": subject, "principal": principal, "reason": reason, "limit": limit}
    return await tx.single(_ERASE_DECIDED, values)


async def pseudonym(tx: ReadTx, customer: str) -> str | None:
    return await tx.one(_PSEUDONYM, {"customer": customer})


async def holds_against(tx: ReadTx, *, number: int | None, case_id: int | None) -> int | None:
    return await tx.one(_HOLDS_AGAINST, {"number": number, "case_id": case_id})


async def lock_customer(tx: Tx, customer: str) -> None:
    await tx.single(_LOCK_CUSTOMER, {"customer": customer})


async def subject(tx: ReadTx, customer: str) -> Subject:
    return await tx.single(_SUBJECT, {"customer": customer})


async def place_hold(tx: Tx, principal: str, customer: str, *, reason: str) -> LegalHold:
    return await tx.single(_PLACE_HOLD, {"customer": customer, "reason": reason, "principal": principal})


async def lift_hold(tx: Tx, principal: str, hold_id: int) -> LegalHold | None:
    return await tx.one(_LIFT_HOLD, {"id": hold_id, "principal": principal})


async def hold(tx: ReadTx, hold_id: int) -> LegalHold | None:
    return await tx.one(_HOLD, {"id": hold_id})


async def holds(tx: ReadTx, *, customer: str | None, lifted: bool, after: int, limit: int) -> list[LegalHold]:
    return await tx.all(_HOLDS, {"customer": customer, "lifted": lifted, "after": after, "limit": limit})


async def retention(tx: ReadTx) -> list[Retention]:
    return await tx.all(_RETENTION)


async def set_retention(tx: Tx, principal: str, kind: str, keep_months: int) -> int | None:
    return await tx.one(_SET_RETENTION, {"kind": kind, "keep_months": keep_months, "principal": principal})
