"""The native API: its shapes, its pages, its idempotency keys."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tallystick import actions, customers, identity, ledger, memory
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.serving import body_of, code_of, fund, serving


def _transfer(**changes: Any) -> dict[str, Any]:
    return {"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": "12.50", "currency": "CZK"}} | changes


async def _all(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """Every item of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = (await client.get(path, params=parameters | ({"cursor": cursor} if cursor else {}))).json()
        assert set(page) == {"items", "next_cursor"}
        assert len(page["items"]) <= parameters["limit"]
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


async def test_an_account_has_exactly_the_documented_fields(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        await client.post("/v1/customers", json={"id": "CUST-1"})
        opened = await client.post("/v1/accounts", json={"id": "ACC-1", "currency": "JPY", "customer_id": "CUST-1"})
        read = await client.get("/v1/accounts/ACC-1")
    assert (opened.status_code, read.status_code) == (201, 200)
    assert opened.json() == read.json()
    assert read.json() == {"id": "ACC-1", "customer_id": "CUST-1", "currency": "JPY", "status": "open"} | {
        "posted": "0", "held": "0", "available": "0", "kind": "customer", "overdraft_limit": "0", "seq": 0,
    }  # fmt: skip


async def test_accounts_are_filtered_by_customer_and_kind(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for name in ("CUST-1", "CUST-2"):
            await client.post("/v1/customers", json={"id": name})
            await client.post("/v1/accounts", json={"id": f"{name}-A", "currency": "CZK", "customer_id": name})
        of_one = await _all(client, "/v1/accounts", customer_id="CUST-1", limit=1)
        internal = await _all(client, "/v1/accounts", kind="internal", limit=10)
        every = await _all(client, "/v1/accounts", limit=2)
        unknown = await client.get("/v1/accounts", params={"customer_id": "nobody"})
    assert [account["id"] for account in of_one] == ["CUST-1-A"]
    assert [account["id"] for account in internal] == ["BANK"]
    assert sorted(account["id"] for account in every) == ["ALICE", "BANK", "BOB", "CUST-1-A", "CUST-2-A", "EURO"]
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_customer")


async def test_an_account_or_customer_that_exists_is_not_made_again(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        again = await client.post("/v1/accounts", json={"id": "ALICE", "currency": "CZK"})
        other = await client.post("/v1/accounts", json={"id": "ALICE", "currency": "EUR"})
        foreign = await client.post("/v1/accounts", json={"id": "NEW", "currency": "XXX"})
        orphan = await client.post("/v1/accounts", json={"id": "NEW", "currency": "CZK", "customer_id": "nobody"})
        await client.post("/v1/customers", json={"id": "C"})
        twice = await client.post("/v1/customers", json={"id": "C"})
        assert code_of(await client.get("/v1/accounts/NEW")) == "unknown_account"
    assert (again.status_code, code_of(again), code_of(other)) == (409, "account_exists", "account_exists")
    assert (foreign.status_code, code_of(foreign)) == (422, "unknown_currency")
    assert (orphan.status_code, code_of(orphan)) == (404, "unknown_customer")
    assert (twice.status_code, code_of(twice)) == (409, "customer_exists")


async def test_a_transfer_now_is_posted_with_its_journal(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        response = await client.post("/v1/transfers", json=_transfer(description="rent"))
        transfer = response.json()
        again = (await client.get(f"/v1/transfers/{transfer['id']}")).json()
        (entry,) = (await client.get("/v1/accounts/ALICE/entries", params={"limit": 1})).json()["items"]
    assert response.status_code == 201
    assert transfer == again
    assert set(transfer) == {
        "id", "status", "reason", "from_account", "to_account", "amount", "settle", "description", "created_at", "settled_at",
        "journal_id", "decision_id", "approval_id", "reasons",
    }  # fmt: skip
    assert (transfer["status"], transfer["reason"], transfer["settle"]) == ("posted", None, "now")
    assert transfer["amount"] == {"amount": "12.50", "currency": "CZK"}
    assert (entry["journal_id"], entry["amount"], entry["balance_after"]) == (transfer["journal_id"], "-12.50", "987.50")
    assert {"effective_at", "posted_at", "seq", "kind"} <= set(entry)


async def test_a_transfer_beyond_the_funds_is_an_answer_with_a_reason(db: Database) -> None:
    await fund(db)
    body = _transfer(amount={"amount": "1000.01", "currency": "CZK"})
    async with serving(db, keyed=True) as client:
        response = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        again = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        account = (await client.get("/v1/accounts/ALICE")).json()
    assert (response.status_code, response.json()["status"], response.json()["reason"]) == (201, "failed", "insufficient_funds")
    assert (again.status_code, again.json()) == (201, response.json())
    assert account["posted"] == "1000.00"


async def test_a_queued_transfer_is_accepted_and_its_replay_says_the_same_after_it_settled(db: Database) -> None:
    await fund(db)
    body = _transfer(settle="queued")
    async with serving(db, keyed=True) as client:
        first = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        async with db.write() as tx:
            await actions.settle(tx, [int(first.json()["id"])])
        again = await client.post("/v1/transfers", json=body, headers={"idempotency-key": "k"})
        now = await client.get(f"/v1/transfers/{first.json()['id']}")
    assert (first.status_code, first.json()["status"], first.json()["journal_id"]) == (202, "queued", None)
    assert (again.status_code, again.json()) == (202, first.json())
    assert now.json()["status"] == "posted"


@pytest.mark.parametrize("amount", ["12.5", "12.50", Decimal("12.5"), "0012.500"])
async def test_an_amount_may_be_written_in_several_ways_and_is_one_amount(db: Database, amount: Any) -> None:
    await fund(db)
    literal = f'"{amount}"' if isinstance(amount, str) else str(amount)
    sent = f'{{"from_account":"ALICE","to_account":"BOB","amount":{{"amount":{literal},"currency":"CZK"}}}}'
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    async with serving(db, keyed=True) as client:
        first = await client.post("/v1/transfers", json=_transfer(), headers=headers)
        again = await client.post("/v1/transfers", content=sent, headers=headers)
    assert first.json() == again.json()


async def test_transfers_are_listed_newest_first_and_of_one_account(db: Database) -> None:
    await fund(db, "ALICE", "BOB", "CAROL")
    async with serving(db, keyed=True) as client:
        for to in ("BOB", "CAROL", "BOB", "CAROL", "BOB"):
            await client.post("/v1/transfers", json=_transfer(to_account=to))
        every = await _all(client, "/v1/transfers", limit=2)
        of_bob = await _all(client, "/v1/transfers", account="BOB", limit=2)
        of_nobody = await client.get("/v1/transfers", params={"account": "nobody"})
    assert [int(transfer["id"]) for transfer in every] == sorted((int(transfer["id"]) for transfer in every), reverse=True)
    assert (len(every), [transfer["to_account"] for transfer in of_bob]) == (5, ["BOB"] * 3)
    assert of_nobody.status_code in (200, 404)


async def test_a_statement_is_read_whole_in_both_directions_while_it_grows(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        for _ in range(6):
            await client.post("/v1/transfers", json=_transfer())
        up = await _all(client, "/v1/accounts/BOB/entries", order="asc", limit=3)
        first = (await client.get("/v1/accounts/BOB/entries", params={"limit": 3})).json()
        await client.post("/v1/transfers", json=_transfer())
        rest = (await client.get("/v1/accounts/BOB/entries", params={"limit": 200, "cursor": first["next_cursor"]})).json()
    assert [entry["seq"] for entry in up] == list(range(1, 8))
    assert first["items"] + rest["items"] == up[::-1]


async def test_a_cursor_of_one_list_is_refused_by_another(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        await client.post("/v1/transfers", json=_transfer())
        page = (await client.get("/v1/accounts", params={"limit": 1})).json()
        descending = (await client.get("/v1/accounts/ALICE/entries", params={"limit": 1})).json()
        assert page["next_cursor"]
        assert descending["next_cursor"]
        for path, query in (
            ("/v1/transfers", {"cursor": page["next_cursor"]}),
            ("/v1/accounts/ALICE/entries", {"cursor": descending["next_cursor"], "order": "asc"}),
        ):
            response = await client.get(path, params=query)
            assert (response.status_code, code_of(response)) == (422, "cursor_malformed")


@pytest.mark.parametrize("path", ["transfers", "decisions", "accounts", "approvals", "audit/events", "tasks", "action-types"])
async def test_a_slip_in_the_name_of_a_filter_is_refused_and_does_not_show_all(db: Database, path: str) -> None:
    async with serving(db) as client:
        right, wrong = await client.get(f"/v1/{path}"), await client.get(f"/v1/{path}", params={"stauts": "held"})
    assert (right.status_code, wrong.status_code, code_of(wrong)) == (200, 422, "unknown_parameter")
    assert "stauts" in wrong.json()["detail"]


async def test_numbers_in_payloads_keep_every_digit(db: Database) -> None:
    payload = '{"a":0.10,"b":12345678901234567.89,"c":1E+3,"d":9223372036854775807,"e":[1.0]}'
    headers = {"content-type": "application/json"}
    async with serving(db, keyed=True) as client:
        sent = f'{{"agent":"a","type":"t","payload":{payload}}}'
        published = body_of(await client.post("/v1/events", content=sent, headers=headers))
        (read,) = body_of(await client.get("/v1/events"))["items"]
    assert published["payload"] == read["payload"]
    assert read["payload"]["a"] == "0.10"
    assert read["payload"]["b"] == "12345678901234567.89"
    assert read["payload"]["d"] == 9223372036854775807


CREATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "/v1/customers": ({"id": "C-1", "full_name": "A"}, {"id": "C-1", "full_name": "B"}),
    "/v1/accounts": ({"id": "A-1", "currency": "CZK"}, {"id": "A-1", "currency": "EUR"}),
    "/v1/tasks": ({"agent": "a", "type": "t", "payload": {"x": 1}}, {"agent": "a", "type": "t", "payload": {"x": 2}}),
    "/v1/events": ({"agent": "a", "type": "t", "payload": {"x": 1}}, {"agent": "a", "type": "t", "payload": {"x": 2}}),
    "/v1/cases": ({"customer_id": "C", "type": "t", "payload": {}}, {"customer_id": "C", "type": "t", "payload": {"x": 1}}),
    "/v1/transfers": (_transfer(), _transfer(to_account="CAROL")),
    "/transfers/persisted": (
        {"from_account": "ALICE", "to_account": "BOB", "amount": 1},
        {"from_account": "ALICE", "to_account": "BOB", "amount": 2},
    ),
    "/agent-events": (
        {"agent_name": "a", "event_type": "t", "payload": {}},
        {"agent_name": "b", "event_type": "t", "payload": {}},
    ),
    "/events": (
        {"customer_id": "C", "event_type": "t", "payload": "x"},
        {"customer_id": "C", "event_type": "t", "payload": "y"},
    ),
    "/tasks": ({"agent_name": "a", "task_type": "t", "payload": {}}, {"agent_name": "a", "task_type": "u", "payload": {}}),
    "/requests": (
        {"client_id": "C", "request_type": "t", "payload": {}},
        {"client_id": "D", "request_type": "t", "payload": {}},
    ),
}


@pytest.mark.parametrize("path", CREATIONS)
async def test_a_key_makes_a_thing_once_whoever_asks_at_the_same_moment(db: Database, path: str) -> None:
    await fund(db, "ALICE", "BOB", "CAROL")
    body, other = CREATIONS[path]
    headers = {"idempotency-key": "the-key"}
    async with serving(db, keyed=True) as client:
        answers = await asyncio.gather(*(client.post(path, json=body, headers=headers) for _ in range(8)))
        assert len({(answer.status_code, answer.text) for answer in answers}) == 1, [answer.text for answer in answers]
        assert answers[0].is_success
        again = await client.post(path, json=body, headers=headers)
        assert (again.status_code, again.text) == (answers[0].status_code, answers[0].text)
        reused = await client.post(path, json=other, headers=headers)
        assert (reused.status_code, code_of(reused)) == (422, "key_reused")
    async with db.read() as tx:
        assert len(await memory.page(tx)) == (1 if "events" in path and path != "/events" else 0)
        assert len(await actions.page(tx, account=None, before=None, limit=9)) == (1 if "transfers" in path else 0)
        assert len(await customers.page(tx)) == (1 if "customers" in path else 0)
        assert len(await ledger.accounts(tx)) == (6 if "accounts" in path else 5)


async def test_without_a_key_the_same_request_twice_is_two_things(db: Database) -> None:
    body = {"agent": "a", "type": "t", "payload": {}}
    async with serving(db) as client:
        first, second = [(await client.post("/v1/events", json=body)).json() for _ in range(2)]
    assert first["id"] != second["id"]


async def test_a_task_is_claimed_with_a_fence_and_ends_with_it(db: Database) -> None:
    async with serving(db) as client:
        for number in range(3):
            await client.post("/v1/tasks", json={"agent": "a", "type": f"t{number % 2}", "payload": {"n": number}})
        claimed = (await client.post("/v1/tasks/claim", json={"agents": ["a"], "limit": 2, "types": ["t0"]})).json()["items"]
        assert [task["payload"]["n"] for task in claimed] == [0, 2]
        finish = f"/v1/tasks/{claimed[0]['id']}/finish"
        stale = await client.post(finish, json={"fence": "999", "result": {}})
        assert (stale.status_code, code_of(stale)) == (409, "fence_lost")
        body = {"fence": claimed[0]["fence"], "result": {"y": 1}}
        done = await client.post(finish, json=body, headers={"idempotency-key": "f"})
        again = await client.post(finish, json=body, headers={"idempotency-key": "f"})
        bare = await client.post(finish, json=body)
        assert done.json() == again.json() == bare.json()
        assert done.json()["status"] == "done"
        reused = await client.post(finish, json=body | {"result": 2}, headers={"idempotency-key": "f"})
        assert code_of(reused) == "key_reused"
        contradiction = await client.post(finish, json=body | {"result": 2})
        assert (contradiction.status_code, code_of(contradiction)) == (409, "fence_lost")
        malformed = await client.post(
            f"/v1/tasks/{claimed[1]['id']}/finish", json={"fence": claimed[1]["fence"], "state": "failed"}
        )
        assert (malformed.status_code, code_of(malformed)) == (422, "outcome_malformed")
        absent = await client.post("/v1/tasks/999999/finish", json=body)
        assert (absent.status_code, code_of(absent)) == (404, "unknown_task")
        statuses = {
            status: len(await _all(client, "/v1/tasks", status=status, limit=1)) for status in ("queued", "running", "done")
        }
    assert statuses == {"queued": 1, "running": 1, "done": 1}


async def test_queued_tasks_are_listed_oldest_first_and_all_tasks_newest_first(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        made = [
            (await client.post("/v1/tasks", json={"agent": "a", "type": "t", "payload": {}})).json()["id"] for _ in range(5)
        ]
        queued = [task["id"] for task in await _all(client, "/v1/tasks", status="queued", limit=2)]
        every = [task["id"] for task in await _all(client, "/v1/tasks", limit=2)]
    assert (queued, every) == (made, made[::-1])


async def test_a_case_moves_by_the_rules_of_its_door(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        event = (
            await client.post("/v1/cases", json={"customer_id": "C", "type": "t", "door": "event", "payload": "text"})
        ).json()
        request = (await client.post("/v1/cases", json={"customer_id": "C", "type": "t", "payload": {}})).json()
        assert (event["status"], event["payload"], request["status"]) == ("queued", "text", "received")
        moved = await client.patch(f"/v1/cases/{event['id']}/status", json={"status": "approved"})
        assert moved.json()["status"] == "approved"
        for path, body in (
            (f"/v1/cases/{event['id']}/status", {"status": "queued"}),
            (f"/v1/cases/{request['id']}/status", {"status": "approved"}),
        ):
            response = await client.patch(path, json=body)
            assert (response.status_code, code_of(response)) == (409, "impossible_transition")
        wrong_door = await client.post(f"/v1/cases/{event['id']}/process")
        assert (wrong_door.status_code, code_of(wrong_door)) == (409, "impossible_transition")
        first, second = await asyncio.gather(*(client.post(f"/v1/cases/{request['id']}/process") for _ in range(2)))
        assert first.json() == second.json()
        assert first.json()["status"] == "processed"
        assert code_of(await client.post("/v1/cases/999/process")) == "unknown_case"
        assert [case["id"] for case in await _all(client, "/v1/cases", door="event", limit=1)] == [event["id"]]
        assert [case["id"] for case in await _all(client, "/v1/cases", status="processed", limit=1)] == [request["id"]]
        mixed = await client.post("/v1/cases", json={"customer_id": "C", "type": "t", "door": "event", "payload": {}})
        assert code_of(mixed) == "validation_failed"


@pytest.mark.parametrize(
    ("made_at", "made_with", "path", "body"),
    [
        ("/v1/cases", {"customer_id": "C", "type": "t", "payload": {}}, "/v1/cases/{}/process", None),
        ("/requests", {"client_id": "C", "request_type": "t", "payload": {}}, "/requests/{}/process", None),
        ("/tasks", {"agent_name": "a", "task_type": "t", "payload": {}}, "/tasks/{}/events", {"event": "completed"}),
    ],
)
async def test_a_key_belongs_to_the_one_thing_it_was_first_used_on(
    db: Database, made_at: str, made_with: dict[str, Any], path: str, body: dict[str, Any] | None
) -> None:
    headers = {"idempotency-key": "the-key"}
    async with serving(db, keyed=True) as client:
        first, second = [(await client.post(made_at, json=made_with)).json() for _ in range(2)]
        first_id, second_id = (thing.get("id", thing.get("request_id")) for thing in (first, second))
        answers = await asyncio.gather(*(client.post(path.format(first_id), json=body, headers=headers) for _ in range(4)))
        assert len({(answer.status_code, answer.text) for answer in answers}) == 1
        assert answers[0].status_code == 200
        reused = await client.post(path.format(second_id), json=body, headers=headers)
        assert (reused.status_code, code_of(reused)) == (422, "key_reused")


async def test_a_key_of_one_principal_says_nothing_to_another(db: Database) -> None:
    async with db.write() as tx:
        secrets = [(await identity.create_key(tx, name, by="test")).secret for name in ("one", "two")]
    body = {"agent": "a", "type": "t", "payload": {}}
    async with serving(db, HttpSettings()) as client:
        ids = [
            (
                await client.post(
                    "/v1/events", json=body, headers={"authorization": f"Bearer {secret}", "idempotency-key": "the-key"}
                )
            ).json()["id"]
            for secret in secrets
        ]
    assert ids[0] != ids[1]


async def test_a_replay_is_the_first_answer_whatever_has_become_of_the_thing(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        requests = {
            "/v1/tasks": {"agent": "outside", "type": "t", "payload": {}},
            "/v1/cases": {"door": "event", "customer_id": "CUST-1", "type": "t", "payload": "text"},
            "/v1/accounts": {"id": "A-1", "currency": "CZK"},
        }
        first = {path: await client.post(path, json=body, headers={"idempotency-key": path}) for path, body in requests.items()}
        (attempt,) = (await client.post("/v1/tasks/claim", json={"agents": ["outside"]})).json()["items"]
        await client.post(f"/v1/tasks/{attempt['id']}/finish", json={"fence": attempt["fence"], "result": 1})
        case = first["/v1/cases"].json()["id"]
        await client.patch(f"/v1/cases/{case}/status", json={"status": "processing"})
        await client.post("/v1/accounts", json={"id": "bank", "currency": "CZK", "kind": "internal"})
        paid = {"from_account": "bank", "to_account": "A-1", "amount": {"amount": "5", "currency": "CZK"}}
        assert (await client.post("/v1/transfers", json=paid)).json()["status"] == "posted"
        for path, body in requests.items():
            again = await client.post(path, json=body, headers={"idempotency-key": path})
            assert (again.status_code, again.json()) == (first[path].status_code, first[path].json()), path


async def test_nobody_from_outside_ends_the_task_of_a_queued_transfer(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        for name, kind in (("bank", "internal"), ("A-1", "customer")):
            await client.post("/v1/accounts", json={"id": name, "currency": "CZK", "kind": kind})
        body = {"from_account": "bank", "to_account": "A-1", "amount": {"amount": "5", "currency": "CZK"}, "settle": "queued"}
        assert (await client.post("/v1/transfers", json=body)).status_code == 202
        (task,) = (await client.get("/v1/tasks", params={"agent": "settlement-agent"})).json()["items"]
        claimed = await client.post("/v1/tasks/claim", json={"agents": ["other", "settlement-agent"]})
        reported = await client.post(f"/tasks/{task['id']}/events", json={"event": "completed", "result": {}})
        assert [(answer.status_code, answer.json()["code"]) for answer in (claimed, reported)] == [(403, "reserved_agent")] * 2
        assert (await client.get(f"/v1/tasks/{task['id']}")).json()["status"] == "queued"


async def test_an_event_that_does_not_end_a_task_is_put_on_the_record(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        task = (await client.post("/v1/tasks", json={"agent": "outside", "type": "t", "payload": {}})).json()
        answer = await client.post(f"/tasks/{task['id']}/events", json={"event": "started", "result": {"at": "desk 4"}})
        assert (answer.status_code, answer.json()) == (200, {"ok": True})
        assert (await client.get(f"/v1/tasks/{task['id']}")).json()["status"] == "queued"
        assert (await client.post("/tasks/999999/events", json={"event": "started"})).status_code == 404


@pytest.mark.parametrize("header", ["idempotency-key", "authorization", "content-type"])
async def test_a_header_that_is_sent_twice_is_refused_as_readers_differ_in_which_they_take(db: Database, header: str) -> None:
    async with serving(db, keyed=True) as client:
        twice = [(header, "application/json"), (header, "application/json")]
        answer = await client.post("/v1/transfers", content=b"{}", headers=twice)
    assert (answer.status_code, code_of(answer)) == (400, "header_repeated")


async def test_an_amount_that_is_given_twice_is_refused(db: Database) -> None:
    await fund(db)
    body = b'{"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": "1", "amount": "2", "currency": "CZK"}}'
    async with serving(db, keyed=True) as client:
        answer = await client.post("/v1/transfers", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (422, "json_duplicate_key")


@pytest.mark.parametrize("path", ["/v1/tasks", "/tasks"])
async def test_tasks_for_the_settlement_agent_come_from_transfers_alone(db: Database, path: str) -> None:
    names = {"/v1/tasks": ("agent", "type"), "/tasks": ("agent_name", "task_type")}[path]
    body = {names[0]: "settlement-agent", names[1]: "settle_transfer", "payload": {"transfer_id": 1}}
    async with serving(db, keyed=True) as client:
        answer = await client.post(path, json=body)
    assert (answer.status_code, code_of(answer)) == (403, "reserved_agent")
