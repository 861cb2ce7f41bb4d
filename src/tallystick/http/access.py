"""Who may call what: for each route the roles that may, and what is looked at where a caller does not see everything.

A route that is not in the table is refused. What lies outside a caller's reach is answered as what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from tallystick import identity
from tallystick.http.guards import (
    Asked,
    Guard,
    in_body,
    in_path,
    in_query,
    of_accounts,
    of_case,
    of_customers,
    of_everything,
    of_hold,
    of_journal,
    of_order,
    of_payment,
    of_portfolios,
    of_tasks,
    of_timeline,
    of_transfer,
    own_name,
    own_tasks,
    own_work,
)
from tallystick.http.payload_guards import of_amended, of_payload
from tallystick.kit import Forbidden

Line = tuple[str, "set[str] | frozenset[str]", tuple[Guard, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a route, and what guards the objects that it names."""

    roles: frozenset[str]
    guards: tuple[Guard, ...] = ()

    def check_role(self, principal: identity.Principal) -> None:
        """Refuse with `Forbidden` (`role_missing`) a caller without one of the roles."""
        if self.roles.isdisjoint(principal.roles) and self.roles is not ANYBODY:
            wanted = ", ".join(role for role in identity.ROLES if role in self.roles) or "none that there is"
            raise Forbidden("role_missing", f"this needs one of the roles: {wanted}")

    async def check_objects(self, asked: Asked) -> None:
        """Refuse what the caller does not see; see the guards."""
        for guard in self.guards:
            await guard(asked)


def rule_of(method: str, path: str) -> Rule:
    """The rule of a route; one that is not in the table has no roles."""
    return TABLE.get((method, path), NOBODY)


# The table.

ANYBODY = frozenset(identity.ROLES)
"""Whoever is known, even without a role."""

NOBODY = Rule(frozenset())

_A, _O, _P, _U, _M = ({role} for role in identity.ROLES)
_READ = _O | _P | _U
_WORK = _A | _O
_TASK = of_tasks(in_path("task_id"))
_FROM = own_tasks(in_body("task_id"), in_body("holds[].task_id"), in_body("payload.journals[].task_id"))
"""The task that a posting says it comes from."""

_ACCOUNT = of_accounts(in_path("account_id"))


def _authority() -> Iterator[Line]:
    yield "GET /v1/me", ANYBODY, ()
    for route in (
        "GET /v1/principals", "POST /v1/principals", "GET /v1/principals/{name}", "PUT /v1/principals/{name}/roles",
        "PUT /v1/principals/{name}/reach", "PUT /v1/principals/{name}/owner", "POST /v1/principals/{name}/disable",
        "POST /v1/principals/{name}/enable", "GET /v1/principals/{name}/logins", "POST /v1/principals/{name}/logins",
        "DELETE /v1/principals/{name}/logins/{login_id}", "GET /v1/principals/{name}/versions",
        "POST /v1/principals/{name}/versions",
        "GET /v1/keys", "POST /v1/keys", "POST /v1/keys/{key_id}/rotate", "POST /v1/keys/{key_id}/revoke",
    ):  # fmt: skip
        yield route, _M | _U if route.startswith("GET") else _M, ()
    for route in (
        "GET /v1/mandates",
        "POST /v1/mandates",
        "GET /v1/mandates/{mandate_id}",
        "POST /v1/mandates/{mandate_id}/revoke",
    ):
        # The routes look whose they are.
        yield route, ANYBODY, ()


def _reading_the_books() -> Iterator[Line]:
    yield "GET /v1/transfers", _A | _READ, (of_accounts(in_query("account")),)
    yield "GET /v1/transfers/{transfer_id}", _A | _READ, (of_transfer(in_path("transfer_id")),)
    yield "GET /v1/accounts", _A | _READ, (of_customers(in_query("customer_id")),)
    for tail in ("", "/entries", "/changes", "/balance", "/statement", "/closing-balances", "/standing-orders", "/payees"):
        yield f"GET /v1/accounts/{{account_id}}{tail}", _A | _READ, (_ACCOUNT,)
    yield "GET /v1/journals", _A | _READ, (of_accounts(in_query("account_id")),)
    yield "GET /v1/journals/{journal_id}", _A | _READ, (of_journal(in_path("journal_id")),)
    yield "GET /v1/holds", _A | _READ, (of_accounts(in_query("account_id")),)
    yield "GET /v1/holds/{hold_id}", _A | _READ, (of_hold(in_path("hold_id")),)
    yield "GET /v1/trial-balance", _READ, (of_everything,)


