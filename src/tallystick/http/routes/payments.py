"""`/v1/nostros` and `/v1/external-payments`: money that leaves the bank or comes in."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.responses import Response

from tallystick import payments
from tallystick.db import ReadTx, Tx
from tallystick.http.exact import ExactRoute, Json
from tallystick.http.idempotency import once
from tallystick.http.paging import Cursor, Limit, bound_of, page
from tallystick.http.services import Call, CurrentCall
from tallystick.http.shapes import (
    Currency,
    IdempotencyKey,
    Money,
    MoneyAnswer,
    Name,
    PathId,
    PathName,
    RequiredKey,
    Strict,
    money,
)
from tallystick.kit import TallystickError

router = APIRouter(route_class=ExactRoute, tags=["external payments"])
_KIND = "external payments"
_NOSTROS = "nostros"
_NOSTRO_EXAMPLE: JsonDict = {
    "id": "NOSTRO-KB",
    "bank": "KOMBCZPP",
    "their_account": "CZ6508000000192000145399",
    "currency": "CZK",
    "clearing_account": "NOSTRO-KB:clearing",
    "suspense_account": "NOSTRO-KB:suspense",
    "registered_at": "2026-04-21T12:34:56.789012Z",
}
_EXAMPLE: JsonDict = {
    "id": "7",
    "direction": "out",
    "status": "sent",
    "reason": None,
    "nostro": "NOSTRO-KB",
    "account": "ACC123",
    "beneficiary": None,
    "amount": {"amount": "120.00", "currency": "CZK"},
    "end_to_end_id": "INV-2026-118",
    "counterparty": {"name": "Jana Nova", "account": "DE89370400440532013000", "bank": "COBADEFF"},
    "remittance": "invoice 118",
    "created_at": "2026-04-21T12:34:56.789012Z",
    "changed_at": "2026-04-21T13:00:00.123456Z",
    "steps": [
        {
            "status": "created",
            "journal_id": "91",
            "account": "ACC123",
            "reason": None,
            "booked_on": None,
            "at": "2026-04-21T12:34:56.789012Z",
        },
        {
            "status": "sent",
            "journal_id": None,
            "account": None,
            "reason": None,
            "booked_on": None,
            "at": "2026-04-21T13:00:00.123456Z",
        },
    ],
}

Direction = Literal["out", "in"]
Status = Literal[
    "created", "failed", "sent", "settled", "rejected", "returned", "cancelled", "received", "unmatched", "assigned"
]
EndToEndId = Annotated[str, Field(min_length=1, max_length=35, examples=["INV-2026-118"])]
Remittance = Annotated[str, Field(max_length=500, examples=["invoice 118"])]
BookedOn = Annotated[date | None, Field(description="The day on which the other bank booked it.", examples=["2026-04-21"])]


class NostroBody(Strict):
    """An account of ours at another bank, to mirror by an internal account of our books."""

    id: Annotated[Name, Field(max_length=80, examples=["NOSTRO-KB"])]
    bank: str = Field(min_length=1, max_length=100, description="BIC or name.", examples=["KOMBCZPP"])
    their_account: str = Field(min_length=1, max_length=64, examples=["CZ65 0800 0000 1920 0014 5399"])
    currency: Currency = Field(examples=["CZK"])


class NostroAnswer(BaseModel):
    """A nostro account, with its clearing account (sent, not settled) and its suspense account (came in for nobody known)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NOSTRO_EXAMPLE]})

    id: str
    bank: str
    their_account: str
    currency: str
    clearing_account: str
    suspense_account: str
    registered_at: datetime


class NostroPage(BaseModel):
    """Nostro accounts."""

    items: list[NostroAnswer]
    next_cursor: str | None


class Payee(Strict):
    """Who is to be paid, and where."""

    name: str = Field(min_length=1, max_length=140, examples=["Jana Nova"])
    account: str = Field(min_length=1, max_length=64, examples=["DE89370400440532013000"])
    bank: str | None = Field(default=None, max_length=100, examples=["COBADEFF"])


class Payer(Strict):
    """Who has paid, as far as it is told."""

    name: str | None = Field(default=None, max_length=140, examples=["Jana Nova"])
    account: str | None = Field(default=None, max_length=64, examples=["DE89370400440532013000"])
    bank: str | None = Field(default=None, max_length=100, examples=["COBADEFF"])


class PaymentBody(Strict):
    """A payment to an account at another bank."""

    nostro: Name = Field(examples=["NOSTRO-KB"])
    from_account: Name = Field(examples=["ACC123"])
    amount: Money
    counterparty: Payee
    end_to_end_id: EndToEndId | None = None
    remittance: Remittance | None = None


class IncomingBody(Strict):
    """A payment that another bank has given to us. `to_account` is what it names, whether we know it or not."""

    nostro: Name = Field(examples=["NOSTRO-KB"])
    to_account: str = Field(min_length=1, max_length=100, examples=["ACC123"])
    amount: Money
    counterparty: Payer = Payer()
    end_to_end_id: EndToEndId | None = None
    remittance: Remittance | None = None
    booked_on: BookedOn = None


