"""`/v1/tasks`: attempts. A worker claims tasks, each with a fence, keeps their leases, and ends them by their fences.

What is asked with a fence needs no key: a fence ends one attempt once. The same end again is answered as the first time, and
whatever else comes under a fence that holds no more, or that somebody else holds, is a conflict (`fence_lost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import agents, sdk, work
from tallystick.db import ReadTx, Tx
from tallystick.http.effect_shapes import Effects
from tallystick.http.envelope import EXTEND
from tallystick.http.exact import BulkRoute, ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.line import departure
from tallystick.http.problems import REQUEST_ID, problem
from tallystick.http.reserved import check_not_reserved
from tallystick.http.routes.workers import check_own
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import IdempotencyKey, Instant, Name, PathId, Strict, StringId
from tallystick.http.task_shapes import LeaseSeconds, Reason, Seconds, StepName, TaskAnswer, answer
from tallystick.kit import Conflict, Invalid, digest

MAX_BATCH = 1000
MAX_LONG_POLL_S = 30

router = APIRouter(route_class=ExactRoute, tags=["attempts"])
bulk = APIRouter(route_class=BulkRoute, tags=["attempts"])
_ATTEMPT: JsonDict = {
    "id": "7",
    "fence": "19",
    "agent": "trade-review-agent",
    "type": "position_check",
    "payload": {"symbol": "AAPL", "quantity": 250},
    "attempts": 1,
    "deadline_at": "2026-04-21T12:35:56.790012Z",
    "timeout_s": 3600,
}
_HASH = r"^[0-9a-f]{64}$"
_NOTHING = digest(None)


class QueueRef(Strict):
    """Tasks of some types of one agent."""

    agent: Name = Field(examples=["trade-review-agent"])
    types: list[Name] = Field(min_length=1, max_length=200, examples=[["position_check"]])


class ClaimBody(Strict):
    """Which tasks a worker would take, for how long, and how long it waits for some where there are none.

    Either tasks of `agents`, of some `types` where they are given, or those of `queues`, the first of which go first.
    """

    agents: list[Name] | None = Field(default=None, min_length=1, max_length=50, examples=[["trade-review-agent"]])
    types: list[Name] | None = Field(default=None, min_length=1, max_length=50)
    queues: list[QueueRef] | None = Field(default=None, min_length=1, max_length=50)
    limit: int = Field(default=1, ge=1, le=100, strict=True)
    lease_s: LeaseSeconds = 60
    worker_id: StringId | None = Field(default=None, description="A worker whose lease holds them, in place of `lease_s`.")
    wait_s: int = Field(default=0, ge=0, le=MAX_LONG_POLL_S, strict=True)

    @model_validator(mode="after")
    def _says_it_one_way(self) -> Self:
        if (self.agents is None) == (self.queues is None) or (self.queues is not None and self.types is not None):
            raise ValueError("give agents, with types or without, or queues")
        return self

    def wanted(self) -> list[tuple[tuple[str, ...], tuple[str, ...] | None]]:
        """Agents, and the types of theirs. Refuses with `Forbidden` (`reserved_agent`)."""
        if self.agents is not None:
            wanted = [(tuple(self.agents), None if self.types is None else tuple(self.types))]
        else:
            wanted = [((queue.agent,), tuple(queue.types)) for queue in self.queues or ()]
        for whose, _ in wanted:
            for agent in whose:
                check_not_reserved(agent)
        return wanted


class AttemptRef(Strict):
    """An attempt: the id of its task, and its fence."""

    id: StringId = Field(examples=["7"])
    fence: StringId = Field(examples=["19"])

    @property
    def fence_(self) -> work.Fence:
        return work.Fence(self.id, self.fence)


class HeartbeatBody(Strict):
    """Attempts that their worker still works on."""

    attempts: list[AttemptRef] = Field(min_length=1, max_length=MAX_BATCH)
    lease_s: LeaseSeconds = 60


class EndBody(AttemptRef):
    """How an attempt ended: `done`, `failed` for good, `error` or `timeout` (tried again), or `returned` (not counted)."""

    ended: Literal["done", "failed", "error", "timeout", "returned"]
    result: Any = Field(default=None, examples=[{"notional_estimate": 25062.5}])
    error: Reason | None = None
    retry_in_s: Seconds | None = None

    def as_end(self) -> work.Finish | work.Failure:
        """As the work takes it. Refuses with `Invalid` (`outcome_malformed`)."""
        if (self.ended == "done") != (self.error is None):
            raise Invalid("outcome_malformed", "what is done has no error, and everything else has one")
        if self.ended == "done" or self.ended == "failed":  # noqa: PLR1714 - so that the others are known
            return work.Finish(self.id, self.fence, self.ended, self.result, self.error)
        return work.Failure(self.id, self.fence, self.error or "", self.ended, self.retry_in_s)


class SettleBody(Strict):
    """Attempts that ended."""

    ends: list[EndBody] = Field(min_length=1, max_length=MAX_BATCH)


class FinishBody(Strict):
    """How a task ended. With `effects`, they are carried out in the same transaction; one that is refused refuses all."""

    fence: StringId = Field(examples=["19"])
    state: Literal["done", "failed"] = "done"
    result: Any = Field(default=None, examples=[{"notional_estimate": 25062.5}])
    error: Reason | None = None
    effects: Effects = Field(default_factory=list)


class FailBody(Strict):
    """An attempt came to nothing; the task is tried again after `retry_in_s`, or when the backoff of its type says."""

    fence: StringId = Field(examples=["19"])
    error: Reason = Field(examples=["ReadTimeout: the model did not answer"])
    ended: Literal["error", "timeout"] = "error"
    retry_in_s: Seconds | None = None


class ReturnBody(Strict):
    """An attempt is given back; it does not count as one."""

    fence: StringId = Field(examples=["19"])
    reason: Reason = "returned: its worker gave it back"


class ParkBody(Strict):
    """What the task waits for as its step `step`: some time, an event, or the answer of people to a question.

    A wait ends at `wake_at`, or `in_s` seconds from now, in any case; a sleep needs one of them. An event has the type
    `event_type`, and its payload contains `match`.
    """

    fence: StringId = Field(examples=["19"])
    kind: Literal["sleep", "event", "approval"] = Field(examples=["approval"])
    step: StepName
    input_hash: str = Field(default=_NOTHING.hex(), pattern=_HASH)
    wake_at: Instant | None = None
    in_s: Seconds | None = None
    event_type: Name | None = None
    match: dict[str, Any] | None = None
    question: Any = Field(default=None, examples=[{"question": "May this payment go out?"}])


class AttemptAnswer(BaseModel):
    """A task that the caller holds until `deadline_at`, unless a heartbeat comes before; `fence` is what ends it.

    `attempts` counts this one, which may take `timeout_s` in all.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_ATTEMPT]})

    id: str
    fence: str
    agent: str
    type: str
    payload: dict[str, Any]
    attempts: int
    deadline_at: datetime
    timeout_s: int


