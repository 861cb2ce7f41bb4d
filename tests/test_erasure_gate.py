"""Erasure is an action: policy decides, people agree, and the erasure demands the decision for exactly this subject."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import actions, audit, cases, customers, identity, policy, subjects
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.identity import Principal, house
from tests.command_line import command
from tests.conftest import TestDatabase
from tests.erasing import NAME, Markers, add_customer, dump_all, keep_nothing, marks_left, owner
from tests.permitted import strict
from tests.serving import body_of, code_of, serving

__all__ = ["owner"]

JSON = dict[str, Any]
ALLOWED = {"id": "allowed", "allow": True}
BY_TWO = {
    "id": "by-two", "when": {"action": "subject.*"}, "hold": True, "approve": [{"role": "approver", "people": 2}],
    "expires": "7d",
}  # fmt: skip
EVA, JAN = (Principal(name, "person", frozenset({"approver"})) for name in ("eva", "jan"))
Owner = psycopg.Connection[Any]


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [*rules, ALLOWED]}, by="test")


async def _vote(db: Database, approval_id: str, *people: Principal, said: Any = "approve") -> str:
    async def work(tx: Any, by: Principal) -> Any:
        action = await actions.approval_action(tx, int(approval_id))
        return await actions.vote(tx, int(approval_id), by, said, seen=action.digest, reason="asked for")

    for person in people:
        became = await strict(db).retrying(lambda tx, person=person: work(tx, person))  # type: ignore[misc]
    return str(became.status)


async def _ask(client: httpx.AsyncClient, name: str = NAME, key: str = "k", **body: Any) -> httpx.Response:
    sent = {"reason": "request-7", **body}
    return await client.post(f"/v1/customers/{name}/erasure", json=sent, headers={"Idempotency-Key": key})


async def _plain(db: Database, owner: Owner, name: str = NAME) -> int:
    """A customer of whom little is known; nothing but the question about them is kept for years."""
    async with db.write() as tx:
        (found,) = await customers.add(tx, [customers.NewCustomer(name, "Jana Nova")], by="me")
    owner.execute("update audit.retention set keep_months = 0 where kind = 'customer'")
    return found.id


def _events(owner: Owner, verb: str) -> list[Any]:
    return owner.execute(
        "select principal, subject_id, decision_id is not null from audit.event where verb = %s order by id", (verb,)
    ).fetchall()


async def test_two_people_agree_and_nothing_of_the_customer_is_left_not_even_in_the_question(
    db: Database, owner: Owner
) -> None:
    marks = Markers()
    known = await add_customer(db, NAME, marks)
    keep_nothing(owner)
    await _rules(db, BY_TWO)
    async with serving(db) as client:
        number = body_of(await client.get(f"/v1/customers/{NAME}"))["number"]
        assert number == str(known["customer"])
        assert body_of(await client.get(f"/v1/customers?number={number}"))["items"][0]["id"] == NAME
        asked = await _ask(client)
        held = body_of(asked)
        assert (asked.status_code, held["status"], held["reasons"][0]["rule"]) == (202, "held", "by-two")
        question = body_of(await client.get(f"/v1/approvals/{held['approval_id']}"))
        assert question["shown"]["payload"] == {"subject": number, "reason": "request-7", "most_rows": 100_000}
        assert question["shown"]["facts"]["legal_holds"] == 0
        assert await _vote(db, held["approval_id"], EVA) == "open"
        assert marks_left(owner, marks) == marks.made
        assert await _vote(db, held["approval_id"], JAN) == "consumed"
        action = body_of(await client.get(f"/v1/actions/{held['action_id']}"))
        # Who asks again finds the question as it was put, or nobody of that name.
        assert code_of(await _ask(client)) == "unknown_customer"
    assert action["status"] == "executed"
    assert action["result"]["rows"]["cases.case"] == 2
    assert marks_left(owner, marks) == []
    named = {table for table, rows in dump_all(owner).items() if NAME.encode() in rows}
    assert not named & {"policy.decision", "actions.action", "approvals.shown", "approvals.approval", "audit.event"}
    assert _events(owner, "subjects.erase") == [("demo", known["customer"], True)]
    assert _events(owner, "subjects.erase_ungated") == []
    async with db.read() as tx:
        assert (await policy.replay(tx)).differing == 0


async def test_attempts_that_came_to_nothing_do_not_stand_in_the_way_of_the_next(db: Database, owner: Owner) -> None:
    """Rejected, denied, refused under a legal hold: each left a decision that is kept for five years, and names nobody."""
    number = await _plain(db, owner)
    async with serving(db) as client:
        await _rules(db, BY_TWO)
        held = body_of(await _ask(client, key="rejected"))
        assert await _vote(db, held["approval_id"], EVA, said="reject") == "rejected"
        async with db.write() as tx:
            hold = await subjects.place_hold(tx, "cli:eva", NAME, reason="court/12")
        held = body_of(await _ask(client, key="held"))
        shown = body_of(await client.get(f"/v1/approvals/{held['approval_id']}"))["shown"]
        assert shown["facts"]["legal_holds"] == 1
        assert await _vote(db, held["approval_id"], EVA, JAN) == "consumed"
        action = body_of(await client.get(f"/v1/actions/{held['action_id']}"))
        assert (action["status"], action["reason"]) == ("failed", "legal_hold")
        await _rules(db, {"id": "never", "when": {"action": "subject.erase"}, "deny": True})
        assert (await _ask(client, key="denied")).status_code == 403
        await _rules(db)
        refused = await _ask(client, key="refused")
        told = body_of(refused)
        assert (refused.status_code, told["status"], told["reason"], told["result"]) == (201, "failed", "legal_hold", None)
        assert (await _ask(client, key="refused")).json() == refused.json()
        async with db.write() as tx:
            await subjects.lift_hold(tx, "cli:eva", hold.id)
        done = body_of(await _ask(client, key="done"))
        assert (done["status"], done["result"]["rows"]) == ("executed", {"customers.customer": 1})
    assert _events(owner, "subjects.erase_refused") == [("demo", number, True)] * 2
    async with db.read() as tx:
        told_of = await audit.latest(tx, subject_kind="customer", subject_id=number, verb="subjects.erase_refused")
    assert told_of is not None
    assert told_of.detail["code"] == "legal_hold"


@pytest.mark.parametrize("speaks", ["retention_period", "too_many_rows", "subject_in_use"])
async def test_what_speaks_against_it_is_the_answer_and_on_the_record(db: Database, owner: Owner, speaks: str) -> None:
    number = await _plain(db, owner)
    if speaks == "retention_period":
        owner.execute("update audit.retention set keep_months = 12")
    else:
        async with db.write() as tx:
            await cases.open_event(tx, "me", customer=NAME, type="call", payload_text="")
    async with serving(db) as client:
        made = body_of(await _ask(client, most_rows=1 if speaks == "too_many_rows" else 10))
        assert (made["status"], made["reason"]) == ("failed", speaks)
    assert _events(owner, "subjects.erase_refused") == [("demo", number, True)]
    assert owner.execute("select full_name from customers.customer").fetchall() == [("Jana Nova",)]


async def test_one_who_is_known_by_cases_alone_is_meant_by_a_case(db: Database, owner: Owner) -> None:
    keep_nothing(owner)
    async with db.write() as tx:
        case = await cases.open_request(tx, "me", customer="NEW-1", type="loan", payload={"of": "NEW-1"})
        await cases.record_result(tx, "me", case.id, {"client": "NEW-1"})
    async with serving(db) as client:
        done = body_of(await _ask(client, "NEW-1"))
        assert (done["payload"]["subject"], done["status"]) == (f"case {case.id}", "executed")
        assert code_of(await _ask(client, "NOBODY")) == "unknown_customer"
    assert not [table for table, rows in dump_all(owner).items() if b"NEW-1" in rows and not table.startswith("pg_catalog")]


async def test_by_its_type_it_is_the_same_action(db: Database, owner: Owner) -> None:
    number = await _plain(db, owner)
    async with serving(db, keyed=True) as client:
        for payload, code in (
            ({"subject": str(number), "reason": "Mrs Nova asked"}, "reason_malformed"),
            ({"subject": NAME, "reason": "r"}, "subject_malformed"),
            ({"subject": "case", "reason": "r"}, "subject_malformed"),
            ({"subject": "0", "reason": "r"}, "subject_malformed"),
            ({"subject": "9" * 18, "reason": "r"}, "unknown_customer"),
            ({"subject": "case 9", "reason": "r"}, "unknown_customer"),
            ({"subject": str(number), "reason": "r", "most_rows": 0}, "limit_out_of_range"),
            ({"subject": str(number)}, "payload_malformed"),
        ):
            refused = await client.post("/v1/actions", json={"type": "subject.erase", "payload": payload})
            assert code_of(refused) == code, payload
        good = {"type": "subject.erase", "payload": {"subject": str(number), "reason": "r"}}
        done = await client.post("/v1/actions", json=good)
        assert (done.status_code, done.json()["status"]) == (201, "executed")
        again = (await client.post("/v1/actions", json=good)).json()
        assert (again["status"], again["reason"]) == ("failed", "already_erased")


async def test_a_narrow_reach_erases_nobody_else(db: Database, owner: Owner) -> None:
    mine, theirs = await _plain(db, owner), await _plain(db, owner, "C-THEIRS")
    async with db.write() as tx:
        case = await cases.open_event(tx, "me", customer="NEW-1", type="call", payload_text="")
        await identity.add_principal(tx, "clerk", kind="person", by="t", roles=("operator",))
        await identity.set_reach(tx, "clerk", accounts=None, customers=[mine], by="t")
        secret = (await identity.create_key(tx, "clerk", by="t")).secret
    async with serving(db, HttpSettings(key_cache_s=0), keyed=True) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        for name in ("C-THEIRS", "NEW-1", "NOBODY"):
            assert code_of(await _ask(client, name, name)) == "unknown_customer", name
        for subject in (str(theirs), f"case {case.id}", "999"):
            body = {"type": "subject.erase", "payload": {"subject": subject, "reason": "r"}}
            assert code_of(await client.post("/v1/actions", json=body)) == "unknown_customer", subject
        assert (await _ask(client)).json()["status"] == "executed"
    assert owner.execute("select full_name from customers.customer order by id").fetchall() == [(None,), ("Jana Nova",)]


async def _decision(db: Database, **other: Any) -> int:
    """A decision that allows to erase, kept as the gate keeps it."""
    facts = {"subject": "1", "reason": "r", "most_rows": 10} | other.pop("facts", {})
    about = {"principal": "me", "action": "subject.erase", "outcome": "allow"} | other
    verdict = f'{{"outcome":"{about["outcome"]}","reasons":[]}}'
    new = policy.NewDecision(
        about["principal"], None, about["action"], bytes(32), "0" * 64, policy.facts_text(facts), verdict, about["outcome"]
    )
    async with db.write() as tx:
        (decision_id,) = await policy.keep(tx, [new])
    return decision_id


async def test_the_database_erases_under_a_decision_for_exactly_this_and_once(
    db: Database, database: TestDatabase, owner: Owner
) -> None:
    number = await _plain(db, owner)
    assert number == 1
    erase = "select code from audit.erase_decided(%s, '1', 'me', 'r', 10)"
    wrong: list[JSON] = [
        {"outcome": "deny"}, {"outcome": "hold"}, {"action": "customer.change"}, {"principal": "other"},
        {"facts": {"subject": "2"}}, {"facts": {"subject": "11"}}, {"facts": {"reason": "s"}}, {"facts": {"most_rows": 11}},
    ]  # fmt: skip
    ids = [await _decision(db, **one) for one in wrong]
    used, good = await _decision(db), await _decision(db)
    with psycopg.connect(database.app_url, autocommit=True) as app:
        for decision, about in zip([*ids, 999], [*wrong, "none"], strict=True):
            with pytest.raises(psycopg.Error) as caught:
                app.execute(erase, (decision,))
            assert caught.value.sqlstate == "TS008", about
        app.execute("select policy.consume(array[%s::bigint])", (used,))
        with pytest.raises(psycopg.Error) as caught:
            app.execute(erase, (used,))
        assert caught.value.sqlstate == "TS009"
        assert owner.execute("select full_name from customers.customer").fetchall() == [("Jana Nova",)]
        assert app.execute(erase, (good,)).fetchall() == [("erased",)]
        with pytest.raises(psycopg.Error) as caught:
            app.execute(erase, (good,))
        assert caught.value.sqlstate == "TS009"


async def test_an_agent_does_not_propose_it(db: Database, owner: Owner) -> None:
    await _plain(db, owner)
    by = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    with pytest.raises(Exception, match="role_missing"):
        await actions.perform(strict(db), by, subjects.EraseSubject("1", "r"))


async def test_the_default_policies_ask_two_people(db: Database, owner: Owner) -> None:
    await _plain(db, owner)
    async with db.write() as tx:
        await policy.apply(tx, policy.parse(policy.packaged_text("default")).document, by="test")
    outcome = await actions.perform(strict(db), house("cli:anna"), subjects.EraseSubject("1", "r"))
    assert isinstance(outcome, actions.Held)
    async with db.read() as tx:
        found = await actions.approval_action(tx, outcome.approval_id)
        verdict = json.loads((await policy.decision(tx, found.decision_id)).verdict)
    assert verdict["approve"] == [{"people": 2, "role": "approver"}]


async def _said(database: TestDatabase, *arguments: str) -> Any:
    return await asyncio.to_thread(command, database, *arguments)


async def test_the_command_asks_people_and_says_whom_it_waits_for(db: Database, database: TestDatabase, owner: Owner) -> None:
    await _plain(db, owner)
    await _rules(db, BY_TWO)
    held = json.loads((await _said(database, "erase", NAME, "--reason", "gdpr/3", "--as", "anna", "--yes")).stdout)
    assert held["held"] is True
    assert await _vote(db, held["approval"], EVA, JAN) == "consumed"
    assert _events(owner, "subjects.erase") == [("cli:anna", 1, True)]
    denied = {"id": "never", "when": {"action": "subject.erase"}, "deny": True}
    await _plain(db, owner, "C-2")
    await _rules(db, denied)
    refused = await _said(database, "erase", "C-2", "--reason", "gdpr/3", "--yes")
    assert (refused.exit_code, "[denied]" in refused.stderr) == (1, True)


async def test_without_the_gate_the_owner_erases_and_the_record_says_that_nobody_was_asked(
    db: Database, database: TestDatabase, owner: Owner
) -> None:
    await _plain(db, owner)
    await _rules(db, {"id": "never", "deny": True})
    asked = ("erase", NAME, "--reason", "gdpr/3", "--as", "anna", "--yes")
    assert (await _said(database, *asked)).exit_code == 1
    done = json.loads((await _said(database, *asked, "--without-gate")).stdout)
    assert done["erased"] == {"customers.customer": 1}
    assert _events(owner, "subjects.erase") == _events(owner, "subjects.erase_ungated") == [("cli:anna", 1, False)]