def _proposing() -> Iterator[Line]:
    yield "POST /v1/transfers", _WORK, (of_accounts(in_body("from_account")),)
    yield "POST /v1/transfers/batch", _WORK, (of_accounts(in_body("transfers[].from_account")),)
    yield "POST /v1/accounts", _WORK, (of_customers(in_body("customer_id")),)
    for tail in ("freeze", "unfreeze", "close"):
        yield f"POST /v1/accounts/{{account_id}}/{tail}", _WORK, (_ACCOUNT,)
    yield "PUT /v1/accounts/{account_id}/limit", _WORK, (_ACCOUNT,)
    yield "POST /v1/accounts/{account_id}/interest-rates", _O, (of_accounts(in_path("account_id"), in_body("paid_from")),)
    yield "POST /v1/journals", _O, (of_accounts(in_body("entries[].account"), in_body("guards[].account")),)
    yield "POST /v1/journals/batch", _O, (
        of_accounts(in_body("journals[].entries[].account"), in_body("journals[].guards[].account")),
    )  # fmt: skip
    yield "POST /v1/journals/{journal_id}/reversals", _WORK, (of_journal(in_path("journal_id"), whole=True), _FROM)
    yield "POST /v1/holds", _WORK, (of_accounts(in_body("account")), _FROM)
    yield "POST /v1/holds/batch", _WORK, (of_accounts(in_body("holds[].account")), _FROM)
    yield "POST /v1/holds/{hold_id}/captures", _WORK, (of_hold(in_path("hold_id")), _FROM)
    yield "POST /v1/holds/{hold_id}/release", _WORK, (of_hold(in_path("hold_id")),)


def _gate() -> Iterator[Line]:
    yield "GET /v1/action-types", ANYBODY, ()
    yield "POST /v1/actions", _WORK | _M, (of_payload, _FROM)
    yield "POST /v1/customers/{customer_id}/erasure", _O, (of_customers(in_path("customer_id")),)
    yield "POST /v1/customers/{customer_id}/credential", _WORK, (of_customers(in_path("customer_id")),)
    for route in ("GET /v1/actions", "GET /v1/actions/{action_id}"):
        yield route, _A | _READ | _M, ()
    yield "PATCH /v1/actions/{action_id}", _WORK | _M, (of_amended, _FROM)
    yield "POST /v1/actions/{action_id}/withdraw", _WORK | _M, ()
    for route in ("GET /v1/policies", "GET /v1/policies/current", "GET /v1/policies/{digest}", "POST /v1/policy-checks"):
        yield route, _READ | _M, ()
    yield "GET /v1/decisions", _A | _READ | _M, ()
    yield "GET /v1/decisions/{decision_id}", _A | _READ | _M, ()
    # Whom a question is put to, policy says; the room keeps votes that it refused on the record.
    for route in (
        "GET /v1/approvals", "GET /v1/approvals/reviews", "GET /v1/approvals/{approval_id}",
        "POST /v1/approvals/{approval_id}/votes", "POST /v1/approvals/{approval_id}/break-glass",
        "POST /v1/approvals/{approval_id}/comments", "POST /v1/approvals/{approval_id}/withdraw",
        "POST /v1/approvals/{approval_id}/review",
    ):  # fmt: skip
        yield route, ANYBODY, ()
    for route in ("GET /v1/webhooks", "POST /v1/webhooks", "DELETE /v1/webhooks/{webhook_id}"):
        yield route, _M, ()


