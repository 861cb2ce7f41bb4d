"""`/v1/work`: how it stands with the work, how often and how long it is tried, and what is paused or limited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import work
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import PathName, Strict

router = APIRouter(route_class=ExactRoute, tags=["tasks: people"])
_DAY_S = 86_400
_DEPTH: JsonDict = {
    "agent": "risk-agent",
    "type": "fraud.screen",
    "queued": 12,
    "waiting": 3,
    "running": 4,
    "dead": 1,
    "oldest_s": 1.25,
    "done": 1840,
    "failed": 2,
    "retried": 5,
    "done_per_s": 6.133,
    "paused": False,
}
_POLICY: JsonDict = {
    "agent": "risk-agent",
    "type": "fraud.screen",
    "max_attempts": 5,
    "max_crashes": 5,
    "timeout_s": 30,
    "backoff_s": 1,
    "max_backoff_s": 300,
    "per_key": 1,
}
_BRAKE: JsonDict = {
    "kind": "agent",
    "name": "risk-agent",
    "paused": True,
    "paused_at": "2026-04-21T12:34:56.789012Z",
    "paused_by": "desk",
    "max_running": None,
}

BrakeKind = Annotated[Literal["agent", "type"], Path(description="An agent, or a type of any agent.")]
Times = Annotated[int, Field(ge=1, le=1000, strict=True)]
BackoffSeconds = Annotated[float, Field(ge=0, le=_DAY_S, allow_inf_nan=False)]


class DepthAnswer(BaseModel):
    """How it stands with one type of an agent: tasks in each place, and the age in seconds of the oldest that is queued.

    `done`, `failed` and `retried` (attempts that came to nothing) are those of the last `window_s` seconds.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_DEPTH]})

    agent: str
    type: str
    queued: int
    waiting: int
    running: int
    dead: int
    oldest_s: float | None
    done: int
    failed: int
    retried: int
    done_per_s: float
    paused: bool


class Depths(BaseModel):
    """How it stands with each type of each agent."""

    items: list[DepthAnswer]


class PolicyBody(Strict):
    """How often and how long tasks of a type are tried; what is not given stays. `per_key`: so many under one order key."""

    max_attempts: Times | None = Field(default=None, examples=[5])
    max_crashes: Times | None = None
    timeout_s: int | None = Field(default=None, ge=1, le=_DAY_S, strict=True)
    backoff_s: BackoffSeconds | None = None
    max_backoff_s: BackoffSeconds | None = None
    per_key: Times | None = None


class PolicyAnswer(BaseModel):
    """How often and how long tasks of a type are tried."""

    model_config = ConfigDict(json_schema_extra={"examples": [_POLICY]})

    agent: str
    type: str
    max_attempts: int
    max_crashes: int
    timeout_s: int
    backoff_s: float
    max_backoff_s: float
    per_key: int


class BrakeBody(Strict):
    """What is to hold from now on; what is not given stays. `max_running` null ends a limit."""

    paused: bool | None = Field(default=None, strict=True, examples=[True])
    max_running: int | None = Field(default=None, ge=1, le=1_000_000, strict=True)


class BrakeAnswer(BaseModel):
    """Whether an agent, or a type, is paused, and how many of its tasks may run at a time; null is any number."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BRAKE]})

    kind: Literal["agent", "type"]
    name: str
    paused: bool
    paused_at: datetime | None
    paused_by: str | None
    max_running: int | None


class Brakes(BaseModel):
    """What is paused or limited."""

    items: list[BrakeAnswer]


@router.get("/v1/work/queues", response_model=Depths)
async def list_queues(
    call: CurrentCall,
    window_s: Annotated[int, Query(ge=1, le=_DAY_S, description="How many seconds back ends are counted.")] = 300,
) -> Response:
    """How it stands with each type of each agent: depth, age, rates, failures."""
    async with call.database.read() as tx:
        rows = await work.depths(tx, window_s=window_s)
    return Json({"items": [_depth(row, window_s) for row in rows]})


@router.patch("/v1/work/queues/{agent}/{type}", response_model=PolicyAnswer)
async def configure_queue(agent: PathName, type: PathName, body: PolicyBody, call: CurrentCall) -> Response:
    """Set how often and how long tasks of one type of an agent are tried."""

    async def configure(tx: Tx) -> work.Policy:
        await work.configure(tx, agent, type, by=call.principal.name, **body.model_dump())
        found = await work.policy(tx, agent, type)
        assert found is not None, "what was configured is there"
        return found

    return Json(_policy(await call.database.retrying(configure)))


@router.get("/v1/work/brakes", response_model=Brakes)
async def list_brakes(call: CurrentCall) -> Response:
    """What is paused or limited."""
    async with call.database.read() as tx:
        rows = await work.brakes(tx)
    return Json({"items": [_brake(row) for row in rows]})


@router.patch("/v1/work/brakes/{kind}/{name}", response_model=BrakeAnswer)
async def set_brake(kind: BrakeKind, name: PathName, body: BrakeBody, call: CurrentCall) -> Response:
    """Pause an agent or a type, let it go on, or let only so many of its tasks run at a time. What runs goes on."""
    by = call.principal.name

    async def change(tx: Tx) -> work.Brake:
        before = await _brake_of(tx, kind, name)
        if body.paused:
            await work.pause(tx, kind, name, by)
        elif body.paused is False and before.paused_at is not None:
            await work.resume(tx, kind, name, by)
        if "max_running" in body.model_fields_set and body.max_running != before.max_running:
            await work.limit(tx, kind, name, by, max_running=body.max_running)
        return await _brake_of(tx, kind, name)

    brake = await call.database.retrying(change)
    call.services.bell.ring()
    return Json(_brake(brake))


async def _brake_of(tx: Tx, kind: str, name: str) -> work.Brake:
    found = [brake for brake in await work.brakes(tx) if (brake.kind, brake.name) == (kind, name)]
    return found[0] if found else work.Brake(kind, name, None, None, None)


def _depth(depth: work.Depth, window_s: int) -> dict[str, Any]:
    return {
        "agent": depth.agent,
        "type": depth.type,
        "queued": depth.queued,
        "waiting": depth.waiting,
        "running": depth.running,
        "dead": depth.dead,
        "oldest_s": depth.oldest_s,
        "done": depth.done,
        "failed": depth.failed,
        "retried": depth.retried,
        "done_per_s": round(depth.done / window_s, 3),
        "paused": depth.paused,
    }


def _policy(policy: work.Policy) -> dict[str, Any]:
    return {
        "agent": policy.agent,
        "type": policy.type,
        "max_attempts": policy.max_attempts,
        "max_crashes": policy.max_crashes,
        "timeout_s": policy.timeout_s,
        "backoff_s": policy.backoff_s,
        "max_backoff_s": policy.max_backoff_s,
        "per_key": policy.per_key,
    }


def _brake(brake: work.Brake) -> dict[str, Any]:
    return {
        "kind": brake.kind,
        "name": brake.name,
        "paused": brake.paused_at is not None,
        "paused_at": brake.paused_at,
        "paused_by": brake.paused_by,
        "max_running": brake.max_running,
    }
