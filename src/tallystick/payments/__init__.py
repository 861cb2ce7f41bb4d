"""Money that leaves the bank or comes in: nostro accounts, external payments, reconciliation with other banks' statements."""

from tallystick.payments.json_form import head_json, item_json, reconciliation_json
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
from tallystick.payments.moving import move, see
from tallystick.payments.receiving import receive
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
    head,
    heads,
    import_statements,
    items,
    match_by_hand,
    read_file,
    reconciliation,
)
from tallystick.payments.references import REFERENCES
from tallystick.payments.sending import send
from tallystick.payments.service import get, page

__all__ = [
    "ENTRY_BASE",
    "OUTCOMES",
    "REFERENCES",
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
    "head",
    "head_json",
    "heads",
    "import_statements",
    "item_json",
    "items",
    "match_by_hand",
    "move",
    "nostro",
    "nostros",
    "page",
    "read_file",
    "receive",
    "reconciliation",
    "reconciliation_json",
    "register",
    "see",
    "send",
]
