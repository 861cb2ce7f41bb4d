"""Claims that wait for tasks: woken by the bell, without a connection each, and never for a caller who has left."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from tallystick import work
from tallystick.cli.listening import address, bound, serve_until, server_for
from tallystick.db import Database, DatabaseSettings
from tallystick.http import HttpSettings, create_app
from tallystick.http.line import Line
from tallystick.kit import Unavailable
from tests.conftest import TestDatabase
from tests.serving import OPEN, code_of
from tests.waiting import until

_NEVER_S = 3600.0
_TASK = {"agent": "a", "type": "t", "payload": {}}


@dataclass
class _Served:
    app: FastAPI
    base: str
    stop: asyncio.Event
    serving: asyncio.Task[None]

    @property
    def line(self) -> Line:
        line: Line = self.app.state.services.line
        return line

    async def waiting(self, count: int) -> None:
        async def asked() -> bool:
            return self.line.waiting == count

        await until(asked)


@contextlib.asynccontextmanager
async def _served(database: Database, settings: HttpSettings = OPEN) -> AsyncIterator[_Served]:
    """A real server in this loop, stopped at the end."""
    app = create_app(settings, database)
    stop = asyncio.Event()
    with bound("127.0.0.1", 0) as listener:
        serving = asyncio.create_task(serve_until(stop, server_for(app), listener))
        try:
            yield _Served(app, address(listener), stop, serving)
        finally:
            stop.set()
            await serving


async def _claim(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post("/v1/tasks/claim", json={"agents": ["a"], "wait_s": 30} | fields, timeout=60)


async def test_a_claim_that_waits_gets_the_task_that_comes(db: Database) -> None:
    async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
        waiting = [asyncio.create_task(_claim(client)) for _ in range(3)]
        other = asyncio.create_task(_claim(client, types=["u"]))
        await served.waiting(4)
        ids = [(await client.post("/v1/tasks", json=_TASK)).json()["id"] for _ in range(3)]
        got = [(await each).json()["items"] for each in waiting]
        assert sorted(items[0]["id"] for items in got) == sorted(ids)
        assert not other.done()
        await client.post("/v1/tasks", json=_TASK | {"type": "u"})
        assert [item["type"] for item in (await other).json()["items"]] == ["u"]


async def test_a_claim_that_waits_hears_of_a_task_from_another_process(db: Database, database: TestDatabase) -> None:
    async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
        waiting = asyncio.create_task(_claim(client, limit=5))
        await served.waiting(1)
        with psycopg.connect(database.owner_url, autocommit=True) as connection:
            connection.execute(
                "select work.enqueue('x', null, array['a', 'a'], array['t', 't'], array['{}', '{}'], null, null, null, null,"
                " null, null, null)"
            )
        assert len((await waiting).json()["items"]) == 2


async def test_a_claim_that_waits_in_vain_is_answered_with_nothing(db: Database) -> None:
    async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
        assert (await _claim(client, wait_s=1)).json() == {"items": []}


async def test_a_claim_may_wait_longer_than_other_requests_may_take(db: Database) -> None:
    settings = HttpSettings(open=True, request_timeout_s=0.6)
    async with _served(db, settings) as served, httpx.AsyncClient(base_url=served.base) as client:
        answer = await _claim(client, wait_s=2)
        assert (answer.status_code, answer.json()) == (200, {"items": []})


async def test_those_who_wait_keep_no_connection(database: TestDatabase) -> None:
    one = Database(database.app_url, DatabaseSettings(pool_max_size=1))
    await one.open()
    try:
        async with _served(one) as served, httpx.AsyncClient(base_url=served.base) as client:
            waiting = [asyncio.create_task(_claim(client, agents=[f"a{n}"])) for n in range(30)]
            await served.waiting(30)
            assert (await client.get("/v1/tasks")).status_code == 200
            for n in range(30):
                await client.post("/v1/tasks", json=_TASK | {"agent": f"a{n}"})
            assert [len((await each).json()["items"]) for each in waiting] == [1] * 30
    finally:
        await one.close()


async def test_more_than_may_wait_are_told_so(db: Database) -> None:
    settings = HttpSettings(open=True, max_waiting_claims=2)
    async with _served(db, settings) as served, httpx.AsyncClient(base_url=served.base) as client:
        waiting = [asyncio.create_task(_claim(client)) for _ in range(2)]
        await served.waiting(2)
        refused = await _claim(client)
        assert (refused.status_code, code_of(refused)) == (503, "too_many_waiting")
        assert (await _claim(client, wait_s=0)).json() == {"items": []}
        served.stop.set()
        assert [(await each).json() for each in waiting] == [{"items": []}] * 2


async def test_a_server_that_stops_answers_those_who_wait_at_once(db: Database) -> None:
    async with _served(db) as served, httpx.AsyncClient(base_url=served.base) as client:
        waiting = asyncio.create_task(_claim(client))
        await served.waiting(1)
        served.stop.set()
        async with asyncio.timeout(20):
            assert (await waiting).json() == {"items": []}
            await served.serving


@contextlib.asynccontextmanager
async def _leaving(served: _Served) -> AsyncIterator[asyncio.StreamWriter]:
    """A caller whose claim waits, and who has left at the end."""
    _, port = served.base.rsplit(":", 1)
    _, writer = await asyncio.open_connection("127.0.0.1", int(port))
    body = json.dumps({"agents": ["a"], "wait_s": 30}).encode()
    head = f"POST /v1/tasks/claim HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    yield writer
    writer.close()
    await writer.wait_closed()


async def test_a_caller_who_has_left_waits_no_more(db: Database) -> None:
    async with _served(db) as served:
        async with _leaving(served):
            await served.waiting(1)
        await served.waiting(0)


async def test_what_was_claimed_for_a_caller_who_has_left_is_given_back(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        await work.enqueue(tx, "test", [work.NewTask("a", "t", {})])
        await work.limit(tx, "agent", "a", "test", max_running=9)
    async with _served(db) as served, await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as other:
        async with other.transaction():
            # Whoever claims under a limit waits for its row.
            await other.execute("select from work.brake for update")

            async def locked() -> bool:
                cursor = await other.execute("select from pg_locks where not granted")
                return cursor.rowcount > 0

            async with _leaving(served):
                await until(locked)

        async def given_back() -> bool:
            async with db.read() as tx:
                ended = await work.attempts(tx, 1)
                return [each.ended for each in ended] == ["returned"] and (await work.get(tx, 1)).status == "queued"

        await until(given_back)


@pytest.fixture
def noted() -> list[str]:
    return []


async def _wait(line: Line, name: str, kind: str, pile: list[int], noted: list[str], *, limit: int = 1) -> Sequence[int]:
    """Stand in a line for numbers of a pile, and note each look at it."""

    async def look() -> Sequence[int]:
        noted.append(name)
        taken = pile[:limit]
        del pile[:limit]
        return taken

    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return await line.wait(kind, look, limit=limit, wait_s=_NEVER_S, gone=never, extend=lambda: None, extend_s=_NEVER_S)


async def test_a_ring_lets_one_of_each_kind_look_and_more_only_where_there_may_be_more(db: Database, noted: list[str]) -> None:
    line = Line(db, work.CHANNEL, places=100, poll_s=_NEVER_S)
    running = asyncio.create_task(line.run())
    pile: list[int] = []
    waiting = [asyncio.create_task(_wait(line, f"{kind}{n}", kind, pile, noted)) for kind in "xyz" for n in range(20)]

    async def stand(count: int = 60) -> bool:
        return line.waiting == count and sum(len(each) for each in line._lines.values()) == count

    async def settled() -> bool:
        # The first who waits makes the line listen, and what may have been rung before that is looked for once.
        return line._rings == 1 and len(noted) >= 63 and await stand()

    await until(settled)
    noted.clear()
    await _rings(db, noted)
    await until(stand)
    assert sorted(name[0] for name in noted) == ["x", "y", "z"]
    noted.clear()
    pile.extend(range(5))
    await _rings(db, noted)

    async def taken() -> bool:
        return not pile and await stand(55)

    await until(taken)
    # Five were given something and called the next, and who found nothing called nobody.
    assert len(noted) <= 5 + 3
    line.close()
    got = await asyncio.gather(*waiting)
    assert sorted(number for numbers in got for number in numbers) == [0, 1, 2, 3, 4]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _rings(db: Database, noted: list[str]) -> None:
    before = len(noted)
    async with db.write() as tx:
        await tx._connection.execute("select pg_notify(%s, '')", [work.CHANNEL])

    async def looked() -> bool:
        return len(noted) >= before + 3

    await until(looked)


async def test_who_leaves_when_called_lets_the_next_one_look(db: Database, noted: list[str]) -> None:
    line = Line(db, work.CHANNEL, places=100, poll_s=_NEVER_S)
    pile: list[int] = []
    first, second = [asyncio.create_task(_wait(line, name, "x", pile, noted)) for name in ("first", "second")]

    async def stand() -> bool:
        return sum(len(each) for each in line._lines.values()) == 2

    await until(stand)
    pile.append(7)
    line._call_first("x")
    first.cancel()
    assert await second == [7]
    assert (noted, line.waiting) == (["first", "second", "second"], 0)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_no_place_is_left_of_those_who_are_gone(db: Database, noted: list[str]) -> None:
    line = Line(db, work.CHANNEL, places=1, poll_s=_NEVER_S)
    for _ in range(3):
        waiting = asyncio.create_task(_wait(line, "x", "x", [], noted))

        async def stands() -> bool:
            return line.waiting == 1

        await until(stands)
        with pytest.raises(Unavailable, match="too_many_waiting"):
            await _wait(line, "y", "x", [], noted)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert line._lines == {}