class Attempts(BaseModel):
    """The tasks that a claim got, highest priority first, then oldest."""

    items: list[AttemptAnswer]


class Lost(BaseModel):
    """The attempts that are lost: others may have them, and nothing more is taken under their fences."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lost": [{"id": "7", "fence": "19"}]}]})

    lost: list[dict[str, str]]


class Held(BaseModel):
    """For each attempt, in order, whether its fence held. One whose fence did not changes nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"held": [True]}]})

    held: list[bool]


@router.post("/v1/tasks/claim", response_model=Attempts)
async def claim_tasks(body: ClaimBody, call: CurrentCall, request: Request) -> Response:
    """Take queued tasks, or wait for some. A claim whose answer is lost needs no key: its tasks come back after the lease."""
    wanted = body.wanted()

    async def claim(tx: Tx) -> list[work.Claimed]:
        claimed: list[work.Claimed] = []
        if body.worker_id is not None:
            await check_own(tx, call, body.worker_id)
        for whose, types in wanted:
            if len(claimed) < body.limit:
                claimed += await work.claim(
                    tx,
                    agents=whose,
                    types=types,
                    worker=call.principal.name,
                    limit=body.limit - len(claimed),
                    lease_s=body.lease_s,
                    worker_id=body.worker_id,
                    lightly=True,
                )
        return claimed

    async def look() -> Sequence[work.Claimed]:
        return await call.database.retrying(claim, one_statement=len(wanted) == 1 and body.worker_id is None)

    settings = call.services.settings
    async with departure(request) as gone:
        claimed = await call.services.line.wait(
            frozenset(wanted),
            look,
            limit=body.limit,
            wait_s=body.wait_s,
            gone=gone,
            extend=request.scope.get(EXTEND, lambda: None),
            extend_s=settings.request_timeout_s / 3,
        )
        if claimed and gone.done():
            await _give_back(call, claimed)
    return Json({"items": [_attempt(one) for one in claimed]})


