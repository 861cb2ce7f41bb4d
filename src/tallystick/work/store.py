"""One function a query of the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.audit import Items
from tallystick.db import Queries, ReadTx, Tx, bigints, sparse, texts
from tallystick.kit import dumps
from tallystick.work.model import (
    CHANNEL,
    Attempt,
    Brake,
    Claimed,
    Depth,
    Failure,
    Fence,
    Finish,
    Held,
    NewStep,
    NewTask,
    Question,
    Reaped,
    Standing,
    Step,
    Task,
    Wait,
)


@dataclass(frozen=True, slots=True)
class _Enqueued:
    """Ids of new tasks, and whether the commit wakes those who wait for tasks."""

    ids: list[int]
    announced: bool
    digests: bytes


_queries = Queries(__package__)
_ENQUEUE = _queries.bind("enqueue", _Enqueued)
_OUTCOME_DIGESTS = _queries.bind("outcome_digests", bytes)
_NEXT_IDS = _queries.bind("next_ids", int)
_UNKNOWN = _queries.bind("unknown", int)
_CLAIM = _queries.bind("claim", Claimed)
_CLAIM_LIGHTLY = _queries.bind("claim_lightly", Claimed)
_CLAIM_OPENLY = _queries.bind("claim_openly", Claimed)
_TAKE_UP = _queries.bind("take_up", bool)
_CLOSE_CLAIM = _queries.bind("close_claim", bool)
_CLAIM_THESE = _queries.bind("claim_these", Claimed)
_FINISH = _queries.bind("finish", list[bool])
_FAIL = _queries.bind("fail", list[str])
_REPORT = _queries.bind("report", bool)
_REGISTER = _queries.bind("register", int)
_BEAT = _queries.bind("beat", bool)
_HELD_BY = _queries.bind("held_by", Held)
_LEAVE = _queries.bind("leave", int)
_EXTEND = _queries.bind("extend", bool)
_REAP = _queries.bind("reap", Reaped)
_EXPIRE = _queries.bind("expire", int)
_HOLD = _queries.bind("hold", bool)
_RECORD = _queries.bind("record", str)
_STEPS = _queries.bind("steps", Step)
_ATTEMPTS = _queries.bind("attempts", Attempt)
_LOCK_EVENT = _queries.bind("lock_event", bool)
_PARK = _queries.bind("park", bool)
_WAKE_DUE = _queries.bind("wake_due", int)
_WAKE_FOR_EVENT = _queries.bind("wake_for_event", int)
_ANSWER = _queries.bind("answer", bool)
_QUESTIONS = _queries.bind("questions", Question)
_CANCEL = _queries.bind("cancel", str)
_PUT_BACK = _queries.bind("put_back", bool)
_CONFIGURE = _queries.bind("configure", bool)
_BRAKE_ON = _queries.bind("brake_on", bool)
_BRAKE_OFF = _queries.bind("brake_off", bool)
_BRAKES = _queries.bind("brakes", Brake)
_STANDING = _queries.bind("standing", Standing)
_ENDED_UNDER = _queries.bind("ended_under", bool)
_WAKE = _queries.bind("wake", bool)
_GET = _queries.bind("get", Task)
_GET_MANY = _queries.bind("get_many", Task)
_QUEUES = _queries.bind("queues", int)
_PAGE = _queries.bind("page", int)
_PAGE_OF_QUEUES = _queries.bind("page_of_queues", int)
_PAGE_QUEUED = _queries.bind("page_queued", int)
_PAGE_OF = {status: _queries.bind(f"page_{status}", int) for status in ("waiting", "running", "dead")}
_PAGE_ENDED = _queries.bind("page_ended", int)
_DEPTHS = _queries.bind("depths", Depth)

_NEWEST = 2**63 - 1


async def enqueue(tx: Tx, principal: str, tasks: Sequence[NewTask], *, ids: Sequence[int] | None = None) -> Items:
    after = [(ord, task_id) for ord, task in enumerate(tasks, 1) for task_id in task.after]
    plain = all(task.priority == 0 for task in tasks)
    enqueued = await tx.single(
        _ENQUEUE,
        {
            "principal": principal,
            "ids": None if ids is None else list(ids),
            "agents": texts([task.agent for task in tasks]),
            "types": texts([task.type for task in tasks]),
            "payloads": [dumps(dict(task.payload)).decode() for task in tasks],
            "priorities": None if plain else [task.priority for task in tasks],
            "max_attempts": sparse([task.max_attempts for task in tasks]),
            "run_at": sparse([task.run_at for task in tasks]),
            "deadline_at": sparse([task.deadline_at for task in tasks]),
            "order_keys": sparse([task.order_key for task in tasks]),
            "after_ord": [ord for ord, _ in after] or None,
            "after": [task_id for _, task_id in after] or None,
        },
    )
    if enqueued.announced:
        tx.announced.add(CHANNEL)
    return Items("task", enqueued.ids, enqueued.digests)


async def outcome_items(tx: ReadTx, task_ids: Sequence[int]) -> Items:
    return Items("outcome", task_ids, await tx.single(_OUTCOME_DIGESTS, {"ids": list(task_ids)}))


async def unknown(tx: ReadTx, task_ids: Sequence[int]) -> list[int]:
    return await tx.all(_UNKNOWN, {"task_ids": list(task_ids)})


async def claim(
    tx: Tx,
    *,
    agents: Sequence[str],
    types: Sequence[str] | None,
    worker: str,
    worker_id: int | None,
    limit: int,
    lease_s: int,
    lightly: bool,
) -> list[Claimed]:
    return await tx.all(
        _CLAIM_LIGHTLY if lightly else _CLAIM,
        {
            "agents": sorted(set(agents)),
            "types": None if types is None else list(types),
            "worker": worker,
            "worker_id": worker_id,
            "limit": limit,
            "lease_s": lease_s,
        },
    )


async def claim_openly(
    tx: Tx,
    *,
    agents: Sequence[str],
    types: Sequence[str] | None,
    worker: str,
    worker_id: int,
    limit: int,
    channel: str,
    heard: int,
    serves: Sequence[tuple[str, str]],
) -> list[Claimed]:
    return await tx.all(
        _CLAIM_OPENLY,
        {
            "agents": sorted(set(agents)),
            "types": None if types is None else list(types),
            "worker": worker,
            "worker_id": worker_id,
            "limit": limit,
            "channel": channel,
            "heard": heard,
            "open_agents": [agent for agent, _ in serves],
            "open_types": [type for _, type in serves],
        },
    )


async def take_up(tx: Tx, attempts: Sequence[Fence]) -> None:
    await tx.single(_TAKE_UP, {"task_ids": [each.task_id for each in attempts], "fences": [each.fence for each in attempts]})


async def close_claim(tx: Tx, worker_id: int) -> None:
    await tx.single(_CLOSE_CLAIM, {"worker_id": worker_id})


async def claim_these(tx: Tx, task_ids: Sequence[int], *, worker: str, lease_s: int) -> list[Claimed]:
    return await tx.all(_CLAIM_THESE, {"task_ids": list(task_ids), "worker": worker, "lease_s": lease_s})


async def finish(tx: Tx, finishes: Sequence[Finish], worker: str) -> list[bool]:
    return await tx.single(
        _FINISH,
        {
            "task_ids": bigints([finish.task_id for finish in finishes]),
            "fences": bigints([finish.fence for finish in finishes]),
            "states": texts([finish.state for finish in finishes]),
            "results": sparse([_json(finish.result) for finish in finishes]),
            "errors": sparse([finish.error for finish in finishes]),
            "worker": worker,
        },
    )


async def fail(tx: Tx, failures: Sequence[Failure]) -> list[str]:
    return await tx.single(
        _FAIL,
        {
            "task_ids": [failure.task_id for failure in failures],
            "fences": [failure.fence for failure in failures],
            "ended": [failure.ended for failure in failures],
            "errors": [failure.error for failure in failures],
            "retry_s": sparse([failure.retry_in_s for failure in failures]),
        },
    )


async def report(tx: Tx, task_id: int, *, state: str, result: Any, error: str | None, worker: str) -> bool:
    parameters = {"task_id": task_id, "state": state, "result": _json(result), "error": error, "worker": worker}
    return await tx.single(_REPORT, parameters)


async def register(tx: Tx, name: str, lease_s: int) -> int:
    return await tx.single(_REGISTER, {"name": name, "lease_s": lease_s})


async def beat(tx: Tx, worker_id: int, lease_s: int) -> bool:
    return await tx.single(_BEAT, {"worker_id": worker_id, "lease_s": lease_s})


async def held_by(tx: ReadTx, worker_id: int) -> list[Held]:
    return await tx.all(_HELD_BY, {"worker_id": worker_id})


async def leave(tx: Tx, worker_id: int) -> int:
    return await tx.single(_LEAVE, {"worker_id": worker_id})


async def extend(tx: Tx, task_id: int, fence: int, lease_s: int) -> bool:
    return await tx.single(_EXTEND, {"task_id": task_id, "fence": fence, "lease_s": lease_s})


async def reap(tx: Tx, *, limit: int) -> list[Reaped]:
    return await tx.all(_REAP, {"limit": limit})


async def expire(tx: Tx, *, limit: int) -> list[int]:
    return await tx.all(_EXPIRE, {"limit": limit})


async def hold(tx: Tx, task_id: int, fence: int) -> bool:
    return await tx.single(_HOLD, {"task_id": task_id, "fence": fence})


async def record(tx: Tx, task_id: int, fence: int, step: NewStep, *, most: int) -> str:
    return await tx.single(
        _RECORD,
        {
            "task_id": task_id,
            "fence": fence,
            "name": step.name,
            "state": step.state,
            "attempt": step.attempt,
            "kind": step.kind,
            "input_hash": step.input_hash,
            "output": _json(step.output),
            "error": step.error,
            "detail": _json(step.detail),
            "took_ms": step.took_ms,
            "most": most,
        },
    )


async def steps(tx: ReadTx, task_id: int, *, limit: int) -> list[Step]:
    return await tx.all(_STEPS, {"task_id": task_id, "limit": limit})


async def attempts(tx: ReadTx, task_id: int, *, limit: int) -> list[Attempt]:
    return await tx.all(_ATTEMPTS, {"task_id": task_id, "limit": limit})


async def lock_event(tx: Tx, type: str) -> None:
    await tx.single(_LOCK_EVENT, {"type": type})


async def wake(tx: Tx, task_id: int, output: Any) -> bool:
    return await tx.single(_WAKE, {"task_id": task_id, "output": _json(output)})


async def park(tx: Tx, task_id: int, fence: int, wait: Wait) -> bool:
    return await tx.single(
        _PARK,
        {
            "task_id": task_id,
            "fence": fence,
            "kind": wait.kind,
            "step": wait.step,
            "input_hash": wait.input_hash,
            "wake_at": wait.wake_at,
            "in_s": wait.in_s,
            "event_type": wait.event_type,
            "match": _json(wait.match),
            "question": _json(wait.question),
        },
    )


async def wake_due(tx: Tx, *, limit: int) -> int:
    return await tx.single(_WAKE_DUE, {"limit": limit})


async def wake_for_event(tx: Tx, type: str, payload: Mapping[str, Any], event: Mapping[str, Any]) -> int:
    return await tx.single(_WAKE_FOR_EVENT, {"type": type, "payload": _json(payload), "event": _json(event)})


async def answer(tx: Tx, task_id: int, step: str, answer: Mapping[str, Any]) -> bool:
    return await tx.single(_ANSWER, {"task_id": task_id, "step": step, "answer": _json(answer)})


async def questions(tx: ReadTx, *, after: int, limit: int) -> list[Question]:
    return await tx.all(_QUESTIONS, {"after": after, "limit": limit})


async def cancel(tx: Tx, task_id: int, *, reason: str, by: str) -> str | None:
    return await tx.one(_CANCEL, {"task_id": task_id, "reason": reason, "by": by})


async def put_back(tx: Tx, task_id: int) -> bool:
    return await tx.single(_PUT_BACK, {"task_id": task_id})


async def configure(tx: Tx, agent: str, type: str, policy: Mapping[str, Any], *, by: str) -> None:
    await tx.single(_CONFIGURE, {"agent": agent, "type": type, **policy, "by": by})


async def brake_on(tx: Tx, kind: str, name: str, *, by: str | None, max_running: int | None) -> None:
    await tx.single(_BRAKE_ON, {"kind": kind, "name": name, "by": by, "max_running": max_running})


async def brake_off(tx: Tx, kind: str, name: str, *, pause: bool) -> bool:
    return await tx.single(_BRAKE_OFF, {"kind": kind, "name": name, "pause": pause})


async def brakes(tx: ReadTx) -> list[Brake]:
    return await tx.all(_BRAKES)


async def standing(tx: ReadTx, task_id: int, *, state: str, result: Any, error: str | None) -> Standing | None:
    return await tx.one(_STANDING, {"task_id": task_id, "state": state, "result": _json(result), "error": error})


async def ended_under(tx: ReadTx, attempts: Sequence[Fence], ended: Sequence[str]) -> list[bool]:
    return await tx.all(
        _ENDED_UNDER,
        {
            "task_ids": [attempt.task_id for attempt in attempts],
            "fences": [attempt.fence for attempt in attempts],
            "ended": list(ended),
        },
    )


async def get(tx: ReadTx, task_id: int) -> Task | None:
    return await tx.one(_GET, {"task_id": task_id})


async def page(tx: ReadTx, *, agent: str | None, type: str | None, status: str | None, before: int, limit: int) -> list[Task]:
    queues = await _queues_of(tx, agent, type)
    parameters = {"before": before, "limit": limit}
    if queues == []:
        ids = []
    elif status is None:
        ids = await (tx.all(_PAGE, parameters) if queues is None else tx.all(_PAGE_OF_QUEUES, {**parameters, "queues": queues}))
    elif status == "queued":
        ids = await tx.all(_PAGE_QUEUED, {**parameters, "after": 0, "queues": queues, "oldest_first": False})
    elif status in _PAGE_OF:
        ids = await tx.all(_PAGE_OF[status], {**parameters, "queues": queues})
    else:
        ids = await tx.all(_PAGE_ENDED, {**parameters, "queues": queues, "state": status})
    return await _many(tx, ids)


async def pending(tx: ReadTx, *, agent: str | None, type: str | None, after: int, limit: int) -> list[Task]:
    queues = await _queues_of(tx, agent, type)
    parameters = {"before": _NEWEST, "after": after, "limit": limit, "queues": queues, "oldest_first": True}
    return await _many(tx, [] if queues == [] else await tx.all(_PAGE_QUEUED, parameters))


async def depths(tx: ReadTx, *, window_s: int) -> list[Depth]:
    return await tx.all(_DEPTHS, {"window_s": window_s})


async def next_ids(tx: Tx, count: int) -> list[int]:
    return await tx.all(_NEXT_IDS, {"count": count})


async def _queues_of(tx: ReadTx, agent: str | None, type: str | None) -> list[int] | None:
    if agent is None and type is None:
        return None
    return await tx.all(_QUEUES, {"agent": agent, "type": type})


async def _many(tx: ReadTx, ids: Sequence[int]) -> list[Task]:
    return await tx.all(_GET_MANY, {"task_ids": list(ids)}) if ids else []


def _json(value: Any) -> str | None:
    return None if value is None else dumps(value).decode()
