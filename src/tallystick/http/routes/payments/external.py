"""`/v1/external-payments`: money that leaves the bank or comes in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from tallystick import actions, payments
from tallystick.db import Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.gate import perform
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.reach import accounts_of
from tallystick.http.routes.payments.shapes import (
    AssignedBody,
    BackBody,
    Direction,
    IncomingBody,
    PaymentAnswer,
    PaymentBody,
    PaymentPage,
    SettledBody,
    Status,
    answer_of,
)
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import Name, PathId, RequiredKey
from tallystick.kit import TallystickError

router = APIRouter(route_class=ExactRoute, tags=["external payments"])
_KIND = "external payments"


@router.post(
    "/v1/external-payments",
    status_code=201,
    response_model=PaymentAnswer,
    response_description="`created`, or `failed` with the reason of the business.",
)
async def send_payment(body: PaymentBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Pay to another bank; the money leaves the account at once."""
    wanted = payments.Outgoing(
        nostro=body.nostro,
        account=body.from_account,
        amount=body.amount.amount,
        currency=body.amount.currency,
        counterparty=payments.Counterparty(**body.counterparty.model_dump()),
        end_to_end_id=body.end_to_end_id,
        remittance=body.remittance,
        key=idempotency_key,
    )

    async def work(tx: Tx) -> payments.History:
        return _good([await actions.send_payment(tx, call.principal, wanted)])

    return Json(answer_of(await perform(call, actions.SendPayment.of(wanted), work, key=idempotency_key)), 201)


@router.post(
    "/v1/external-payments/incoming",
    status_code=201,
    response_model=PaymentAnswer,
    response_description="`received`, or `unmatched` with the reason why nobody of ours could take it.",
)
async def receive_payment(body: IncomingBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """Book a payment that came in."""
    wanted = payments.Incoming(
        nostro=body.nostro,
        beneficiary=body.to_account,
        amount=body.amount.amount,
        currency=body.amount.currency,
        counterparty=payments.Counterparty(**body.counterparty.model_dump()),
        end_to_end_id=body.end_to_end_id,
        remittance=body.remittance,
        booked_on=body.booked_on,
        key=idempotency_key,
    )

    async def work(tx: Tx) -> payments.History:
        return _good(await payments.receive(tx, call.principal.name, [wanted]))

    return Json(answer_of(await perform(call, actions.ReceivePayment.of(wanted), work, key=idempotency_key)), 201)


@router.get("/v1/external-payments", response_model=PaymentPage)
async def list_payments(
    *,
    call: CurrentCall,
    nostro: Annotated[Name | None, Query(description="Only those by way of this nostro.")] = None,
    account: Annotated[Name | None, Query(description="Only those of this account of ours.")] = None,
    direction: Annotated[Direction | None, Query()] = None,
    status: Annotated[Status | None, Query(description="Only those in this status.")] = None,
    end_to_end_id: Annotated[str | None, Query(max_length=35, description="Only those with this reference.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """External payments, newest first."""
    before = bound_of(cursor, _KIND)
    async with call.database.read() as tx:
        rows = await payments.page(
            tx,
            nostro=nostro,
            account=account,
            among=await accounts_of(tx, call.principal),
            direction=direction,
            status=status,
            end_to_end_id=end_to_end_id,
            before=before,
            limit=limit + 1,
        )
    return page(rows, limit, _KIND, item=answer_of, bound=lambda row: row.payment.id)


@router.get("/v1/external-payments/{payment_id}", response_model=PaymentAnswer)
async def get_payment(payment_id: PathId, call: CurrentCall) -> Response:
    """One external payment."""
    async with call.database.read() as tx:
        return Json(answer_of(await payments.get(tx, payment_id)))


@router.post("/v1/external-payments/{payment_id}/sent", response_model=PaymentAnswer)
async def mark_sent(payment_id: PathId, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """The payment was handed to the other bank; it cannot be cancelled any more."""
    return await _move(call, payments.Move(payment_id, "sent", key=idempotency_key))


@router.post("/v1/external-payments/{payment_id}/settled", response_model=PaymentAnswer)
async def mark_settled(payment_id: PathId, body: SettledBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """The other bank has taken the money from our account there."""
    return await _move(call, payments.Move(payment_id, "settled", booked_on=body.booked_on, key=idempotency_key))


@router.post("/v1/external-payments/{payment_id}/rejected", response_model=PaymentAnswer)
async def mark_rejected(payment_id: PathId, body: BackBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """The other bank does not carry it out: the customer has the money back."""
    wanted = payments.Move(payment_id, "rejected", reason=body.reason, booked_on=body.booked_on, key=idempotency_key)
    return await _move(call, wanted)


@router.post("/v1/external-payments/{payment_id}/returned", response_model=PaymentAnswer)
async def mark_returned(payment_id: PathId, body: BackBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """The money came back, or, of a payment that came in for nobody, was given back."""
    wanted = payments.Move(payment_id, "returned", reason=body.reason, booked_on=body.booked_on, key=idempotency_key)
    return await _move(call, wanted)


@router.post("/v1/external-payments/{payment_id}/cancelled", response_model=PaymentAnswer)
async def mark_cancelled(payment_id: PathId, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """It is not to be sent after all: the customer has the money back."""
    return await _move(call, payments.Move(payment_id, "cancelled", key=idempotency_key))


@router.post("/v1/external-payments/{payment_id}/assigned", response_model=PaymentAnswer)
async def mark_assigned(payment_id: PathId, body: AssignedBody, call: CurrentCall, idempotency_key: RequiredKey) -> Response:
    """The account is found that an unmatched payment is for."""
    return await _move(call, payments.Move(payment_id, "assigned", account=body.account, key=idempotency_key))


async def _move(call: Call, wanted: payments.Move) -> Response:
    async def work(tx: Tx) -> payments.History:
        return _good(await payments.move(tx, call.principal.name, [wanted]))

    return Json(answer_of(await perform(call, actions.MovePayment.of(wanted), work, key=wanted.key)))


def _good(answers: list[payments.History | TallystickError]) -> payments.History:
    (answer,) = answers
    if isinstance(answer, TallystickError):
        raise answer
    return answer
