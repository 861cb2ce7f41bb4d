"""What is said of an external payment, and what is answered."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from tallystick import payments
from tallystick.http.shapes import Money, MoneyAnswer, Name, Strict, money

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


class PaymentStepAnswer(BaseModel):
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
    steps: list[PaymentStepAnswer]


class PaymentPage(BaseModel):
    """External payments, newest first."""

    items: list[PaymentAnswer]
    next_cursor: str | None


def answer_of(history: payments.History) -> dict[str, Any]:
    """The JSON of a payment and its steps."""
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
