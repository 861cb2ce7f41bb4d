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
from tallystick.payments.reconciliation_model import (
    ENTRY_BASE,
    OUTCOMES,
    Imported,
    Item,
    Outcome,
    Reconciliation,
    StatementHead,
    Total,
)
from tallystick.payments.reconciling import (
    explain,
    heads,
    import_statements,
    items,
    match_by_hand,
    read_file,
    reconciliation,
)
from tallystick.payments.service import get, move, page, receive, send

__all__ = [
    "ENTRY_BASE",
    "OUTCOMES",
    "STATUSES",
    "Counterparty",
    "History",
    "Imported",
    "Incoming",
    "Item",
    "Move",
    "Nostro",
    "Outcome",
    "Outgoing",
    "Payment",
    "Reconciliation",
    "StatementHead",
    "Step",
    "Total",
    "explain",
    "get",
    "heads",
    "import_statements",
    "items",
    "match_by_hand",
    "move",
    "nostro",
    "nostros",
    "page",
    "read_file",
    "receive",
    "reconciliation",
    "register",
    "send",
]
