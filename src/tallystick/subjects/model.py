"""What is personal in the tables of the rooms, and how long it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

KINDS = ("action", "approval", "case", "customer", "decision", "event", "payload", "payment", "schedule", "task", "transfer")
"""The kinds of data that have a retention period each."""

MAX_KEEP_MONTHS = 1200


@dataclass(frozen=True, slots=True)
class Personal:
    """Columns of a table that may tell of a person, and by what the rows of a customer are found."""

    table: str
    columns: tuple[str, ...]
    found_by: str


PERSONAL = (
    Personal("customers.customer", ("name", "full_name", "birth_date", "sex", "region", "street", "city"), "its name"),
    Personal("customers.credential", ("salt", "hash"), "its customer; the row is removed"),
    Personal("customers.standing_order", ("name", "to_bank", "to_account", "purpose"), "the account, which the customer owns"),
    Personal("customers.standing_term", ("to_name", "to_bank", "to_account", "purpose"), "its standing order"),
    Personal("cases.case", ("customer", "payload", "payload_text", "result", "salt"), "`customer`"),
    Personal("memory.event", ("payload", "salt"), "what the payload names"),
    Personal("work.task", ("payload", "order_key", "salt"), "what the payload, the result or a step names"),
    Personal("work.outcome", ("result", "error", "salt"), "its task"),
    Personal("work.attempt", ("error",), "its task"),
    Personal("work.step", ("input_hash", "output", "error", "detail", "salt"), "its task"),
    Personal("audit.payload", ("salt", "body"), "the case or task that the event is about, or what the body names"),
    Personal("audit.legal_hold", ("customer",), "`customer`; only one that was lifted can be there"),
    Personal("approvals.approval", ("digest",), "what was shown of it names"),
    Personal("approvals.shown", ("digest", "shown", "salt"), "its approval"),
    Personal("approvals.vote", ("reason", "salt"), "its approval"),
    Personal("approvals.comment", ("text", "salt"), "its approval"),
    Personal(
        "policy.decision",
        ("facts", "verdict", "digest", "salt"),
        "what the facts name, or the number of the customer or of a case in them",
    ),
    Personal("actions.action", ("payload", "digest", "maker", "result"), "what the payload names, or its decision or approval"),
    Personal(
        "actions.payee",
        ("payee", "label"),
        "the account, which the customer owns: the row is removed; the label alone where it is the payee",
    ),
    Personal("actions.transfer", ("description",), "either account, which the customer owns"),
    Personal(
        "payments.payment",
        (
            "beneficiary",
            "end_to_end_id",
            "counterparty_name",
            "counterparty_account",
            "counterparty_bank",
            "remittance",
            "reason",
        ),
        "the account, which the customer owns",
    ),
    Personal("payments.payment_step", ("reason",), "its payment"),
    Personal(
        "payments.statement_line",
        ("end_to_end_id", "reference", "text"),
        "the entry of a payment that it is matched with, or the payment's reference",
    ),
    Personal("payments.match", ("why",), "its statement line"),
    Personal("payments.explanation", ("why",), "its statement line, or its entry"),
    Personal("schedules.version", ("payload",), "what the payload names"),
    Personal(
        "db.claim",
        ("hash",),
        "the case, task, event, transfer, payment, schedule, approval, action, decision or customer that the key stands for",
    ),
)
"""What erasure redacts, with the salts that it destroys. All other text of the rooms is in `KEPT`."""

_CODES = "names and codes that the bank gives"
_HASHES = "digests of facts that tell of nobody"
_STAFF = "who did it: a principal, not a customer"

KEPT: Mapping[str, str] = {
    "actions.action": _CODES,
    "actions.payee": _STAFF,
    "actions.transfer": _CODES,
    "approvals.approval": _STAFF,
    "approvals.comment": _STAFF,
    "approvals.review": _STAFF,
    "approvals.shown": _STAFF,
    "approvals.vote": _STAFF,
    "approvals.webhook": "addresses of other programs, and what signs notices to them",
    "audit.checkpoint": "sizes, roots and signatures",
    "audit.event": "what is sealed: codes, ids and counts; digests of what is personal are salted",
    "audit.leaf": "hashes of leaves",
    "audit.legal_hold": _CODES,
    "audit.node": "hashes of leaves",
    "audit.origin": "names of origins",
    "audit.retention": _CODES,
    "cases.case": _CODES,
    "closing.accrual": _CODES,
    "closing.calendar": _CODES,
    "closing.day": _STAFF,
    "closing.day_page": _CODES,
    "closing.day_step": "counts",
    "closing.holiday": _CODES,
    "closing.interest_rate": _CODES,
    "customers.credential": _STAFF,
    "customers.disposition": _CODES,
    "customers.standing_order": _CODES,
    "customers.standing_run": "days",
    "customers.standing_term": _CODES,
    "db.claim": "keys that callers choose, which are to hold no personal data",
    "db.repeatable": "this program's own files",
    "db.revision": "this program's own files",
    "identity.agent_version": "what agents are made of: names and digests",
    "identity.api_key": "keys of principals",
    "identity.login": "by which accounts elsewhere staff are known",
    "identity.mandate": "what a principal lets an agent do, and which payees it named: proof of what was allowed",
    "identity.mandate_end": _STAFF,
    "identity.principal": _STAFF,
    "identity.session": "hashes of the cookies of staff",
    "identity.usage": _STAFF,
    "ledger.account": "the account's name, which the bank gives",
    "ledger.account_change": _STAFF,
    "ledger.asset": _CODES,
    "ledger.balance": _CODES,
    "ledger.closed_period": _STAFF,
    "ledger.hold": "codes and references for machines",
    "ledger.hold_change": _STAFF,
    "ledger.journal": "codes and references for machines",
    "ledger.refusal": _CODES,
    "memory.event": _CODES,
    "payments.explanation": _STAFF,
    "payments.match": _STAFF,
    "payments.nostro": "the bank's own accounts",
    "payments.payment": _CODES,
    "payments.payment_step": _STAFF,
    "payments.statement": _HASHES,
    "payments.statement_line": "days",
    "policy.counter": "names of rules and of what they count: accounts, principals, numbers of counterparties' accounts",
    "policy.decision": "who did what, by which policy, and what came of it: principals, not customers",
    "policy.document": "rules of the bank",
    "policy.list": _CODES,
    "policy.list_entry": "names on lists such as those of sanctions, which the next import replaces",
    "schedules.schedule": _CODES,
    "schedules.version": _CODES,
    "trading.fill": _STAFF,
    "trading.portfolio": _CODES,
    "trading.position": _CODES,
    "trading.price": _CODES,
    "trading.trade_order": _CODES,
    "work.attempt": _STAFF,
    "work.brake": _STAFF,
    "work.dead": "goes with the end of the task, which is waited for",
    "work.history": "counts",
    "work.open_claim": "random names of channels",
    "work.outcome": _STAFF,
    "work.queue": _CODES,
    "work.run": "goes with the end of the attempt, which is waited for",
    "work.step": _CODES,
    "work.task": _STAFF,
    "work.turn": "goes with the end of the task, which is waited for",
    "work.wait": "goes with the end of the task, which is waited for",
    "work.worker": "names of processes",
}
"""Why the other columns of a table that hold text, JSON or bytes stay as they are."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: the event of the record, and the number of rows of each table that had any."""

    event_id: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A customer's data may not be erased until the hold is lifted. `reason` is a code."""

    id: int
    customer: str
    reason: str
    placed_by: str
    placed_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Retention:
    """Data of a kind is kept for so many months at least, from when it was last of use."""

    kind: str
    keep_months: int
    set_by: str
    set_at: datetime
