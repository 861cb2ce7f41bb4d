"""Money that leaves the bank or comes in: nostro accounts, external payments, reconciliation with other banks' statements."""

from tallystick.payments.mirrors import nostro, nostros, register
from tallystick.payments.model import (
    STATUSES,
    Counterparty,
    History,
    Incoming,
    Move,
    Nostro,
    Outgoing,
    Payment,
    Step,
)
from tallystick.payments.service import get, move, page, receive, send

__all__ = [
    "STATUSES",
    "Counterparty",
    "History",
    "Incoming",
    "Move",
    "Nostro",
    "Outgoing",
    "Payment",
    "Step",
    "get",
    "move",
    "nostro",
    "nostros",
    "page",
    "receive",
    "register",
    "send",
]
