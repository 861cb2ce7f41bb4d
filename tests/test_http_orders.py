"""`/v1/portfolios` and `/v1/orders`: what is answered, under which key, to whom."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tallystick import identity, ledger
from tallystick.db import Database
from tallystick.http import HttpSettings
from tests.serving import body_of, code_of, serving
from tests.trading_desk import hold_shares, open_desk, rule, set_rules

JSON = dict[str, Any]
ORDER = {"portfolio": "P", "instrument": "AAA", "side": "buy", "quantity": "10", "limit_price": "11"}
FILL = {"quantity": "4", "price": "10.5"}


async def _post(client: httpx.AsyncClient, path: str, body: JSON | None = None, key: str | None = None) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())})


async def test_the_life_of_an_order(db: Database) -> None:
    desk = await open_desk(db)
    async with serving(desk) as client:
        answer = await _post(client, "/v1/orders", ORDER)
        placed = body_of(answer)
        assert answer.status_code == 201
        assert {name: placed[name] for name in (*ORDER, "status", "filled", "remaining", "amount")} == {
            **ORDER, "status": "placed", "filled": "0", "remaining": "10", "amount": {"amount": "0.00", "currency": "CZK"},
        }  # fmt: skip
        at = f"/v1/orders/{placed['id']}"
        filled = body_of(await _post(client, f"{at}/fills", FILL))
        assert (filled["n"], filled["quantity"], filled["price"], filled["amount"]["amount"]) == (1, "4", "10.5", "42.00")
        shown = body_of(await client.get(at))
        assert (shown["status"], shown["remaining"], shown["fills"], shown["more_fills"]) == (
            "partly_filled", "6", [filled], False,
        )  # fmt: skip
        portfolio = body_of(await client.get("/v1/portfolios/P"))
        assert portfolio["positions"] == [
            {
                "instrument": "AAA", "quantity": "4", "available": "4", "buying": "6", "selling": "0", "price": "10.00",
                "price_day": "2026-04-21", "value": "40",
            }
        ]  # fmt: skip
        assert (portfolio["cash"]["amount"], portfolio["value"], portfolio["open_orders"]) == ("958.00", "998", 1)
        gone = body_of(await _post(client, f"{at}/cancel"))
        assert (gone["status"], gone["amount"]["amount"]) == ("cancelled", "42.00")
        journal = body_of(await client.get(f"/v1/journals/{filled['journal_id']}"))
        assert (journal["kind"], journal["ref_id"]) == ("order_fill", placed["id"])


async def test_the_same_request_under_the_same_key_is_done_once_and_answered_as_the_first_time(db: Database) -> None:
    desk = await open_desk(db)
    async with serving(desk) as client:
        first = await _post(client, "/v1/orders", ORDER, "k")
        at = f"/v1/orders/{first.json()['id']}"
        filled = await _post(client, f"{at}/fills", FILL, "f")
        assert (await _post(client, "/v1/orders", ORDER, "k")).json() == first.json()
        assert (await _post(client, f"{at}/fills", FILL, "f")).json() == filled.json()
        gone = await _post(client, f"{at}/cancel", None, "c")
        assert (await _post(client, f"{at}/cancel", None, "c")).json() == gone.json()
        assert (await _post(client, f"{at}/fills", FILL, "f")).json() == filled.json()
        opened = {"id": "R", "account_id": "BANK", "settlement_account": "BROKER"}
        made = await _post(client, "/v1/portfolios", opened, "p")
        assert (await _post(client, "/v1/portfolios", opened, "p")).json() == made.json()
        assert len(body_of(await client.get(at))["fills"]) == 1
        assert len(body_of(await client.get("/v1/orders"))["items"]) == 1
        for path, body, key in (
            ("/v1/orders", ORDER | {"quantity": "11"}, "k"), (f"{at}/fills", FILL | {"price": "10"}, "f"),
            ("/v1/orders", ORDER, "f"), ("/v1/portfolios", opened | {"shorts": True}, "p"),
        ):  # fmt: skip
            assert code_of(await _post(client, path, body, key)) == "key_reused"


@pytest.mark.parametrize("tail", ["", "/1/cancel", "/1/fills"])
async def test_what_moves_or_sets_aside_money_needs_a_key(db: Database, tail: str) -> None:
    desk = await open_desk(db)
    async with serving(desk) as client:
        body = {"": ORDER, "/1/fills": FILL}.get(tail)
        answer = await client.post(f"/v1/orders{tail}", json=body)
        assert (answer.status_code, code_of(answer)) == (400, "idempotency_key_required")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"portfolio": "NOBODY"}, 404, "unknown_portfolio"),
        ({"side": "sell"}, 409, "insufficient_position"),
        ({"quantity": "1000"}, 409, "posting_refused"),
        ({"instrument": "ZZZ", "limit_price": None}, 409, "no_price"),
        ({"quantity": "0.0000001"}, 422, "amount_too_fine"),
        ({"quantity": "0"}, 422, "amount_not_positive"),
        ({"limit_price": "0"}, 422, "price_malformed"),
        ({"limit_price": "1.000000001"}, 422, "price_malformed"),
        ({"side": "keep"}, 422, "validation_failed"),
        ({"instrument": "a b"}, 422, "validation_failed"),
    ],
)
async def test_an_order_that_cannot_be_placed_says_why(db: Database, change: JSON, status: int, code: str) -> None:
    desk = await open_desk(db)
    async with serving(desk) as client:
        answer = await _post(client, "/v1/orders", ORDER | change)
        assert (answer.status_code, code_of(answer)) == (status, code)
        assert body_of(await client.get("/v1/orders"))["items"] == []


async def test_orders_are_listed_by_what_they_are(db: Database) -> None:
    desk = await open_desk(db)
    await hold_shares(desk, "5")
    async with serving(desk) as client:
        made = [
            body_of(await _post(client, "/v1/orders", {"limit_price": "1", "quantity": "1", **one}))["id"]
            for one in (
                {"portfolio": "P", "instrument": "AAA", "side": "sell"},
                {"portfolio": "P", "instrument": "BBB", "side": "buy"},
                {"portfolio": "Q", "instrument": "BBB", "side": "buy"},
            )
        ]
        await _post(client, f"/v1/orders/{made[1]}/cancel")
        for asked, wanted in (
            ("portfolio=P&status=placed", [made[0]]),
            ("instrument=BBB", [made[2], made[1]]),
            ("side=sell", [made[0]]),
            ("status=cancelled", [made[1]]),
            ("portfolio=Q&side=sell", []),
        ):
            assert [one["id"] for one in body_of(await client.get(f"/v1/orders?{asked}"))["items"]] == wanted, asked
        first = body_of(await client.get("/v1/orders?limit=2"))
        rest = body_of(await client.get("/v1/orders", params={"limit": 2, "cursor": first["next_cursor"]}))
        assert len({one["id"] for one in first["items"] + rest["items"]}) == 4
        assert rest["next_cursor"] is None
        assert code_of(await client.get("/v1/orders?portfolio=NOBODY")) == "unknown_portfolio"
        assert code_of(await client.get("/v1/orders/999999")) == "unknown_order"


async def test_an_order_that_policy_holds_is_answered_with_202_and_one_that_it_denies_with_403(db: Database) -> None:
    desk = await open_desk(db, rule("order", {"max_notional": {"CZK": "100"}}))
    async with serving(desk) as client:
        answer = await _post(client, "/v1/orders", ORDER, "k")
        assert (answer.status_code, body_of(answer)["status"], body_of(answer)["reasons"][0]["rule"]) == (202, "held", "rule")
        assert (await _post(client, "/v1/orders", ORDER, "k")).json() == answer.json()
        await set_rules(db, rule("order", {"max_notional": {"CZK": "100"}}, "deny"))
        denied = await _post(client, "/v1/orders", ORDER)
        assert (denied.status_code, code_of(denied)) == (403, "denied")
        assert body_of(denied)["reasons"][0]["observed"] == "110 CZK"


async def test_an_order_is_proposed_by_the_name_of_its_type_too(db: Database) -> None:
    desk = await open_desk(db)
    async with serving(desk) as client:
        done = body_of(await _post(client, "/v1/actions", {"type": "order.place", "payload": ORDER}))
        assert (done["status"], done["result"]["status"]) == ("executed", "placed")
        assert body_of(await client.get(f"/v1/orders/{done['result']['order']}"))["quantity"] == "10"


async def test_an_agent_sees_and_uses_the_portfolios_over_its_accounts_alone(db: Database) -> None:
    desk = await open_desk(db)
    async with db.write() as tx:
        await identity.add_principal(tx, "anna", kind="person", by="test")
        key = await identity.create_key(tx, "bot", kind="agent", roles=["agent"], owner="anna", by="test")
        await identity.set_reach(tx, "bot", accounts=["ALICE"], customers=[], by="test")
    async with serving(desk) as client:
        theirs = body_of(await _post(client, "/v1/orders", ORDER | {"portfolio": "Q"}))["id"]
    async with serving(desk, HttpSettings()) as client:
        client.headers["authorization"] = f"Bearer {key.secret}"
        assert [one["id"] for one in body_of(await client.get("/v1/portfolios"))["items"]] == ["P"]
        assert body_of(await client.get("/v1/orders"))["items"] == []
        assert (await _post(client, "/v1/orders", ORDER)).status_code == 201
        for answer, code in (
            (await client.get("/v1/portfolios/Q"), "unknown_portfolio"),
            (await client.get(f"/v1/orders/{theirs}"), "unknown_order"),
            (await _post(client, "/v1/orders", ORDER | {"portfolio": "Q"}), "unknown_portfolio"),
            (await _post(client, f"/v1/orders/{theirs}/cancel"), "unknown_order"),
            (await _post(client, f"/v1/orders/{theirs}/fills", FILL), "unknown_order"),
            (await _post(client, "/v1/actions", {"type": "order.cancel", "payload": {"order": theirs}}), "unknown_order"),
        ):
            assert (answer.status_code, code_of(answer)) == (404, code)
    async with desk.read() as tx:
        assert (await ledger.account(tx, "BOB")).held == 11_000
