"""The read-only views that stand where the guides have tables."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tallystick import actions, agents, cases, customers, ledger, memory, work
from tallystick.db import Database
from tallystick.identity import house
from tests.conftest import TestDatabase
from tests.serving import fund

VIEWS = {
    "customers": {"id", "customer_id", "full_name", "birth_date", "sex", "region", "created_at"},
    "accounts": {"id", "account_id", "customer_id", "currency", "status", "balance", "created_at"},
    "transactions": {
        "id", "from_account", "to_account", "amount", "currency", "status", "reason", "description", "created_at", "settled_at",
    },
    "agent_tasks": {"id", "agent_name", "task_type", "payload", "status", "result", "error", "created_at"},
    "agent_events": {"id", "agent_name", "event_type", "payload", "created_at"},
    "banking_events": {"id", "customer_id", "event_type", "payload", "status", "created_at"},
    "banking_requests": {"id", "client_id", "request_type", "payload", "status", "created_at"},
    "agent_audit_log": {"id", "request_id", "action", "result", "created_at"},
}  # fmt: skip


def _rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


def test_public_holds_the_views_of_the_guides_and_nothing_else(database: TestDatabase) -> None:
    rows = _rows(
        database.owner_url,
        "select c.relname, c.relkind::text as kind from pg_class c where c.relnamespace = 'public'::regnamespace",
    )
    assert {(row["relname"], row["kind"]) for row in rows} == {(name, "v") for name in VIEWS}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_read_by_application_and_auditor_and_written_by_nobody(database: TestDatabase, name: str) -> None:
    for url in (database.app_url, database.app_url.replace("user=tallystick_app", "user=tallystick_auditor")):
        with psycopg.connect(url) as connection:
            cursor = connection.execute(f"select * from {name}".encode())
            assert {column.name for column in cursor.description or ()} == VIEWS[name]
    (rights,) = _rows(
        database.owner_url,
        f"select is_updatable, is_insertable_into from information_schema.views where table_name = '{name}'",
    )
    assert rights == {"is_updatable": "NO", "is_insertable_into": "NO"}
    for statement in (f"delete from {name}", f"update {name} set id = 1"):
        with psycopg.connect(database.owner_url) as connection, pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute(statement.encode())


def test_nobody_else_may_read_a_view(database: TestDatabase) -> None:
    grants = _rows(
        database.owner_url,
        "select distinct grantee, privilege_type from information_schema.role_table_grants"
        " where table_schema = 'public' and grantee <> 'tallystick_owner'",
    )
    assert {(grant["grantee"], grant["privilege_type"]) for grant in grants} == {
        ("tallystick_app", "SELECT"),
        ("tallystick_auditor", "SELECT"),
    }


async def test_accounts_show_their_owner_and_their_exact_balance(db: Database, database: TestDatabase) -> None:
    await fund(db)
    async with db.write() as tx:
        (customer,) = await customers.add(tx, [customers.NewCustomer("CUST-1")], by="me")
        alice = await ledger.account(tx, "ALICE")
        await customers.add_dispositions(tx, [customers.Disposition(customer.id, alice.id, "owner")], by="me")
        (yen, bank) = await ledger.open_accounts(
            tx, [ledger.AccountSpec("YEN", "JPY"), ledger.AccountSpec("JBANK", "JPY", "internal", None)]
        )
        await ledger.post(tx, [ledger.Journal("t", ledger.transfer(debit=bank.id, credit=yen.id, amount=10**15), "me")])
    rows = {row["account_id"]: row for row in _rows(database.app_url, "select * from accounts")}
    assert (rows["ALICE"]["customer_id"], rows["BOB"]["customer_id"]) == ("CUST-1", None)
    assert str(rows["ALICE"]["balance"]) == "1000.00"
    assert str(rows["BANK"]["balance"]) == "-2000.00"
    assert str(rows["YEN"]["balance"]) == "1000000000000000"


async def test_transactions_show_amounts_exactly_and_what_became_of_them(db: Database, database: TestDatabase) -> None:
    await fund(db)
    async with db.write() as tx:
        await actions.propose(
            tx,
            house("me"),
            [
                actions.NewTransfer("ALICE", "BOB", Decimal("0.01")),
                actions.NewTransfer("ALICE", "BOB", "999999.99"),
            ],
        )
        await actions.propose(tx, house("me"), [actions.NewTransfer("BOB", "ALICE", 5, settle="queued", description="later")])
    rows = _rows(database.app_url, "select * from transactions order by id")
    assert [(str(row["amount"]), row["status"], row["reason"]) for row in rows] == [
        ("0.01", "posted", None),
        ("999999.99", "failed", "insufficient_funds"),
        ("5.00", "queued", None),
    ]
    assert (rows[2]["from_account"], rows[2]["to_account"], rows[2]["description"]) == ("BOB", "ALICE", "later")


async def test_work_memory_and_cases_are_seen_as_the_guides_call_them(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("a", "t", {"n": number}) for number in range(3)])
        first, _ = await work.claim(tx, agents=["a"], worker="w", limit=2)
        await work.finish(tx, [work.Finish(first.task_id, first.fence, "done", {"ok": True})], "w")
        await memory.publish(tx, "me", agent="a", type="seen", payload={"x": 1})
        await cases.open_event(tx, "me", customer="C", type="e", payload_text="text")
        request = await cases.open_request(tx, "me", customer="C", type="trade_review", payload={"symbol": "?"})
        await agents.process_case(tx, "me", request.id)
    tasks = _rows(database.app_url, "select * from agent_tasks order by id")
    assert [task["status"] for task in tasks] == ["done", "running", "queued"]
    assert (tasks[0]["agent_name"], tasks[0]["task_type"], tasks[0]["result"]) == ("a", "t", {"ok": True})
    (event,) = _rows(database.app_url, "select agent_name, event_type, payload from agent_events")
    assert event == {"agent_name": "a", "event_type": "seen", "payload": {"x": 1}}
    (banking,) = _rows(database.app_url, "select customer_id, event_type, payload, status from banking_events")
    assert banking == {"customer_id": "C", "event_type": "e", "payload": "text", "status": "queued"}
    (asked,) = _rows(database.app_url, "select id, client_id, request_type, payload, status from banking_requests")
    assert asked == {
        "id": request.id, "client_id": "C", "request_type": "trade_review", "payload": {"symbol": "?"}, "status": "processed",
    }  # fmt: skip
    (entry,) = _rows(database.app_url, "select request_id, action, result from agent_audit_log")
    assert (entry["request_id"], entry["action"], entry["result"]["client_id"]) == (request.id, "processed", "C")
