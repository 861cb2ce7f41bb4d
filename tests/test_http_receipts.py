"""Each answer to a write names the events that it left in the record, and the hashes of their leaves, and no others."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest

from tallystick.db import MAX_TOLD, Database
from tests.conftest import TestDatabase
from tests.serving import OPEN, fund, serving
from tests.test_http_access import ROUTES, _call, bank

__all__ = ["bank"]

SILENT = {
    "POST /v1/policy-checks", "POST /v1/tasks/claim", "POST /v1/tasks/heartbeat", "POST /v1/workers",
    "POST /v1/workers/{worker_id}/heartbeat", "POST /v1/workers/{worker_id}/leave", "POST /v1/tasks/settle",
}  # fmt: skip
"""What changes nothing of which the record tells: claims and heartbeats are no events, and here nobody has tasks to end."""
MONEY = {"amount": "1.00", "currency": "CZK"}
Connection = psycopg.AsyncConnection[Any]


@pytest.fixture
async def record(database: TestDatabase) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(database.owner_url, autocommit=True) as connection:
        yield connection


async def newest(record: Connection) -> int:
    row = await (await record.execute("select coalesce(max(id), 0) from audit.event")).fetchone()
    assert row is not None
    return int(row[0])


async def since(record: Connection, event: int) -> list[tuple[str, str]]:
    """Events after one, with the hashes of their leaves, as RFC 6962 has them."""
    rows = await (await record.execute("select id, leaf from audit.event where id > %s order by id", [event])).fetchall()
    return [(str(id), hashlib.sha256(b"\x00" + leaf.encode()).hexdigest()) for id, leaf in rows]


def named(answer: httpx.Response) -> list[tuple[str, str]]:
    ids, leaves = (answer.headers.get(name, "") for name in ("tallystick-event", "tallystick-leaf"))
    return list(zip(ids.split(", "), leaves.split(", "), strict=True)) if ids else []


async def test_every_write_names_its_events_and_no_others(db: Database, record: Connection, bank: dict[str, Any]) -> None:
    good: dict[str, bool] = {}
    async with serving(db, OPEN, keyed=True) as client:
        for method, route in ROUTES:
            if method == "GET":
                continue
            before = await newest(record)
            answer = await _call(client, "", method, route.path, bank["MINE"])
            told = await since(record, before)
            assert named(answer) == told[:MAX_TOLD], (method, route.path, answer.status_code)
            if answer.status_code < 300:
                good[f"{method} {route.path}"] = bool(told)
    assert {name for name, has in good.items() if not has} <= SILENT, sorted(name for name, has in good.items() if not has)
    assert len(good) > 50, sorted(good)


async def test_a_read_names_none(db: Database, bank: dict[str, Any]) -> None:
    async with serving(db, OPEN) as client:
        for method, route in ROUTES:
            if method == "GET":
                assert named(await _call(client, "", method, route.path, bank["MINE"])) == []


async def test_what_is_named_is_found_with_its_proof(db: Database, record: Connection) -> None:
    await fund(db)
    async with serving(db, OPEN) as client:
        body = {"from_account": "ALICE", "to_account": "BOB", "amount": MONEY}
        answer = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        ((event, leaf),) = named(answer)
        receipt = (await client.get(f"/v1/audit/events/{event}/receipt")).json()
        assert (receipt["event_id"], receipt["leaf_hash"]) == (event, leaf)
        # The answer from memory names none; the receipt is found by what was made.
        again = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        assert (again.json(), named(again)) == (answer.json(), [])
        found = await client.get("/v1/audit/receipts", params={"kind": "journal", "id": answer.json()["journal_id"]})
        assert found.json()["leaf_hash"] == leaf


async def test_those_who_share_a_transaction_share_its_event(db: Database, record: Connection) -> None:
    await fund(db)
    before = await newest(record)
    async with serving(db, OPEN) as client:
        body = {"from_account": "ALICE", "to_account": "BOB", "amount": MONEY}
        answers = await asyncio.gather(
            *(client.post("/v1/transfers", json=body, headers={"idempotency-key": f"k{n}"}) for n in range(40))
        )
    told = await since(record, before)
    assert len(told) < 40
    assert {one for answer in answers for one in named(answer)} == set(told)
    requests = dict(
        await (await record.execute("select id::text, request_id from audit.event where id > %s", [before])).fetchall()
    )
    for answer in answers:
        ((event, _),) = named(answer)
        assert answer.headers["x-request-id"] in requests[event].split()


async def test_what_was_undone_is_not_named(db: Database, record: Connection) -> None:
    await fund(db)
    async with serving(db, OPEN) as client:
        before = await newest(record)
        entries = [{"account": "ALICE", "amount": "-1.00"}, {"account": "BOB", "amount": "1.00"}]
        body = {"kind": "t", "entries": entries, "dry_run": True}
        answer = await client.post("/v1/journals", json=body, headers={"idempotency-key": "k"})
        assert answer.status_code == 201
        assert named(answer) == await since(record, before)
        # A conflict within the transaction: all of it is undone.
        opened = {"id": "ALICE", "currency": "CZK", "customer_id": None, "kind": "internal"}
        refused = await client.post("/v1/accounts", json=opened)
    assert refused.status_code in (409, 422)
    assert named(refused) == await since(record, int(named(answer)[-1][0]) if named(answer) else before)