def _customers_and_cases() -> Iterator[Line]:
    yield "POST /v1/customers", _WORK, (of_everything,)
    yield "GET /v1/customers", _A | _READ, ()
    yield "GET /v1/customers/{customer_id}", _A | _READ, (of_customers(in_path("customer_id")),)
    yield "POST /v1/cases", _WORK, (of_customers(in_body("customer_id")),)
    yield "GET /v1/cases", _A | _READ, (of_customers(in_query("customer_id")),)
    yield "GET /v1/cases/{case_id}", _A | _READ, (of_case(in_path("case_id")),)
    yield "PATCH /v1/cases/{case_id}/status", _WORK, (of_case(in_path("case_id")),)
    yield "POST /v1/cases/{case_id}/process", _WORK, (of_case(in_path("case_id")),)


def _payments() -> Iterator[Line]:
    for route in (
        "GET /v1/nostros", "GET /v1/nostros/{nostro_id}", "GET /v1/reconciliations",
        "GET /v1/reconciliations/{reconciliation_id}", "GET /v1/reconciliations/{reconciliation_id}/items",
    ):  # fmt: skip
        yield route, _READ, (of_everything,)
    for route in ("POST /v1/nostros", "POST /v1/nostros/{nostro_id}/statements",
                  "POST /v1/reconciliations/{reconciliation_id}/matches",
                  "POST /v1/reconciliations/{reconciliation_id}/explanations"):  # fmt: skip
        yield route, _O, (of_everything,)
    yield "POST /v1/external-payments", _WORK, (of_accounts(in_body("from_account")),)
    yield "POST /v1/external-payments/incoming", _O, (of_accounts(in_body("to_account")),)
    yield "GET /v1/external-payments", _A | _READ, (of_accounts(in_query("account")),)
    yield "GET /v1/external-payments/{payment_id}", _A | _READ, (of_payment(in_path("payment_id")),)
    for tail in ("sent", "settled", "rejected", "returned", "cancelled", "assigned"):
        yield f"POST /v1/external-payments/{{payment_id}}/{tail}", _O, (
            of_payment(in_path("payment_id")), of_accounts(in_body("account")),
        )  # fmt: skip


def _trading() -> Iterator[Line]:
    yield "GET /v1/portfolios", _A | _READ, ()
    yield "POST /v1/portfolios", _WORK, (of_accounts(in_body("account_id")),)
    yield "GET /v1/portfolios/{portfolio_id}", _A | _READ, (of_portfolios(in_path("portfolio_id")),)
    yield "GET /v1/orders", _A | _READ, (of_portfolios(in_query("portfolio")),)
    yield "POST /v1/orders", _WORK, (of_portfolios(in_body("portfolio")),)
    yield "GET /v1/orders/{order_id}", _A | _READ, (of_order(in_path("order_id")),)
    for tail in ("cancel", "fills"):
        yield f"POST /v1/orders/{{order_id}}/{tail}", _WORK, (of_order(in_path("order_id")),)


def _days() -> Iterator[Line]:
    yield "GET /v1/calendars", _A | _READ, ()
    yield "POST /v1/calendars", _O, (of_everything,)
    yield "GET /v1/business-days", _A | _READ, ()
    yield "POST /v1/business-days/{business_date}/close", _O, (of_everything,)


def _tasks() -> Iterator[Line]:
    yield "POST /v1/tasks", _WORK, (own_name(in_body("agent")), of_tasks(in_body("after[]")))
    yield "POST /v1/tasks/batch", _WORK, (own_name(in_body("tasks[].agent")), of_tasks(in_body("tasks[].after[]")))
    yield "GET /v1/tasks", _A | _READ, (own_work,)
    for tail in ("", "/attempts", "/steps"):
        yield f"GET /v1/tasks/{{task_id}}{tail}", _A | _READ, (_TASK,)
    yield "POST /v1/tasks/claim", _WORK, (own_name(in_body("agents[]"), in_body("queues[].agent")),)
    yield "POST /v1/tasks/heartbeat", _WORK, (of_tasks(in_body("attempts[].id")),)
    yield "POST /v1/tasks/settle", _WORK, (of_tasks(in_body("ends[].id")),)
    yield "POST /v1/tasks/{task_id}/finish", _WORK, (_TASK, of_accounts(in_body("effects[].from_account")))
    for tail in ("fail", "return", "park", "steps"):
        yield f"POST /v1/tasks/{{task_id}}/{tail}", _WORK, (_TASK,)
    for tail in ("cancel", "retry"):
        yield f"POST /v1/tasks/{{task_id}}/{tail}", _O, (_TASK,)
    # An agent is told that people answer.
    yield "POST /v1/tasks/{task_id}/answers", _A | _O | _P, (_TASK,)
    yield "GET /v1/work/questions", _READ, (of_everything,)
    for route in ("POST /v1/workers", "POST /v1/workers/{worker_id}/heartbeat", "POST /v1/workers/{worker_id}/leave"):
        yield route, _WORK, ()


