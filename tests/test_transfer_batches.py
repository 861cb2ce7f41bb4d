"""Transfers in batches: each by itself, or as one question with its total and payees, carried out whole or not at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from tallystick import actions, identity, ledger, policy
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.identity import Principal
from tests.conftest import TestDatabase
from tests.permitted import strict
from tests.serving import body_of, code_of, fund, serving

JSON = dict[str, Any]
ALLOWED = {"id": "allowed", "allow": True}
EVA = Principal("eva", "person", frozenset({"approver"}))
JAN = Principal("jan", "person", frozenset({"approver"}))


def _to(account: str, amount: str = "10.00", *, source: str = "ALICE", currency: str = "CZK", **more: Any) -> JSON:
    return {"from_account": source, "to_account": account, "amount": {"amount": amount, "currency": currency}, **more}


def _asks(id: str = "asks", people: int = 1, role: str = "approver", **rule: Any) -> JSON:
    return {"id": id, "approve": [{"role": role, "people": people}], "expires": "1h", **rule}


async def _rules(db: Database, *rules: JSON) -> None:
    async with db.write() as tx:
        await policy.apply(tx, {"name": "test", "rules": [*rules, ALLOWED]}, by="test")


async def _send(
    client: httpx.AsyncClient, transfers: list[JSON], key: str = "k", mode: str = "atomic", **headers: str
) -> httpx.Response:
    body = {"mode": mode, "transfers": transfers}
    return await client.post("/v1/transfers/batch", json=body, headers={"Idempotency-Key": key, **headers})


async def _posted(db: Database, *names: str) -> list[int]:
    async with db.read() as tx:
        return [(await ledger.account(tx, name)).posted for name in names]


async def _vote(db: Database, approval_id: str, by: Principal, said: Any = "approve") -> Any:
    async def work(tx: Any) -> Any:
        action = await actions.approval_action(tx, int(approval_id))
        return await actions.vote(tx, int(approval_id), by, said, seen=action.digest, reason="because")

    return await strict(db).retrying(work)


def _rows(database: TestDatabase, query: str) -> list[Any]:
    with psycopg.connect(database.app_url) as connection:
        return connection.execute(query).fetchall()


async def _bank(db: Database, *rules: JSON) -> None:
    await fund(db, "ALICE", "BOB", "CAROL")
    await _rules(db, *rules)


async def test_a_batch_is_one_action_and_each_transfer_has_its_row(db: Database, database: TestDatabase) -> None:
    await _bank(db)
    async with serving(db) as client:
        answer = await _send(client, [_to("BOB", "1.50", description="rent"), _to("CAROL", "2.50"), _to("BOB", "1.50")])
        made = body_of(answer)
        assert answer.status_code == 201
        assert [(one["status"], one["to_account"], one["amount"]["amount"]) for one in made["results"]] == [
            ("posted", "BOB", "1.50"), ("posted", "CAROL", "2.50"), ("posted", "BOB", "1.50"),
        ]  # fmt: skip
        assert await _posted(db, "ALICE", "BOB", "CAROL") == [99_450, 100_300, 100_250]
        action = body_of(await client.get(f"/v1/actions/{made['action_id']}"))
        assert (action["type"], action["status"], action["result"]) == (
            "transfer.batch", "executed", {"transfers": 3, "status": "posted", "reason": None},
        )  # fmt: skip
        one = body_of(await client.get(f"/v1/transfers/{made['results'][0]['id']}"))
        assert one == made["results"][0]
        assert (one["decision_id"], one["description"]) == (action["decision_id"], "rent")
    assert _rows(database, "select distinct action_id, status from actions.transfer") == [(int(made["action_id"]), "posted")]
    decisions = _rows(
        database,
        "select action, outcome, exists (select from policy.consumption c where c.decision_id = d.id) from policy.decision d"
        " where action like 'transfer%' order by id",
    )
    assert decisions == [("transfer.batch", "allow", True), *[("transfer", "allow", True)] * 3]


async def test_policy_sees_the_count_the_total_the_payees_and_the_largest(db: Database) -> None:
    await _bank(db)
    async with serving(db) as client:
        await _send(client, [_to("BOB")], "before")
        made = body_of(await _send(client, [_to("BOB", "1.50"), _to("CAROL", "2.50"), _to("BOB", "0.50")]))
        facts = body_of(await client.get(f"/v1/decisions/{made['results'][0]['decision_id']}"))["facts"]
    told = ("count", "amount", "asset", "scale", "totals", "largest", "payees", "new_payees")
    assert {name: facts[name] for name in told} == {
        "count": 3, "amount": 450, "asset": "CZK", "scale": 2, "totals": {"CZK": 450}, "largest": {"CZK": 250},
        "payees": ["BOB", "CAROL"], "new_payees": 1,
    }  # fmt: skip
    assert (facts["account"], facts["accounts"], facts["counterparty"]) == ("ALICE", ["ALICE"], None)
    assert (facts["payee_known_s"], facts["parts"]) == (None, {"count": 3})


async def test_totals_are_by_currency_and_a_limit_of_one_amount_then_asks(db: Database) -> None:
    await _bank(db, _asks(when={"action": "transfer.batch"}, amount={"at_most": {"CZK": "100.00", "EUR": "100.00"}}))
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec(name, "EUR", "internal", None) for name in ("NEAR", "FAR")])
    async with serving(db) as client:
        assert (await _send(client, [_to("BOB")], "one")).status_code == 201
        both = [_to("BOB", "1.00"), _to("FAR", "2.00", source="NEAR", currency="EUR")]
        held = await _send(client, both, "both")
        assert held.status_code == 202
        shown = body_of(await client.get(f"/v1/approvals/{held.json()['approval_id']}"))["shown"]
        assert shown["facts"]["totals"] == {"CZK": 100, "EUR": 200}
        assert "amount" not in shown["facts"]


@pytest.mark.parametrize("bad", ["insufficient_funds", "account_frozen"])
async def test_what_the_books_refuse_refuses_all_and_is_remembered(db: Database, database: TestDatabase, bad: str) -> None:
    await _bank(db)
    if bad == "account_frozen":
        async with db.write() as tx:
            await ledger.set_status(tx, "CAROL", "frozen")
    wanted = [_to("BOB", "1.00"), _to("CAROL", "1.00" if bad == "account_frozen" else "999.50"), _to("BOB", "1.00")]
    async with serving(db) as client:
        first = await _send(client, wanted)
        results = body_of(first)["results"]
        assert first.status_code == 201
        assert [(one["status"], one["reason"], one["journal_id"]) for one in results] == [
            ("failed", "batch_refused", None), ("failed", bad, None), ("failed", "batch_refused", None),
        ]  # fmt: skip
        assert await _posted(db, "ALICE", "BOB", "CAROL") == [100_000] * 3
        async with db.write() as tx:
            await ledger.set_floor(tx, "ALICE", -1_000_000)
            await ledger.set_status(tx, "CAROL", "open")
        again = await _send(client, wanted)
        assert again.json() == first.json()
        told = body_of(await client.get(f"/v1/actions/{first.json()['action_id']}"))["result"]
        assert told == {"transfers": 3, "status": "failed", "reason": bad}
    assert _rows(database, "select count(*) from actions.payee") == [(0,)]


async def test_the_same_batch_again_is_answered_as_the_first_and_another_is_refused(db: Database) -> None:
    await _bank(db)
    wanted = [_to("BOB", "1.00"), _to("CAROL", "2.00")]
    async with serving(db) as client:
        for mode in ("atomic", "independent"):
            first = await _send(client, wanted, mode, mode)
            assert (await _send(client, wanted, mode, mode)).json() == first.json()
            for other in ([*wanted, _to("BOB")], wanted[:1], wanted[::-1], [wanted[0], _to("CAROL", "2.01")]):
                refused = await _send(client, other, mode, mode)
                assert (refused.status_code, code_of(refused)) == (422, "key_reused"), (mode, other)
            refused = await _send(client, wanted, mode, "independent" if mode == "atomic" else "atomic")
            assert code_of(refused) == "key_reused"
        assert await _posted(db, "BOB", "CAROL") == [100_200, 100_400]


async def test_two_at_once_under_one_key_are_one(db: Database) -> None:
    await _bank(db)
    async with serving(db) as client:
        answers = await asyncio.gather(*(_send(client, [_to("BOB", "1.00"), _to("CAROL", "2.00")]) for _ in range(8)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert await _posted(db, "BOB", "CAROL") == [100_100, 100_200]


@pytest.mark.parametrize("mode", ["atomic", "independent"])
async def test_one_that_cannot_be_read_refuses_the_call_with_its_number(db: Database, mode: str) -> None:
    await _bank(db)
    cases = [
        (_to("NOBODY"), 404, "unknown_account"),
        (_to("ALICE"), 422, "same_account"),
        (_to("EURO"), 422, "currency_mismatch"),
        (_to("BOB", "0.001"), 422, "amount_too_fine"),
    ]
    async with serving(db) as client:
        for bad, status, code in cases:
            refused = await _send(client, [_to("BOB"), bad], code, mode)
            assert (refused.status_code, code_of(refused)) == (status, code), refused.text
            assert "number 1 of the batch" in refused.json()["detail"]
        assert await _posted(db, "ALICE", "BOB") == [100_000] * 2
        late = await _send(client, [_to("BOB", settle="queued")], "late", mode)
        assert (late.status_code, code_of(late) if mode == "atomic" else None) == (
            (422, "settle_now") if mode == "atomic" else (201, None)
        )


async def test_a_batch_has_bounds_and_needs_a_key(db: Database) -> None:
    await _bank(db)
    async with serving(db) as client:
        for count in (0, 1001):
            answer = await _send(client, [_to("BOB", "0.01")] * count)
            assert (answer.status_code, code_of(answer)) == (422, "validation_failed")
        answer = await client.post("/v1/transfers/batch", json={"transfers": [_to("BOB")]})
        assert (answer.status_code, code_of(answer)) == (400, "idempotency_key_required")
        full = await _send(client, [_to("BOB", "0.01", description="é" * 500)] * 1000, "full")
        assert full.status_code == 201, full.text[:500]
        assert await _posted(db, "BOB") == [101_000]


async def test_single_transfers_in_a_batch_have_answers_of_their_own(db: Database) -> None:
    over = _asks(when={"action": "transfer"}, amount={"at_most": {"CZK": "100.00"}})
    never = {"id": "never", "when": {"action": "transfer", "counterparty": "CAROL"}, "deny": True}
    await _bank(db, over, never)
    async with serving(db) as client:
        wanted = [_to("BOB", "1.00"), _to("BOB", "100.01"), _to("CAROL"), _to("BOB", "99.00", settle="queued")]
        results = body_of(await _send(client, wanted, mode="independent"))["results"]
    assert [(one["status"], one["reason"]) for one in results] == [
        ("posted", None), ("held", None), ("failed", "denied"), ("queued", None),
    ]  # fmt: skip


async def test_a_transfer_that_policy_denies_denies_the_batch_and_says_which(db: Database, database: TestDatabase) -> None:
    never = {"id": "never", "when": {"action": "transfer"}, "amount": {"at_most": {"CZK": "50.00"}}, "otherwise": "deny"}
    await _bank(db, never)
    async with serving(db) as client:
        wanted = [_to("BOB", "50.00"), _to("CAROL", "50.01"), _to("BOB", "60.00")]
        refused = await _send(client, wanted)
        problem = body_of(refused)
        assert (refused.status_code, problem["code"]) == (403, "denied")
        (reason,) = [one for one in problem["reasons"] if one["outcome"] == "deny"]
        assert reason["rule"] == "parts"
        assert reason["observed"] == (
            "2 of 3: number 1, by never (50.01 CZK, at most 50.00 CZK); number 2, by never (60.00 CZK, at most 50.00 CZK)"
        )
        assert (await _send(client, wanted)).json()["decision_id"] == problem["decision_id"]
        decision = body_of(await client.get(f"/v1/decisions/{problem['decision_id']}"))
        assert (decision["action"], decision["outcome"]) == ("transfer.batch", "deny")
    assert _rows(database, "select count(*) from actions.transfer") == [(0,)]
    # Of the parts those are kept that speak against it; nobody can post under the others.
    kept = _rows(database, "select action, outcome from policy.decision where action like 'transfer%' order by id")
    assert kept == [("transfer.batch", "deny"), ("transfer", "deny"), ("transfer", "deny")]
    async with db.read() as tx:
        assert (await policy.replay(tx)).differing == 0


async def test_transfers_that_policy_holds_hold_the_batch_as_one_question(db: Database, database: TestDatabase) -> None:
    """The question asks for everybody whom any of them asks, and shows total, count and payees."""
    large = _asks("large", 2, when={"action": "transfer"}, amount={"at_most": {"CZK": "50.00"}})
    carol = _asks("carol", 1, "admin", when={"action": "transfer", "counterparty": "CAROL"}, hold=True)
    await _bank(db, large, carol)
    async with serving(db) as client:
        held = body_of(await _send(client, [_to("BOB", "1.00"), _to("BOB", "50.01"), _to("CAROL", "2.00")]))
        assert (held["status"], held["reasons"][0]["observed"]) == (
            "held", "2 of 3: number 1, by large (50.01 CZK, at most 50.00 CZK); number 2, by carol",
        )  # fmt: skip
        asked = body_of(await client.get(f"/v1/approvals/{held['approval_id']}"))
        assert asked["approve"] == [{"role": "admin", "people": 1}, {"role": "approver", "people": 2}]
        shown = asked["shown"]
        assert (shown["facts"]["count"], shown["facts"]["totals"], shown["facts"]["payees"]) == (
            3, {"CZK": 5301}, ["BOB", "CAROL"],
        )  # fmt: skip
        assert [one["amount"] for one in shown["payload"]["transfers"]] == ["1.00", "50.01", "2.00"]
        assert await _posted(db, "ALICE") == [100_000]
        assert _rows(database, "select count(*) from actions.transfer") == [(0,)]
        for who in (EVA, JAN):
            assert (await _vote(db, held["approval_id"], who)).status == "open"
        root = Principal("root", "person", frozenset({"admin"}))
        assert (await _vote(db, held["approval_id"], root)).status == "consumed"
        assert await _posted(db, "ALICE", "BOB", "CAROL") == [94_699, 105_101, 100_200]
        listed = body_of(await client.get("/v1/transfers?account=CAROL"))["items"]
        assert [(one["status"], one["approval_id"]) for one in listed] == [("posted", held["approval_id"])]
        again = await _send(client, [_to("BOB", "1.00"), _to("BOB", "50.01"), _to("CAROL", "2.00")])
        assert (again.status_code, again.json()["action_id"]) == (202, held["action_id"])
    journals = _rows(database, "select distinct approval_id, actor from ledger.journal where kind = 'transfer'")
    assert journals == [(int(held["approval_id"]), "demo")]


async def test_a_rejected_batch_moves_nothing(db: Database, database: TestDatabase) -> None:
    await _bank(db, _asks(when={"action": "transfer.batch"}, hold=True))
    async with serving(db) as client:
        held = body_of(await _send(client, [_to("BOB"), _to("CAROL")]))
        assert (await _vote(db, held["approval_id"], EVA, "reject")).status == "rejected"
        assert body_of(await client.get(f"/v1/actions/{held['action_id']}"))["status"] == "rejected"
    assert await _posted(db, "ALICE", "BOB", "CAROL") == [100_000] * 3
    assert _rows(database, "select count(*) from actions.transfer") == [(0,)]


async def test_a_batch_that_people_agreed_to_may_fail_in_the_books(db: Database) -> None:
    await _bank(db, _asks(when={"action": "transfer.batch"}, hold=True))
    async with serving(db) as client:
        held = body_of(await _send(client, [_to("BOB", "900.00"), _to("CAROL", "100.00")]))
        assert (await _send(client, [_to("BOB", "1.00")], "other", "independent")).status_code == 201
        await _vote(db, held["approval_id"], EVA)
        action = body_of(await client.get(f"/v1/actions/{held['action_id']}"))
        assert action["result"] == {"transfers": 2, "status": "failed", "reason": "insufficient_funds"}
    assert await _posted(db, "ALICE", "BOB", "CAROL") == [99_900, 100_100, 100_000]


async def test_policy_is_asked_again_of_each_transfer_when_people_have_agreed(db: Database) -> None:
    await _bank(db, _asks(when={"action": "transfer.batch"}, hold=True))
    async with serving(db) as client:
        held = body_of(await _send(client, [_to("BOB", "10.00"), _to("CAROL", "10.00")]))
        never = {"id": "never", "when": {"action": "transfer", "counterparty": "CAROL"}, "deny": True}
        await _rows_again(db, never)
        await _vote(db, held["approval_id"], EVA)
        action = body_of(await client.get(f"/v1/actions/{held['action_id']}"))
        assert (action["status"], action["reason"]) == ("failed", "denied")
    assert await _posted(db, "ALICE") == [100_000]


async def _rows_again(db: Database, *rules: JSON) -> None:
    await _rules(db, _asks(when={"action": "transfer.batch"}, hold=True), *rules)


async def test_what_people_agreed_to_does_not_cover_whom_a_part_asks_for_by_now(db: Database) -> None:
    await _bank(db, _asks(when={"action": "transfer.batch"}, hold=True))
    async with serving(db) as client:
        held = body_of(await _send(client, [_to("BOB", "10.00"), _to("CAROL", "10.00")]))
        await _rows_again(db, _asks("more", 3, when={"action": "transfer", "counterparty": "CAROL"}, hold=True))
        await _vote(db, held["approval_id"], EVA)
        action = body_of(await client.get(f"/v1/actions/{held['action_id']}"))
        assert (action["status"], action["reason"]) == ("failed", "approval_outgrown")


WINDOW = {"sum": {"at_most": {"CZK": "100.00"}}, "per": "account", "over": "24h"}
COUNT = {"count": {"at_most": 5}, "per": "account", "over": "24h"}


@pytest.mark.parametrize("limit", [WINDOW, COUNT])
@pytest.mark.parametrize("narrow", [True, False])
async def test_no_batching_and_no_splitting_slips_a_window(db: Database, limit: JSON, narrow: bool) -> None:
    """Five transfers of 20.00 are what the window takes, in whatever batches they come; each is counted once."""
    rule = {"id": "window", "window": limit, "otherwise": "deny", "when": {"action": "transfer"} if narrow else {}}
    await _bank(db, rule)
    async with serving(db) as client:
        assert (await _send(client, [_to("BOB", "20.00")] * 6, "six")).status_code == 403
        assert (await _send(client, [_to("BOB", "20.00")] * 3, "three")).status_code == 201
        assert (
            await _send(client, [_to("BOB", "20.00"), _to("CAROL", "20.00"), _to("BOB", "20.00")], "more")
        ).status_code == 403
        assert (await _send(client, [_to("BOB", "20.00"), _to("CAROL", "20.00")], "two")).status_code == 201
        assert (await _send(client, [_to("BOB", "20.00")], "one")).status_code == 403
        single = await client.post("/v1/transfers", json=_to("BOB", "20.00"), headers={"Idempotency-Key": "single"})
        assert single.json()["reason"] == "denied"
        each = body_of(await _send(client, [_to("BOB", "20.00")] * 2, "each", "independent"))["results"]
        assert [one["reason"] for one in each] == ["denied"] * 2
    assert await _posted(db, "ALICE") == [90_000]


async def test_what_was_held_counts_when_it_is_carried_out_and_once(db: Database) -> None:
    window = {"id": "window", "window": WINDOW, "when": {"action": "transfer"}, "otherwise": "deny"}
    await _bank(db, window, _asks(when={"action": "transfer.batch"}, hold=True))
    async with serving(db) as client:
        first = body_of(await _send(client, [_to("BOB", "30.00")] * 2, "first"))
        second = body_of(await _send(client, [_to("BOB", "30.00")] * 2, "second"))
        assert (first["status"], second["status"]) == ("held", "held")
        await _vote(db, first["approval_id"], EVA)
        await _vote(db, second["approval_id"], EVA)
        ends = [body_of(await client.get(f"/v1/actions/{one['action_id']}")) for one in (first, second)]
        assert [(one["status"], one["reason"]) for one in ends] == [("executed", None), ("failed", "denied")]
        left = await client.post("/v1/transfers", json=_to("BOB", "40.00"), headers={"Idempotency-Key": "left"})
        assert left.json()["status"] == "posted"


async def test_thirty_two_batches_that_race_for_a_window_never_pass_it(db: Database) -> None:
    await _bank(db, {"id": "window", "window": WINDOW, "when": {"action": "transfer"}, "otherwise": "deny"})
    async with serving(db) as client:
        calls = [_send(client, [_to("BOB", "3.00"), _to("CAROL", "4.00")], f"k{place}") for place in range(32)]
        answers = await asyncio.gather(*calls)
    assert sorted({answer.status_code for answer in answers}) == [201, 403]
    assert sum(answer.status_code == 201 for answer in answers) == 14
    assert await _posted(db, "ALICE") == [90_200]


async def _agent(db: Database, *accounts: str, operations: tuple[str, ...] = ("*",), **terms: Any) -> str:
    async with db.write() as tx:
        await identity.add_principal(tx, "jan", kind="person", by="t", roles=("operator",))
        await identity.add_principal(tx, "bot", kind="agent", by="t", owner="jan", risk_tier="low")
        await identity.set_reach(tx, "bot", accounts=list(accounts), customers=[], by="t")
        until = datetime.now(UTC) + timedelta(days=1)
        mandate = await identity.grant_mandate(tx, identity.NewMandate("jan", "bot", operations, until, **terms), by="jan")
        return (await identity.create_key(tx, "bot", by="t", mandate_id=mandate.id)).secret


async def test_a_mandate_bounds_each_transfer_the_total_and_the_payees(db: Database) -> None:
    await _bank(db)
    secret = await _agent(
        db, "ALICE", "CAROL", operations=("transfer", "transfer.batch"), accounts=("ALICE",), max_amount={"CZK": 3000},
        total={"CZK": 5000}, payees=("BOB",),
    )  # fmt: skip
    async with serving(db, HttpSettings(key_cache_s=0)) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        for place, (wanted, status) in enumerate((
            ([_to("BOB", "10.00"), _to("BOB", "10.00")], 201),
            ([_to("BOB", "10.00"), _to("CAROL", "1.00")], 403),
            ([_to("BOB", "1.00"), _to("BOB", "1.00", source="CAROL")], 404),
            ([_to("BOB", "15.00"), _to("BOB", "15.01")], 403),
            ([_to("BOB", "15.00"), _to("BOB", "15.00")], 201),
            ([_to("BOB", "0.01")], 403),
            ([_to("BOB", "1.00", source="BOB")], 404),
        )):  # fmt: skip
            assert (await _send(client, wanted, f"k{place}")).status_code == status, wanted
        other = await _send(client, [_to("BOB"), _to("CAROL", source="BOB")], "theirs")
        assert (other.status_code, code_of(other)) == (404, "unknown_account")
    assert await _posted(db, "ALICE") == [95_000]


async def test_the_books_have_for_whom_a_batch_was_made(db: Database, database: TestDatabase) -> None:
    await _bank(db)
    secret = await _agent(db, "ALICE")
    async with serving(db, HttpSettings(key_cache_s=0)) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        assert (await _send(client, [_to("BOB"), _to("CAROL")])).status_code == 201
    assert _rows(database, "select distinct actor, on_behalf_of from ledger.journal where kind = 'transfer'") == [
        ("bot", "jan")
    ]


async def test_the_default_policy_lets_small_batches_of_agents_pass_and_asks_about_the_rest(db: Database) -> None:
    await _bank(db)
    async with serving(db) as client:
        assert (await _send(client, [_to("BOB")], "known")).status_code == 201
    async with db.write() as tx:
        text = policy.packaged_text("default").replace('from: "06:00"\n      to: "22:00"', 'from: "00:00"\n      to: "24:00"')
        text = text.replace("days: [mon, tue, wed, thu, fri, sat]", "days: [mon, tue, wed, thu, fri, sat, sun]")
        text = text.replace("payee: {cooling: 24h}", "payee: {}")
        await policy.apply(tx, policy.parse(text).document, by="test")
        await ledger.set_floor(tx, "ALICE", -10_000_000)
    secret = await _agent(db, "ALICE")
    async with serving(db, HttpSettings(key_cache_s=0)) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        assert (await _send(client, [_to("BOB", "20000.00"), _to("BOB", "20000.00")], "a")).status_code == 201
        for place, (wanted, rule) in enumerate((
            (_to("CAROL", "1.00"), "agents-know-the-payee"),
            (_to("BOB", "25000.01"), "agents-small-amounts"),
            (_to("BOB", "20000.00"), "agents-daily-sum-of-an-account"),
        )):  # fmt: skip
            held = await _send(client, [_to("BOB", "1.00"), wanted], f"b{place}")
            assert (held.status_code, held.json()["reasons"][0]["rule"]) == (202, "parts")
            assert rule in held.json()["reasons"][0]["observed"]


async def test_policy_sees_of_a_transfer_in_a_batch_what_it_sees_of_a_single_one(db: Database) -> None:
    await _bank(db)
    async with serving(db) as client:
        await client.post("/v1/transfers", json=_to("BOB", "1.00"), headers={"Idempotency-Key": "one"})
        await _send(client, [_to("BOB", "1.00")], "each", "independent")
        await _send(client, [_to("BOB", "1.00"), _to("BOB", "1.00")])
    async with db.read() as tx:
        decisions = await policy.decisions(tx, action="transfer")
    assert len(decisions) == 4
    seen = [policy.facts_of(decision) | {"at": None, "payee_known_s": None} for decision in decisions]
    assert [decision.digest for decision in decisions] == [decisions[0].digest] * 4
    assert seen == [seen[0]] * 4
