"""Nothing with an effect goes around the gate: shown by the routes, by the grants, and by who calls the verbs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import identity, policy
from tallystick.db import Database
from tallystick.http import HttpSettings, access
from tests.conftest import TestDatabase
from tests.serving import fund, serving
from tests.test_http_access import _address, _body
from tests.test_http_bad_input import BODIES

_SRC = Path(__file__).parent.parent / "src" / "tallystick"
_KEPT = (
    "ledger.journal", "ledger.entry", "ledger.balance", "ledger.account", "ledger.account_change", "ledger.hold",
    "ledger.hold_change", "ledger.closed_period", "payments.payment", "payments.payment_step", "payments.nostro",
    "customers.customer", "customers.disposition", "customers.standing_order", "customers.standing_term",
    "customers.credential", "cases.case", "closing.day", "closing.calendar", "closing.interest_rate", "actions.payee",
    "policy.document", "policy.list", "schedules.schedule", "trading.portfolio", "trading.trade_order", "trading.fill",
    "trading.position",
)  # fmt: skip
"""What no route changes while policy denies everything."""
_OPEN_DOORS = {"cases.case"}
"""Customers bring cases in whatever policy says of what is then done with them."""


def _state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    return {
        table: connection.execute(
            f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {table} t".encode()
        ).fetchall()
        for table in _KEPT
        if table not in _OPEN_DOORS
    }


async def test_while_policy_denies_everything_no_route_has_an_effect(db: Database, database: TestDatabase) -> None:
    await fund(db)
    keys: dict[str, str] = {}
    async with db.write() as tx:
        for name, kind, roles in (("op", "person", ["operator", "approver"]), ("root", "person", ["admin"])):
            keys[name] = (await identity.create_key(tx, name, kind=kind, roles=roles, by="test")).secret
        await policy.apply(tx, {"name": "closed", "rules": [{"id": "closed", "deny": True}]}, by="test")
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        before = _state(connection)
        denied = 0
        objects = {
            "account_id": "ALICE", "customer_id": "CUST-1", "agent": "op", "task_id": "1", "transfer_id": "1",
            "journal_id": "1",
            "hold_id": "1", "case_id": "1", "request_id": "1", "event_id": "1", "payment_id": "1", "action_id": "1",
            "approval_id": "1", "decision_id": "1", "portfolio_id": "P", "order_id": "1",
        }  # fmt: skip
        async with serving(db, HttpSettings(), keyed=True) as client:
            for (method, path), rule in access.TABLE.items():
                if method == "GET":
                    continue
                key = keys["op" if "operator" in rule.roles else "root"]
                body = BODIES.get((method, path))
                answer = await client.request(
                    method,
                    _address(path, objects),
                    json=None if body is None else _body(body, objects),
                    headers={"authorization": f"Bearer {key}"},
                )
                assert answer.status_code < 500, (method, path, answer.text)
                denied += "denied" in answer.text
        after = _state(connection)
    assert {table: rows for table, rows in after.items() if rows != before[table]} == {}
    assert denied >= 15


def test_the_application_has_no_way_to_the_books_but_the_verbs(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        writable = connection.execute(
            """select table_name from information_schema.role_table_grants
                where grantee = 'tallystick_app' and table_schema = 'ledger' and privilege_type <> 'SELECT'"""
        ).fetchall()
        inner = connection.execute(
            """select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                where n.nspname = 'ledger' and p.proname in ('carry_out', 'record_captures')
                  and has_function_privilege('tallystick_app', p.oid, 'execute')"""
        ).fetchall()
        decisions = connection.execute(
            """select privilege_type from information_schema.role_table_grants
                where grantee = 'tallystick_app' and table_schema = 'policy' and table_name in ('decision', 'consumption')"""
        ).fetchall()
    assert {name for (name,) in writable} == {"asset"}
    assert inner == []
    assert {kind for (kind,) in decisions} == {"SELECT"}


_VERBS = {
    "ledger": {"post", "post_on_record", "reverse", "reverse_on_record", "capture_on_record", "place_holds", "place_on_record",
               "release_holds", "release_on_record", "change_status", "change_limit", "set_status", "set_floor"},
    "payments": {"send", "receive", "move", "import_statements"},
    "customers": {"change", "set_credential", "plan_order", "change_order"},
    "policy": {"apply"},
    "cases": {"set_status", "record_result"},
    "trading": {"open_portfolio", "place", "cancel", "fill"},
}  # fmt: skip
_BELOW = ("actions", "closing", "payments", "ledger", "customers", "policy", "cases", "agents")
_ENTER = re.compile(r"\b(perform|actions\.enter|actions\.enter_many|actions\.perform|_gated|once)\(")


def _calls(tree: ast.AST) -> set[str]:
    return {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }


@pytest.mark.parametrize("surface", ["http", "cli", "worker"])
def test_whoever_calls_a_verb_with_an_effect_from_a_surface_comes_by_the_gate(surface: str) -> None:
    seen = 0
    for file in (_SRC / surface).rglob("*.py"):
        text = file.read_text()
        found = {call for call in _calls(ast.parse(text)) if call.partition(".")[2] in _VERBS.get(call.partition(".")[0], ())}
        if found:
            seen += 1
            assert _ENTER.search(text), f"{file.relative_to(_SRC)} calls {', '.join(sorted(found))} and nothing of the gate"
    assert seen or surface == "worker"
