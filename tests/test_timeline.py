"""Timelines: all that became of a thing, in the order of the record, with what is kept readable of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick import actions, agents, audit, cases, ledger, timeline, tlog, work
from tallystick.db import SEALER, Database
from tallystick.identity import house
from tallystick.kit import Invalid, NotFound
from tallystick.timeline import Entry, Kind, Mark
from tests import payment_agent
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.serving import body_of, code_of, fund, serving
from tests.test_gate import EVA, _bank, _hold, _money, _post, _vote


@pytest.fixture
async def books(db: Database) -> Database:
    await fund(db)
    return db


@pytest.fixture
async def sealer(database: TestDatabase, tmp_path: Path) -> AsyncIterator[audit.Sealer]:
    opened = Database(database.owner_url, role=SEALER)
    await opened.open()
    yield audit.Sealer(opened, tlog.KeyFolder(tmp_path / "keys"))
    await opened.close()


async def _all(db: Database, kind: Kind, id: object, *, limit: int = 200, start: datetime | None = None) -> list[Entry]:
    """The whole timeline, page by page."""
    entries: list[Entry] = []
    mark: Mark | None = Mark()
    while mark is not None:
        async with db.snapshot() as tx:
            found = await timeline.page(tx, kind, str(id), after=mark, start=start, limit=limit)
        entries += found.entries
        mark = found.next
    return entries


def _whats(entries: list[Entry]) -> list[str]:
    return [entry.what for entry in entries]


async def _paid(db: Database) -> tuple[int, actions.Transfer]:
    """A payment that an agent made after a person had agreed; its task, and its transfer."""
    async with payment_agent.working(db):
        task_id = await payment_agent.enqueue(db, ask=True, fails="once")
        await payment_agent.in_status(db, task_id, "waiting")
        await payment_agent.answer(db, task_id)
        await payment_agent.in_status(db, task_id, "done")
    async with db.read() as tx:
        (transfer,) = await actions.page(tx)
    return task_id, transfer


async def test_the_timeline_of_a_task_has_every_prompt_step_vote_posting_and_event_in_order(books: Database) -> None:
    task_id, transfer = await _paid(books)
    entries = await _all(books, "task", task_id)
    assert [entry.event_id for entry in entries] == sorted(entry.event_id for entry in entries)
    told = [(entry.verb, entry.what) for entry in entries]
    assert told[:4] == [
        ("tasks.enqueue", "task"),
        ("tasks.record_step", "step"),
        ("tasks.record_step", "prompt"),
        ("tasks.fail", "act"),
    ]
    assert told[4:6] == [("tasks.park", "vote"), ("tasks.go_on", "vote")]
    assert told[6:9] == [("tasks.answer", "vote"), ("tasks.record_step", "call"), ("tasks.record_step", "call")]
    assert sorted(told[9:]) == sorted(
        [
            ("transfers.propose", "posting"),
            ("transfers.propose", "proposal"),
            ("events.publish", "event"),
            ("tasks.enqueue", "act"),
            ("tasks.finish", "outcome"),
        ]
    )
    by_what = {entry.what: json.loads(entry.text or "null") for entry in entries if entry.what != "act"}
    assert by_what["prompt"]["detail"]["gen_ai.input.messages"][0]["parts"][0]["content"] == "Score 20?"
    assert by_what["prompt"]["output"] == "pay"
    assert by_what["posting"]["journal"] == str(transfer.journal_id)
    assert {(entry["account"], entry["amount"]) for entry in by_what["posting"]["entries"]} == {
        ("ALICE", "-2.50"),
        ("BOB", "2.50"),
    }
    assert by_what["outcome"]["result"] == {"score": 20, "opinion": "pay"}
    assert by_what["event"]["payload"] == {"task": str(task_id)}
    votes = [entry for entry in entries if entry.what == "vote"]
    assert json.loads(votes[1].text or "")["output"]["by"] == "bert"
    assert votes[2].principal == "bert"
    assert all(entry.state == "kept" for entry in entries if entry.text is not None)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_put_together_are_the_whole(books: Database, limit: int) -> None:
    task_id, transfer = await _paid(books)
    for kind, id in (("task", task_id), ("transfer", transfer.id), ("agent", "payment-agent"), ("account", "ALICE")):
        whole = await _all(books, kind, id)  # type: ignore[arg-type]
        assert whole
        assert await _all(books, kind, id, limit=limit) == whole  # type: ignore[arg-type]


async def test_the_timeline_of_a_transfer_has_what_led_to_it(books: Database) -> None:
    task_id, transfer = await _paid(books)
    of_transfer = await _all(books, "transfer", transfer.id)
    assert {entry.event_id for entry in of_transfer} == {entry.event_id for entry in await _all(books, "task", task_id)}


async def test_the_timeline_of_a_transfer_that_was_held_has_the_question_the_votes_and_what_came_of_it(db: Database) -> None:
    async def verbs() -> list[str]:
        return [entry.verb for entry in await _all(db, "transfer", held["id"])]

    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        assert await verbs() == ["approvals.ask", "actions.hold"]
        await _vote(db, int(held["approval_id"]), EVA)
    told = await verbs()
    assert told[:2] == ["approvals.ask", "actions.hold"]
    assert {"approvals.vote", "approvals.consume", "ledger.post", "actions.execute"} <= set(told)


async def test_transfers_that_were_settled_together_have_what_is_theirs(books: Database) -> None:
    new = [
        actions.NewTransfer("ALICE", "BOB", amount, "CZK", settle="queued" if amount < 3 else "now") for amount in (1, 2, 3, 4)
    ]
    async with books.write() as tx:
        transfers: list[Any] = await actions.propose(tx, house("anna"), new)
    async with books.write() as tx:
        await actions.settle(tx, [transfers[0].id, transfers[1].id])
    journals = []
    for place, verbs in enumerate(
        [["tasks.enqueue", "transfers.propose", "ledger.post", "transfers.settle"]] * 2
        + [["transfers.propose", "transfers.propose"]] * 2
    ):
        entries = await _all(books, "transfer", transfers[place].id)
        assert [entry.verb for entry in entries] == verbs
        (posting,) = [entry for entry in entries if entry.what == "posting"]
        journals.append(posting.id)
    assert len(set(journals)) == 4


async def test_attempts_of_several_tasks_that_failed_in_one_call_are_in_each_one_s_timeline(db: Database) -> None:
    async with db.write() as tx:
        ids = await work.enqueue(tx, "anna", [work.NewTask("a", "t", {}) for _ in range(3)])
    for ended in ("error", "timeout"):
        async with db.write() as tx:
            held = await work.claim(tx, agents=["a"], worker="w", limit=3)
        async with db.write() as tx:
            failures = [work.Failure(each.task_id, each.fence, "busy", ended, 0) for each in held]
            await work.fail(tx, failures, "w")
    async with db.write() as tx:
        held = await work.claim(tx, agents=["a"], worker="w", limit=3)
        await work.finish(tx, [work.Finish(each.task_id, each.fence, "done", {"n": each.task_id}) for each in held], "w")
    for task_id in ids:
        entries = await _all(db, "task", task_id)
        assert [entry.verb for entry in entries] == ["tasks.enqueue", "tasks.fail", "tasks.fail", "tasks.finish"]
        assert json.loads(entries[-1].text or "")["result"] == {"n": task_id}
    assert _whats(await _all(db, "agent", "a")) == ["task"] * 3 + ["act"] * 2 + ["outcome"] * 3
    assert await _all(db, "agent", "nobody") == []


async def test_the_timeline_of_a_case_has_its_decision(db: Database) -> None:
    async with db.write() as tx:
        case = await cases.open_request(
            tx, "anna", customer="C", type="trade_review", payload={"symbol": "AAPL", "notional": 1}
        )
        other = await cases.open_request(
            tx, "anna", customer="D", type="trade_review", payload={"symbol": "AAPL", "notional": 2}
        )
        await agents.process_case(tx, "anna", case.id)
        await agents.process_case(tx, "anna", other.id)
    opened, decided = await _all(db, "case", case.id)
    assert (opened.what, decided.what) == ("case", "decision")
    assert json.loads(opened.text or "")["customer"] == "C"
    assert json.loads(decided.text or "")["decision"] == "review"


async def test_the_timeline_of_an_account_has_its_own_postings_of_calls_with_many(books: Database) -> None:
    async with books.read() as tx:
        alice, bob, bank = [await ledger.account(tx, name) for name in ("ALICE", "BOB", "BANK")]

    async def post(*credits: ledger.Account) -> None:
        journals = [
            ledger.Journal("test", ledger.transfer(debit=bank.id, credit=account.id, amount=5), "anna") for account in credits
        ]
        async with books.write() as tx:
            await ledger.post(tx, journals)

    await post(alice, bob, alice, bob)
    async with books.write() as tx:
        await ledger.change_status(tx, "ALICE", "frozen", actor="anna")
        await ledger.change_status(tx, "ALICE", "open", actor="anna")
    await post(bob)
    await post(*[alice] * 30)
    async with books.write() as tx:
        await ledger.change_status(tx, "ALICE", "frozen", actor="anna")
    async with books.read() as tx:
        assert (await ledger.account(tx, "ALICE")).posted == 100_000 + 32 * 5
    whole = await _all(books, "account", "ALICE")
    assert _whats(whole) == ["act"] + ["posting"] * 3 + ["act"] * 2 + ["posting"] * 30 + ["act"]
    assert all("ALICE" in (entry.text or "") for entry in whole if entry.what == "posting")
    for limit in (1, 2, 3, 4, 10, 31):
        assert await _all(books, "account", "ALICE", limit=limit) == whole
    assert _whats(await _all(books, "account", "BOB", limit=2)) == ["posting"] * 4


async def test_a_timeline_begins_where_it_is_asked_to(books: Database, database: TestDatabase) -> None:
    task_id, _ = await _paid(books)
    past = datetime.now(UTC) - timedelta(days=2)
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update audit.event set at = at - interval '3 days' where id <= 4")
    for kind, id in (("task", task_id), ("agent", "payment-agent"), ("account", "ALICE")):
        whole = await _all(books, kind, id)  # type: ignore[arg-type]
        assert await _all(books, kind, id, start=past) == [entry for entry in whole if entry.at >= past]  # type: ignore[arg-type]
        assert await _all(books, kind, id, start=datetime.now(UTC) + timedelta(days=1)) == []  # type: ignore[arg-type]


async def test_what_was_erased_says_so_and_what_is_gone_too(books: Database, database: TestDatabase) -> None:
    task_id, _ = await _paid(books)
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("set session_replication_role = replica")
        owner.execute("update work.step set salt = null, output = null where task_id = %s and name = 'opinion'", (task_id,))
        owner.execute("delete from work.step where task_id = %s and name = 'score'", (task_id,))
        owner.execute(
            "insert into audit.payload (event_id, erased_by) select id, 1 from audit.event where verb = 'tasks.answer'"
        )
    entries = await _all(books, "task", task_id)
    states = {(entry.verb, entry.step): (entry.text, entry.state) for entry in entries}
    assert states["tasks.record_step", "opinion"] == (None, "erased")
    assert states["tasks.answer", None] == (None, "erased")
    # Its line is gone, so nobody can say that it was this task's; the event says so.
    assert states["tasks.record_step", "score"] == (None, None)


@pytest.mark.parametrize(
    ("kind", "id", "code"),
    [
        ("case", "1", "unknown_case"),
        ("task", "1", "unknown_task"),
        ("transfer", "1", "unknown_transfer"),
        ("account", "NONE", "unknown_account"),
        ("task", "x", "subject_malformed"),
        ("case", "99999999999999999999", "subject_malformed"),
    ],
)
async def test_what_is_not_there_has_no_timeline(db: Database, kind: Kind, id: str, code: str) -> None:
    with pytest.raises((NotFound, Invalid)) as caught:
        await _all(db, kind, id)
    assert caught.value.code == code


async def test_the_timeline_over_http_is_paged_and_names_places_in_the_tree(books: Database, sealer: audit.Sealer) -> None:
    task_id, _ = await _paid(books)
    await sealer.seal()
    async with serving(books) as client:
        asked = f"/v1/audit/timeline?kind=task&id={task_id}"
        whole = (await client.get(asked)).json()
        assert whole["next_cursor"] is None
        assert all(int(item["index"]) == int(item["event_id"]) - 1 for item in whole["items"])
        found: list[Any] = []
        cursor = ""
        while True:
            page = (await client.get(f"{asked}&limit=2{cursor}")).json()
            found += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == whole["items"]
        assert [item["what"] for item in found].count("prompt") == 1
        for wrong, code in (("kind=agent&id=a" + cursor, "cursor_malformed"), ("kind=task&id=77", "unknown_task")):
            assert code_of(await client.get(f"/v1/audit/timeline?{wrong}")) == code


async def test_the_record_is_asked_at_the_command_line(books: Database, database: TestDatabase, sealer: audit.Sealer) -> None:
    task_id, transfer = await _paid(books)

    async def said(*arguments: str, status: int = 0) -> str:
        result = await asyncio.to_thread(command, database, *arguments)
        assert result.exit_code == status, result.output
        return str(result.stdout)

    printed = await said("timeline", "task", str(task_id))
    assert [line.split()[4] for line in printed.splitlines()[1:4]] == ["task", "step", "prompt"]
    lines = [json.loads(line) for line in (await said("timeline", "transfer", str(transfer.id), "--json")).splitlines()]
    assert [line["event_id"] for line in lines] == [str(entry.event_id) for entry in await _all(books, "task", task_id)]
    assert len((await said("timeline", "task", str(task_id), "--json", "--limit", "3")).splitlines()) == 3

    listed = await said("audit", "events", "--verb", "ledger.", "--limit", "1")
    assert listed.splitlines()[1].split()[5] == "ledger.post"
    (event,) = [json.loads(line) for line in (await said("audit", "events", "--principal", "bert", "--json")).splitlines()]
    assert event["verb"] == "tasks.answer"
    shown = await said("audit", "show", event["id"])
    assert "tasks.answer" in shown
    assert '"principal":"bert"' in shown
    assert json.loads(await said("audit", "show", event["id"], "--json")) == event

    journal = str(transfer.journal_id)
    assert (
        json.loads(await said("audit", "receipt", "--kind", "journal", "--id", journal, "--json", status=1))["state"]
        == "pending"
    )
    await sealer.seal()
    receipt = json.loads(await said("audit", "receipt", "--kind", "journal", "--id", journal, "--json"))
    assert (receipt["state"], receipt["item"]["id"]) == ("sealed", journal)
    printed = await said("audit", "receipt", receipt["event_id"], "--id", journal)
    assert receipt["leaf_hash"] in printed
    assert receipt["checkpoint"] in printed
    await said("audit", "show", "99999", status=1)
    await said("audit", "receipt", status=2)
