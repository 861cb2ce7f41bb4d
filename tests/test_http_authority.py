"""Authority over HTTP: principals, keys and mandates, and what of attempts to get in is on the record."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tallystick import audit, identity
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.http.presence import Presence
from tallystick.http.services import Services
from tallystick.kit import Unavailable
from tests.serving import code_of, fund, serving

_CLOSED = HttpSettings(key_cache_s=0)
_UNTIL = "2100-01-01T00:00:00Z"


@pytest.fixture
async def eva(db: Database) -> str:
    """The key of eva, the first admin."""
    async with db.write() as tx:
        return (await identity.first_admin(tx, "eva", by="test")).secret


def _as(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def _sent(client: httpx.AsyncClient, method: str, path: str, secret: str, **body: Any) -> Any:
    answer = await client.request(method, path, json=body, headers=_as(secret))
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def _services(client: httpx.AsyncClient) -> Services:
    found: Services = client._transport.app.state.services  # type: ignore[attr-defined]
    return found


async def test_an_admin_makes_an_agent_with_a_mandate_and_a_key_and_takes_them_back(db: Database, eva: str) -> None:
    await fund(db)
    async with serving(db, _CLOSED) as client:
        await _sent(client, "POST", "/v1/principals", eva, name="anna", kind="person", roles=["operator"])
        refused = await client.post("/v1/principals", json={"name": "bot", "kind": "agent"}, headers=_as(eva))
        assert code_of(refused) == "owner_missing"
        bot = await _sent(client, "POST", "/v1/principals", eva, name="bot", kind="agent", owner="anna", risk_tier="high")
        assert (bot["accounts"], bot["customers"], bot["roles"]) == ([], [], ["agent"])
        reach = await _sent(client, "PUT", "/v1/principals/bot/reach", eva, accounts=["ALICE"], customers="all")
        assert (reach["accounts"], reach["customers"]) == (["ALICE"], "all")
        version = {"version": "7", "model": "m", "prompt_digest": "0" * 64, "tools_digest": "1" * 64}
        assert (await _sent(client, "POST", "/v1/principals/bot/versions", eva, **version))["tools_digest"] == "1" * 64
        (listed,) = (await client.get("/v1/principals/bot/versions", headers=_as(eva))).json()["items"]
        assert listed["version"] == "7"
        anna = (await _sent(client, "POST", "/v1/keys", eva, principal="anna"))["secret"]
        money = [{"amount": "12.50", "currency": "CZK"}]
        terms: dict[str, Any] = {
            "agent": "bot",
            "operations": ["transfer"],
            "until": _UNTIL,
            "max_amount": money,
            "beyond": "ask",
        }
        mandate = await _sent(client, "POST", "/v1/mandates", anna, **terms)
        assert (mandate["person"], mandate["max_amount"], mandate["total"]) == ("anna", money, None)
        key = await _sent(
            client,
            "POST",
            "/v1/keys",
            eva,
            principal="bot",
            version="7",
            mandate_id=mandate["id"],
            expires_in_s=60,
            scopes=["agent"],
        )
        me = (await client.get("/v1/me", headers=_as(key["secret"]))).json()
        assert {name: me[name] for name in ("name", "owner", "version", "on_behalf_of", "accounts", "roles")} == {
            "name": "bot", "owner": "anna", "version": "7", "on_behalf_of": "anna", "accounts": ["ALICE"], "roles": ["agent"],
        }  # fmt: skip
        assert (await client.get("/v1/accounts/ALICE", headers=_as(key["secret"]))).status_code == 200
        rotated = await _sent(client, "POST", f"/v1/keys/{key['id']}/rotate", eva, overlap_s=60)
        assert rotated["follows"] == key["id"]
        for secret in (key["secret"], rotated["secret"]):
            assert (await client.get("/v1/me", headers=_as(secret))).status_code == 200
        assert (await _sent(client, "POST", f"/v1/mandates/{mandate['id']}/revoke", anna))["revoked_by"] == "anna"
        assert code_of(await client.get("/v1/me", headers=_as(rotated["secret"]))) == "key_unknown"
        assert (await _sent(client, "POST", "/v1/principals/bot/disable", eva))["disabled_at"] is not None
        assert (await _sent(client, "POST", "/v1/principals/bot/enable", eva))["disabled_at"] is None
        assert (await _sent(client, "PUT", "/v1/principals/bot/owner", eva, owner="eva"))["owner"] == "eva"


async def test_a_secret_is_told_once_even_under_the_same_key(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        await _sent(client, "POST", "/v1/principals", eva, name="pay", kind="service")
        headers = {**_as(eva), "idempotency-key": "k"}
        first, again = [(await client.post("/v1/keys", json={"principal": "pay"}, headers=headers)).json() for _ in range(2)]
        assert (first["id"], again["secret"]) == (again["id"], None)
        listed = await client.get("/v1/keys?principal=pay", headers=_as(eva))
    assert first["secret"] not in listed.text
    async with db.read() as tx:
        assert all(first["secret"] not in event.leaf for event in await audit.page(tx, audit.Filter()))


async def test_nobody_changes_their_own_authority_over_http(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        for path, body in (
            ("/v1/principals/eva/roles", {"roles": ["admin", "operator"]}),
            ("/v1/principals/eva/reach", {"accounts": "all", "customers": "all"}),
        ):
            answer = await client.put(path, json=body, headers=_as(eva))
            assert (answer.status_code, code_of(answer)) == (403, "own_authority")


async def test_people_give_mandates_for_themselves_alone_and_see_their_own(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        for name in ("anna", "jan"):
            await _sent(client, "POST", "/v1/principals", eva, name=name, kind="person")
        await _sent(client, "POST", "/v1/principals", eva, name="bot", kind="agent", owner="anna")
        anna, jan, bot = [
            (await _sent(client, "POST", "/v1/keys", eva, principal=name))["secret"] for name in ("anna", "jan", "bot")
        ]
        terms = {"agent": "bot", "operations": ["*"], "until": _UNTIL}
        for secret, person in ((jan, "anna"), (bot, "anna"), (bot, None)):
            answer = await client.post("/v1/mandates", json={**terms, "person": person}, headers=_as(secret))
            assert (answer.status_code, code_of(answer)) == (403, "role_missing")
        by_admin = await _sent(client, "POST", "/v1/mandates", eva, **terms, person="anna")
        assert (by_admin["person"], by_admin["granted_by"]) == ("anna", "eva")
        own = f"/v1/mandates/{by_admin['id']}"
        assert [(await client.get(own, headers=_as(each))).status_code for each in (anna, bot, eva, jan)] == [
            200,
            200,
            200,
            404,
        ]
        for secret, count in ((anna, 1), (bot, 1), (eva, 1), (jan, 0)):
            listed = await client.get("/v1/mandates", headers=_as(secret))
            assert len(listed.json()["items"]) == count
        assert (await client.get("/v1/mandates?person=anna", headers=_as(jan))).json()["items"] == []
        answer = await client.post(f"{own}/revoke", headers=_as(jan))
        assert (answer.status_code, code_of(answer)) == (404, "unknown_mandate")


async def test_a_mandate_reaches_no_further_than_who_gives_it(db: Database, eva: str) -> None:
    await fund(db)
    async with serving(db, _CLOSED) as client:
        await _sent(client, "POST", "/v1/principals", eva, name="anna", kind="person")
        await _sent(client, "POST", "/v1/principals", eva, name="bot", kind="agent", owner="anna")
        await _sent(client, "PUT", "/v1/principals/anna/reach", eva, accounts=["ALICE"], customers=[])
        anna = (await _sent(client, "POST", "/v1/keys", eva, principal="anna"))["secret"]
        terms = {"agent": "bot", "operations": ["*"], "until": _UNTIL, "accounts": ["BOB"]}
        answer = await client.post("/v1/mandates", json=terms, headers=_as(anna))
        assert (answer.status_code, code_of(answer)) == (404, "unknown_account")
        await _sent(client, "POST", "/v1/mandates", anna, **{**terms, "accounts": ["ALICE"]})


async def test_who_knows_a_key_and_has_no_role_is_told_who_they_are_and_nothing_else(db: Database) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "jan", kind="person", by="test")
    async with serving(db, _CLOSED) as client:
        me = (await client.get("/v1/me", headers=_as(key.secret))).json()
        assert (me["name"], me["roles"], me["accounts"]) == ("jan", [], "all")
        for path in ("/v1/accounts", "/v1/principals", "/v1/audit/status"):
            assert code_of(await client.get(path, headers=_as(key.secret))) == "role_missing"


async def test_refused_attempts_are_one_event_however_many_there_are_and_tell_no_secret(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        for n in range(1500):
            await client.get("/v1/me", headers=_as(f"hunter{n}"))
        close = eva[:-1] + ("a" if eva[-1] != "a" else "b")
        await client.get("/v1/me", headers=_as(close))
        await client.get("/v1/me")
        await _services(client).presence.flush()
        async with db.read() as tx:
            events = await audit.page(tx, audit.Filter(verb="sign_in.refuse"))
        # The first is written a second after the first attempt, and the next a minute later, or when it is asked for.
        assert 1 <= len(events) <= 2
        assert sum(event.detail["attempts"] for event in events) == 1501
        told = "".join(f"{event.leaf}{event.payload}" for event in events)
        assert eva[:10] in told
        assert "hunter" not in told
        assert close not in told


async def test_the_use_of_a_key_is_seen_in_the_list(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        await client.get("/v1/me", headers=_as(eva))
        await _services(client).presence.flush()
        (key,) = (await client.get("/v1/keys", headers=_as(eva))).json()["items"]
    assert key["used_at"] is not None


async def test_a_revoked_key_stops_when_what_is_remembered_of_it_is_over(db: Database) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "pay", by="test")
    async with serving(db, HttpSettings(key_cache_s=60)) as client:
        assert (await client.get("/v1/me", headers=_as(key.secret))).status_code == 200
        async with db.write() as tx:
            await identity.revoke_key(tx, key.id, by="test")
        assert (await client.get("/v1/me", headers=_as(key.secret))).status_code == 200
    async with serving(db, _CLOSED) as client:
        assert code_of(await client.get("/v1/me", headers=_as(key.secret))) == "key_unknown"


async def test_what_could_not_be_noted_is_noted_later(db: Database, eva: str) -> None:
    async with serving(db, _CLOSED) as client:
        presence = _services(client).presence
        presence.failed("key_unknown", address="192.0.2.1")
        gone = Presence(Database("host=/nowhere"))
        gone.failed("key_unknown")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await gone.flush()
        await presence.flush()
        async with db.read() as tx:
            (event,) = await audit.page(tx, audit.Filter(verb="sign_in.refuse"))
    assert event.detail == {"attempts": 1, "by_code": {"key_unknown": 1}}
    assert event.payload == {"most": [{"code": "key_unknown", "prefix": None, "address": "192.0.2.1", "attempts": 1}]}
    assert "192.0.2.1" not in event.leaf
