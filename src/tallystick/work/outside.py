"""What those ask who hold attempts from outside, each with a lease of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.db import Queries, ReadTx, Tx
from tallystick.work.model import Fence, Step
from tallystick.work.service import check_lease


@dataclass(frozen=True, slots=True)
class Policy:
    """How often and how long tasks of one type of an agent are tried; see `configure`."""

    agent: str
    type: str
    max_attempts: int
    max_crashes: int
    timeout_s: int
    backoff_s: float
    max_backoff_s: float
    per_key: int


@dataclass(frozen=True, slots=True)
class _Whose:
    id: int
    agent: str


_queries = Queries(__package__, "outside.sql")
_STRANGERS = _queries.bind("strangers", int)
_PROLONG = _queries.bind("prolong", Fence)
_STEPS_PAGE = _queries.bind("steps_page", Step)
_LINES_OF_STEP = _queries.bind("lines_of_step", Step)
_WORKER_NAME = _queries.bind("worker_name", str)
_POLICY = _queries.bind("policy", Policy)
_AGENTS_OF = _queries.bind("agents_of", _Whose)


async def held_by_others(tx: ReadTx, attempts: Sequence[Fence], worker: str) -> list[int]:
    """Of attempts, the tasks of those that run for somebody else than `worker`. Fences are numbers that can be guessed."""
    return await tx.all(_STRANGERS, {**_arrays(attempts), "worker": worker})


async def prolong(tx: Tx, attempts: Sequence[Fence], lease_s: int) -> list[Fence]:
    """Attempts have their own leases anew, each of `lease_s` seconds from now; those that are lost."""
    check_lease(lease_s)
    return await tx.all(_PROLONG, {**_arrays(attempts), "lease_s": lease_s})


async def steps_page(tx: ReadTx, task_id: int, *, skip: int, limit: int) -> list[Step]:
    """As `steps`, without the first `skip`. What is recorded later comes later, so pages neither skip nor repeat anything."""
    return await tx.all(_STEPS_PAGE, {"task_id": task_id, "skip": skip, "limit": limit})


async def lines_of_step(tx: ReadTx, task_id: int, name: str) -> list[Step]:
    """All that is recorded of one step of a task, in the order it was recorded."""
    return await tx.all(_LINES_OF_STEP, {"task_id": task_id, "name": name})


async def worker_name(tx: ReadTx, worker_id: int) -> str | None:
    """Who registered a worker; `None` where it has left, or its lease was over and it is gone."""
    return await tx.one(_WORKER_NAME, {"worker_id": worker_id})


async def policy(tx: ReadTx, agent: str, type: str) -> Policy | None:
    """How tasks of one type of an agent are tried; `None` where there was none yet."""
    return await tx.one(_POLICY, {"agent": agent, "type": type})


async def agents_of(tx: ReadTx, task_ids: Sequence[int]) -> dict[int, str]:
    """Whose each of the tasks is; those that do not exist are left out."""
    return {found.id: found.agent for found in await tx.all(_AGENTS_OF, {"ids": list(task_ids)})}


def _arrays(attempts: Sequence[Fence]) -> dict[str, list[int]]:
    return {"task_ids": [attempt.task_id for attempt in attempts], "fences": [attempt.fence for attempt in attempts]}
