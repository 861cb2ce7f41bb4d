"""Transfers that are queued: what becomes of one that policy holds, and of one whose proposer may do nothing any more."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.db import Database
from tests.serving import body_of
from tests.test_gate import ANNA, _bank, _hold, _money, _post, _posted, _transfer, _vote

JSON = dict[str, Any]


@pytest.mark.parametrize("path", ["/v1/transfers", "/transfers"])
async def test_a_queued_transfer_that_people_were_asked_about_is_posted_by_their_last_vote(db: Database, path: str) -> None:
    async with _bank(db, _hold()) as client:
        if path == "/v1/transfers":
            held = body_of(await _post(client, path, _money(settle="queued")))
            assert held["status"] == "held"
        else:
            await _post(client, path, {"from_account": "ALICE", "to_account": "BOB", "amount": 10, "currency": "CZK"})
        before = await _posted(db, "BOB")
        (question,) = body_of(await client.get("/v1/approvals?status=open"))["items"]
        done = await _vote(db, int(question["id"]), ANNA)
        assert (done.status, await _posted(db, "BOB")) == ("consumed", before + 1000)
        (own,) = body_of(await client.get("/v1/transfers"))["items"]
        transfer = await _transfer(db, own["id"])
        assert (transfer.settle, transfer.status, transfer.task_id) == ("queued", "posted", None)
