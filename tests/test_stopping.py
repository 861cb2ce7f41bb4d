"""A server that is told to stop: who still waits when its time is over is told to ask again, and it is done once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from starlette.types import Message, Receive, Scope, Send

from tallystick.cli.listening import Server, address, bound, serve_until, server_for
from tallystick.client import Client
from tallystick.db import Database
from tallystick.http import create_app
from tallystick.http.envelope import Envelope
from tests.conftest import TestDatabase
from tests.processes import wait_until
from tests.serving import OPEN, body_of, code_of, fund
from tests.test_commands import address as printed_address
from tests.test_commands import started
from tests.waiting import until

JSON = dict[str, Any]
_MONEY = {"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": "10.00", "currency": "CZK"}}
_ENTRIES = [{"account": "ALICE", "amount": "-10.00"}, {"account": "BOB", "amount": "10.00"}]
_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
ASKED: dict[str, tuple[str, JSON]] = {
    "in a batch": ("/v1/transfers", _MONEY),
    "in a batch of journals": ("/v1/journals", {"kind": "fee", "entries": _ENTRIES}),
    "by itself": ("/v1/holds", {"account": "ALICE", "amount": {"amount": "10.00", "currency": "CZK"}}),
    "by name": ("/v1/actions", {"type": "journal.post", "payload": {"journals": [{"kind": "fee", "entries": _ENTRIES}]}}),
}


@contextlib.contextmanager
def _locked(database: TestDatabase) -> Iterator[psycopg.Connection[Any]]:
    """What ALICE and BOB have is in use by somebody else until the end."""
    with psycopg.connect(database.owner_url, autocommit=True) as connection, connection.transaction():
        connection.execute("select from ledger.balance for update")
        yield connection


def _waits(database: TestDatabase) -> bool:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        return connection.execute(_WAITING.encode()).fetchone() != (0,)


@dataclass
class _Served:
    base: str
    server: Server
    stop: asyncio.Event
    serving: asyncio.Task[None]


@contextlib.asynccontextmanager
async def _served(database: Database) -> AsyncIterator[_Served]:
    """A real server in this loop that gives nobody time at its stop."""
    server = server_for(create_app(OPEN, database), grace_s=0)
    stop = asyncio.Event()
    with bound("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(serve_until(stop, server, listener))
        try:
            yield _Served(address(listener), server, stop, serving)
        finally:
            stop.set()
            await serving


@pytest.mark.parametrize("way", ASKED)
async def test_who_waits_when_the_time_to_stop_is_over_asks_again_and_it_is_done_once(
    db: Database, database: TestDatabase, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, body = ASKED[way]
    await fund(db)

    async def waits() -> bool:
        return _waits(database)

    with _locked(database):
        async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
            asked = asyncio.create_task(client.post(path, json=body, headers={"idempotency-key": "k"}, timeout=60))
            await until(waits)
            served.stop.set()
            await served.serving
            assert not served.server.server_state.tasks
            answer = await asked
    assert (answer.status_code, code_of(answer)) == (503, "shutting_down")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert not [one for one in caplog.records if one.exc_info]
    async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
        first, second = [await client.post(path, json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
        assert (first.status_code, body_of(second)["id"]) == (201, body_of(first)["id"])
        account = body_of(await client.get("/v1/accounts/ALICE"))
        assert account["available"] == "990.00"


@pytest.mark.faults
async def test_a_client_asks_the_next_server_by_itself_and_its_money_moves_once(db: Database, database: TestDatabase) -> None:
    await fund(db)
    await asyncio.to_thread(_through_a_restart, database)


def _through_a_restart(database: TestDatabase) -> None:
    serve = ("serve", "--open", "--grace", "0")
    with started(*serve, "--port", "0", DATABASE_URL=database.app_url) as server:
        base = printed_address(server)
        with Client(base, attempts=100) as client, ThreadPoolExecutor(1) as thread:
            with _locked(database):
                asked = thread.submit(client.transfer, "ALICE", "BOB", "10.00", "CZK")
                wait_until(lambda: asked.done() or _waits(database), "the transfer to wait for its accounts")
                server.send_signal(signal.SIGTERM)
                output, _ = server.communicate(timeout=60)
                assert (server.returncode, asked.done()) == (0, False), output
            assert "Traceback" not in output
            assert "was not done in the time that there was before the stop" in output
            with started(*serve, "--port", str(urlsplit(base).port), DATABASE_URL=database.app_url) as next_server:
                assert asked.result(60).status == "posted"
                assert client.account("ALICE").posted == 990
                next_server.terminate()
                next_server.wait(60)


@pytest.mark.parametrize("stops", [False, True])
async def test_an_answer_that_has_begun_is_not_followed_by_another_and_only_a_stop_answers_for_who_was_cancelled(
    stops: bool,
) -> None:
    begun, stopping, sent = asyncio.Event(), asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.set()
        await asyncio.Event().wait()

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def receive() -> Message:
        return {"type": "http.request"}

    envelope = Envelope(app, 1024, 30, Counter(), stopping)
    answering = asyncio.create_task(envelope({"type": "http", "path": "/", "headers": []}, receive, send))
    await begun.wait()
    if stops:
        stopping.set()
    answering.cancel()
    await asyncio.wait([answering])
    assert (answering.cancelled(), sent) == (not stops, ["http.response.start"])
