"""The gate: what policy lets pass is done at once, what it holds waits for people, what it denies leaves only its record."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import actions, agents, customers, identity, ledger, memory, policy, sdk, work
from tallystick.actions import TransferPayload
from tallystick.db import Database
from tallystick.identity import Principal, house
from tallystick.kit import Conflict, TallystickError
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import body_of, code_of, fund, serving

JSON = dict[str, Any]
ALLOWED = {"id": "allowed", "allow": True}
ANNA = Principal("anna", "person", frozenset({"approver", "operator"}))
EVA = Principal("eva", "person", frozenset({"approver"}))
JAN = Principal("jan", "person", frozenset({"approver", "admin"}))


def _hold(people: int = 1, **when: Any) -> JSON:
    return {"id": "asks", "when": when, "hold": True, "approve": [{"role": "approver", "people": people}], "expires": "1h"}


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [*rules, ALLOWED]}, by="test")


def _money(amount: str = "10.00", **more: Any) -> JSON:
    return {"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": amount, "currency": "CZK"}, **more}


async def _post(client: httpx.AsyncClient, path: str, body: JSON, key: str | None = None) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())})


async def _posted(db: Database, name: str) -> int:
    async with db.read() as tx:
        return (await ledger.account(tx, name)).posted


@asynccontextmanager
async def _bank(db: Database, *rules: JSON) -> AsyncIterator[httpx.AsyncClient]:
    await fund(db)
    await _rules(db, *rules)
    async with serving(db) as client:
        yield client


async def _vote(db: Database, approval_id: int, by: Principal, said: Any = "approve", seen: bytes | None = None) -> Any:
    async def work(tx: Any) -> Any:
        action = await actions.approval_action(tx, approval_id)
        return await actions.vote(tx, approval_id, by, said, seen=seen or action.digest, reason="because")

    return await strict(db).retrying(work)


async def _transfer(db: Database, transfer_id: str) -> actions.Transfer:
    async with db.read() as tx:
        return await actions.get(tx, int(transfer_id))


async def test_what_policy_allows_is_done_and_says_under_which_decision(db: Database) -> None:
    async with _bank(db) as client:
        made = body_of(await _post(client, "/v1/transfers", _money()))
        assert (made["status"], made["reasons"], made["approval_id"]) == ("posted", [], None)
        async with db.read() as tx:
            decision = await policy.decision(tx, int(made["decision_id"]))
        assert (decision.outcome, decision.action, decision.consumed) == ("allow", "transfer", True)
        assert await _posted(db, "BOB") == 101_000


async def test_what_policy_denies_moves_nothing_and_is_remembered(db: Database) -> None:
    deny = {"id": "never", "when": {"action": "transfer"}, "amount": {"at_most": {"CZK": "5.00"}}, "otherwise": "deny"}
    async with _bank(db, deny) as client:
        first = await _post(client, "/v1/transfers", _money(), "k")
        told = body_of(first)
        assert (first.status_code, told["status"], told["reason"]) == (201, "failed", "denied")
        assert [(one["rule"], one["outcome"], one["limit"]) for one in told["reasons"]] == [
            ("never", "deny", "at most 5.00 CZK"),
            ("allowed", "allow", None),
        ]
        await _rules(db)
        assert body_of(await _post(client, "/v1/transfers", _money(), "k")) == told
        assert await _posted(db, "BOB") == 100_000


async def test_what_policy_holds_waits_for_people_and_is_done_when_they_agree(db: Database) -> None:
    async with _bank(db, _hold(2, action="transfer")) as client:
        asked = await _post(client, "/v1/transfers", _money(), "k")
        held = body_of(asked)
        assert (asked.status_code, held["status"], held["reasons"][0]["rule"]) == (202, "held", "asks")
        approval = int(held["approval_id"])
        assert (await _vote(db, approval, ANNA)).status == "open"
        assert await _posted(db, "BOB") == 100_000
        assert (await _vote(db, approval, EVA)).status == "consumed"
        assert await _posted(db, "BOB") == 101_000
        done = await _transfer(db, held["id"])
        assert (done.status, done.approval_id) == ("posted", approval)
        again = await _post(client, "/v1/transfers", _money(), "k")
        assert (again.status_code, body_of(again)["status"]) == (202, "held")


async def test_the_journal_of_what_people_agreed_to_names_their_approval(db: Database, database: TestDatabase) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        await _vote(db, int(held["approval_id"]), EVA)
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("select approval_id, actor from ledger.journal where kind = 'transfer'").fetchall()
        assert rows == [(int(held["approval_id"]), "demo")]
        verbs = connection.execute(
            "select verb from audit.event where approval_id = %s order by id", (int(held["approval_id"]),)
        ).fetchall()
    assert [verb for (verb,) in verbs] == [
        "approvals.ask", "actions.hold", "approvals.vote", "approvals.consume", "ledger.post", "actions.execute",
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["reject", "withdraw", "expire"])
async def test_what_people_do_not_agree_to_ends_without_moving_anything(
    db: Database, database: TestDatabase, said: str
) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        approval = int(held["approval_id"])
        if said == "reject":
            await _vote(db, approval, EVA, "reject")
        elif said == "withdraw":
            admin = Principal("root", "person", frozenset({"admin"}))
            await strict(db).retrying(lambda tx: actions.withdraw(tx, approval, admin))
        else:
            with psycopg.connect(database.owner_url) as connection:
                hours = "interval '2 hours'"
                connection.execute(
                    f"update approvals.approval set asked_at = asked_at - {hours}, expires_at = expires_at - {hours}".encode()
                )
            await strict(db).retrying(actions.expire_due)
        status = {"reject": "rejected", "withdraw": "withdrawn", "expire": "expired"}[said]
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", status)
        async with db.read() as tx:
            assert [one.status for one in await actions.actions(tx)] == [status]
        assert await _posted(db, "BOB") == 100_000


async def test_policy_is_asked_again_when_people_have_agreed(db: Database) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        await _rules(db, {"id": "closed", "when": {"action": "transfer"}, "deny": True})
        await _vote(db, int(held["approval_id"]), EVA)
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", "denied")
        assert await _posted(db, "BOB") == 100_000


async def test_a_quorum_that_has_grown_is_not_reached_by_the_old_one(db: Database) -> None:
    async with _bank(db, _hold(1, action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        await _rules(db, _hold(2, action="transfer"))
        await _vote(db, int(held["approval_id"]), EVA)
        assert (await _transfer(db, held["id"])).reason == "approval_outgrown"
        assert await _posted(db, "BOB") == 100_000


async def test_money_that_is_gone_by_then_is_a_refusal_of_the_business(db: Database) -> None:
    async with _bank(db, _hold(action="transfer", amount={"at_least": {"CZK": "900.00"}})) as client:
        held = body_of(await _post(client, "/v1/transfers", _money("900.00")))
        assert body_of(await _post(client, "/v1/transfers", _money("500.00")))["status"] == "posted"
        await _vote(db, int(held["approval_id"]), EVA)
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", "insufficient_funds")


@pytest.mark.parametrize(
    "change",
    [
        "payload = jsonb_set(payload, '{amount}', '\"11.00\"')",
        "payload = jsonb_set(payload, '{amount}', '\"10.01\"')",
        "payload = jsonb_set(payload, '{to_account}', '\"BANK\"')",
        "digest = sha256('other')",
        'payload = payload || \'{"description": "x"}\'',
    ],
)
async def test_a_digit_that_was_changed_after_people_were_asked_is_refused_and_recorded(
    db: Database, database: TestDatabase, change: str
) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        async with db.read() as tx:
            seen = (await actions.action(tx, 1)).digest
        with psycopg.connect(database.owner_url) as connection:
            connection.execute(f"update actions.action set {change}".encode())
        await _vote(db, int(held["approval_id"]), EVA, seen=seen)
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", "payload_changed")
        assert await _posted(db, "BOB") == 100_000
    with psycopg.connect(database.owner_url) as connection:
        ends = connection.execute("select leaf from audit.event where verb = 'actions.end'").fetchall()
    assert ["payload_changed" in leaf for (leaf,) in ends] == [True]


@pytest.mark.parametrize("column", ["amount", "to_account", "from_account"])
async def test_a_held_transfer_whose_row_was_changed_is_not_the_one_that_was_agreed_to(
    db: Database, database: TestDatabase, column: str
) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        with psycopg.connect(database.owner_url) as connection:
            value = "amount + 1" if column == "amount" else "(select id from ledger.account where name = 'BANK')"
            connection.execute(f"update actions.transfer set {column} = {value}".encode())
        await _vote(db, int(held["approval_id"]), EVA)
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", "payload_changed")
        assert (await _posted(db, "ALICE"), await _posted(db, "BOB")) == (100_000, 100_000)


async def _maker(db: Database, by: Principal) -> int:
    async def work(tx: Any) -> Any:
        return await actions.propose(tx, by, [actions.NewTransfer("ALICE", "BOB", "10.00")])

    (held,) = await strict(db).retrying(work)
    assert held.status == "held"
    return int(held.approval_id)


async def test_nobody_agrees_to_their_own_by_any_trick(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(action="transfer"))
    agent = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    approval = await _maker(db, agent)
    for voter, code in (
        (ANNA, "maker_is_not_checker"),
        (agent, "agents_never_vote"),
        (Principal("bot", "agent", frozenset({"approver"})), "agents_never_vote"),
        (house("robot"), "only_people_vote"),
        (Principal("max", "person", frozenset({"operator"})), "role_missing"),
    ):
        refused = await _vote(db, approval, voter)
        assert isinstance(refused, TallystickError)
        assert refused.code == code
    own = await _maker(db, ANNA)
    other_key = Principal("anna", "person", frozenset({"approver"}))
    refused = await _vote(db, own, other_key)
    assert isinstance(refused, TallystickError)
    assert refused.code == "maker_is_not_checker"
    assert await _posted(db, "BOB") == 100_000


async def test_who_edits_a_held_action_does_not_agree_to_it_and_votes_before_are_void(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(2, action="payee.add"))
    payload = actions.AddPayee("ALICE", "CZ001", "Carl")
    asked = await actions.perform(strict(db), house("clerk"), payload)
    assert isinstance(asked, actions.Held)
    await _vote(db, asked.approval_id, EVA)
    editor = Principal("anna", "person", frozenset({"operator", "approver"}))
    new = {"account": "ALICE", "payee": "CZ002", "name": "Carla"}
    amended = await strict(db).retrying(lambda tx: actions.amend(tx, asked.action_id, editor, new))
    assert amended.payload["payee"] == "CZ002"
    refused = await _vote(db, asked.approval_id, editor)
    assert isinstance(refused, TallystickError)
    assert refused.code == "maker_is_not_checker"
    assert (await _vote(db, asked.approval_id, JAN)).status == "open"
    assert (await _vote(db, asked.approval_id, EVA)).status == "consumed"
    async with db.read() as tx:
        assert (await actions.action(tx, asked.action_id)).status == "executed"


async def test_the_books_post_nothing_without_a_decision_that_was_not_used(db: Database, database: TestDatabase) -> None:
    await fund(db)
    plain = strict(db)
    async with db.read() as tx:
        alice, bob = [(await ledger.account(tx, name)).id for name in ("ALICE", "BOB")]
    journal = ledger.Journal("test", ledger.transfer(debit=alice, credit=bob, amount=1), "x")

    async def post(decision: int | None) -> None:
        async with plain.write() as tx:
            tx.decision = decision
            await ledger.post(tx, [journal])

    with pytest.raises(Conflict, match="decision_needed"):
        await post(None)
    with pytest.raises(Conflict, match="decision_needed"):
        await post(10**9)
    await _rules(db, {"id": "never", "when": {"action": "payee.add"}, "deny": True})
    denied = await actions.perform(plain, house("clerk"), actions.AddPayee("ALICE", "CZ001"))
    assert isinstance(denied, actions.Denied)
    with pytest.raises(Conflict, match="decision_needed"):
        await post(denied.decision_id)
    async with db.write() as tx:
        (paid,) = await actions.propose(tx, house("clerk"), [actions.NewTransfer("ALICE", "BOB", "1.00")])
        assert isinstance(paid, actions.Transfer)
        assert paid.status == "posted"
    with psycopg.connect(database.owner_url) as connection:
        (later,) = connection.execute("select min(decision_id) from policy.consumption").fetchone() or (0,)
    for used in (later, paid.decision_id):
        with pytest.raises(Conflict, match="decision_consumed"):
            await post(used)
    assert await _posted(db, "BOB") == 100_100


async def test_one_free_approval_is_used_once_by_sixty_four_who_want_it(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(action="transfer"))
    approval = await _maker(db, house("clerk"))
    people = [Principal(f"p{number}", "person", frozenset({"approver"})) for number in range(64)]
    said = await asyncio.gather(*(_vote(db, approval, one) for one in people))
    assert sum(1 for one in said if not isinstance(one, TallystickError)) == 1
    assert {one.code for one in said if isinstance(one, TallystickError)} == {"approval_closed"}
    assert await _posted(db, "BOB") == 101_000


@pytest.mark.parametrize("per", ["account", "principal", "agent+counterparty"])
async def test_sixty_four_who_race_for_a_limit_never_pass_it_by_one(db: Database, per: str) -> None:
    await fund(db)
    limit = {"sum": {"at_most": {"CZK": "100.00"}}, "per": per, "over": "24h"}
    await _rules(db, {"id": "sum", "when": {"action": "transfer"}, "window": limit, "otherwise": "deny"})
    agent = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    plain = strict(db)

    async def one(number: int) -> str:
        new = [actions.NewTransfer("ALICE", "BOB", "7.00", key=f"k{number}"), actions.NewTransfer("ALICE", "BOB", "2.00")]
        answers = await plain.retrying(lambda tx: actions.propose(tx, agent, new))
        return " ".join(str(answer.status) for answer in answers if isinstance(answer, actions.Transfer))

    await asyncio.gather(*(one(number) for number in range(64)))
    moved = await _posted(db, "BOB") - 100_000
    assert 9_900 <= moved <= 10_000


async def test_a_batch_counts_against_its_own_limits_in_order(db: Database) -> None:
    await fund(db)
    limit = {"count": {"at_most": 3}, "per": "account", "over": "1h"}
    await _rules(db, {"id": "count", "when": {"action": "transfer"}, "window": limit, "otherwise": "deny"})
    new = [actions.NewTransfer("ALICE", "BOB", "1.00") for _ in range(5)]
    answers = await strict(db).retrying(lambda tx: actions.propose(tx, house("clerk"), new))
    assert [answer.status for answer in answers if isinstance(answer, actions.Transfer)] == ["posted"] * 3 + ["failed"] * 2


async def test_a_payee_is_new_until_it_was_paid_once(db: Database) -> None:
    await fund(db)
    await _rules(db, {"id": "new", "when": {"action": "transfer"}, "payee": {}})
    plain = strict(db)
    new = [actions.NewTransfer("ALICE", "BOB", "1.00")]
    (held,) = await plain.retrying(lambda tx: actions.propose(tx, house("clerk"), new))
    assert isinstance(held, actions.Transfer)
    assert held.status == "held"
    await _vote(db, int(held.approval_id or 0), EVA)
    (known,) = await plain.retrying(lambda tx: actions.propose(tx, house("clerk"), new))
    assert isinstance(known, actions.Transfer)
    assert known.status == "posted"


async def test_broken_glass_takes_the_place_of_the_quorum_and_of_no_denial(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(5, action="transfer"))
    approval = await _maker(db, house("clerk"))
    async with db.read() as tx:
        seen = (await actions.approval_action(tx, approval)).digest
    for person in (EVA, JAN):
        await strict(db).retrying(
            lambda tx, person=person: actions.break_glass(tx, approval, person, seen=seen, reason="fire")  # type: ignore[misc]
        )
    assert await _posted(db, "BOB") == 101_000


async def test_each_type_says_what_its_payload_holds_and_what_is_unknown_is_refused(db: Database) -> None:
    async with _bank(db) as client:
        kinds = {one["name"]: one for one in body_of(await client.get("/v1/action-types"))["items"]}
        assert {"transfer", "journal.post", "payment.send", "customer.change", "account.limit"} <= set(kinds)
        assert kinds["payee.add"]["payload"]["required"] == ["account", "payee"]
        for body, code in (
            ({"type": "nothing", "payload": {}}, "unknown_action_type"),
            ({"type": "payee.add", "payload": {"account": "ALICE"}}, "payload_malformed"),
            ({"type": "payee.add", "payload": {"account": "ALICE", "payee": "x", "z": 1}}, "payload_malformed"),
            ({"type": "transfer", "payload": {}}, "type_not_proposable"),
        ):
            assert code_of(await _post(client, "/v1/actions", body)) == code


async def test_an_action_is_proposed_by_its_name_once_under_its_key(db: Database) -> None:
    body = {"type": "payee.add", "payload": {"account": "ALICE", "payee": "CZ001", "name": "Carl"}}
    async with _bank(db) as client:
        first = await _post(client, "/v1/actions", body, "k")
        assert (first.status_code, body_of(first)["status"]) == (201, "executed")
        assert body_of(await _post(client, "/v1/actions", body, "k")) == body_of(first)
        assert (
            code_of(await _post(client, "/v1/actions", {**body, "payload": {"account": "BOB", "payee": "y"}}, "k"))
            == "key_reused"
        )
        assert len(body_of(await client.get("/v1/actions"))["items"]) == 1


@dataclass(frozen=True, slots=True)
class Greeting:
    """The payload of a type that no room knows."""

    name: str


async def test_a_plug_in_adds_a_type_from_outside_the_package(db: Database) -> None:
    await fund(db)
    done: list[str] = []

    async def facts(_: Any, payload: Greeting) -> JSON:
        return {"name": payload.name}

    async def run(_: Any, by: Principal, payload: Greeting) -> str:
        done.append(f"{by.name} greets {payload.name}")
        return payload.name

    if "greeting" not in actions.names():
        actions.register(actions.ActionType("greeting", Greeting, facts, run, lambda name: {"greeted": name}))
    await _rules(db, {"id": "not-him", "when": {"action": "greeting", "name": "Bob"}, "deny": True})
    greeted: object = await actions.perform(strict(db), house("clerk"), Greeting("Alice"))
    assert greeted == "Alice"
    assert isinstance(await actions.perform(strict(db), house("clerk"), Greeting("Bob")), actions.Denied)
    assert done == ["clerk greets Alice"]


async def test_what_is_out_of_reach_is_as_if_it_were_not_there(db: Database) -> None:
    await fund(db)
    agent = Principal("bot", "agent", frozenset({"agent"}), owner="anna", accounts=frozenset({"BOB"}))
    (refused,) = await strict(db).retrying(lambda tx: actions.propose(tx, agent, [actions.NewTransfer("ALICE", "BOB", "1.00")]))
    assert isinstance(refused, TallystickError)
    assert refused.code == "unknown_account"
    with pytest.raises(TallystickError, match="unknown_account"):
        await actions.perform(strict(db), agent, actions.AddPayee("ALICE", "CZ1"))


def test_a_payload_is_read_as_it_was_written() -> None:
    kind = actions.named("transfer")
    payload = TransferPayload("A", "B", "1.00", "CZK", description="rent")
    assert kind.read(kind.write(payload)) == payload


@pytest.mark.parametrize("gone", ["disabled", "revoked", "narrowed"])
async def test_who_may_do_nothing_any_more_gets_nothing_done_by_people_who_agree(db: Database, gone: str) -> None:
    await fund(db)
    await _rules(db, _hold(action="payee.add"))
    async with db.write() as tx:
        await identity.add_principal(tx, "owner", kind="person", roles=["operator"], by="test")
        await identity.add_principal(tx, "bot", kind="agent", owner="owner", by="test")
        await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=None, by="test")
        until = datetime.now(UTC) + timedelta(hours=1)
        new = identity.NewMandate(agent="bot", person="owner", operations=("*",), until=until)
        mandate = await identity.grant_mandate(tx, new, by="test")
        bot = await identity.acting(tx, "bot", mandate_id=mandate.id)
    assert bot is not None
    held = await actions.perform(strict(db), bot, actions.AddPayee("ALICE", "CZ001"))
    assert isinstance(held, actions.Held)
    async with db.write() as tx:
        if gone == "disabled":
            await identity.disable(tx, "bot", by="test")
        elif gone == "revoked":
            await identity.revoke_mandate(tx, mandate.id, by="test")
        else:
            await identity.set_reach(tx, "bot", accounts=["BOB"], customers=None, by="test")
    await _vote(db, held.approval_id, EVA)
    async with db.read() as tx:
        ended = await actions.action(tx, held.action_id)
    assert (ended.status, ended.reason) == ("failed", "unknown_account" if gone == "narrowed" else "authority_gone")


async def test_what_a_task_proposes_waits_for_people_and_is_done_when_it_runs_again(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(action="transfer"))
    plain = strict(db)
    bot = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    effects = sdk.Completion(
        (sdk.Transfer("ALICE", "BOB", Decimal("10.00"), "CZK"), sdk.Publish("done", {"n": 1})), {"ok": True}
    )

    async def run() -> str:
        async with plain.write() as tx:
            (claimed,) = await work.claim(tx, agents=["bot"], worker="w", limit=1)
        fence = work.Fence(claimed.task_id, claimed.fence)
        async with plain.write() as tx:
            await agents.carry_out(tx, by=bot, worker="w", agent="bot", attempt=fence, completion=effects)
        async with plain.read() as rx:
            return (await work.get(rx, claimed.task_id)).status

    async with plain.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("bot", "t", {})])
    assert await run() == "waiting"
    async with plain.read() as rx:
        (action,) = await actions.actions(rx)
        assert await memory.recent(rx, "bot", 10) == []
    assert (action.status, await _posted(db, "BOB")) == ("held", 100_000)
    await _vote(db, int(action.approval_id or 0), EVA)
    assert await _posted(db, "BOB") == 100_000
    assert await run() == "done"
    assert await _posted(db, "BOB") == 101_000
    async with plain.read() as rx:
        assert (await actions.action(rx, action.id)).status == "executed"
        assert len(await memory.recent(rx, "bot", 10)) == 1


async def test_what_people_reject_of_a_task_s_effects_is_a_refusal_that_it_sees(db: Database) -> None:
    await fund(db)
    await _rules(db, _hold(action="transfer"))
    plain = strict(db)
    bot = Principal("bot", "agent", frozenset({"agent"}), owner="anna")
    effects = sdk.Completion((sdk.Transfer("ALICE", "BOB", Decimal("10.00"), "CZK"),), None)

    async def run() -> None:
        async with plain.write() as tx:
            (claimed,) = await work.claim(tx, agents=["bot"], worker="w", limit=1)
        fence = work.Fence(claimed.task_id, claimed.fence)
        async with plain.write() as tx:
            await agents.carry_out(tx, by=bot, worker="w", agent="bot", attempt=fence, completion=effects)

    async with plain.write() as tx:
        await work.enqueue(tx, "me", [work.NewTask("bot", "t", {})])
    await run()
    async with plain.read() as rx:
        (action,) = await actions.actions(rx)
    await _vote(db, int(action.approval_id or 0), EVA, "reject")
    with pytest.raises(agents.Refused) as refused:
        await run()
    assert refused.value.codes == ("rejected",)
    assert await _posted(db, "BOB") == 100_000


async def test_nobody_is_shown_by_what_a_customer_proves_who_they_are(db: Database) -> None:
    await fund(db)
    async with db.write() as tx:
        await customers.add(tx, [customers.NewCustomer("C-1", None, None, None, None)], by="test")
    await _rules(db, _hold(action="customer.credential"))
    async with serving(db) as client:
        held = body_of(await _post(client, "/v1/customers/C-1/credential", {"secret": "correct horse"}))
        for path in (f"/v1/actions/{held['action_id']}", f"/v1/approvals/{held['approval_id']}", "/v1/actions"):
            text = (await client.get(path)).text
            assert '"hash":"hidden"' in text
            assert '"salt":"hidden"' in text


async def test_a_question_whose_time_is_over_at_a_vote_ends_its_action(db: Database, database: TestDatabase) -> None:
    async with _bank(db, _hold(action="transfer")) as client:
        held = body_of(await _post(client, "/v1/transfers", _money()))
        with psycopg.connect(database.owner_url) as connection:
            hours = "interval '2 hours'"
            moved = f"asked_at = asked_at - {hours}, expires_at = expires_at - {hours}"
            connection.execute(f"update approvals.approval set {moved}".encode())
        refused = await _vote(db, int(held["approval_id"]), EVA)
        assert isinstance(refused, TallystickError)
        assert refused.code == "approval_closed"
        done = await _transfer(db, held["id"])
        assert (done.status, done.reason) == ("failed", "expired")


async def test_the_rules_are_changed_by_admins_and_nobody_else(db: Database) -> None:
    await fund(db)
    await _rules(db)
    async with db.read() as tx:
        document = policy.canonical(await policy.current(tx))
    payload = actions.ApplyPolicy(document)
    for by in (house("clerk"), Principal("bot", "agent", frozenset({"agent"}), owner="anna"), EVA):
        with pytest.raises(TallystickError, match="role_missing"):
            await actions.perform(strict(db), by, payload)
    applied: Any = await actions.perform(strict(db), JAN, payload)
    assert applied.applied_by == "jan"


async def test_what_was_let_pass_for_one_thing_is_no_leave_for_another(db: Database) -> None:
    await fund(db)
    await _rules(db)
    plain = strict(db)

    async def work_of(tx: Any) -> int:
        assert tx.decision is not None
        return int(tx.decision)

    decision: Any = await actions.perform(plain, house("clerk"), actions.AddPayee("ALICE", "CZ001"), work_of)
    async with db.read() as rx:
        alice, bob = [(await ledger.account(rx, name)).id for name in ("ALICE", "BOB")]
        assert (await policy.decision(rx, decision)).consumed
    journal = ledger.Journal("test", ledger.transfer(debit=alice, credit=bob, amount=1), "x")
    with pytest.raises(Conflict, match="decision_consumed"):
        async with plain.write() as tx:
            await ledger.post(tx, [journal], decisions=[decision])
