"""`/v1/customers/{id}/erasure`: have what is known of a customer erased."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from tallystick import subjects
from tallystick.http.exact import ExactRoute
from tallystick.http.gate import HeldAnswer
from tallystick.http.routes.actions import ActionAnswer, propose_payload
from tallystick.http.services import CurrentCall
from tallystick.http.shapes import PathName, RequiredKey, Strict

router = APIRouter(route_class=ExactRoute, tags=["customers"])


class ErasureBody(Strict):
    """Why a customer is erased, as a code, and of how many rows at most: a name may be a word that stands everywhere."""

    reason: str = Field(min_length=1, max_length=100, examples=["request-7"])
    most_rows: int = Field(default=100_000, ge=1, le=10_000_000, strict=True)


@router.post(
    "/v1/customers/{customer_id}/erasure",
    status_code=201,
    response_model=ActionAnswer,
    response_description="Erased, or `failed` with the reason that speaks against it.",
    responses={202: {"model": HeldAnswer, "description": "Kept until people agree."}},
)
async def erase_customer(customer_id: PathName, body: ErasureBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Propose that what is known of a customer is erased, for good: an action of type `subject.erase`.

    A legal hold, a retention period and business that goes on stand against it (`failed`). Once they are erased nobody is known
    by this name, also to the same request again; `GET /v1/actions?type=subject.erase` tells what became of it.
    """
    async with call.database.read() as tx:
        subject = await subjects.subject_of(tx, customer_id)
    payload = subjects.EraseSubject(subject, body.reason, body.most_rows)
    return await propose_payload(call, payload, ["subject.erase", subject, body.reason, body.most_rows], idempotency_key)