class SettledBody(Strict):
    """A settlement; without a day, it is effective now."""

    booked_on: BookedOn = None


class BackBody(Strict):
    """Why the money comes back: a code or words of the other bank's."""

    reason: str = Field(min_length=1, max_length=200, examples=["AC04"])
    booked_on: BookedOn = None


class AssignedBody(Strict):
    """Whose the money is."""

    account: Name = Field(examples=["ACC123"])


class StepAnswer(BaseModel):
    """What happened: the status, and the journal where money moved. `account` is the account of ours that it moved."""

    status: Status
    journal_id: str | None
    account: str | None
    reason: str | None
    booked_on: date | None
    at: datetime


class CounterpartyAnswer(BaseModel):
    """The other side."""

    name: str | None
    account: str | None
    bank: str | None


class PaymentAnswer(BaseModel):
    """An external payment as it stands, and how it came to that."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    direction: Direction
    status: Status
    reason: str | None
    nostro: str
    account: str | None
    beneficiary: str | None
    amount: MoneyAnswer
    end_to_end_id: str | None
    counterparty: CounterpartyAnswer
    remittance: str | None
    created_at: datetime
    changed_at: datetime
    steps: list[StepAnswer]


class PaymentPage(BaseModel):
    """External payments, newest first."""

    items: list[PaymentAnswer]
    next_cursor: str | None


@router.post("/v1/nostros", status_code=201, response_model=NostroAnswer)
async def register_nostro(body: NostroBody, call: CurrentCall, idempotency_key: IdempotencyKey = None) -> Response:
    """Mirror an account of ours at another bank."""

    async def create(tx: Tx) -> int:
        nostro = await payments.register(
            tx,
            call.principal.name,
            name=body.id,
            bank=body.bank,
            their_account=body.their_account,
            currency=body.currency,
        )
        return nostro.id

    async def read(tx: ReadTx, nostro_id: int) -> payments.Nostro:
        (nostro,) = await payments.nostros(tx, ids=[nostro_id], limit=1)
        return nostro

    nostro = await once(call, idempotency_key, kind="nostro", request=body.model_dump(), create=create, read=read)
    return Json(_nostro(nostro), 201)


@router.get("/v1/nostros", response_model=NostroPage)
async def list_nostros(call: CurrentCall, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """Nostro accounts."""
    after = bound_of(cursor, _NOSTROS) or 0
    async with call.database.read() as tx:
        rows = await payments.nostros(tx, after=after, limit=limit + 1)
    return page(rows, limit, _NOSTROS, item=_nostro, bound=lambda row: row.id)


@router.get("/v1/nostros/{nostro_id}", response_model=NostroAnswer)
async def get_nostro(nostro_id: PathName, call: CurrentCall) -> Response:
    """One nostro account."""
    async with call.database.read() as tx:
        return Json(_nostro(await payments.nostro(tx, nostro_id)))


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
        return _good(await payments.send(tx, call.principal.name, [wanted]))

    return Json(_answer(await call.database.retrying(work)), 201)


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

    return Json(_answer(await call.database.retrying(work)), 201)


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
            direction=direction,
            status=status,
            end_to_end_id=end_to_end_id,
            before=before,
            limit=limit + 1,
        )
    return page(rows, limit, _KIND, item=_answer, bound=lambda row: row.payment.id)


@router.get("/v1/external-payments/{payment_id}", response_model=PaymentAnswer)
async def get_payment(payment_id: PathId, call: CurrentCall) -> Response:
    """One external payment."""
    async with call.database.read() as tx:
        return Json(_answer(await payments.get(tx, payment_id)))


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

    return Json(_answer(await call.database.retrying(work)))


def _good(answers: list[payments.History | TallystickError]) -> payments.History:
    (answer,) = answers
    if isinstance(answer, TallystickError):
        raise answer
    return answer


def _nostro(nostro: payments.Nostro) -> dict[str, Any]:
    return {
        "id": nostro.name,
        "bank": nostro.bank,
        "their_account": nostro.their_account,
        "currency": nostro.asset,
        "clearing_account": nostro.clearing,
        "suspense_account": nostro.suspense,
        "registered_at": nostro.registered_at,
    }


def _answer(history: payments.History) -> dict[str, Any]:
    payment = history.payment
    return {
        "id": str(payment.id),
        "direction": payment.direction,
        "status": payment.status,
        "reason": payment.reason,
        "nostro": payment.nostro,
        "account": payment.account,
        "beneficiary": payment.beneficiary,
        "amount": money(payment.amount, payment.unit),
        "end_to_end_id": payment.end_to_end_id,
        "counterparty": {
            "name": payment.counterparty_name,
            "account": payment.counterparty_account,
            "bank": payment.counterparty_bank,
        },
        "remittance": payment.remittance,
        "created_at": payment.created_at,
        "changed_at": payment.changed_at,
        "steps": [
            {
                "status": step.status,
                "journal_id": None if step.journal_id is None else str(step.journal_id),
                "account": step.account,
                "reason": step.reason,
                "booked_on": step.booked_on,
                "at": step.at,
            }
            for step in history.steps
        ],
    }
