"""The client against a real server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from tallystick import identity, policy
from tallystick.client import ApiError, Client, journal, transfer
from tallystick.client.exact import dumps, loads
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.conftest import TestDatabase
from tests.serving import fund, live


def test_importing_the_client_loads_nothing_of_the_server() -> None:
    program = "import sys, json, tallystick.client; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(ran.stdout))
    # httpx is the client's, pydantic and orjson are what the sdk is made of.
    assert {"httpx", "pydantic", "orjson"} <= loaded
    assert not loaded & {
        "fastapi",
        "starlette",
        "uvicorn",
        "psycopg",
        "psycopg_pool",
        "alembic",
        "sqlalchemy",
    }
    ours = {name for name in loaded if name.startswith("tallystick.")}
    assert {name.split(".")[1] for name in ours} <= {"client", "sdk"}


async def test_a_task_is_created_listed_claimed_and_finished(database: TestDatabase) -> None:
    with live(database.app_url) as base, Client(base) as client:
        first = client.create_agent_task("kyc_review", {"customer_id": "CUST-1", "limit": Decimal("10.50")})
        second = client.create_agent_task("kyc_review", {}, agent="other")
        assert [task.id for task in client.fetch_pending_tasks()] == [first.id, second.id]
        assert [task.id for task in client.fetch_pending_tasks(agent="other")] == [second.id]
        (attempt,) = client.claim_tasks(["agent"], limit=5)
        assert (attempt.id, attempt.attempts) == (first.id, 1)
        assert client.claim_tasks(["agent"]) == []
        assert client.task(first.id).status == "running"
        done = client.finish_task(attempt, {"score": Decimal("0.1")})
        assert (done.status, done.result) == ("done", {"score": Decimal("0.1")})
        assert client.finish_task(attempt, {"score": Decimal("0.1")}) == done
        with pytest.raises(ApiError) as refused:
            client.finish_task(attempt, {"score": 2})
        assert (refused.value.status, refused.value.code) == (409, "fence_lost")
        (attempt,) = client.claim_tasks(["other"])
        failed = client.fail_task(attempt, "no such customer")
        assert (failed.status, failed.error) == ("failed", "no such customer")


async def test_events_are_published_and_read_newest_first(database: TestDatabase) -> None:
    with live(database.app_url) as base, Client(base) as client:
        published = [client.publish_event("risk", "score", {"n": number}) for number in range(3)]
        client.publish_event("other", "score", {})
        assert client.read_events("risk") == published[::-1]
        assert len(client.read_events(limit=2)) == 2


async def test_a_case_is_opened_and_processed_once(database: TestDatabase) -> None:
    with live(database.app_url) as base, Client(base) as client:
        case = client.open_case("CUST-1", "trade_review", {"symbol": "AAPL", "notional": 1})
        assert (case.door, case.status, case.result) == ("request", "received", None)
        processed = client.process_case(case.id)
        assert processed.status == "processed"
        assert client.process_case(case.id) == processed == client.case(case.id)
        event = client.open_case("CUST-1", "note", "any text")
        assert client.set_case_status(event.id, "completed").status == "completed"
        with pytest.raises(ApiError) as refused:
            client.set_case_status(event.id, "queued")
        assert refused.value.code == "impossible_transition"


async def test_money_moves_exactly_and_the_statement_is_read_page_by_page(db: Database, database: TestDatabase) -> None:
    await fund(db)
    with live(database.app_url) as base, Client(base) as client:
        moved = [client.transfer("ALICE", "BOB", Decimal("0.01"), "CZK", description="one") for _ in range(5)]
        assert {transfer.status for transfer in moved} == {"posted"}
        assert client.balance("ALICE") == Decimal("999.95")
        account = client.account("BOB")
        assert (account.available, account.currency, account.held) == (Decimal("1000.05"), "CZK", Decimal(0))
        newest = list(client.entries("BOB", page_size=2))
        oldest = list(client.entries("BOB", order="asc", page_size=4))
        assert newest == oldest[::-1]
        assert [str(entry.balance_after) for entry in oldest] == [f"1000.0{cents}" for cents in range(6)]
        refused = client.transfer("ALICE", "BOB", "1000000", "CZK")
        assert (refused.status, refused.reason, refused.journal_id) == ("failed", "insufficient_funds", None)
        queued = client.transfer("ALICE", "BOB", 1, "CZK", settle="queued")
        assert (queued.status, client.get_transfer(queued.id).status) == ("queued", "queued")


async def test_the_same_key_moves_money_once(db: Database, database: TestDatabase) -> None:
    await fund(db)
    with live(database.app_url) as base, Client(base) as client:
        first = client.transfer("ALICE", "BOB", "5", "CZK", idempotency_key="rent-1")
        assert client.transfer("ALICE", "BOB", "5.00", "CZK", idempotency_key="rent-1") == first
        with pytest.raises(ApiError) as refused:
            client.transfer("ALICE", "BOB", "6", "CZK", idempotency_key="rent-1")
        assert refused.value.code == "key_reused"
        assert client.balance("BOB") == 1005


async def test_transfers_are_made_in_batches(db: Database, database: TestDatabase) -> None:
    await fund(db)
    wanted = [transfer("ALICE", "BOB", "1.50", "CZK", description="rent"), transfer("BOB", "ALICE", Decimal("0.50"), "CZK")]
    with live(database.app_url) as base, Client(base) as client:
        each = client.transfers(wanted, idempotency_key="each")
        assert (each.action_id, each.approval_id, [one.status for one in each.transfers]) == (None, None, ["posted"] * 2)
        assert client.transfers(wanted, idempotency_key="each") == each
        whole = client.transfers([*wanted, transfer("ALICE", "BOB", "9000", "CZK")], mode="atomic")
        assert whole.action_id is not None
        assert [one.reason for one in whole.transfers] == ["batch_refused", "batch_refused", "insufficient_funds"]
        async with db.write() as tx:
            asks = {"id": "asks", "when": {"action": "transfer.batch"}, "hold": True}
            await policy.apply(tx, {"name": "t", "rules": [asks, {"id": "all", "allow": True}]}, by="test")
        held = client.transfers(wanted, mode="atomic")
        assert (held.transfers, held.approval_id is not None) == ((), True)
        assert client.balance("BOB") == Decimal("1001.00")


async def test_journals_are_posted_alone_and_in_batches_and_taken_back(db: Database, database: TestDatabase) -> None:
    await fund(db)
    with live(database.app_url) as base, Client(base) as client:
        entries: list[tuple[str, Decimal | int | str]] = [("ALICE", Decimal("-2.50")), ("BOB", "2.50")]
        alone = client.post_journal("invoice", entries, meta={"n": 1}, effective_at="2026-04-21")
        assert (alone.status, alone.reason) == ("posted", None)
        assert client.post_journal("invoice", entries, dry_run=True).id is None
        poor = journal("invoice", [("ALICE", "-9000"), ("BOB", "9000")])
        answers = client.post_journals([journal("invoice", entries), poor], idempotency_key="b")
        assert [answer.reason for answer in answers] == [None, "insufficient_funds"]
        assert client.post_journals([journal("invoice", entries), poor], idempotency_key="b") == answers
        assert client.reverse_journal(alone.id or "", "1.00", "CZK").status == "posted"
        assert client.reverse_journal(alone.id or "").reason == "reversal_exceeded"
        account = client.account("ALICE")
        assert (account.posted, account.seq, account.kind) == (Decimal("996.00"), 4, "customer")
        assert account.overdraft_limit == Decimal(0)


async def test_a_hold_and_the_limits_of_an_account(db: Database, database: TestDatabase) -> None:
    await fund(db)
    with live(database.app_url) as base, _losing_answers(base, lost=1) as proxy, Client(proxy) as client:
        placed = client.place_hold("ALICE", Decimal("100.00"), "CZK", expires_in_s=3600, meta={"card": "x"})
        assert placed.status == "placed"
        assert placed.expires_at is not None
        assert client.capture_hold(placed.id or "", "BOB", "30", "CZK").status == "posted"
        hold = client.hold(placed.id or "")
        assert (hold.status, hold.captured, hold.remaining, hold.currency) == ("open", Decimal(30), Decimal(70), "CZK")
        assert list(client.holds("ALICE", only_open=True, page_size=1)) == [hold]
        assert client.release_hold(hold.id).status == "released"
        assert list(client.holds(only_open=True)) == []
        client.set_overdraft_limit("ALICE", "50.00")
        client.freeze_account("ALICE")
        frozen = client.account("ALICE")
        assert (frozen.status, frozen.overdraft_limit) == ("frozen", Decimal("50.00"))
        client.unfreeze_account("ALICE")
        with pytest.raises(ApiError) as refused:
            client.close_account("ALICE")
        assert refused.value.code == "account_not_empty"
        assert client.balance("BOB") == 1030


def test_a_float_is_no_amount(database: TestDatabase) -> None:
    inexact: Any = 0.1
    with Client("http://127.0.0.1:1") as client, pytest.raises(TypeError):
        client.transfer("ALICE", "BOB", inexact, "CZK")


async def test_refusals_carry_status_code_and_detail(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "agent-7", by="test")
    with live(database.app_url, HttpSettings()) as base:
        with Client(base) as nobody, pytest.raises(ApiError) as missing:
            nobody.account("ALICE")
        with Client(base, "ts_wrong") as wrong, pytest.raises(ApiError) as unknown:
            wrong.account("ALICE")
        with Client(base, key.secret) as known, pytest.raises(ApiError) as absent:
            known.account("a/../b?c")
    assert (missing.value.status, missing.value.code) == (401, "key_missing")
    assert (unknown.value.status, unknown.value.code) == (401, "key_unknown")
    assert absent.value.status in (404, 422)


async def test_a_transfer_whose_answer_is_lost_is_sent_again_and_made_once(db: Database, database: TestDatabase) -> None:
    await fund(db)
    with live(database.app_url) as base, _losing_answers(base, lost=2) as proxy, Client(proxy) as client:
        transfer = client.transfer("ALICE", "BOB", "7", "CZK")
        assert transfer.status == "posted"
        assert client.balance("BOB") == 1007


async def test_a_claim_whose_answer_is_lost_is_not_sent_again(database: TestDatabase) -> None:
    with live(database.app_url) as base, Client(base) as direct:
        for _ in range(2):
            direct.create_agent_task("t", {})
        with _losing_answers(base, lost=1) as proxy, Client(proxy) as client, pytest.raises(ApiError) as lost:
            client.claim_tasks(["agent"])
        assert (lost.value.status, lost.value.code) == (0, "unreachable")
        assert len(direct.fetch_pending_tasks()) == 1


def test_a_server_that_is_not_there_is_given_up_on() -> None:
    with Client("http://127.0.0.1:1", attempts=2) as client, pytest.raises(ApiError) as lost:
        client.account("ALICE")
    assert (lost.value.status, lost.value.code) == (0, "unreachable")


@pytest.mark.parametrize("value", [{"a": [1, Decimal("1.10"), None, True, "é\n"]}, [], "x", Decimal("1E+3")])
def test_json_keeps_every_digit(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert dumps(Decimal("1.10")) == "1.10"


@pytest.mark.parametrize("value", [Decimal("NaN"), float("inf"), {1: 2}, object()])
def test_what_has_no_json_form_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


def _message(connection: socket.socket) -> bytes:
    """One whole HTTP message with a content-length or no body; empty where the other side hung up."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65_536)):
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length and (part := connection.recv(65_536)):
        body += part
    return head + b"\r\n\r\n" + body


@contextmanager
def _losing_answers(base: str, *, lost: int) -> Iterator[str]:
    """A relay to the server that passes requests on, and hangs up instead of passing on the first `lost` answers."""
    host, port = base.removeprefix("http://").split(":")
    left = [lost]

    def relay(caller: socket.socket) -> None:
        with caller, socket.create_connection((host, int(port))) as server:
            while request := _message(caller):
                server.sendall(request)
                answer = _message(server)
                if left[0] > 0:
                    left[0] -= 1
                    return
                caller.sendall(answer)

    def accept(listener: socket.socket, relays: list[threading.Thread]) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            relays.append(threading.Thread(target=relay, args=(caller,)))
            relays[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        relays: list[threading.Thread] = []
        acceptor = threading.Thread(target=accept, args=(listener, relays))
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(10)
    for each in relays:
        each.join(10)
