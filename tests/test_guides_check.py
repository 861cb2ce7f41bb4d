"""The five guides against a real server with a worker: their own requests, and the check that comes with them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tallystick.db import Database
from tests.conftest import ROOT, TestDatabase
from tests.serving import fund, live

_ACCOUNTS = ("ACC123", "ACC999", "ACC1001", "ACC2002")
_TIMEOUT_S = 15


def _check_script() -> Path:
    named = os.environ.get("TALLYSTICK_TEST_GUIDES")
    return (Path(named) if named else ROOT.parent / "shared/guides") / "check.py"


async def test_the_check_of_the_guides_finds_no_failure(db: Database, database: TestDatabase) -> None:
    script = _check_script()
    if not script.exists():
        pytest.skip(f"{script} is not there")
    await fund(db, *_ACCOUNTS)
    _add_price(database)
    with live(database.app_url, work=True) as base:
        for _ in range(2):
            ran = subprocess.run([sys.executable, str(script), base], capture_output=True, text=True, timeout=120, check=False)
            assert "FAIL" not in ran.stdout, ran.stdout
            assert ran.returncode == 0, ran.stdout + ran.stderr


async def test_the_retail_guide_ends_with_a_transaction_that_sql_finds(db: Database, database: TestDatabase) -> None:
    await fund(db, *_ACCOUNTS)
    body: dict[str, Any] = {"from_account": "ACC1001", "to_account": "ACC2002", "amount": 25.5}
    with live(database.app_url) as base:
        assert requests.get(f"{base}/accounts/ACC1001/balance", timeout=_TIMEOUT_S).json() == {
            "account_id": "ACC1001",
            "balance": 1000.0,
        }
        answer = requests.post(f"{base}/transfers/persisted", json=body, timeout=_TIMEOUT_S)
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"
    with psycopg.connect(database.app_url) as connection:
        row = connection.execute(
            "select id, from_account, to_account, amount, status from transactions order by id desc limit 1"
        ).fetchone()
    assert row is not None
    assert (row[0], row[1], row[2], str(row[3]), row[4]) == (
        answer.json()["transaction_id"], "ACC1001", "ACC2002", "25.50", "queued",
    )  # fmt: skip


def test_the_fintech_guide_reads_back_the_event_it_left(database: TestDatabase) -> None:
    event: dict[str, Any] = {
        "agent_name": "fraud_agent",
        "event_type": "flag_transaction",
        "payload": {"transaction_id": "tx_1", "n": 1},
    }
    with live(database.app_url) as base:
        stored = requests.post(f"{base}/agent-events", json=event, timeout=_TIMEOUT_S).json()
        (read,) = requests.get(f"{base}/agent-events/fraud_agent", timeout=_TIMEOUT_S).json()
    assert stored["status"] == "stored"
    assert read == event | {"id": stored["id"], "created_at": stored["created_at"]}


def test_the_banking_guide_finds_its_event_pending_with_its_text_unchanged(database: TestDatabase) -> None:
    event: dict[str, Any] = {
        "customer_id": "CUST-10021",
        "event_type": "loan_review",
        "payload": '{"amount":  25000, "risk_score": 0.72}',
    }
    with live(database.app_url, work=True) as base:
        created = requests.post(f"{base}/events", json=event, timeout=_TIMEOUT_S).json()
        (pending,) = requests.get(f"{base}/events/pending", timeout=_TIMEOUT_S).json()
    assert (created["customer_id"], created["status"]) == ("CUST-10021", "queued")
    assert pending == event | {"id": created["id"], "status": "queued"}


def test_the_agents_guide_has_its_task_done_by_the_worker(database: TestDatabase) -> None:
    _add_price(database)
    task: dict[str, Any] = {
        "agent_name": "trade-review-agent",
        "task_type": "position_check",
        "payload": {"symbol": "AAPL", "quantity": 250},
    }
    with live(database.app_url, work=True) as base:
        queued = requests.post(f"{base}/tasks", json=task, timeout=_TIMEOUT_S).json()
        assert queued["status"] == "queued"
        done = _wait_until_done(f"{base}/tasks/{queued['id']}")
    result = done.pop("result")
    assert done == task | {"id": queued["id"], "status": "done", "error": None}
    assert (result["symbol"], result["quantity"], result["status"]) == ("AAPL", 250, "processed")
    assert result["notional_estimate"] == 250 * 100.25


def test_the_production_guide_traces_its_request_to_the_audit_entry(database: TestDatabase) -> None:
    body: dict[str, Any] = {
        "client_id": "CUST-1042",
        "request_type": "trade_review",
        "payload": {"symbol": "AAPL", "notional": 2500000},
    }
    with live(database.app_url) as base:
        created = requests.post(f"{base}/requests", json=body, timeout=_TIMEOUT_S).json()
        before = requests.get(f"{base}/requests/{created['request_id']}", timeout=_TIMEOUT_S).json()
        processed = requests.post(f"{base}/requests/{created['request_id']}/process", timeout=_TIMEOUT_S).json()
        after = requests.get(f"{base}/requests/{created['request_id']}", timeout=_TIMEOUT_S).json()
    assert created == {"request_id": created["request_id"], "status": "received"}
    assert before["latest_audit"] is None
    assert before["request"][4] == "received"
    assert after["request"] == [*before["request"][:4], "processed"]
    assert processed["result"]["decision"] in ("approved", "rejected", "review")
    assert after["latest_audit"][0] == "processed"


def _wait_until_done(address: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        task: dict[str, Any] = requests.get(address, timeout=_TIMEOUT_S).json()
        if task["status"] not in ("queued", "running"):
            return task
        time.sleep(0.05)
    raise AssertionError("the task did not end")


def _add_price(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(
            "insert into trading.price (symbol, day, open, high, low, close, volume)"
            " values ('AAPL', '2026-04-21', 100, 101, 99, 100.25, 50000000)"
        )
