"""The application under test: in this process, without a socket, or as a real server on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import uvicorn

from tallystick import ledger
from tallystick.db import Database, DatabaseSettings
from tallystick.http import HttpSettings, create_app
from tallystick.worker import Worker
from tests.permitted import permit, strict

OPEN = HttpSettings(open=True)
BANK, ALICE, BOB, EURO = "BANK", "ALICE", "BOB", "EURO"
"""Accounts of `fund`: the bank's own, two customers' with 1,000.00 CZK each, and an empty one in EUR."""


@contextlib.asynccontextmanager
async def serving(
    database: Database, settings: HttpSettings = OPEN, *, keyed: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application in this process; its lifespan runs. With `keyed`, each POST without a key gets its own."""
    app = create_app(settings, strict(database))
    spare_collector()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        hooks = {"request": [_with_key]} if keyed else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", event_hooks=hooks) as client:
            yield client


def spare_collector() -> None:
    """Before an application starts: it collects garbage then, and a process of tests holds far more than a server does."""
    gc.freeze()


async def _with_key(request: httpx.Request) -> None:
    if request.method == "POST":
        request.headers.setdefault("idempotency-key", str(uuid.uuid4()))


async def fund(database: Database, *names: str) -> None:
    """Open the bank's account, the named ones (ALICE and BOB where none is named) with 1,000.00 CZK each, and EURO."""
    specs = [ledger.AccountSpec(name, "CZK") for name in names or (ALICE, BOB)]
    async with database.write() as tx:
        bank, *accounts = await ledger.open_accounts(
            tx, [ledger.AccountSpec(BANK, "CZK", "internal", None), *specs, ledger.AccountSpec(EURO, "EUR")]
        )
        journals = [
            ledger.Journal("opening", ledger.transfer(debit=bank.id, credit=account.id, amount=100_000), "test")
            for account in accounts[:-1]
        ]
        decisions = [await permit(tx)]
        assert all(posted.refusal is None for posted in await ledger.post(tx, journals, decisions=decisions))


def body_of(response: httpx.Response) -> Any:
    """The JSON of an answer, with numbers as they are written."""
    return json.loads(response.text, parse_float=str)


def code_of(response: httpx.Response) -> str:
    """The code of a problem; fails where the answer is none."""
    assert 400 <= response.status_code < 600, response.text
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert problem["status"] == response.status_code
    assert set(problem) >= {"type", "title", "status", "detail", "code", "request_id"}
    return str(problem["code"])


@contextlib.contextmanager
def live(url: str, settings: HttpSettings = OPEN, *, work: bool = False) -> Iterator[str]:
    """A real server on a free port, in a thread of its own; its address. With `work`, the agents that come with it run too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = _Server(url, settings, listener, work)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.stop()


class _Server:
    def __init__(self, url: str, settings: HttpSettings, listener: socket.socket, work: bool) -> None:
        self._url = url
        self._settings = settings
        self._listener = listener
        self._work = work
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._uvicorn: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, name="server under test")

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        database = Database(self._url, DatabaseSettings())
        await database.open()
        try:
            app = create_app(self._settings, database)
            spare_collector()
            self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
            async with _working(database, self._work):
                serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
                while not self._uvicorn.started and not serving.done():
                    await asyncio.sleep(0.01)
                self._ready.set()
                await serving
        finally:
            await database.close()


@contextlib.asynccontextmanager
async def _working(database: Database, work: bool) -> AsyncIterator[None]:
    if not work:
        yield
        return
    stop = asyncio.Event()
    worker = asyncio.create_task(Worker(database, poll_s=0.2).run(stop))
    try:
        yield
    finally:
        stop.set()
        await worker