def _steering() -> Iterator[Line]:
    for route in ("GET /v1/work/queues", "GET /v1/work/brakes", "GET /v1/schedules", "GET /v1/schedules/{name}"):
        yield route, _READ, (of_everything,)
    for route in ("PATCH /v1/work/queues/{agent}/{type}", "PATCH /v1/work/brakes/{kind}/{name}", "POST /v1/schedules",
                  "PATCH /v1/schedules/{name}", "DELETE /v1/schedules/{name}", "POST /v1/schedules/{name}/pause",
                  "POST /v1/schedules/{name}/resume"):  # fmt: skip
        yield route, _O, (of_everything,)
    yield "POST /v1/events", _WORK, (own_name(in_body("agent")),)
    yield "GET /v1/events", _A | _READ, ()


def _record() -> Iterator[Line]:
    for route in ("GET /v1/audit/events", "GET /v1/audit/events/export", "GET /v1/audit/events/{event_id}"):
        yield route, _O | _U, (of_everything,)
    for route in ("GET /v1/audit/events/{event_id}/receipt", "GET /v1/audit/receipts", "GET /v1/audit/consistency"):
        yield route, _O | _U, (of_everything,)
    yield "GET /v1/audit/timeline", _READ, (of_timeline,)
    yield "GET /v1/audit/status", _READ | _M, ()


def _guides() -> Iterator[Line]:
    yield "GET /accounts/{account_id}/balance", _A | _READ, (_ACCOUNT,)
    yield "GET /accounts/{account_id}/transactions", _A | _READ, (_ACCOUNT,)
    yield "POST /transfers", _WORK, (of_accounts(in_body("from_account")),)
    yield "POST /transfers/persisted", _WORK, (of_accounts(in_body("from_account")),)
    yield "POST /agent-events", _WORK, (own_name(in_body("agent_name")),)
    yield "GET /agent-events/{agent_name}", _A | _READ, ()
    yield "POST /events", _WORK, (of_customers(in_body("customer_id")),)
    yield "GET /events/pending", _A | _READ, ()
    yield "PATCH /events/{event_id}/status", _WORK, (of_case(in_path("event_id")),)
    yield "POST /tasks", _WORK, (own_name(in_body("agent_name")),)
    yield "GET /tasks", _A | _READ, (own_work,)
    yield "GET /tasks/{task_id}", _A | _READ, (_TASK,)
    yield "POST /tasks/{task_id}/events", _WORK, (_TASK,)
    yield "POST /requests", _WORK, (of_customers(in_body("client_id")),)
    yield "POST /requests/{request_id}/process", _WORK, (of_case(in_path("request_id")),)
    yield "GET /requests/{request_id}", _A | _READ, (of_case(in_path("request_id")),)


def _table() -> dict[tuple[str, str], Rule]:
    made: dict[tuple[str, str], Rule] = {}
    parts = (
        _authority, _reading_the_books, _proposing, _gate, _customers_and_cases, _payments, _trading, _days, _tasks, _steering,
        _record, _guides,
    )  # fmt: skip
    for route, roles, guards in chain.from_iterable(part() for part in parts):
        method, _, path = route.partition(" ")
        made[method, path] = Rule(roles if isinstance(roles, frozenset) else frozenset(roles), guards)
    return made


TABLE = _table()
"""Each route's rule, by its method and its path."""

METRICS = Rule(frozenset(_O | _U | _M))
"""Who reads how the process is doing. It names nobody and nothing of the bank, so it takes no reach."""

LEAVES = Rule(frozenset(_O | _U))
"""Who reads the leaves of the record by its tiles."""
