"""The books over `/v1`: journals, batches, reversals, holds, limits; once under a key, and rehearsed without a trace."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute

from tallystick import audit, ledger
from tallystick.db import Database
from tallystick.http import create_app
from tests.conftest import ROOT, TestDatabase
from tests.serving import OPEN, code_of, fund, live, serving


def pay(debit: str, credit: str, amount: str = "1.00", **more: Any) -> dict[str, Any]:
    entries = [{"account": debit, "amount": f"-{amount}"}, {"account": credit, "amount": amount}]
    return {"kind": "test", "entries": entries} | more


def hold(account: str = "ALICE", amount: str = "100.00", **more: Any) -> dict[str, Any]:
    return {"account": account, "amount": {"amount": amount, "currency": "CZK"}} | more


def key(name: str) -> dict[str, str]:
    return {"idempotency-key": name}


async def _balances(client: httpx.AsyncClient, *names: str) -> list[str]:
    return [(await client.get(f"/v1/accounts/{name}")).json()["available"] for name in names]


def _counts(database: TestDatabase) -> dict[str, int]:
    """How many rows each table holds."""
    with psycopg.connect(database.owner_url) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        return {name: connection.execute(f"select count(*) from {name}".encode()).fetchone()[0] for (name,) in tables}  # type: ignore[index]


def _money_posts() -> list[str]:
    words = ("/transfers", "/journals", "/holds", "/external-payments")
    routes = [route for route in create_app(OPEN, Database("host=/nowhere")).routes if isinstance(route, APIRoute)]
    return [
        route.path
        for route in routes
        if "POST" in (route.methods or ()) and route.path.startswith("/v1/") and any(w in route.path for w in words)
    ]


@pytest.mark.parametrize("path", _money_posts())
async def test_what_moves_money_is_refused_without_a_key(db: Database, database: TestDatabase, path: str) -> None:
    await fund(db)
    before = _counts(database)
    body = {
        "/v1/transfers": {"from_account": "ALICE", "to_account": "BOB", "amount": {"amount": "1", "currency": "CZK"}},
        "/v1/journals": pay("ALICE", "BOB"),
        "/v1/holds": hold(),
    }.get(path, {})
    async with serving(db) as client:
        answer = await client.post(
            path.replace("{journal_id}", "1").replace("{hold_id}", "1").replace("{payment_id}", "1"), json=body
        )
        assert (answer.status_code, code_of(answer)) == (400, "idempotency_key_required")
        operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
    assert {"name": "Idempotency-Key", "in": "header", "required": True}.items() <= next(
        one for one in operation["parameters"] if one["in"] == "header"
    ).items()
    assert "400" in operation["responses"]
    assert _counts(database) == before


async def test_a_journal_is_posted_and_read_with_all_that_was_said_of_it(db: Database) -> None:
    await fund(db)
    body = pay(
        "ALICE", "BOB", "12.50", effective_at="2026-04-21T10:00:00Z", ref_id="5", task_id="6",
        meta={"invoice": "F-1"}, guards=[{"account": "ALICE", "available": "1000.00", "seq": 1}],
    )  # fmt: skip
    async with serving(db, keyed=True) as client:
        answer = await client.post("/v1/journals", json=body)
        posted = answer.json()
        read = (await client.get(f"/v1/journals/{posted['id']}")).json()
    assert answer.status_code == 201
    assert set(posted) == {"id", "status", "reason", "posted_at", "dry_run"}
    assert (posted["status"], posted["reason"], posted["dry_run"]) == ("posted", None, False)
    assert (read["kind"], read["on_behalf_of"], read["ref_id"], read["task_id"], read["approval_id"]) == (
        "test", None, "5", "6", None,
    )  # fmt: skip
    assert (read["effective_at"], read["meta"], read["actor"]) == ("2026-04-21T10:00:00Z", {"invoice": "F-1"}, "demo")
    assert [(leg["account_id"], leg["amount"]) for leg in read["entries"]] == [("ALICE", "-12.50"), ("BOB", "12.50")]
    assert (read["reverses"], read["reversed_by"], read["hold_id"]) == (None, [], None)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    (pay("ALICE", "BOB", "1000.01"), "insufficient_funds"),
    ({"kind": "t", "entries": [{"account": "ALICE", "amount": "-1"}, {"account": "BOB", "amount": "2"}]}, "unbalanced"),
    ({"kind": "t", "entries": [{"account": "ALICE", "amount": "1"}]}, "too_few_entries"),
    ({"kind": "t", "entries": []}, "too_few_entries"),
    (pay("ALICE", "EURO"), "unbalanced"),
    (pay("ALICE", "BOB", guards=[{"account": "ALICE", "available": "1000.01"}]), "guard_failed"),
    (pay("ALICE", "BOB", guards=[{"account": "BOB", "seq": 2}]), "guard_failed"),
    (pay("ALICE", "FROZEN"), "account_frozen"),
    (pay("ALICE", "CLOSED"), "account_closed"),
    (pay("ALICE", "BOB", effective_at="2020-01-01"), "period_closed"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
async def test_what_the_books_refuse_is_an_answer_that_is_remembered(db: Database, body: dict[str, Any], reason: str) -> None:
    await fund(db)
    async with db.write() as tx:
        await ledger.open_accounts(tx, [ledger.AccountSpec(name, "CZK") for name in ("FROZEN", "CLOSED")])
        await ledger.set_status(tx, "FROZEN", "frozen")
        await ledger.set_status(tx, "CLOSED", "closed")
    async with db.write() as tx:
        (opening,) = await ledger.entries(tx, (await ledger.account(tx, "ALICE")).id)
        await ledger.close_period(tx, opening.posted_at, actor="test")
    async with serving(db) as client:
        first = await client.post("/v1/journals", json=body, headers=key("k"))
        # What stood in the way is gone, and still the answer is the first one.
        async with db.write() as tx:
            await ledger.set_floor(tx, "ALICE", -1_000_000)
            await ledger.set_status(tx, "FROZEN", "open")
        again = await client.post("/v1/journals", json=body, headers=key("k"))
        assert await _balances(client, "ALICE", "BOB") == ["1000.00", "1000.00"]
    assert (first.status_code, first.json()["status"], first.json()["reason"]) == (201, "refused", reason)
    assert first.json()["id"] is None
    assert (again.status_code, again.text) == (first.status_code, first.text)


MALFORMED: list[tuple[dict[str, Any], int, str]] = [
    (pay("nobody", "BOB"), 404, "unknown_account"),
    (pay("ALICE", "BOB", guards=[{"account": "nobody", "seq": 0}]), 404, "unknown_account"),
    (pay("ALICE", "BOB", "0.001"), 422, "amount_too_fine"),
    (pay("ALICE", "BOB", "1" + "0" * 16), 422, "amount_too_large"),
    ({"kind": "t", "entries": [{"account": "ALICE", "amount": "0.00"}]}, 422, "amount_is_zero"),
    ({"kind": "t", "entries": [{"account": "ALICE", "amount": "--1"}]}, 422, "amount_malformed"),
    ({"kind": "", "entries": []}, 422, "validation_failed"),
    ({"kind": "x" * 51, "entries": []}, 422, "validation_failed"),
    (pay("ALICE", "BOB", extra=1), 422, "validation_failed"),
    (pay("ALICE", "BOB", effective_at="yesterday"), 422, "validation_failed"),
    (pay("ALICE", "BOB", ref_id=5), 422, "validation_failed"),
    (pay("ALICE", "BOB", meta=[1]), 422, "validation_failed"),
    (pay("ALICE", "BOB", meta={"x": "y" * 20_000}), 422, "meta_too_large"),
    (pay("ALICE", "BOB", guards=[{"account": "ALICE", "seq": 1}] * 101), 422, "validation_failed"),
]


@pytest.mark.parametrize(("body", "status", "code"), MALFORMED)
async def test_what_cannot_be_read_is_refused_alone_and_in_a_batch_and_leaves_nothing(
    db: Database, database: TestDatabase, body: dict[str, Any], status: int, code: str
) -> None:
    await fund(db)
    before = _counts(database)
    async with serving(db) as client:
        for dry_run in (False, True):
            alone = await client.post("/v1/journals", json=body | {"dry_run": dry_run}, headers=key("k"))
            assert (alone.status_code, code_of(alone)) == (status, code)
        batch = await client.post("/v1/journals/batch", json={"journals": [pay("ALICE", "BOB"), body]}, headers=key("k"))
        assert (batch.status_code, code_of(batch)) == (status, code)
        if code != "validation_failed":
            assert "number 1 of the batch" in batch.json()["detail"]
        assert _counts(database) == before
        # The key is as free as it was.
        assert (await client.post("/v1/journals", json=pay("ALICE", "BOB"), headers=key("k"))).json()["status"] == "posted"


@pytest.mark.parametrize("amount", ["1.00", "5000.00"])
async def test_twenty_callers_with_one_key_get_one_answer_and_one_effect(
    db: Database, database: TestDatabase, amount: str
) -> None:
    await fund(db)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1/journals", pay("ALICE", "BOB", amount)),
        ("/v1/journals/batch", {"journals": [pay("ALICE", "BOB", amount), pay("BOB", "ALICE", "0.01")]}),
        ("/v1/holds", hold(amount=amount)),
        ("/v1/holds/batch", {"holds": [hold(amount=amount), hold("BOB", "0.01")]}),
    ]
    with live(database.app_url) as base, live(database.app_url) as other_base:
        async with httpx.AsyncClient(timeout=60) as client:
            for path, body in requests:
                answers = await asyncio.gather(
                    *((client.post((base, other_base)[n % 2] + path, json=body, headers=key(path))) for n in range(20))
                )
                assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}, path
    good = amount == "1.00"
    async with db.read() as tx:
        found = await ledger.resolve(tx, ["ALICE", "BOB"])
        holds = await ledger.holds(tx)
    assert found["ALICE"].posted == 100_000 + 1 - (200 if good else 0)
    assert (found["ALICE"].held, found["BOB"].held) == ((200, 1) if good else (0, 1))
    assert len(holds) == (3 if good else 1)
    assert found["ALICE"].seq == (4 if good else 2)


async def test_a_batch_answers_for_each_in_order_and_atomic_is_all_or_nothing(db: Database) -> None:
    await fund(db)
    journals = [pay("ALICE", "BOB", "600.00"), pay("ALICE", "BOB", "600.00"), pay("ALICE", "BOB", "400.00")]
    async with serving(db) as client:
        atomic = await client.post("/v1/journals/batch", json={"mode": "atomic", "journals": journals}, headers=key("a"))
        assert [one["reason"] for one in atomic.json()["results"]] == ["batch_refused", "insufficient_funds", "batch_refused"]
        assert await _balances(client, "ALICE") == ["1000.00"]
        each = await client.post("/v1/journals/batch", json={"journals": journals}, headers=key("b"))
        assert [one["reason"] for one in each.json()["results"]] == [None, "insufficient_funds", None]
        assert await _balances(client, "ALICE") == ["0.00"]
        for name, body, first in (("a", {"mode": "atomic", "journals": journals}, atomic), ("b", {"journals": journals}, each)):
            again = await client.post("/v1/journals/batch", json=body, headers=key(name))
            assert (again.status_code, again.text) == (201, first.text)
            rehearsed = await client.post("/v1/journals/batch", json=body | {"dry_run": True}, headers=key(name))
            assert [one["id"] for one in rehearsed.json()["results"]] == [one["id"] for one in first.json()["results"]]


async def test_the_key_of_a_batch_is_for_that_batch_alone(db: Database) -> None:
    await fund(db)
    one, two = pay("ALICE", "BOB"), pay("ALICE", "BOB", "2.00")
    async with serving(db) as client:
        assert (await client.post("/v1/journals/batch", json={"journals": [one, two]}, headers=key("k"))).status_code == 201
        for other in (
            {"journals": [one]},
            {"journals": [one, two, two]},
            {"journals": [two, one]},
            {"journals": [one, two], "mode": "atomic"},
            {"journals": [one, two | {"meta": {"x": 1}}]},
        ):
            for dry_run in (False, True):
                reused = await client.post("/v1/journals/batch", json=other | {"dry_run": dry_run}, headers=key("k"))
                assert (reused.status_code, code_of(reused)) == (422, "key_reused"), other
        single = await client.post("/v1/journals", json=one, headers=key("k"))
        assert (single.status_code, code_of(single)) == (422, "key_reused")
        holds = await client.post("/v1/holds/batch", json={"holds": [hold()]}, headers=key("k"))
        assert (holds.status_code, code_of(holds)) == (422, "key_reused")
        assert await _balances(client, "ALICE") == ["997.00"]


async def test_8192_journals_fit_in_one_call_and_8193_do_not(db: Database) -> None:
    await fund(db)
    full = pay("ALICE", "BOB", "0.01", effective_at="2026-04-21T10:00:00Z", meta={"note": "x" * 400, "of": {"a": [1]}})
    async with serving(db) as client:
        answer = await client.post("/v1/journals/batch", json={"journals": [full] * 8192}, headers=key("k"), timeout=60)
        assert answer.status_code == 201, answer.text[:300]
        results = answer.json()["results"]
        assert (len(results), {one["status"] for one in results}) == (8192, {"posted"})
        assert [int(one["id"]) for one in results] == sorted(int(one["id"]) for one in results)
        again = await client.post("/v1/journals/batch", json={"journals": [full] * 8192}, headers=key("k"), timeout=60)
        assert again.text == answer.text
        more = await client.post("/v1/journals/batch", json={"journals": [pay("ALICE", "BOB")] * 8193}, headers=key("m"))
        assert (more.status_code, code_of(more)) == (422, "validation_failed")
        large = await client.post("/v1/journals/batch", content=b" " * (8 * 1024 * 1024 + 1), headers=key("l"))
        assert (large.status_code, code_of(large)) == (413, "body_too_large")
        usual = await client.post("/v1/journals", content=b" " * (1024 * 1024 + 1), headers=key("u"))
        assert (usual.status_code, code_of(usual)) == (413, "body_too_large")
        assert await _balances(client, "ALICE") == ["918.08"]
    async with db.read() as tx:
        event = await audit.latest(tx, subject_kind="journal", subject_id=int(results[0]["id"]))
    assert event is not None
    assert event.detail["done"] == 8192
    assert len(str(event.detail)) < 1000


async def test_a_journal_is_taken_back_whole_in_part_and_once_in_sum(db: Database) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        id = (await client.post("/v1/journals", json=pay("ALICE", "BOB", "10.00"))).json()["id"]
        part = {"amount": {"amount": "4.00", "currency": "CZK"}}
        first = await client.post(f"/v1/journals/{id}/reversals", json=part, headers=key("r"))
        again = await client.post(f"/v1/journals/{id}/reversals", json=part, headers=key("r"))
        assert (first.json()["status"], again.text) == ("posted", first.text)
        entries = [{"account": "ALICE", "amount": "1.00"}, {"account": "BOB", "amount": "-1.00"}]
        second = await client.post(f"/v1/journals/{id}/reversals", json={"entries": entries})
        whole = await client.post(f"/v1/journals/{id}/reversals", json={})
        assert (second.json()["status"], whole.json()["reason"]) == ("posted", "reversal_exceeded")
        both = await client.post(f"/v1/journals/{id}/reversals", json=part | {"entries": entries})
        assert (both.status_code, code_of(both)) == (422, "amount_or_entries")
        euros = await client.post(f"/v1/journals/{id}/reversals", json={"amount": {"amount": "1", "currency": "EUR"}})
        assert (euros.status_code, code_of(euros)) == (422, "currency_mismatch")
        absent = await client.post("/v1/journals/999999/reversals", json={})
        assert (absent.status_code, code_of(absent)) == (404, "unknown_journal")
        twice = await client.post(f"/v1/journals/{first.json()['id']}/reversals", json={})
        assert twice.json()["reason"] == "not_reversible"
        read = (await client.get(f"/v1/journals/{id}")).json()
        back = (await client.get(f"/v1/journals/{first.json()['id']}")).json()
        listed = {one["id"]: one["reversed_by"] for one in (await client.get("/v1/journals")).json()["items"]}
        assert await _balances(client, "ALICE", "BOB") == ["995.00", "1005.00"]
    assert read["reversed_by"] == listed[id] == [first.json()["id"], second.json()["id"]]
    assert (back["kind"], back["reverses"]) == ("reversal", id)


async def test_a_part_of_a_journal_is_in_the_asset_of_the_accounts_that_it_moved_money_between(db: Database) -> None:
    async with serving(db, keyed=True) as client:
        for name, currency in (("YEN", "JPY"), ("FROM", "CZK"), ("TO", "CZK")):
            await client.post("/v1/accounts", json={"id": name, "currency": currency, "kind": "internal"})
        entries = [{"account": name, "amount": amount} for name, amount in (
            ("YEN", "5"), ("YEN", "-5"), ("FROM", "-100.00"), ("TO", "100.00"),
        )]  # fmt: skip
        journal = (await client.post("/v1/journals", json={"kind": "t", "entries": entries})).json()["id"]
        path = f"/v1/journals/{journal}/reversals"
        yen = await client.post(path, json={"amount": {"amount": "10", "currency": "JPY"}})
        assert (yen.status_code, code_of(yen)) == (422, "currency_mismatch")
        crowns = await client.post(path, json={"amount": {"amount": "10.25", "currency": "CZK"}})
        assert crowns.json()["status"] == "posted"
        assert await _balances(client, "YEN", "FROM", "TO") == ["0", "-89.75", "89.75"]
        both = [{"account": "FROM", "amount": "-1"}, {"account": "TO", "amount": "1"}]
        many = [*both, {"account": "YEN", "amount": "-1"}, {"account": "YEN-TO", "amount": "1"}]
        await client.post("/v1/accounts", json={"id": "YEN-TO", "currency": "JPY"})
        exchange = (await client.post("/v1/journals", json={"kind": "t", "entries": many})).json()["id"]
        unclear = await client.post(f"/v1/journals/{exchange}/reversals", json={"amount": {"amount": "1", "currency": "JPY"}})
        assert (unclear.status_code, code_of(unclear)) == (422, "ambiguous_part")


@pytest.mark.parametrize("part", [{}, {"amount": {"amount": "1.00", "currency": "CZK"}}])
async def test_a_journal_that_moved_nothing_is_not_taken_back(db: Database, part: dict[str, Any]) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        body = {"kind": "t", "entries": [{"account": "ALICE", "amount": "1"}, {"account": "ALICE", "amount": "-1"}]}
        posted = (await client.post("/v1/journals", json=body)).json()
        answer = await client.post(f"/v1/journals/{posted['id']}/reversals", json=part)
    assert (answer.status_code, code_of(answer)) == (422, "not_reversible")
    assert "moved nothing" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("1900-01-01T00:30:00+01:00", "between the years 1900 and 9000"),
        ("9000-12-31T23:30:00-01:00", "between the years 1900 and 9000"),
        ("0001-01-01T00:00:00+01:00", "between the years 1900 and 9000"),
        ("9999-12-31T23:59:59-01:00", "between the years 1900 and 9000"),
        ("2026-11-21T00:00:00+24:00", "not a time of RFC 3339"),
        ("2026-02-30T00:00:00Z", "not a time of RFC 3339"),
        ("2026-13-01", "not a time of RFC 3339"),
        ("yesterday", "not a time of RFC 3339"),
    ],
)
async def test_a_time_that_is_none_or_too_far_away_is_refused_in_our_words(db: Database, time: str, told: str) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        answer = await client.post("/v1/journals", json=pay("ALICE", "BOB", effective_at=time))
    assert (answer.status_code, code_of(answer)) == (422, "validation_failed")
    assert told in answer.text
    assert "strictly between" not in answer.text


async def test_a_hold_is_placed_captured_in_parts_and_the_rest_is_released(db: Database) -> None:
    await fund(db)
    czk = {"amount": "30.00", "currency": "CZK"}
    async with serving(db, keyed=True) as client:
        placed = (await client.post("/v1/holds", json=hold(expires_in_s=3600, ref_id="9", meta={"card": "x"}))).json()
        assert (placed["status"], placed["reason"]) == ("placed", None)
        assert await _balances(client, "ALICE") == ["900.00"]
        path = f"/v1/holds/{placed['id']}"
        capture = await client.post(f"{path}/captures", json={"to_account": "BOB", "amount": czk}, headers=key("c"))
        again = await client.post(f"{path}/captures", json={"to_account": "BOB", "amount": czk}, headers=key("c"))
        assert (capture.json()["status"], again.text) == ("posted", capture.text)
        much = await client.post(f"{path}/captures", json={"to_account": "BOB", "amount": {**czk, "amount": "70.01"}})
        assert (much.status_code, much.json()["reason"]) == (201, "hold_exceeded")
        (listed,) = (await client.get("/v1/holds", params={"account_id": "ALICE", "open": True})).json()["items"]
        assert (listed["status"], listed["captured"]["amount"], listed["remaining"]["amount"]) == ("open", "30.00", "70.00")
        released = await client.post(f"{path}/release", json={}, headers=key("r"))
        assert (released.status_code, released.json()["status"]) == (200, "released")
        assert (await client.post(f"{path}/release", json={}, headers=key("r"))).text == released.text
        late = await client.post(f"{path}/release", json={})
        assert late.json()["reason"] == "hold_resolved"
        read = (await client.get(path)).json()
        assert [(one["kind"], one["taken"]["amount"], one["freed"]["amount"]) for one in read["changes"]] == [
            ("captured", "30.00", "0.00"),
            ("released", "0.00", "70.00"),
        ]
        assert (read["status"], read["more_changes"], read["changes"][0]["journal_id"]) == (
            "released",
            False,
            capture.json()["id"],
        )
        assert (await client.get("/v1/holds", params={"open": True})).json()["items"] == []
        assert (await client.get(f"/v1/journals/{capture.json()['id']}")).json()["hold_id"] == placed["id"]
        assert await _balances(client, "ALICE", "BOB") == ["970.00", "1030.00"]
        final = (await client.post("/v1/holds", json=hold())).json()["id"]
        await client.post(f"/v1/holds/{final}/captures", json={"to_account": "BOB", "amount": czk, "final": True})
        assert (await client.get(f"/v1/holds/{final}")).json()["status"] == "captured"
        assert await _balances(client, "ALICE") == ["940.00"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/holds", hold("nobody"), 404, "unknown_account"),
        ("/v1/holds", hold("EURO"), 422, "currency_mismatch"),
        ("/v1/holds", hold(amount="0"), 422, "amount_not_positive"),
        ("/v1/holds", hold(amount="-1"), 422, "amount_not_positive"),
        ("/v1/holds", hold(expires_at="2099-01-01", expires_in_s=5), 422, "expiry_twice"),
        ("/v1/holds", hold(expires_in_s=0), 422, "validation_failed"),
        ("/v1/holds/999999/release", {}, 404, "unknown_hold"),
        ("/v1/holds/999999/captures", {"to_account": "BOB", "amount": {"amount": "1", "currency": "CZK"}}, 404, "unknown_hold"),
        ("/v1/holds/batch", {"holds": []}, 422, "validation_failed"),
        ("/v1/holds/batch", {"holds": [hold(), hold("nobody")]}, 404, "unknown_account"),
        ("/v1/journals/batch", {"journals": []}, 422, "validation_failed"),
        ("/v1/journals/batch", {"journals": [pay("ALICE", "BOB")], "mode": "both"}, 422, "validation_failed"),
    ],
)
async def test_an_impossible_hold_or_batch_is_refused_with_its_code(
    db: Database, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    await fund(db)
    async with serving(db, keyed=True) as client:
        answer = await client.post(path, json=body)
        assert (answer.status_code, code_of(answer)) == (status, code)
        assert await _balances(client, "ALICE") == ["1000.00"]


async def test_a_rehearsal_answers_as_it_would_be_and_leaves_nothing(db: Database, database: TestDatabase) -> None:
    await fund(db)
    czk = {"amount": "30.00", "currency": "CZK"}
    async with serving(db) as client:
        journal = (await client.post("/v1/journals", json=pay("ALICE", "BOB"), headers=key("j"))).json()["id"]
        held = (await client.post("/v1/holds", json=hold(), headers=key("h"))).json()["id"]
        before = _counts(database)
        balances = await _balances(client, "ALICE", "BOB")
        for path, body, expected in (
            ("/v1/journals", pay("ALICE", "BOB"), "posted"),
            ("/v1/journals", pay("ALICE", "BOB", "9000.00"), "refused"),
            (f"/v1/journals/{journal}/reversals", {}, "posted"),
            ("/v1/holds", hold(), "placed"),
            ("/v1/holds", hold(amount="9000.00"), "refused"),
            (f"/v1/holds/{held}/captures", {"to_account": "BOB", "amount": czk}, "posted"),
            (f"/v1/holds/{held}/release", {}, "released"),
        ):
            answer = await client.post(path, json=body | {"dry_run": True}, headers=key("d"))
            assert (answer.is_success, answer.json()["status"], answer.json()["dry_run"]) == (True, expected, True), answer.text
            if not path.endswith("release"):
                assert answer.json()["id"] is None
        for path, body in (
            ("/v1/journals/batch", {"journals": [pay("ALICE", "BOB"), pay("ALICE", "BOB", "9000.00")]}),
            ("/v1/holds/batch", {"holds": [hold(), hold(amount="9000.00")]}),
        ):
            results = (await client.post(path, json=body | {"dry_run": True}, headers=key("d"))).json()["results"]
            assert [one["reason"] for one in results] == [None, "insufficient_funds"]
        assert await _balances(client, "ALICE", "BOB") == balances
        assert _counts(database) == before
        # The key of a rehearsal is free for the real thing.
        assert (await client.post("/v1/journals", json=pay("ALICE", "BOB"), headers=key("d"))).json()["status"] == "posted"


async def test_an_account_is_frozen_limited_and_closed_and_its_changes_are_kept(db: Database) -> None:
    await fund(db)
    async with serving(db) as client:
        frozen = await client.post("/v1/accounts/ALICE/freeze", headers=key("f"))
        assert (frozen.status_code, frozen.json()["status"], frozen.json()["n"]) == (200, "frozen", 2)
        assert (await client.post("/v1/accounts/ALICE/unfreeze")).json()["status"] == "open"
        # The same request under its key is answered as it was, and freezes nothing now.
        assert (await client.post("/v1/accounts/ALICE/freeze", headers=key("f"))).text == frozen.text
        assert (await client.get("/v1/accounts/ALICE")).json()["status"] == "open"
        limited = await client.put("/v1/accounts/ALICE/limit", json={"overdraft_limit": "100.00"})
        assert (limited.status_code, limited.json()["overdraft_limit"]) == (200, "100.00")
        account = (await client.get("/v1/accounts/ALICE")).json()
        assert (account["overdraft_limit"], account["seq"], account["kind"]) == ("100.00", 1, "customer")
        same = await client.put("/v1/accounts/ALICE/limit", json={"overdraft_limit": "100"})
        assert same.json() == limited.json()
        paid = await client.post("/v1/journals", json=pay("ALICE", "BOB", "1100.00"), headers=key("p"))
        assert paid.json()["status"] == "posted"
        full = await client.post("/v1/accounts/ALICE/close")
        assert (full.status_code, code_of(full)) == (409, "account_not_empty")
        await client.post("/v1/journals", json=pay("BOB", "ALICE", "100.00"), headers=key("q"))
        assert (await client.post("/v1/accounts/ALICE/close")).json()["status"] == "closed"
        reopened = await client.post("/v1/accounts/ALICE/unfreeze")
        assert (reopened.status_code, code_of(reopened)) == (409, "impossible_transition")
        first = (await client.get("/v1/accounts/ALICE/changes", params={"limit": 3})).json()
        rest = (await client.get("/v1/accounts/ALICE/changes", params={"limit": 3, "cursor": first["next_cursor"]})).json()
        changes = [(one["n"], one["status"], one["overdraft_limit"], one["actor"]) for one in first["items"] + rest["items"]]
    assert changes == [
        (5, "closed", "100.00", "demo"),
        (4, "open", "100.00", "demo"),
        (3, "open", "0.00", "demo"),
        (2, "frozen", "0.00", "demo"),
        (1, "open", "0.00", "bank"),
    ]
    async with db.read() as tx:
        account_id = (await ledger.account(tx, "ALICE")).id
        event = await audit.latest(tx, subject_kind="account", subject_id=account_id)
    assert event is not None
    assert (event.verb, event.principal) == ("accounts.close", "demo")


@pytest.mark.parametrize(
    ("account", "limit", "status", "code"),
    [
        ("nobody", "1", 404, "unknown_account"),
        ("ALICE", "-1", 422, "amount_not_positive"),
        ("ALICE", "0.001", 422, "amount_too_fine"),
        ("ALICE", None, 422, "floor_needed"),
        ("ALICE", "x", 422, "amount_malformed"),
        ("ALICE", True, 422, "validation_failed"),
    ],
)
async def test_an_impossible_limit_is_refused(db: Database, account: str, limit: Any, status: int, code: str) -> None:
    await fund(db)
    async with serving(db) as client:
        answer = await client.put(f"/v1/accounts/{account}/limit", json={"overdraft_limit": limit})
        assert (answer.status_code, code_of(answer)) == (status, code)
        own = await client.put("/v1/accounts/BANK/limit", json={"overdraft_limit": None})
        assert (own.status_code, own.json()["overdraft_limit"]) == (200, None)


async def test_opening_an_account_is_answered_the_same_after_its_limit_changed(db: Database) -> None:
    async with serving(db) as client:
        first = await client.post("/v1/accounts", json={"id": "A", "currency": "CZK"}, headers=key("k"))
        await client.put("/v1/accounts/A/limit", json={"overdraft_limit": "5"})
        again = await client.post("/v1/accounts", json={"id": "A", "currency": "CZK"}, headers=key("k"))
    assert again.text == first.text


async def test_the_documented_exchange_of_currencies_works(db: Database) -> None:
    text = (ROOT / "docs/api.md").read_text("utf-8")
    example = text[text.index("Idempotency-Key: fx-1") :]
    start = example.index("{")
    body = example[start : example.index("\n\n", start)]
    async with serving(db, keyed=True) as client:
        for account in ({"id": "POSITION-EUR", "currency": "EUR"}, {"id": "POSITION-CZK", "currency": "CZK"}):
            await client.post("/v1/accounts", json=account | {"kind": "internal"})
        for account in ({"id": "ACC123", "currency": "CZK"}, {"id": "ACC-EUR", "currency": "EUR"}):
            await client.post("/v1/accounts", json=account)
        await client.post("/v1/journals", json=pay("POSITION-CZK", "ACC123", "5000.00"))
        before = (await client.get("/v1/accounts/ACC123")).json()["posted"]
        answer = await client.post("/v1/journals", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["status"]) == (201, "posted"), answer.text
        assert await _balances(client, "ACC123", "ACC-EUR", "POSITION-EUR", "POSITION-CZK") == [
            "2481.00", "100.00", "-100.00", "-2481.00",
        ]  # fmt: skip
    assert before == "5000.00"