@router.post("/v1/tasks/heartbeat", response_model=Lost)
async def heartbeat(body: HeartbeatBody, call: CurrentCall) -> Response:
    """Keep attempts for `lease_s` more seconds; answers which of them are lost."""

    async def prolong(tx: Tx) -> list[work.Fence]:
        ours, others = await _ours(tx, call, [each.fence_ for each in body.attempts])
        return others + await work.prolong(tx, ours, body.lease_s)

    lost = await call.database.retrying(prolong)
    return Json({"lost": [{"id": str(each.task_id), "fence": str(each.fence)} for each in lost]})


@bulk.post("/v1/tasks/settle", response_model=Held)
async def settle(body: SettleBody, call: CurrentCall) -> Response:
    """End many attempts without effects, in one transaction."""
    ends = [end.as_end() for end in body.ends]

    async def end_all(tx: Tx) -> list[bool]:
        ours, _ = await _ours(tx, call, [end.fence_ for end in body.ends])
        held = await _end(tx, call, ends, frozenset(ours))
        missing = [place for place, holds in enumerate(held) if not holds]
        if missing:
            # One that did not hold may be asked again because its answer was lost.
            again = [body.ends[place] for place in missing]
            known = await work.ended_under(tx, [each.fence_ for each in again], [each.ended for each in again])
            for place, holds in zip(missing, known, strict=True):
                held[place] = holds
        return held

    held = await call.database.retrying(end_all)
    call.services.bell.ring()
    return Json({"held": held})


