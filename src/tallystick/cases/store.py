"""One function a query of the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.audit import Items
from tallystick.cases.model import Case, Door
from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import dumps

_queries = Queries(__package__)
_OPEN = _queries.bind("open", Case)
_DIGEST = _queries.bind("digest", bytes)
_GET = _queries.bind("get", Case)
_LOCK = _queries.bind("lock", Case)
_SET_STATUS = _queries.bind("set_status", Case)
_RECORD_RESULT = _queries.bind("record_result", Case)
_PENDING_EVENTS = _queries.bind("pending_events", Case)
_PAGE = _queries.bind("page", Case)


async def open_case(
    tx: Tx,
    principal: str,
    *,
    door: Door,
    customer: str,
    type: str,
    status: str,
    payload: Mapping[str, Any] | None = None,
    payload_text: str | None = None,
) -> Case:
    return await tx.single(
        _OPEN,
        {
            "door": door,
            "customer": customer,
            "type": type,
            "payload": None if payload is None else dumps(dict(payload)).decode(),
            "payload_text": payload_text,
            "principal": principal,
            "status": status,
        },
    )


async def items(tx: ReadTx, case_id: int) -> Items:
    return Items("case", [case_id], await tx.single(_DIGEST, {"id": case_id}))


async def get(tx: ReadTx, case_id: int, door: Door | None) -> Case | None:
    return await tx.one(_GET, {"case_id": case_id, "door": door})


async def lock(tx: Tx, case_id: int, door: Door | None) -> Case | None:
    return await tx.one(_LOCK, {"case_id": case_id, "door": door})


async def set_status(tx: Tx, case_id: int, *, old: str, new: str) -> Case | None:
    return await tx.one(_SET_STATUS, {"case_id": case_id, "old": old, "new": new})


async def record_result(tx: Tx, case_id: int, result: Mapping[str, Any]) -> Case | None:
    return await tx.one(_RECORD_RESULT, {"case_id": case_id, "result": dumps(dict(result)).decode()})


async def pending_events(tx: ReadTx, *, among: Sequence[str] | None, after: int, limit: int) -> list[Case]:
    return await tx.all(_PENDING_EVENTS, {"among": _listed(among), "after": after, "limit": limit})


async def page(
    tx: ReadTx,
    *,
    customer: str | None,
    among: Sequence[str] | None,
    door: Door | None,
    status: str | None,
    before: int,
    limit: int,
) -> list[Case]:
    parameters = {
        "customer": customer,
        "among": _listed(among),
        "door": door,
        "status": status,
        "before": before,
        "limit": limit,
    }
    return await tx.all(_PAGE, parameters)


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
