"""What was let pass and the books then refuse ends `failed`, with their reason, at once and when people have agreed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tallystick import actions, agents, sdk, work
from tallystick.actions import registry
from tallystick.db import Database
from tallystick.identity import Principal
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import body_of, code_of
from tests.test_gate import EVA, JSON, _bank, _hold, _money, _post, _posted, _rules, _vote

OTHER = {"name": "Eva Nova", "account": "CZ001"}


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


async def _nostro(client: Any) -> None:
    nostro = {"id": "NOSTRO", "bank": "B", "their_account": "1", "currency": "CZK"}
    assert (await _post(client, "/v1/nostros", nostro)).status_code == 201


def _payment(amount: str) -> JSON:
    return {"nostro": "NOSTRO", "account": "ALICE", "amount": amount, "counterparty": OTHER}


async def _sent_in_vain(client: Any) -> JSON:
    await _nostro(client)
    return _payment("5000.00")


REFUSED: list[tuple[str, Any, str]] = [
    ("journal.reverse", _reversed, "reversal_exceeded"),
    ("hold.capture", _too_much, "hold_exceeded"),
    ("hold.release", _released, "hold_resolved"),
    ("hold.place", _held_in_vain, "insufficient_funds"),
    ("journal.post", _poor, "insufficient_funds"),
    ("journal.post", _poor_together, "insufficient_funds"),
    ("journal.post", _poor_each, "insufficient_funds"),
    ("payment.send", _sent_in_vain, "insufficient_funds"),
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
    assert _ends(database, told["id"]) == [("actions.end", reason)]


def _ends(database: TestDatabase, action_id: str) -> list[Any]:
    """What the record says of the end of an action."""
    with psycopg.connect(database.owner_url) as connection:
        return connection.execute(
            "select verb, leaf::jsonb -> 'detail' ->> 'reason' from audit.event"
            " where verb in ('actions.execute', 'actions.end') and subject_kind = 'action' and subject_id = %s order by id",
            (int(action_id),),
        ).fetchall()


async def _agreed(db: Database, client: Any, held: JSON) -> JSON:
    """What became of an action that people have agreed to."""
    assert held["status"] == "held"
    approval = int(held["approval_id"])
    assert (await _vote(db, approval, EVA)).status == "consumed"
    async with db.read() as tx:
        action = await actions.approval_action(tx, approval)
    told: JSON = body_of(await client.get(f"/v1/actions/{action.id}"))
    return told


async def test_what_the_books_refuse_in_part_is_executed_and_says_of_each_what_came_of_it(db: Database) -> None:
    async with _bank(db) as client:
        made = await _make(client, "journal.post", {"journals": [_journal("1.00"), _journal("5000.00")]})
        assert [refusal for _, refusal in made["journals"]] == [None, "insufficient_funds"]
        placed = await _make(client, "hold.place", _placing("5000.00", "1.00"))
        assert [refusal for _, refusal in placed["holds"]] == ["insufficient_funds", None]
        assert await _make(client, "journal.post", {"journals": []}) == {"journals": []}


async def test_a_held_transfer_that_the_books_refuse_fails_as_the_action_does(db: Database, database: TestDatabase) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        asked = await _post(client, "/v1/transfers", _money("5000.00"), "k")
        held = body_of(asked)
        told = await _agreed(db, client, held)
        assert (told["status"], told["reason"]) == ("failed", "insufficient_funds")
        assert told["result"] == {"transfer": held["id"], "status": "failed", "reason": "insufficient_funds"}
        made = body_of(await client.get(f"/v1/transfers/{held['id']}"))
        assert (made["status"], made["reason"], made["journal_id"]) == ("failed", "insufficient_funds", None)
        assert made["settled_at"] is not None
        again = await _post(client, "/v1/transfers", _money("5000.00"), "k")
        assert (again.status_code, again.json()) == (asked.status_code, asked.json())
        assert await _posted(db, "ALICE") == 100_000
    assert _ends(database, told["id"]) == [("actions.end", "insufficient_funds")]


async def test_a_transfer_that_has_ended_stays_as_it_is_when_its_action_is_said_to_fail(db: Database) -> None:
    ended = registry.named("transfer").ended
    assert ended is not None
    async with _bank(db, _hold(action="transfer")) as client:
        for amount in ("5000.00", "1.00"):
            held = body_of(await _post(client, "/v1/transfers", _money(amount)))
            told = await _agreed(db, client, held)
            before = body_of(await client.get(f"/v1/transfers/{held['id']}"))
            async with strict(db).write() as tx:
                await ended(tx, int(told["id"]), "expired")
            assert body_of(await client.get(f"/v1/transfers/{held['id']}")) == before


@pytest.mark.parametrize("agreed", [False, True], ids=["at once", "agreed to"])
async def test_a_batch_all_of_which_the_books_refuse_fails(db: Database, database: TestDatabase, agreed: bool) -> None:
    rules = [_hold(action="transfer.batch")] if agreed else []
    async with _bank(db, *rules) as client:
        batch = {"mode": "atomic", "transfers": [_money("1.00"), _money("5000.00"), _money("2.00")]}
        answer = await _post(client, "/v1/transfers/batch", batch, "k")
        told = body_of(answer)
        if agreed:
            assert (answer.status_code, told.keys()) == (202, {"status", "action_id", "approval_id", "decision_id", "reasons"})
            action = await _agreed(db, client, told)
        else:
            assert (answer.status_code, told.keys()) == (201, {"action_id", "results"})
            refusals = [(one["status"], one["reason"]) for one in told["results"]]
            assert refusals == [("failed", "batch_refused"), ("failed", "insufficient_funds"), ("failed", "batch_refused")]
            action = body_of(await client.get(f"/v1/actions/{told['action_id']}"))
        assert (action["status"], action["reason"]) == ("failed", "insufficient_funds")
        assert action["result"] == {"transfers": 3, "status": "failed", "reason": "insufficient_funds"}
        again = await _post(client, "/v1/transfers/batch", batch, "k")
        assert (again.status_code, again.json()) == (answer.status_code, answer.json())
        made = body_of(await client.get("/v1/transfers"))["items"]
        assert sorted(one["reason"] for one in made) == ["batch_refused", "batch_refused", "insufficient_funds"]
        assert await _posted(db, "ALICE") == 100_000
    assert _ends(database, action["id"]) == [("actions.end", "insufficient_funds")]


async def test_transfers_each_by_itself_are_no_action_and_say_each_what_came_of_it(db: Database) -> None:
    async with _bank(db) as client:
        batch = {"transfers": [_money("1.00"), _money("5000.00")]}
        told = body_of(await _post(client, "/v1/transfers/batch", batch))
        assert [one["reason"] for one in told["results"]] == [None, "insufficient_funds"]
        assert (told["action_id"], body_of(await client.get("/v1/actions"))["items"]) == (None, [])


async def test_a_payment_that_the_books_refuse_is_there_and_failed_whatever_way_it_came(db: Database) -> None:
    async with _bank(db) as client:
        await _nostro(client)
        proposed = body_of(await _post(client, "/v1/actions", {"type": "payment.send", "payload": _payment("5000.00")}))
        body = _payment("6000.00") | {"from_account": "ALICE", "amount": {"amount": "6000.00", "currency": "CZK"}}
        del body["account"]
        answer = await _post(client, "/v1/external-payments", body, "k")
        assert (answer.status_code, answer.json()["status"]) == (201, "failed")
        await _rules(db, _hold(action="payment.send"))
        held = await _post(client, "/v1/external-payments", body, "held")
        assert held.status_code == 202
        agreed = await _agreed(db, client, body_of(held))
        made = body_of(await client.get("/v1/external-payments"))["items"]
        assert [(one["status"], one["reason"], one["amount"]["amount"]) for one in made] == [
            ("failed", "insufficient_funds", "6000.00"), ("failed", "insufficient_funds", "6000.00"),
            ("failed", "insufficient_funds", "5000.00"),
        ]  # fmt: skip
        for action, payment in ((agreed, made[0]), (proposed, made[2])):
            assert action["status"] == "failed"
            assert action["result"] == {"payment": payment["id"], "status": "failed", "reason": "insufficient_funds"}
        assert await _posted(db, "ALICE") == 100_000


async def test_money_that_came_in_for_nobody_is_booked_so_that_its_action_is_executed(db: Database) -> None:
    async with _bank(db) as client:
        await _nostro(client)
        payload = {"nostro": "NOSTRO", "beneficiary": "NOBODY", "amount": "7.00"}
        received = await _make(client, "payment.receive", payload)
        assert (received["status"], received["reason"]) == ("unmatched", "unknown_account")
        assert await _posted(db, "NOSTRO:suspense") == 700


async def test_a_step_of_a_payment_that_the_books_refuse_is_no_action_at_once_and_fails_when_agreed_to(db: Database) -> None:
    async with _bank(db) as client:
        await _nostro(client)
        payment = (await _make(client, "payment.send", _payment("1.00")))["payment"]
        await _make(client, "payment.move", {"payment": payment, "status": "sent"})
        step = {"type": "payment.move", "payload": {"payment": payment, "status": "settled"}}
        await _make(client, "account.status", {"account": "NOSTRO", "status": "frozen"})
        assert code_of(await _post(client, "/v1/actions", step)) == "posting_refused"
        await _rules(db, _hold(action="payment.move"))
        told = await _agreed(db, client, body_of(await _post(client, "/v1/actions", step)))
        assert (told["status"], told["reason"], told["result"]) == ("failed", "posting_refused", None)
        assert body_of(await client.get(f"/v1/external-payments/{payment}"))["status"] == "sent"


async def test_what_a_task_proposes_that_people_agreed_to_and_the_books_refuse_is_not_executed(
    db: Database, database: TestDatabase
) -> None:
    """Nothing that was tried stays, so that what people have agreed to is there for the next try."""
    bot = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    effects = sdk.Completion((sdk.Transfer("ALICE", "BOB", Decimal("900.00"), "CZK"),), None)
    plain = strict(db)

    async def begin() -> work.Fence:
        async with plain.write() as tx:
            (claimed,) = await work.claim(tx, agents=["bot"], worker="w", limit=1)
        return work.Fence(claimed.task_id, claimed.fence)

    async def end(fence: work.Fence) -> None:
        async with plain.write() as tx:
            await agents.carry_out(tx, by=bot, worker="w", agent="bot", attempt=fence, completion=effects)

    async with _bank(db, _hold(action="transfer", principal="bot")) as client:
        async with plain.write() as tx:
            await work.enqueue(tx, "me", [work.NewTask("bot", "t", {})])
        await end(await begin())
        (held,) = body_of(await client.get("/v1/actions"))["items"]
        assert body_of(await _post(client, "/v1/transfers", _money("500.00")))["status"] == "posted"
        assert (await _vote(db, int(held["approval_id"]), EVA)).status == "approved"
        again = await begin()
        with pytest.raises(agents.Refused) as refused:
            await end(again)
        assert refused.value.codes == ("insufficient_funds",)
        told = body_of(await client.get(f"/v1/actions/{held['id']}"))
        assert (told["status"], told["result"]) == ("held", None)
        assert body_of(await client.get(f"/v1/approvals/{held['approval_id']}"))["status"] == "approved"
        assert _ends(database, held["id"]) == []
        back = _money("500.00") | {"from_account": "BOB", "to_account": "ALICE"}
        assert body_of(await _post(client, "/v1/transfers", back))["status"] == "posted"
        await end(again)
        assert body_of(await client.get(f"/v1/actions/{held['id']}"))["status"] == "executed"
    assert _ends(database, held["id"]) == [("actions.execute", None)]