@router.post("/v1/tasks/{task_id}/finish", response_model=TaskAnswer)
async def finish_task(
    task_id: PathId, body: FinishBody, call: CurrentCall, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """End a task for good, with its effects if it has any. The same end again is fine, another one is a conflict."""
    if body.effects and body.state != "done":
        raise Invalid("outcome_malformed", "effects belong to a task that is done")
    attempt = work.Fence(task_id, body.fence)
    effects = tuple(each.as_effect() for each in body.effects)

    async def create(tx: Tx) -> int:
        await _check_ours(tx, call, attempt)
        if effects:
            await _carry_out(tx, call, attempt, sdk.Completion(effects, body.result))
            return task_id
        finish = work.Finish(task_id, body.fence, body.state, body.result, body.error)
        (held,) = await work.finish(tx, [finish], call.principal.name)
        if not held:
            await _check_same_end(tx, attempt, body)
        return task_id

    told = [task_id, body.fence, body.state, body.result, body.error]
    told += [body.model_dump(mode="python")["effects"]] if effects else []
    # A fence ends one task once, so it stands for its effects as a key would. No caller can send a key with spaces.
    key = idempotency_key or (f"finish {task_id} {body.fence}" if effects else None)
    try:
        task = await once(call, key, kind="task_finish", request=told, create=create, read=work.get)
    except agents.Refused as refusal:
        return await _refused(call, attempt, refusal, request)
    except Invalid as refusal:
        if refusal.code == "key_reused" and idempotency_key is None:
            raise work.fence_lost(task_id) from None
        raise
    call.services.bell.ring()
    return Json(answer(task))


@router.post("/v1/tasks/{task_id}/fail", response_model=TaskAnswer)
async def fail_attempt(task_id: PathId, body: FailBody, call: CurrentCall) -> Response:
    """End an attempt that came to nothing: the task is tried again, or is `dead` after the last attempt."""
    failure = work.Failure(task_id, body.fence, body.error, body.ended, body.retry_in_s)
    return Json(answer(await _failed(call, failure)))


@router.post("/v1/tasks/{task_id}/return", response_model=TaskAnswer)
async def return_attempt(task_id: PathId, body: ReturnBody, call: CurrentCall) -> Response:
    """Give an attempt back, so that others may take the task at once. It is not counted."""
    return Json(answer(await _failed(call, work.Failure(task_id, body.fence, body.reason, "returned"))))


@router.post("/v1/tasks/{task_id}/park", response_model=TaskAnswer)
async def park_task(task_id: PathId, body: ParkBody, call: CurrentCall) -> Response:
    """End an attempt and let its task wait, which is not counted. What it was woken by is in its steps, as `step`."""
    if (body.kind == "event") != (body.event_type is not None):
        raise Invalid("wait_malformed", "who waits for an event says of what type, and nobody else does")
    attempt = work.Fence(task_id, body.fence)
    wait = work.Wait(
        body.kind,
        body.step,
        bytes.fromhex(body.input_hash),
        wake_at=body.wake_at,
        in_s=body.in_s,
        event_type=body.event_type,
        match=body.match,
        question=body.question,
    )

    async def park(tx: Tx) -> work.Task:
        await _check_ours(tx, call, attempt)
        await agents.park(tx, attempt, wait)
        return await work.get(tx, task_id)

    try:
        task = await call.database.retrying(park)
    except Conflict as refusal:
        if refusal.code != "fence_lost":
            raise
        task = await _parked_before(call, attempt, wait)
    call.services.bell.ring()
    return Json(answer(task))


async def _ours(tx: ReadTx, call: Call, attempts: Sequence[work.Fence]) -> tuple[list[work.Fence], list[work.Fence]]:
    """Those that the caller may hold, and those that run for somebody else."""
    others = frozenset(await work.held_by_others(tx, attempts, call.principal.name))
    return [each for each in attempts if each.task_id not in others], [each for each in attempts if each.task_id in others]


async def _check_ours(tx: ReadTx, call: Call, attempt: work.Fence) -> None:
    if await work.held_by_others(tx, [attempt], call.principal.name):
        raise work.fence_lost(attempt.task_id)


async def _end(tx: Tx, call: Call, ends: Sequence[work.Finish | work.Failure], ours: frozenset[work.Fence]) -> list[bool]:
    """End what is ours; for each, in order, whether its fence held."""
    held = [False] * len(ends)
    mine = [(place, end) for place, end in enumerate(ends) if work.Fence(end.task_id, end.fence) in ours]
    finishes = [(place, end) for place, end in mine if isinstance(end, work.Finish)]
    failures = [(place, end) for place, end in mine if isinstance(end, work.Failure)]
    ended = await work.finish(tx, [end for _, end in finishes], call.principal.name)
    for (place, _), holds in zip(finishes, ended, strict=True):
        held[place] = holds
    became = await work.fail(tx, [end for _, end in failures], call.principal.name)
    for (place, _), what in zip(failures, became, strict=True):
        held[place] = what != "lost"
    return held


async def _carry_out(tx: Tx, call: Call, attempt: work.Fence, completion: sdk.Completion) -> None:
    agent = (await work.get(tx, attempt.task_id)).agent
    by = call.principal
    await agents.carry_out(tx, by=by, worker=by.name, agent=agent, attempt=attempt, completion=completion)


async def _check_same_end(tx: ReadTx, attempt: work.Fence, body: FinishBody) -> None:
    """Refuse an end whose fence did not hold, unless that very fence has ended the task just so."""
    task = await work.get(tx, attempt.task_id)
    (ended,) = await work.ended_under(tx, [attempt], [body.state])
    if not ended or (task.result, task.error) != (body.result, body.error):
        raise work.fence_lost(attempt.task_id)


async def _refused(call: Call, attempt: work.Fence, refusal: agents.Refused, request: Request) -> Response:
    await call.database.retrying(lambda tx: work.record_refusal(tx, attempt.task_id, call.principal.name, refusal.codes))
    return problem(
        409,
        "effects_refused",
        "nothing was carried out, and the fence still holds; errors says why",
        request_id=request.scope.get(REQUEST_ID),
        errors=[
            {"in": "body", "pointer": f"/effects/{place}", "code": code, "detail": detail}
            for place, code, detail in refusal.reasons
        ],
    )


async def _failed(call: Call, failure: work.Failure) -> work.Task:
    attempt = work.Fence(failure.task_id, failure.fence)

    async def fail(tx: Tx) -> work.Task:
        await _check_ours(tx, call, attempt)
        (became,) = await work.fail(tx, [failure], call.principal.name)
        task = await work.get(tx, failure.task_id)
        if became == "lost" and not all(await work.ended_under(tx, [attempt], [failure.ended])):
            raise work.fence_lost(failure.task_id)
        return task

    task = await call.database.retrying(fail)
    call.services.bell.ring()
    return task


async def _give_back(call: Call, claimed: Sequence[work.Claimed]) -> None:
    failures = [work.Failure(each.task_id, each.fence, "returned: whoever claimed it had left", "returned") for each in claimed]
    await call.database.retrying(lambda tx: work.fail(tx, failures, call.principal.name))
    call.services.bell.ring()


async def _parked_before(call: Call, attempt: work.Fence, wait: work.Wait) -> work.Task:
    """The task, where that very fence has parked it in that step before."""
    async with call.database.read() as tx:
        task = await work.get(tx, attempt.task_id)
        for line in await work.lines_of_step(tx, attempt.task_id, wait.step):
            if (line.kind, line.state, line.fence) == (wait.kind, "intent", attempt.fence):
                return task
    raise work.fence_lost(attempt.task_id)


def _attempt(claimed: work.Claimed) -> dict[str, Any]:
    return {
        "id": str(claimed.task_id),
        "fence": str(claimed.fence),
        "agent": claimed.agent,
        "type": claimed.type,
        "payload": claimed.payload,
        "attempts": claimed.attempts,
        "deadline_at": claimed.deadline_at,
        "timeout_s": claimed.timeout_s,
    }
