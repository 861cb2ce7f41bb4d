"""`/v1/audit` and `/record`: the record asked over HTTP, and what witnesses outside read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick import audit, tlog
from tallystick.db import SEALER, Database
from tallystick.http import HttpSettings
from tests.conftest import TestDatabase
from tests.serving import code_of, fund, serving

CLOSED = HttpSettings(api_key="secret-key")
KEY = {"authorization": "Bearer secret-key"}


@pytest.fixture
async def sealer(database: TestDatabase, tmp_path: Path) -> AsyncIterator[audit.Sealer]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield audit.Sealer(opened, tlog.KeyFolder(tmp_path / "keys"))
    await opened.close()


@pytest.fixture
async def client(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    await fund(db)
    async with serving(db, keyed=True) as client:
        yield client


async def _transfer(client: httpx.AsyncClient, **headers: str) -> dict[str, Any]:
    body = {"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": "1.50", "currency": "CZK"}}
    response = await client.post("/v1/transfers", json=body, headers=headers)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def _tell(db: Database, *events: audit.AuditEvent) -> list[int]:
    async with db.write() as tx:
        return await audit.append_many(tx, events)


async def test_what_a_request_did_is_found_by_its_id(client: httpx.AsyncClient) -> None:
    transfer = await _transfer(client, **{"x-request-id": "my-request"})
    page = (await client.get("/v1/audit/events?request_id=my-request&from=2020-01-01")).json()
    told = {(event["verb"], event["subject"]["kind"], event["subject"]["id"]) for event in page["items"]}
    assert ("transfers.propose", "transfer", transfer["id"]) in told
    refused = await client.get("/v1/audit/events?request_id=my-request")
    assert (refused.status_code, code_of(refused)) == (422, "filter_too_wide")


@pytest.mark.parametrize("order", ["desc", "asc"])
async def test_pages_follow_each_other(client: httpx.AsyncClient, db: Database, order: str) -> None:
    ids = await _tell(db, *(audit.AuditEvent("anna", "things.make", "thing", number) for number in range(1, 8)))
    found: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"/v1/audit/events?principal=anna&order={order}&limit=3{cursor}")).json()
        found += [event["id"] for event in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == [str(id) for id in (ids if order == "asc" else ids[::-1])]
    other = {"asc": "desc", "desc": "asc"}[order]
    turned = await client.get(f"/v1/audit/events?principal=anna&order={other}&limit=3{cursor}")
    assert (turned.status_code, code_of(turned)) == (422, "cursor_malformed")


async def test_one_event_is_shown_with_its_payload_and_items(client: httpx.AsyncClient, db: Database) -> None:
    items = audit.Items("thing", [1, 2], b"a" * 64)
    event = audit.AuditEvent("anna", "things.make", "thing", 1, {"n": 1}, payload={"name": "Anna"}, items=items)
    (event_id,) = await _tell(db, event)
    shown = (await client.get(f"/v1/audit/events/{event_id}")).json()
    assert shown["subject"] == {"kind": "thing", "id": "1"}
    assert (shown["detail"], shown["payload"], shown["erased_by"]) == ({"n": 1}, {"name": "Anna"}, None)
    assert (shown["items"], shown["index"]) == ({"kind": "thing", "ids": ["1", "2"]}, None)
    unknown = await client.get("/v1/audit/events/999999")
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_event")


async def test_the_receipt_of_a_transfer_s_journal_is_checked_by_its_reader(
    client: httpx.AsyncClient, sealer: audit.Sealer, tmp_path: Path
) -> None:
    journal = (await _transfer(client))["journal_id"]
    asked = f"/v1/audit/receipts?kind=journal&id={journal}"
    pending = (await client.get(asked)).json()
    assert (pending["state"], pending["checkpoint"], pending["path"]) == ("pending", None, [])
    await sealer.seal()
    receipt = (await client.get(asked)).json()
    signed = tlog.open_checkpoint(receipt["checkpoint"], tlog.KeyFolder(tmp_path / "keys").public())
    leaf = tlog.leaf_hash(receipt["leaf"].encode())
    assert receipt["leaf_hash"] == leaf.hex()
    path = [bytes.fromhex(step) for step in receipt["path"]]
    assert receipt["size"] == str(signed.size)
    assert tlog.check_inclusion(leaf, int(receipt["index"]), signed.size, path, signed.root)
    item = receipt["item"]
    assert (item["kind"], item["id"]) == ("journal", journal)
    hashed = tlog.leaf_hash(bytes.fromhex(item["digest"]))
    path = [bytes.fromhex(step) for step in item["path"]]
    assert tlog.check_inclusion(hashed, item["place"], item["count"], path, bytes.fromhex(item["root"]))
    assert json.loads(receipt["leaf"])["items"]["root"] == item["root"]
    assert (await client.get(f"/v1/audit/events/{receipt['event_id']}/receipt?item={journal}")).json() == receipt
    unknown = await client.get("/v1/audit/receipts?kind=journal&id=999999")
    assert (unknown.status_code, code_of(unknown)) == (404, "not_on_record")


async def test_the_record_is_shown_to_have_only_grown(
    client: httpx.AsyncClient, db: Database, sealer: audit.Sealer, tmp_path: Path
) -> None:
    keys = tlog.KeyFolder(tmp_path / "keys")
    checkpoints = []
    for count in (3, 400):
        await _tell(db, *(audit.AuditEvent("anna", "things.make", "thing", 1) for _ in range(count)))
        await sealer.seal()
        checkpoints.append(tlog.open_checkpoint((await client.get("/record/checkpoint")).text, keys.public()))
    old, new = checkpoints
    answer = (await client.get(f"/v1/audit/consistency?old={old.size}&new={new.size}")).json()
    path = [bytes.fromhex(step) for step in answer["path"]]
    assert tlog.check_consistency(old=old.size, old_root=old.root, new=new.size, new_root=new.root, path=path)
    for asked, code in (
        (f"old={new.size}&new={old.size}", "sizes_out_of_order"),
        (f"old=1&new={new.size + 1}", "unknown_size"),
    ):
        assert code_of(await client.get(f"/v1/audit/consistency?{asked}")) == code
    status = (await client.get("/v1/audit/status")).json()
    assert (status["size"], status["signed_size"], status["pending"]) == (str(new.size), str(new.size), 0)
    assert (status["origin"], status["oldest_pending_s"]) == (new.origin, None)


async def test_witnesses_read_the_checkpoint_and_tiles_without_a_key_and_rebuild_the_root(
    db: Database, sealer: audit.Sealer, tmp_path: Path
) -> None:
    await _tell(db, *(audit.AuditEvent("anna", "things.make", "thing", number) for number in range(1, 601)))
    async with serving(db, CLOSED) as client:
        nothing = await client.get("/record/checkpoint")
        assert (nothing.status_code, code_of(nothing)) == (404, "no_checkpoint")
        await sealer.seal()
        answer = await client.get("/record/checkpoint")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        signed = tlog.open_checkpoint(answer.text, tlog.KeyFolder(tmp_path / "keys").public())
        tiles = {}
        for tile in tlog.tiles_of(signed.size):
            answer = await client.get(f"/record/{tile.path}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream"), tile.path
            assert ("immutable" in answer.headers["cache-control"]) == (tile.width == 256)
            tiles[tile.level, tile.n] = answer.content
        assert tlog.tree_root(signed.size, lambda level, n: tiles[level, n]) == signed.root

        bundle = "/record/tile/entries/000"
        assert (await client.get(bundle)).status_code == 401
        answer = await client.get(bundle, headers=KEY)
        assert answer.headers["cache-control"] == "no-store"
        leaves = tlog.read_entries(answer.content)
        assert b"".join(tlog.leaf_hashes(leaves)) == tiles[0, 0]
        partial = tlog.read_entries((await client.get("/record/tile/entries/002.p/88", headers=KEY)).content)
        assert b"".join(tlog.leaf_hashes(partial)) == tiles[0, 2]


@pytest.mark.parametrize(
    "path",
    ["tile/0/001", "tile/0/000.p/4", "tile/0/000.p/256", "tile/0/0", "tile/64/000", "tile/1/000", "tile/8/000", "tile/x",
     "tile/", "tile/0/000/", "tile/0/x000/000", "tile/entries/000", "tile/entries/000.p/4", "tile/0/000%00", "tile/0/..%2f000"],
)  # fmt: skip
async def test_what_is_no_tile_of_the_signed_tree_is_not_found(
    client: httpx.AsyncClient, sealer: audit.Sealer, path: str
) -> None:
    await sealer.seal()
    answer = await client.get(f"/record/{path}")
    assert (answer.status_code, code_of(answer)) == (404, "unknown_tile")
    assert (await client.get("/record/tile/0/000.p/1")).status_code == 200


async def test_a_file_of_events_has_them_all_and_formulas_are_defused(client: httpx.AsyncClient, db: Database) -> None:
    events = [audit.AuditEvent("anna", "things.make", "thing", number) for number in range(1, 1500)]
    items = audit.Items("thing", [7, 8], b"a" * 64)
    events.append(
        audit.AuditEvent("anna", '=HYPERLINK("http://x","y")', "thing", 7, {"a": 'b"c'}, payload={"d": 1}, items=items)
    )
    ids = await _tell(db, *events)
    answer = await client.get("/v1/audit/events/export?principal=anna")
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == [str(id) for id in ids]
    assert lines[-1] == (await client.get(f"/v1/audit/events/{ids[-1]}")).json()

    answer = await client.get("/v1/audit/events/export?principal=anna&format=csv&order=desc")
    assert answer.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    assert 'filename="audit-events.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [str(id) for id in ids[::-1]]
    assert rows[0]["verb"] == '\'=HYPERLINK("http://x","y")'
    assert (rows[0]["detail"], rows[0]["payload"], rows[0]["items"]) == ('{"a":"b\\"c"}', '{"d":1}', "7 8")
    assert (await client.get("/v1/audit/events/export?principal=nobody")).text == ""
    header = (await client.get("/v1/audit/events/export?principal=nobody&format=csv")).text
    assert len(header.splitlines()) == 1
    refused = await client.get("/v1/audit/events/export?id=1")
    assert (refused.status_code, code_of(refused)) == (422, "subject_malformed")


@pytest.mark.parametrize(
    "path",
    ["/v1/audit/events", "/v1/audit/events/1", "/v1/audit/events/1/receipt", "/v1/audit/events/export", "/v1/audit/status",
     "/v1/audit/receipts?kind=journal&id=1", "/v1/audit/consistency?old=1&new=1"],
)  # fmt: skip
async def test_who_asks_the_record_needs_a_key(db: Database, path: str) -> None:
    async with serving(db, CLOSED) as client:
        assert (await client.get(path)).status_code == 401
