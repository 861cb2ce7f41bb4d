"""`/v1/workers`: processes that hold one lease for all that they claim, and so beat once for all of it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tallystick import work
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import PathId, Strict
from tallystick.http.task_shapes import LeaseSeconds
from tallystick.kit import Conflict

router = APIRouter(route_class=ExactRoute, tags=["attempts"])


class WorkerBody(Strict):
    """How long the lease is to last, from now on."""

    lease_s: LeaseSeconds = Field(default=60, examples=[60])


class WorkerAnswer(BaseModel):
    """A worker, which claims with its `id` as `worker_id`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "5"}]})

    id: str


class HeldAnswer(BaseModel):
    """The attempts that the worker holds; whatever else it took for its own is lost."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attempts": [{"id": "7", "fence": "19"}]}]})

    attempts: list[dict[str, str]]


class LeftAnswer(BaseModel):
    """How many attempts the worker still held, which are queued again and not counted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"returned": 2}]})

    returned: int


@router.post("/v1/workers", status_code=201, response_model=WorkerAnswer)
async def register(body: WorkerBody, call: CurrentCall) -> Response:
    """Begin a lease. One whose answer is lost ends by itself."""
    worker_id = await call.database.retrying(lambda tx: work.register(tx, call.principal.name, body.lease_s))
    return Json({"id": str(worker_id)}, 201)


@router.post("/v1/workers/{worker_id}/heartbeat", response_model=HeldAnswer)
async def beat(worker_id: PathId, body: WorkerBody, call: CurrentCall) -> Response:
    """Keep the lease; answers what is held under it. A lease that was over (`lease_lost`) does not come back."""

    async def beat(tx: Tx) -> list[work.Held]:
        await check_own(tx, call, worker_id)
        held = await work.beat(tx, worker_id, body.lease_s)
        if held is None:
            raise _lease_lost(worker_id)
        return held

    held = await call.database.retrying(beat)
    return Json({"attempts": [{"id": str(each.task_id), "fence": str(each.fence)} for each in held]})


@router.post("/v1/workers/{worker_id}/leave", response_model=LeftAnswer)
async def leave(worker_id: PathId, call: CurrentCall) -> Response:
    """End the lease. What is still held under it goes back, so that others may have it at once."""

    async def leave(tx: Tx) -> int:
        if await work.worker_name(tx, worker_id) is None:
            return 0
        await check_own(tx, call, worker_id)
        return await work.leave(tx, worker_id)

    returned = await call.database.retrying(leave)
    call.services.bell.ring()
    return Json({"returned": returned})


async def check_own(tx: ReadTx, call: Call, worker_id: int) -> None:
    """Refuse with `Conflict` (`lease_lost`) a worker that holds no lease, or whose lease is somebody else's."""
    if await work.worker_name(tx, worker_id) != call.principal.name:
        raise _lease_lost(worker_id)


def _lease_lost(worker_id: int) -> Conflict:
    return Conflict("lease_lost", f"worker {worker_id} holds no lease")
