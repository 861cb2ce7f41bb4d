"""`/v1/schedules`: tasks that are enqueued at the times of a cron text in a time zone."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import actions, schedules
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reserved import check_not_reserved
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import IdempotencyKey, Name, PathName, Strict
from tallystick.kit import digest

router = APIRouter(route_class=ExactRoute, tags=["schedules"])
_KIND = "schedules"
_FIRINGS = 10
_UPCOMING = 5
_EXAMPLE: JsonDict = {
    "id": "3",
    "name": "nightly-report",
    "state": "active",
    "agent": "reporter",
    "type": "report",
    "payload": {"report": "balances"},
    "cron": "30 2 * * *",
    "time_zone": "Europe/Prague",
    "priority": 0,
    "catch_up": "latest",
    "fire_at_field": None,
    "version": 1,
    "created_by": "anna",
    "created_at": "2026-04-21T12:34:56.789012Z",
    "set_by": "anna",
    "set_at": "2026-04-21T12:34:56.789012Z",
    "next_at": "2026-04-22T00:30:00Z",
    "paused_at": None,
    "paused_by": None,
    "pause_reason": None,
}
_FIRING_EXAMPLE: JsonDict = {
    "fire_at": "2026-04-21T00:30:00Z",
    "fired_at": "2026-04-21T00:30:00.412345Z",
    "task_id": "7",
    "version": 1,
}

CronText = Annotated[str, StringConstraints(min_length=9, max_length=200)]
Zone = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Priority = Annotated[int, Field(ge=-1000, le=1000, strict=True)]
CatchUp = Literal["latest", "all", "none"]
State = Literal["active", "paused", "ended"]


class ScheduleBody(Strict):
    """A schedule: which task is enqueued at which times. `catch_up` says which of the times that nobody saw fire later."""

    name: Name = Field(examples=["nightly-report"])
    agent: Name = Field(examples=["reporter"])
    type: Name = Field(examples=["report"])
    payload: dict[str, Any] = Field(default_factory=dict, examples=[{"report": "balances"}])
    cron: CronText = Field(
        description="Minute, hour, day of month, month, day of week, as crontab has them.", examples=["30 2 * * *"]
    )
    time_zone: Zone = Field(default="UTC", description="An IANA name.", examples=["Europe/Prague"])
    priority: Priority = 0
    catch_up: CatchUp = "latest"
    fire_at_field: Name | None = Field(default=None, description="The field of the payload that is given the time it is for.")

    def plan(self) -> schedules.Plan:
        """What the schedule is to say."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(schedules.Plan)}
        return schedules.Plan(**fields)


class ScheduleChange(Strict):
    """What a schedule is to say from now on. What is left out, or null, stays; a null `fire_at_field` takes it away."""

    agent: Name | None = Field(default=None, examples=["reporter"])
    type: Name | None = None
    payload: dict[str, Any] | None = None
    cron: CronText | None = Field(default=None, examples=["0 6 * * mon-fri"])
    time_zone: Zone | None = None
    priority: Priority | None = None
    catch_up: CatchUp | None = None
    fire_at_field: Name | None = None

    def of(self, plan: schedules.Plan) -> schedules.Plan:
        """The plan with the changes."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        kept = {name: value for name, value in given.items() if value is not None or name == "fire_at_field"}
        return dataclasses.replace(plan, **kept)


class ScheduleAnswer(BaseModel):
    """A schedule as it stands. `next_at` is its next time; `set_by` is in whose name its tasks are enqueued."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    name: str
    state: State
    agent: str
    type: str
    payload: dict[str, Any]
    cron: str
    time_zone: str
    priority: int
    catch_up: CatchUp
    fire_at_field: str | None
    version: int
    created_by: str
    created_at: datetime
    set_by: str
    set_at: datetime
    next_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None


class FiringAnswer(BaseModel):
    """A time at which a schedule fired, and the task that came of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_FIRING_EXAMPLE]})

    fire_at: datetime
    fired_at: datetime
    task_id: str
    version: int


class ScheduleDetail(ScheduleAnswer):
    """A schedule with the last ten times at which it fired, newest first, and the next five at which it will."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_EXAMPLE, "firings": [_FIRING_EXAMPLE], "upcoming": ["2026-04-22T00:30:00Z"]}]}
    )

    firings: list[FiringAnswer]
    upcoming: list[datetime]


