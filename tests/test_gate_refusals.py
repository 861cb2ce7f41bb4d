"""What was let pass and the books then refuse ends `failed`, with their reason, at once and when people have agreed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tallystick.db import Database
from tests.conftest import TestDatabase
from tests.serving import body_of
from tests.test_gate import EVA, JSON, _bank, _hold, _post, _posted, _rules, _vote


def _journal(amount: str, source: str = "ALICE") -> JSON:
    return {"kind": "fee", "entries": [{"account": source, "amount": f"-{amount}"}, {"account": "BOB", "amount": amount}]}


def _placing(*amounts: str) -> JSON:
    return {"holds": [{"account": "ALICE", "amount": amount} for amount in amounts]}


async def _make(client: Any, type: str, payload: JSON) -> JSON:
    """What came of an action that the books do not refuse."""
    made = body_of(await _post(client, "/v1/actions", {"type": type, "payload": payload}))
    assert made["status"] == "executed", made
    result: JSON = made["result"]
    return result


async def _reversed(client: Any) -> JSON:
    ((journal, _),) = (await _make(client, "journal.post", {"journals": [_journal("1.00")]}))["journals"]
    await _make(client, "journal.reverse", {"journal": journal})
    return {"journal": journal}


async def _hold_of_one(client: Any) -> str:
    ((hold, _),) = (await _make(client, "hold.place", _placing("1.00")))["holds"]
    return str(hold)


async def _too_much(client: Any) -> JSON:
    return {"hold": await _hold_of_one(client), "to_account": "BOB", "amount": "2.00"}


async def _released(client: Any) -> JSON:
    hold = {"hold": await _hold_of_one(client)}
    await _make(client, "hold.release", hold)
    return hold


async def _poor(_: Any) -> JSON:
    return {"journals": [_journal("5000.00")]}


async def _poor_together(_: Any) -> JSON:
    return {"journals": [_journal("1.00"), _journal("5000.00")], "mode": "atomic"}


async def _poor_each(_: Any) -> JSON:
    return {"journals": [_journal("5000.00"), _journal("1.00", "EURO")]}


async def _held_in_vain(_: Any) -> JSON:
    return _placing("5000.00", "6000.00")


REFUSED: list[tuple[str, Any, str]] = [
    ("journal.reverse", _reversed, "reversal_exceeded"),
    ("hold.capture", _too_much, "hold_exceeded"),
    ("hold.release", _released, "hold_resolved"),
    ("hold.place", _held_in_vain, "insufficient_funds"),
    ("journal.post", _poor, "insufficient_funds"),
    ("journal.post", _poor_together, "insufficient_funds"),
    ("journal.post", _poor_each, "insufficient_funds"),
]


@pytest.mark.parametrize("agreed", [False, True], ids=["at once", "agreed to"])
@pytest.mark.parametrize("case", REFUSED, ids=[make.__name__.strip("_") for _, make, _ in REFUSED])
async def test_what_the_books_refuse_fails_for_their_reason(
    db: Database, database: TestDatabase, case: tuple[str, Any, str], agreed: bool
) -> None:
    type, make, reason = case
    async with _bank(db) as client:
        payload = await make(client)
        before = await _posted(db, "ALICE")
        if agreed:
            await _rules(db, _hold(action=type))
        answer = await _post(client, "/v1/actions", {"type": type, "payload": payload})
        told = body_of(answer)
        if agreed:
            assert (answer.status_code, told["status"]) == (202, "held")
            assert (await _vote(db, int(told["approval_id"]), EVA)).status == "consumed"
            told = body_of(await client.get(f"/v1/actions/{told['action_id']}"))
        assert (told["status"], told["reason"]) == ("failed", reason)
        assert reason in str(told["result"])
        assert await _posted(db, "ALICE") == before
    with psycopg.connect(database.owner_url) as connection:
        ends = connection.execute(
            "select leaf::jsonb -> 'detail' ->> 'reason' from audit.event"
            " where verb in ('actions.execute', 'actions.end') and subject_id = %s",
            (int(told["id"]),),
        ).fetchall()
    assert ends == [(reason,)]


async def test_what_the_books_refuse_in_part_is_executed_and_says_of_each_what_came_of_it(db: Database) -> None:
    async with _bank(db) as client:
        made = await _make(client, "journal.post", {"journals": [_journal("1.00"), _journal("5000.00")]})
        assert [refusal for _, refusal in made["journals"]] == [None, "insufficient_funds"]
        placed = await _make(client, "hold.place", _placing("5000.00", "1.00"))
        assert [refusal for _, refusal in placed["holds"]] == ["insufficient_funds", None]
        assert await _make(client, "journal.post", {"journals": []}) == {"journals": []}
