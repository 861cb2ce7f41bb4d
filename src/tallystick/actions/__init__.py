"""The gate: what is proposed here is carried out, or refused with a reason, in one transaction with its record."""

from tallystick.actions.model import SETTLE_TASK, SETTLEMENT_AGENT, NewTransfer, Settled, Transfer
from tallystick.actions.references import REFERENCES
from tallystick.actions.service import get, of_journals, page, propose, settle

__all__ = [
    "REFERENCES",
    "SETTLEMENT_AGENT",
    "SETTLE_TASK",
    "NewTransfer",
    "Settled",
    "Transfer",
    "get",
    "of_journals",
    "page",
    "propose",
    "settle",
]
