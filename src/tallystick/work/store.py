"""One function a query of the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.db import Queries, ReadTx, Tx
from tallystick.kit import dumps
from tallystick.work.model import Claimed, Finish, NewTask, Standing, Task


@dataclass(frozen=True, slots=True)
class Fence:
    """An attempt, by the number that only it holds."""

    task_id: int
    fence: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A task whose attempt came to nothing, and whether that was its last."""

    task_id: int
    dead: bool


_queries = Queries(__package__)
_ENQUEUE = _queries.bind("enqueue", int)
_CLAIM = _queries.bind("claim", Claimed)
_CLAIM_THESE = _queries.bind("claim_these", Claimed)
_FINISH = _queries.bind("finish", bool)
_GIVE_BACK = _queries.bind("give_back", GivenBack)
_EXPIRED = _queries.bind("expired", Fence)
_REPORT = _queries.bind("report", int)
_STANDING = _queries.bind("standing", Standing)
_GET = _queries.bind("get", Task)
_PAGE = _queries.bind("page", Task)
_PAGE_QUEUED = _queries.bind("page_queued", Task)
_PAGE_RUNNING = _queries.bind("page_running", Task)
_PAGE_ENDED = _queries.bind("page_ended", Task)
_PENDING = _queries.bind("pending", Task)


async def enqueue(tx: Tx, principal: str, tasks: Sequence[NewTask]) -> list[int]:
    return await tx.all(
        _ENQUEUE,
        {
            "principal": principal,
            "agents": [task.agent for task in tasks],
            "types": [task.type for task in tasks],
            "payloads": [dumps(dict(task.payload)).decode() for task in tasks],
        },
    )


async def claim(
    tx: Tx, *, agents: Sequence[str], types: Sequence[str] | None, worker: str, limit: int, lease_s: int
) -> list[Claimed]:
    return await tx.all(
        _CLAIM,
        {
            "agents": sorted(set(agents)),
            "types": None if types is None else list(types),
            "worker": worker,
            "limit": limit,
            "lease_s": lease_s,
        },
    )


async def claim_these(tx: Tx, task_ids: Sequence[int], *, worker: str, lease_s: int) -> list[Claimed]:
    return await tx.all(_CLAIM_THESE, {"task_ids": list(task_ids), "worker": worker, "lease_s": lease_s})


async def finish(tx: Tx, finishes: Sequence[Finish], worker: str) -> list[bool]:
    return await tx.all(
        _FINISH,
        {
            "task_ids": [finish.task_id for finish in finishes],
            "fences": [finish.fence for finish in finishes],
            "states": [finish.state for finish in finishes],
            "results": [_json(finish.result) for finish in finishes],
            "errors": [finish.error for finish in finishes],
            "worker": worker,
        },
    )


async def give_back(tx: Tx, held: Sequence[Fence], *, error: str, max_attempts: int) -> list[GivenBack]:
    return await tx.all(
        _GIVE_BACK,
        {
            "task_ids": [attempt.task_id for attempt in held],
            "fences": [attempt.fence for attempt in held],
            "error": error,
            "max_attempts": max_attempts,
        },
    )


async def expired(tx: Tx, *, limit: int) -> list[Fence]:
    return await tx.all(_EXPIRED, {"limit": limit})


async def report(tx: Tx, task_id: int, *, state: str, result: Any, error: str | None, worker: str) -> bool:
    parameters = {"task_id": task_id, "state": state, "result": _json(result), "error": error, "worker": worker}
    return await tx.one(_REPORT, parameters) is not None


async def standing(tx: ReadTx, task_id: int, *, state: str, result: Any, error: str | None) -> Standing | None:
    return await tx.one(_STANDING, {"task_id": task_id, "state": state, "result": _json(result), "error": error})


async def get(tx: ReadTx, task_id: int) -> Task | None:
    return await tx.one(_GET, {"task_id": task_id})


async def page(tx: ReadTx, *, agent: str | None, type: str | None, status: str | None, before: int, limit: int) -> list[Task]:
    parameters = {"agent": agent, "type": type, "before": before, "limit": limit}
    if status is None:
        return await tx.all(_PAGE, parameters)
    if status == "queued":
        return await tx.all(_PAGE_QUEUED, parameters)
    if status == "running":
        return await tx.all(_PAGE_RUNNING, parameters)
    return await tx.all(_PAGE_ENDED, parameters | {"state": status})


async def pending(tx: ReadTx, *, agent: str | None, type: str | None, after: int, limit: int) -> list[Task]:
    return await tx.all(_PENDING, {"agent": agent, "type": type, "after": after, "limit": limit})


def _json(value: Any) -> str | None:
    return None if value is None else dumps(value).decode()