class SchedulePage(BaseModel):
    """Schedules, newest first."""

    items: list[ScheduleAnswer]
    next_cursor: str | None


@router.post("/v1/schedules", status_code=201, response_model=ScheduleAnswer)
async def create_schedule(body: ScheduleBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a schedule, which fires from now on."""
    check_not_reserved(body.agent, scheduled=True)
    plan = body.plan()

    async def create(tx: Tx) -> int:
        return (await schedules.create(tx, call.principal.name, body.name, plan)).id

    request = [body.name, digest(dataclasses.asdict(plan)).hex()]
    made = await once(
        call,
        idempotency_key,
        kind="schedule",
        request=request,
        create=create,
        read=schedules.as_created,
        payload=actions.SetUp("schedule", body.name),
    )
    return Json(_answer(made), 201)


@router.get("/v1/schedules", response_model=SchedulePage)
async def list_schedules(
    *,
    call: CurrentCall,
    agent: Annotated[Name | None, Query(description="Only those of this agent.")] = None,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Schedules, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        rows = await schedules.page(tx, agent=agent, state=state, before=before, limit=limit + 1)
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.id)


@router.get("/v1/schedules/{name}", response_model=ScheduleDetail)
async def get_schedule(name: PathName, call: CurrentCall) -> Response:
    """One schedule, when it fired last and when it will next."""
    async with call.database.read() as tx:
        schedule = await schedules.get(tx, name)
        fired = await schedules.firings(tx, schedule.id, _FIRINGS)
    upcoming = schedules.upcoming(schedule, _UPCOMING)
    return Json({**_answer(schedule), "firings": [_firing(each) for each in fired], "upcoming": upcoming})


@router.patch("/v1/schedules/{name}", response_model=ScheduleAnswer)
async def change_schedule(name: PathName, body: ScheduleChange, call: CurrentCall) -> Response:
    """Let a schedule say something else from now on. Its tasks are then enqueued in the name of who changed it."""
    if body.agent is not None:
        check_not_reserved(body.agent, scheduled=True)
    async with call.database.write() as tx:
        plan = body.of((await schedules.lock(tx, name)).plan)
        return Json(_answer(await schedules.change(tx, call.principal.name, name, plan)))


@router.delete("/v1/schedules/{name}", response_model=ScheduleAnswer)
async def remove_schedule(name: PathName, call: CurrentCall) -> Response:
    """End a schedule for good, as it stood. What it said and when it fired stays on the record; its name is free again."""
    async with call.database.write() as tx:
        return Json(_answer(await schedules.remove(tx, call.principal.name, name)))


@router.post("/v1/schedules/{name}/pause", response_model=ScheduleAnswer)
async def pause_schedule(name: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Stop a schedule: nothing fires until it is resumed."""

    async def pause(tx: Tx) -> int:
        return (await schedules.pause(tx, call.principal.name, name)).id

    paused = await once(call, idempotency_key, kind="schedule pause", request=name, create=pause, read=schedules.by_id)
    return Json(_answer(paused))


@router.post("/v1/schedules/{name}/resume", response_model=ScheduleAnswer)
async def resume_schedule(name: PathName, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Let a schedule fire again, from its next time on; what passed while it was paused does not fire."""

    async def resume(tx: Tx) -> int:
        return (await schedules.resume(tx, call.principal.name, name)).id

    resumed = await once(call, idempotency_key, kind="schedule resume", request=name, create=resume, read=schedules.by_id)
    return Json(_answer(resumed))


def _answer(schedule: schedules.Schedule) -> dict[str, Any]:
    return {**dataclasses.asdict(schedule), "id": str(schedule.id), "state": schedule.state}


def _firing(firing: schedules.Firing) -> dict[str, Any]:
    return {
        "fire_at": firing.fire_at,
        "fired_at": firing.fired_at,
        "task_id": str(firing.task_id),
        "version": firing.version,
    }
