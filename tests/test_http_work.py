"""Durable work over HTTP: tasks, attempts, steps, people, queues."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import actions, identity, ledger, memory
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.conftest import TestDatabase
from tests.serving import code_of, fund, serving

_JSON = dict[str, Any]
_MONEY = {"amount": "5.00", "currency": "CZK"}
_PAY = {"effect": "transfer", "from_account": "ALICE", "to_account": "BOB", "amount": _MONEY}
_TELL = {"effect": "event", "type": "paid", "payload": {"n": 1}}
_NEXT = {"effect": "task", "agent": "b", "type": "u", "payload": {"n": 2}}


async def _create(client: httpx.AsyncClient, **fields: Any) -> _JSON:
    made = await client.post("/v1/tasks", json={"agent": "a", "type": "t", "payload": {}} | fields)
    assert made.status_code == 201, made.text
    task: _JSON = made.json()
    return task


async def _claim(client: httpx.AsyncClient, **fields: Any) -> list[_JSON]:
    answer = await client.post("/v1/tasks/claim", json={"agents": ["a"]} | fields)
    assert answer.status_code == 200, answer.text
    items: list[_JSON] = answer.json()["items"]
    return items


async def _attempt(client: httpx.AsyncClient, **fields: Any) -> tuple[str, str]:
    """The address of a new task, and the fence of its attempt."""
    await _create(client, **fields)
    (attempt,) = await _claim(client)
    return f"/v1/tasks/{attempt['id']}", attempt["fence"]


async def _post(client: httpx.AsyncClient, path: str, **body: Any) -> _JSON:
    answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    found: _JSON = answer.json()
    return found


def _writes(fence: str) -> dict[str, _JSON]:
    """Everything that an attempt may write, by the end of its address."""
    return {
        "steps": {"fence": fence, "name": "s", "output": 1},
        "finish": {"fence": fence, "result": 1},
        "fail": {"fence": fence, "error": "e"},
        "return": {"fence": fence},
        "park": {"fence": fence, "kind": "sleep", "step": "s", "in_s": 1},
    }


async def test_a_task_tells_all_that_was_asked_for_and_what_it_waits_for(db: Database) -> None:
    async with serving(db) as client:
        first = await _create(client, order_key="k")
        assert (first["status"], first["waiting_for"], first["order_key"], first["created_by"]) == ("queued", None, "k", "demo")
        asked = {"priority": 7, "deadline_at": "2100-01-02T00:00:00Z", "max_attempts": 2}
        turn = await client.get(f"/v1/tasks/{(await _create(client, order_key='k', **asked))['id']}")
        later = await client.get(f"/v1/tasks/{(await _create(client, run_at='2100-01-01T00:00:00Z'))['id']}")
        after = await client.get(f"/v1/tasks/{(await _create(client, after=[first['id']]))['id']}")
        waiting = {answer.json()["waiting_for"] for answer in (turn, later, after)}
        assert (turn.json()["priority"], turn.json()["deadline_at"]) == (7, "2100-01-02T00:00:00Z")
        assert later.json()["wake_at"] == "2100-01-01T00:00:00Z"
        assert waiting == {"turn", "run_at", "tasks"}
        listed = (await client.get("/v1/tasks", params={"status": "waiting"})).json()["items"]
        assert [task["id"] for task in listed] == [answer.json()["id"] for answer in (after, later, turn)]
        (guided,) = (await client.get("/tasks", params={"status": "waiting", "limit": 1})).json()
        assert (guided["id"], guided["status"]) == (int(after.json()["id"]), "waiting")


async def test_a_task_under_a_key_of_its_own_is_stored_once(db: Database) -> None:
    async with serving(db) as client:
        first, second = [await _create(client, key="invoice-1") for _ in range(2)]
        assert first["id"] == second["id"]
        other = await client.post("/v1/tasks", json={"agent": "a", "type": "t", "payload": {"x": 1}, "key": "invoice-1"})
        assert (other.status_code, code_of(other)) == (422, "key_reused")


async def test_thousands_of_tasks_are_stored_in_one_call_and_once_under_its_key(db: Database) -> None:
    tasks = [{"agent": "a", "type": "t", "payload": {"n": n}} for n in range(8192)]
    headers = {"idempotency-key": "x" * 200}
    async with serving(db) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/tasks/batch", json={"tasks": tasks}, headers=headers, timeout=60) for _ in range(2))
        )
        assert answers[0].json() == answers[1].json()
        ids = answers[0].json()["ids"]
        assert len(set(ids)) == 8192
        assert (await client.get(f"/v1/tasks/{ids[4711]}")).json()["payload"] == {"n": 4711}
        for other in (tasks[:-1], [*tasks[:-1], tasks[0]]):
            reused = await client.post("/v1/tasks/batch", json={"tasks": other}, headers=headers)
            assert (reused.status_code, code_of(reused)) == (422, "key_reused")
        too_many = await client.post("/v1/tasks/batch", json={"tasks": [*tasks, tasks[0]]})
        assert too_many.status_code == 422
        (queue,) = (await client.get("/v1/work/queues")).json()["items"]
        assert queue["queued"] == 8192


async def test_of_a_batch_with_an_impossible_task_nothing_is_stored(db: Database) -> None:
    good = {"agent": "a", "type": "t", "payload": {}}
    async with serving(db) as client:
        refused = await client.post("/v1/tasks/batch", json={"tasks": [good, good | {"after": ["999"]}]})
        assert (refused.status_code, code_of(refused)) == (422, "unknown_task")
        reserved = await client.post("/v1/tasks/batch", json={"tasks": [good, good | {"agent": "settlement-agent"}]})
        assert (reserved.status_code, code_of(reserved)) == (403, "reserved_agent")
        assert (await client.get("/v1/tasks")).json()["items"] == []


async def test_a_claim_says_how_long_an_attempt_may_take(db: Database) -> None:
    async with serving(db) as client:
        policy = await client.patch("/v1/work/queues/a/t", json={"timeout_s": 77, "max_attempts": 2})
        assert policy.json() == {
            "agent": "a", "type": "t", "max_attempts": 2, "max_crashes": 5, "timeout_s": 77, "backoff_s": 1.0,
            "max_backoff_s": 300.0, "per_key": 1,
        }  # fmt: skip
        await _create(client)
        (attempt,) = await _claim(client)
        assert (attempt["attempts"], attempt["timeout_s"]) == (1, 77)
        bound = await client.patch("/v1/work/queues/a/t", json={"max_backoff_s": 0.5})
        assert (bound.status_code, code_of(bound)) == (422, "policy_out_of_range")


@pytest.mark.parametrize("how", ["lost", "of another"])
async def test_a_fence_that_does_not_hold_writes_nothing(db: Database, how: str) -> None:
    await fund(db)
    async with db.write() as tx:
        mine, theirs = [(await identity.create_key(tx, name, by="test")).secret for name in ("one", "two")]
    async with serving(db, HttpSettings()) as client:
        client.headers["authorization"] = f"Bearer {mine}"
        address, fence = await _attempt(client)
        task_id = address.rsplit("/", 1)[1]
        if how == "lost":
            await _post(client, f"{address}/return", fence=fence)
            (again,) = await _claim(client)
            assert int(again["fence"]) > int(fence)
        else:
            client.headers["authorization"] = f"Bearer {theirs}"
        writes = _writes(fence) | {"finish ": {"fence": fence, "effects": [_PAY, _TELL, _NEXT]}}
        if how == "lost":
            # The same end again would be fine; another one is not.
            del writes["return"]
        for verb, body in writes.items():
            refused = await client.post(f"{address}/{verb.strip()}", json=body)
            assert (refused.status_code, code_of(refused)) == (409, "fence_lost"), verb
        held = {"id": task_id, "fence": fence}
        assert await _post(client, "/v1/tasks/heartbeat", attempts=[held]) == {"lost": [held]}
        ends = [held | {"ended": "done"}, held | {"ended": "timeout", "error": "e"}]
        assert await _post(client, "/v1/tasks/settle", ends=ends) == {"held": [False, False]}
        assert (await client.get(address)).json()["status"] == "running"
        assert (await client.get(f"{address}/steps")).json() == {"items": [], "next_cursor": None}
        assert (await client.get("/v1/transfers")).json()["items"] == []
        assert (await client.get("/v1/events")).json()["items"] == []
        assert len((await client.get("/v1/tasks")).json()["items"]) == 1


async def test_every_write_to_a_task_that_is_not_there_is_404(db: Database) -> None:
    async with serving(db) as client:
        for verb, body in _writes("1").items():
            absent = await client.post(f"/v1/tasks/999/{verb}", json=body)
            assert (absent.status_code, code_of(absent)) == (404, "unknown_task"), verb
        for verb, sent in (("cancel", {}), ("retry", None), ("answers", {"step": "s", "approved": True})):
            absent = await client.post(f"/v1/tasks/999/{verb}", json=sent)
            assert (absent.status_code, code_of(absent)) == (404, "unknown_task"), verb
        for what in ("steps", "attempts"):
            assert code_of(await client.get(f"/v1/tasks/999/{what}")) == "unknown_task"


async def test_a_heartbeat_keeps_what_is_held_and_tells_what_is_lost(db: Database, database: TestDatabase) -> None:
    async with serving(db) as client:
        for _ in range(3):
            await _create(client)
        held = [{"id": one["id"], "fence": one["fence"]} for one in await _claim(client, limit=3, lease_s=1)]
        await _post(client, f"/v1/tasks/{held[1]['id']}/cancel", reason="no longer wanted")
        answer = await _post(client, "/v1/tasks/heartbeat", attempts=held, lease_s=3600)
        assert answer == {"lost": [held[1]]}
        with psycopg.connect(database.app_url) as connection:
            left = connection.execute("select extract(epoch from lease_until - clock_timestamp()) from work.run").fetchall()
        assert [3000 < seconds <= 3600 for (seconds,) in left] == [True, True]
        assert [(await client.get(f"/v1/tasks/{one['id']}")).json()["status"] for one in held] == [
            "running", "cancelled", "running",
        ]  # fmt: skip


async def test_ends_of_many_attempts_are_settled_in_one_call_and_the_same_call_again_holds(db: Database) -> None:
    async with serving(db) as client:
        for n in range(5):
            await _create(client, payload={"n": n})
        claimed = await _claim(client, limit=5)
        ended: list[_JSON] = [
            {"ended": "done", "result": {"x": 1}},
            {"ended": "failed", "error": "no_such_customer: C"},
            {"ended": "error", "error": "ReadTimeout", "retry_in_s": 3600},
            {"ended": "timeout", "error": "timeout: 30 s", "retry_in_s": 0},
            {"ended": "returned", "error": "worker_stopped"},
        ]
        ends = [{"id": one["id"], "fence": one["fence"], **end} for one, end in zip(claimed, ended, strict=True)]
        for _ in range(2):
            assert await _post(client, "/v1/tasks/settle", ends=ends) == {"held": [True] * 5}
        tasks = [(await client.get(f"/v1/tasks/{one['id']}")).json() for one in claimed]
        assert [task["status"] for task in tasks] == ["done", "failed", "waiting", "queued", "queued"]
        assert [task["attempts"] for task in tasks] == [1, 1, 1, 1, 0]
        assert tasks[2]["waiting_for"] == "backoff"
        (noted,) = (await client.get(f"/v1/tasks/{claimed[2]['id']}/attempts")).json()["items"]
        assert (noted["ended"], noted["error"], noted["fence"]) == ("error", "ReadTimeout", claimed[2]["fence"])
        otherwise = [end | {"ended": "failed", "error": "other"} for end in ends]
        assert await _post(client, "/v1/tasks/settle", ends=otherwise) == {"held": [False, True, False, False, False]}
        malformed = await client.post("/v1/tasks/settle", json={"ends": [ends[0] | {"error": "e"}]})
        assert (malformed.status_code, code_of(malformed)) == (422, "outcome_malformed")


async def test_a_task_whose_attempts_are_used_up_is_dead_until_a_person_puts_it_back(db: Database) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client, max_attempts=1)
        dead = await _post(client, f"{address}/fail", fence=fence, error="ReadTimeout")
        assert (dead["status"], dead["error"], dead["attempts"]) == ("dead", "ReadTimeout", 1)
        assert (await _post(client, f"{address}/fail", fence=fence, error="ReadTimeout"))["status"] == "dead"
        back = await _post(client, f"{address}/retry")
        assert (back["status"], back["attempts"]) == ("queued", 0)
        again = await client.post(f"{address}/retry")
        assert (again.status_code, code_of(again)) == (409, "task_is_not_dead")


async def test_a_task_is_cancelled_once_for_a_reason(db: Database) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        for _ in range(2):
            cancelled = await _post(client, f"{address}/cancel", reason="withdrawn")
        assert (cancelled["status"], cancelled["error"]) == ("cancelled", "withdrawn")
        lost = await client.post(f"{address}/finish", json={"fence": fence})
        assert code_of(lost) == "fence_lost"
        address, fence = await _attempt(client)
        await _post(client, f"{address}/finish", fence=fence, result=1)
        over = await client.post(f"{address}/cancel", json={})
        assert (over.status_code, code_of(over)) == (409, "task_already_finished")


async def test_a_stale_fence_is_told_so_even_where_the_task_ended_just_as_it_says(db: Database) -> None:
    async with serving(db) as client:
        address, stale = await _attempt(client)
        await _post(client, f"{address}/return", fence=stale)
        (again,) = await _claim(client)
        await _post(client, f"{address}/finish", fence=again["fence"], result=1)
        late = await client.post(f"{address}/finish", json={"fence": stale, "result": 1})
        assert (late.status_code, code_of(late)) == (409, "fence_lost")


async def test_effects_are_carried_out_with_the_end_of_the_task_once(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        address, fence = await _attempt(client)
        body = {"fence": fence, "result": {"ok": True}, "effects": [_PAY, _TELL, _NEXT]}
        answers = await asyncio.gather(*(client.post(f"{address}/finish", json=body) for _ in range(3)))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        assert answers[0].json() == answers[1].json() == answers[2].json()
        assert (answers[0].json()["status"], answers[0].json()["result"]) == ("done", {"ok": True})
        (transfer,) = (await client.get("/v1/transfers")).json()["items"]
        (event,) = (await client.get("/v1/events")).json()["items"]
        (queued,) = (await client.get("/v1/tasks", params={"status": "queued"})).json()["items"]
        assert (transfer["status"], transfer["amount"]) == ("posted", _MONEY)
        assert (event["agent"], event["type"], event["payload"]) == ("a", "paid", {"n": 1})
        assert (queued["agent"], queued["payload"], queued["created_by"]) == ("b", {"n": 2}, "demo")
        other = await client.post(f"{address}/finish", json=body | {"effects": [_PAY, _PAY]})
        assert (other.status_code, code_of(other)) == (409, "fence_lost")
        bare = await client.post(f"{address}/finish", json={"fence": fence, "result": {"ok": False}})
        assert (bare.status_code, code_of(bare)) == (409, "fence_lost")
    async with db.read() as tx:
        assert len(await actions.page(tx, account=None, before=None, limit=9)) == 1


async def test_of_effects_with_one_that_is_refused_none_happens_and_the_fence_holds(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        address, fence = await _attempt(client)
        dear = _PAY | {"amount": {"amount": "9000.00", "currency": "CZK"}}
        nobody = _PAY | {"to_account": "NOBODY"}
        body = {"fence": fence, "effects": [_TELL, dear, _NEXT, nobody, _PAY]}
        refused = await client.post(f"{address}/finish", json=body)
        assert (refused.status_code, code_of(refused)) == (409, "effects_refused")
        assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [
            ("/effects/1", "insufficient_funds"),
            ("/effects/3", "unknown_account"),
        ]
        async with db.read() as tx:
            assert await actions.page(tx, account=None, before=None, limit=9) == []
            assert await memory.page(tx) == []
            assert (await ledger.account(tx, "ALICE")).posted == 100_000
        assert len((await client.get("/v1/tasks")).json()["items"]) == 1
        finished = await client.post(f"{address}/finish", json={"fence": fence, "effects": [_PAY]})
        assert finished.json()["status"] == "done"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"effects": [_PAY | {"amount": {"amount": "1e3", "currency": "CZK"}}]}, 422, "amount_malformed"),
        ({"effects": [_NEXT | {"agent": "settlement-agent"}]}, 403, "reserved_agent"),
        ({"effects": [_TELL], "state": "failed", "error": "e"}, 422, "outcome_malformed"),
        ({"effects": [_TELL | {"effect": "other"}]}, 422, "validation_failed"),
        ({"effects": [_TELL] * 1001}, 422, "validation_failed"),
        ({"effects": [_PAY | {"payload": {}}]}, 422, "validation_failed"),
        ({"state": "failed"}, 422, "outcome_malformed"),
        ({"error": "e"}, 422, "outcome_malformed"),
    ],
)
async def test_an_end_that_makes_no_sense_is_refused_and_the_attempt_goes_on(
    db: Database, change: _JSON, status: int, code: str
) -> None:
    await fund(db)
    async with serving(db) as client:
        address, fence = await _attempt(client)
        refused = await client.post(f"{address}/finish", json={"fence": fence} | change)
        assert (refused.status_code, code_of(refused)) == (status, code)
        assert (await client.get(address)).json()["status"] == "running"


async def test_a_step_is_recorded_once_and_read_again_by_the_next_attempt(db: Database) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        lines: list[_JSON] = [
            {"name": "score", "state": "failed", "error": "ReadTimeout", "took_ms": 1500},
            {"name": "score", "try": 2, "output": {"score": 82}, "input_hash": "ab" * 32},
            {"name": "pay", "kind": "call", "state": "intent", "detail": {"key": "7:pay"}},
            {"name": "ask", "kind": "model", "output": "yes", "detail": {"gen_ai.request.model": "m"}},
        ]
        for line in lines:
            first = await client.post(f"{address}/steps", json=line | {"fence": fence})
            again = await client.post(f"{address}/steps", json=line | {"fence": fence})
            assert (first.status_code, first.json()) == (again.status_code, again.json()), first.text
            assert first.status_code == 201
        for other in (lines[1] | {"output": 1}, lines[1] | {"try": 3}, lines[2] | {"detail": None}):
            refused = await client.post(f"{address}/steps", json=other | {"fence": fence})
            assert (refused.status_code, code_of(refused)) == (409, "already_exists"), other
        await _post(client, f"{address}/fail", fence=fence, error="e", retry_in_s=0)
        (again_,) = await _claim(client)
        anew = await client.post(f"{address}/steps", json=lines[1] | {"fence": again_["fence"]})
        assert (anew.status_code, code_of(anew)) == (409, "already_exists")
        read: list[_JSON] = []
        cursor = None
        while True:
            page = (await client.get(f"{address}/steps", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
            read += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert [(line["name"], line["kind"], line["state"], line["try"]) for line in read] == [
            ("score", "step", "failed", 1),
            ("score", "step", "done", 2),
            ("pay", "call", "intent", 1),
            ("ask", "model", "done", 1),
        ]
        assert (read[1]["output"], read[1]["input_hash"], read[2]["detail"]) == ({"score": 82}, "ab" * 32, {"key": "7:pay"})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"state": "failed"}, "outcome_malformed"),
        ({"error": "e"}, "outcome_malformed"),
        ({"kind": "approval"}, "validation_failed"),
        ({"output": "x" * 300_000}, "output_too_large"),
        ({"input_hash": "ab"}, "validation_failed"),
        ({"try": 0}, "validation_failed"),
        ({"name": ""}, "validation_failed"),
    ],
)
async def test_a_line_that_makes_no_sense_is_not_recorded(db: Database, change: _JSON, code: str) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        refused = await client.post(f"{address}/steps", json={"fence": fence, "name": "s"} | change)
        assert (refused.status_code, code_of(refused)) == (422, code)
        assert (await client.get(f"{address}/steps")).json()["items"] == []


async def test_a_task_that_asks_people_goes_on_with_their_answer(db: Database) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        wait = {"fence": fence, "kind": "approval", "step": "release", "question": {"question": "May it go out?"}}
        for _ in range(2):
            parked = await _post(client, f"{address}/park", **wait)
            assert (parked["status"], parked["waiting_for"], parked["attempts"]) == ("waiting", "approval", 0)
        (asked,) = (await client.get("/v1/work/questions")).json()["items"]
        assert (f"/v1/tasks/{asked['task_id']}", asked["step"], asked["question"]) == (address, "release", wait["question"])
        wrong = await client.post(f"{address}/answers", json={"step": "other", "approved": True})
        assert (wrong.status_code, code_of(wrong)) == (409, "nothing_asked")
        reply = {"step": "release", "approved": True, "comment": "fine"}
        for _ in range(2):
            answered = await client.post(f"{address}/answers", json=reply, headers={"idempotency-key": "answer-1"})
            assert (answered.status_code, answered.json()["status"]) == (200, "queued")
        assert code_of(await client.post(f"{address}/answers", json=reply)) == "nothing_asked"
        (again,) = await _claim(client)
        assert again["attempts"] == 1
        *_, line = (await client.get(f"{address}/steps")).json()["items"]
        assert (line["name"], line["kind"], line["state"]) == ("release", "approval", "done")
        assert line["output"] == {"approved": True, "by": "demo", "comment": "fine"}
        assert (await client.get("/v1/work/questions")).json() == {"items": [], "next_cursor": None}


async def test_an_agent_does_not_answer_what_people_are_asked(db: Database) -> None:
    async with db.write() as tx:
        agent = (await identity.create_key(tx, "a", kind="agent", by="test")).secret
    async with serving(db, HttpSettings()) as client:
        client.headers["authorization"] = f"Bearer {agent}"
        address, fence = await _attempt(client)
        await _post(client, f"{address}/park", fence=fence, kind="approval", step="s", question="May I?")
        refused = await client.post(f"{address}/answers", json={"step": "s", "approved": True})
        assert (refused.status_code, code_of(refused)) == (403, "people_only")


async def test_questions_come_in_pages(db: Database) -> None:
    async with serving(db) as client:
        for n in range(5):
            address, fence = await _attempt(client)
            await _post(client, f"{address}/park", fence=fence, kind="approval", step="s", question={"n": n})
        seen: list[int] = []
        cursor = None
        while True:
            params: _JSON = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/v1/work/questions", params=params)).json()
            seen += [one["question"]["n"] for one in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("path", ["/v1/events", "/agent-events"])
async def test_a_task_that_waits_for_an_event_goes_on_when_it_is_left(db: Database, path: str) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        wait = {"kind": "event", "step": "paid", "event_type": "paid", "match": {"invoice": 7}}
        parked = await _post(client, f"{address}/park", fence=fence, **wait)
        assert (parked["status"], parked["waiting_for"]) == ("waiting", "event")
        names = ("agent", "type") if path == "/v1/events" else ("agent_name", "event_type")
        for invoice, status in ((6, "waiting"), (7, "queued")):
            payload = {"invoice": invoice, "amount": 1.5}
            await _post(client, path, **{names[0]: "bank", names[1]: "paid", "payload": payload})
            assert (await client.get(address)).json()["status"] == status
        (again,) = await _claim(client)
        *_, line = (await client.get(f"{address}/steps")).json()["items"]
        assert (line["kind"], line["output"]["payload"]) == ("event", {"invoice": 7, "amount": 1.5})
        # One that is there already is not waited for.
        wait["step"] = "paid again"
        assert (await _post(client, f"{address}/park", fence=again["fence"], **wait))["status"] == "queued"


@pytest.mark.parametrize(
    "wait",
    [
        {"kind": "event", "step": "s"},
        {"kind": "sleep", "step": "s"},
        {"kind": "approval", "step": "s", "event_type": "t", "question": "q"},
    ],
)
async def test_a_wait_that_makes_no_sense_is_refused_and_the_attempt_goes_on(db: Database, wait: _JSON) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        refused = await client.post(f"{address}/park", json={"fence": fence} | wait)
        assert (refused.status_code, code_of(refused)) == (422, "wait_malformed")
        assert (await client.get(address)).json()["status"] == "running"


async def test_a_step_that_is_done_cannot_be_waited_for(db: Database) -> None:
    async with serving(db) as client:
        address, fence = await _attempt(client)
        await _post(client, f"{address}/steps", fence=fence, name="s", output=1)
        refused = await client.post(f"{address}/park", json={"fence": fence, "kind": "sleep", "step": "s", "in_s": 0})
        assert (refused.status_code, code_of(refused)) == (409, "already_exists")
        assert (await client.get(address)).json()["status"] == "running"


@pytest.mark.parametrize(("kind", "name"), [("agent", "a"), ("type", "t")])
async def test_what_is_paused_is_not_claimed_and_what_is_limited_not_more_often(db: Database, kind: str, name: str) -> None:
    async with serving(db) as client:
        for _ in range(4):
            await _create(client)
        address = f"/v1/work/brakes/{kind}/{name}"
        for _ in range(2):
            paused = (await client.patch(address, json={"paused": True})).json()
        assert (paused["paused"], paused["paused_by"], paused["max_running"]) == (True, "demo", None)
        assert await _claim(client, limit=4) == []
        assert (await client.get("/v1/work/queues")).json()["items"][0]["paused"] is True
        limited = (await client.patch(address, json={"paused": False, "max_running": 2})).json()
        assert (limited["paused"], limited["paused_at"], limited["max_running"]) == (False, None, 2)
        assert (await client.get("/v1/work/brakes")).json()["items"] == [limited]
        claimed = await _claim(client, limit=4)
        assert len(claimed) == 2
        assert (await client.patch(address, json={})).json() == limited
        await client.patch(address, json={"max_running": None})
        assert len(await _claim(client, limit=4)) == 2
        assert (await client.get("/v1/work/brakes")).json() == {"items": []}


async def test_queues_tell_their_depth_age_and_rates(db: Database) -> None:
    async with serving(db) as client:
        for _ in range(5):
            await _create(client)
        first, second, third = await _claim(client, limit=3)
        await _post(client, f"/v1/tasks/{first['id']}/finish", fence=first["fence"])
        await _post(client, f"/v1/tasks/{second['id']}/finish", fence=second["fence"], state="failed", error="e")
        await _post(client, f"/v1/tasks/{third['id']}/fail", fence=third["fence"], error="e", retry_in_s=3600)
        await _claim(client)
        (queue,) = (await client.get("/v1/work/queues", params={"window_s": 10})).json()["items"]
        assert queue["oldest_s"] >= 0
        assert queue | {"oldest_s": None} == {
            "agent": "a", "type": "t", "queued": 1, "waiting": 1, "running": 1, "dead": 0, "oldest_s": None, "done": 1,
            "failed": 1, "retried": 1, "done_per_s": 0.1, "paused": False,
        }  # fmt: skip


async def test_the_task_of_a_queued_transfer_is_not_cancelled_from_outside(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        body = {"from_account": "ALICE", "to_account": "BOB", "amount": _MONEY, "settle": "queued"}
        await client.post("/v1/transfers", json=body)
        (task,) = (await client.get("/v1/tasks")).json()["items"]
        refused = await client.post(f"/v1/tasks/{task['id']}/cancel", json={})
        assert (refused.status_code, code_of(refused)) == (403, "reserved_agent")


async def test_a_report_by_the_guide_holds_once_and_never_against_a_worker(db: Database) -> None:
    async with serving(db) as client:
        task = await _create(client)
        report = {"event": "completed", "result": {"x": 1.50}}
        for _ in range(2):
            assert await _post(client, f"/tasks/{task['id']}/events", **report) == {"ok": True}
        for other in (report | {"result": {"x": 2}}, {"event": "failed", "error": "e"}):
            refused = await client.post(f"/tasks/{task['id']}/events", json=other)
            assert (refused.status_code, code_of(refused)) == (409, "task_already_finished")
        address, fence = await _attempt(client)
        reported = address.replace("/v1", "") + "/events"
        running = await client.post(reported, json=report)
        assert (running.status_code, code_of(running)) == (409, "task_is_running")
        await _post(client, f"{address}/park", fence=fence, kind="sleep", step="s", in_s=3600)
        waiting = await client.post(reported, json=report)
        assert (waiting.status_code, code_of(waiting)) == (409, "task_is_waiting")
        assert (await client.get(address)).json()["status"] == "waiting"


async def test_a_worker_holds_all_that_it_claims_by_one_lease(db: Database) -> None:
    async with serving(db) as client:
        for _ in range(3):
            await _create(client)
        worker = (await _post(client, "/v1/workers", lease_s=60))["id"]
        claimed = await _claim(client, limit=3, worker_id=worker)
        await _post(client, f"/v1/tasks/{claimed[0]['id']}/finish", fence=claimed[0]["fence"])
        held = await _post(client, f"/v1/workers/{worker}/heartbeat", lease_s=60)
        assert held == {"attempts": [{"id": one["id"], "fence": one["fence"]} for one in claimed[1:]]}
        for returned in (2, 0):
            left = await client.post(f"/v1/workers/{worker}/leave")
            assert left.json() == {"returned": returned}
        assert [(await client.get(f"/v1/tasks/{one['id']}")).json()["status"] for one in claimed] == [
            "done", "queued", "queued",
        ]  # fmt: skip
        for path, body in (
            (f"/v1/workers/{worker}/heartbeat", {}),
            ("/v1/tasks/claim", {"agents": ["a"], "worker_id": worker}),
        ):
            gone = await client.post(path, json=body)
            assert (gone.status_code, code_of(gone)) == (409, "lease_lost")


async def test_the_lease_of_a_worker_is_its_own(db: Database) -> None:
    async with db.write() as tx:
        mine, theirs = [(await identity.create_key(tx, name, by="test")).secret for name in ("one", "two")]
    async with serving(db, HttpSettings()) as client:
        client.headers["authorization"] = f"Bearer {mine}"
        worker = (await _post(client, "/v1/workers"))["id"]
        await _create(client)
        client.headers["authorization"] = f"Bearer {theirs}"
        for path, body in (
            (f"/v1/workers/{worker}/heartbeat", {}),
            (f"/v1/workers/{worker}/leave", None),
            ("/v1/tasks/claim", {"agents": ["a"], "worker_id": worker}),
        ):
            refused = await client.post(path, json=body)
            assert (refused.status_code, code_of(refused)) == (409, "lease_lost"), path


async def test_a_claim_of_queues_takes_of_each_agent_what_is_named_for_it(db: Database) -> None:
    async with serving(db) as client:
        for agent in "ab":
            for type in "xy":
                await _create(client, agent=agent, type=type)
        queues = [{"agent": "b", "types": ["y"]}, {"agent": "a", "types": ["x"]}]
        claimed = (await client.post("/v1/tasks/claim", json={"queues": queues, "limit": 9})).json()["items"]
        assert [(one["agent"], one["type"]) for one in claimed] == [("b", "y"), ("a", "x")]
        for body in ({}, {"queues": queues, "agents": ["a"]}, {"queues": queues, "types": ["x"]}):
            refused = await client.post("/v1/tasks/claim", json=body)
            assert (refused.status_code, code_of(refused)) == (422, "validation_failed")
        reserved = await client.post("/v1/tasks/claim", json={"queues": [{"agent": "settlement-agent", "types": ["t"]}]})
        assert (reserved.status_code, code_of(reserved)) == (403, "reserved_agent")
