"""The OWASP API Security Top 10 (2023), a test for each; the table is in docs/security.md."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import hashlib
import ipaddress
import re
from typing import Any

import psycopg
import pytest
from fastapi.routing import APIRoute

from tallystick import approvals, identity
from tallystick.approvals import Approval, Question, WebhookSettings
from tallystick.db import Database
from tallystick.http import HttpSettings, create_app
from tallystick.kit import Invalid
from tallystick.worker.posting import NotDelivered, post
from tests.conftest import ROOT, TestDatabase
from tests.security.keyring import LOCKED, door
from tests.serving import OPEN, code_of, fund, serving
from tests.test_http_bad_input import BODIES

DIGEST = hashlib.sha256(b"5").digest()


async def _ask(db: Database, maker: str, **more: Any) -> Approval:
    question = Question("transfer", None, DIGEST, {"amount": "5"}, maker, (("approver", 1),), 3600, **more)
    async with db.write() as tx:
        by = await identity.acting(tx, maker)
        assert by is not None
        return await approvals.ask(tx, question, by)


def _operations() -> dict[str, dict[str, Any]]:
    document = create_app(OPEN, Database("host=/nowhere")).openapi()
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict) and "responses" in operation
    }


async def test_api1_broken_object_level_authorization(db: Database) -> None:
    """Knowing the number of a thing is not enough: for who may not see it, it is not there."""
    async with door(db) as at:
        asked = await _ask(db, "bot")
        path = f"/v1/approvals/{asked.id}"
        assert (await at.ask("bot", "GET", path)).status_code == 200
        for method, address, body in (
            ("GET", path, None), ("POST", f"{path}/comments", {"text": "x"}), ("POST", f"{path}/withdraw", None),
        ):  # fmt: skip
            hidden = await at.ask("other-bot", method, address, body)
            nowhere = await at.ask("other-bot", method, address.replace(f"/{asked.id}", "/999"), body)
            told = [{**each.json(), "request_id": None} for each in (hidden, nowhere)]
            assert (hidden.status_code, told[0]) == (404, told[1])
        assert (await at.ask("other-bot", "GET", "/v1/approvals")).json()["items"] == []


async def test_api2_broken_authentication(db: Database) -> None:
    """No route answers who shows no key, a wrong one, or one by another way; a revoked key is as good as none."""
    app = create_app(LOCKED, Database("host=/nowhere"))
    routes = [(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods or ()]
    async with door(db) as at:
        for method, path in routes:
            address = re.sub(r"\{[^}]+\}", "1", path)
            for headers, code in (
                ({}, "key_missing"),
                ({"authorization": "Bearer ts_" + "x" * 43}, "key_unknown"),
                ({"authorization": f"Basic {at.keys['root']}"}, "key_missing"),
                ({"x-api-key": at.keys["root"], "cookie": f"key={at.keys['root']}"}, "key_missing"),
            ):
                response = await at.client.request(method, f"{address}?key={at.keys['root']}", headers=headers)
                assert (response.status_code, code_of(response)) == (401, code), (method, path)
        assert (await at.ask("desk", "GET", "/v1/approvals")).status_code == 200
        async with db.write() as tx:
            for key in await identity.keys(tx, principal="desk"):
                await identity.revoke_key(tx, key.id, by="t")
        assert code_of(await at.ask("desk", "GET", "/v1/approvals")) == "key_unknown"


@pytest.mark.parametrize("path", sorted(path for method, path in BODIES if method == "POST" and path.startswith("/v1/")))
async def test_api3_broken_object_property_level_authorization(db: Database, path: str) -> None:
    """Nobody sets what is not theirs to set: who acts, whose it is and where it stands are no fields of any body."""
    await fund(db)
    async with serving(db, keyed=True) as client:
        for extra in ("principal", "created_by", "maker", "on_behalf_of", "roles", "is_admin"):
            body = copy.deepcopy(BODIES["POST", path]) | {extra: "root"}
            if extra in BODIES["POST", path]:
                continue
            response = await client.post(re.sub(r"\{[^}]+\}", "1", path), json=body)
            assert (response.status_code, code_of(response)) == (422, "validation_failed"), extra


async def test_api3_what_is_secret_is_in_no_answer(db: Database, database: TestDatabase) -> None:
    """And nobody reads it: neither by HTTP nor with the application's own login."""
    async with door(db) as at:
        made = (await at.ask("root", "POST", "/v1/webhooks", {"url": "https://desk.example/", "events": ["*"]})).json()
        answers = [await at.ask("root", "GET", path) for path in ("/v1/webhooks", "/v1/audit/events", "/v1/approvals")]
        for answer in answers:
            assert made["secret"] not in answer.text
            assert not any(key in answer.text for key in at.keys.values())
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select inner_key from approvals.webhook")


async def test_api4_unrestricted_resource_consumption(db: Database) -> None:
    """Every list that is asked for or sent has an end, every body has a size, every text of a query has a bound."""
    schemas = create_app(OPEN, Database("host=/nowhere")).openapi()["components"]["schemas"]

    def unbounded(schema: dict[str, Any], place: str, seen: tuple[str, ...] = ()) -> list[str]:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            return [] if name in seen else unbounded(schemas[name], place, (*seen, name))
        found = [place] if schema.get("type") == "array" and "maxItems" not in schema else []
        for word in ("anyOf", "allOf", "oneOf"):
            for part in schema.get(word, ()):
                found += unbounded(part, place, seen)
        for name, part in schema.get("properties", {}).items():
            found += unbounded(part, f"{place}/{name}", seen)
        return found + (unbounded(schema["items"], f"{place}/0", seen) if "items" in schema else [])

    for name, operation in _operations().items():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert unbounded(content["schema"], name) == []
        for parameter in operation.get("parameters", ()):
            if parameter["name"] == "limit":
                assert parameter["schema"]["maximum"] <= 1000, name
    async with serving(db, keyed=True) as client:
        for path in sorted(path for method, path in BODIES if method == "POST"):
            response = await client.post(re.sub(r"\{[^}]+\}", "1", path), content=b"x" * 9_000_000)
            assert code_of(response) == "body_too_large", path
        nested = b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        response = await client.post("/v1/approvals/1/comments", content=nested, headers={"content-type": "application/json"})
        assert code_of(response) == "json_too_deep"


async def test_api4_who_asks_too_often_or_too_much_is_told_to_wait(db: Database) -> None:
    """Where rates and quotas are set, each principal has its own: who has used theirs up keeps nobody else from asking."""
    async with db.write() as tx:
        busy, calm = [(await identity.create_key(tx, name, by="t")).secret for name in ("busy", "calm")]
    for settings, code in (
        (HttpSettings(rate_per_s=0.01, rate_burst=3), "rate_limited"),
        (HttpSettings(daily_quota=6, key_cache_s=0), "quota_used"),
    ):
        async with serving(db, settings) as client:

            async def ask(secret: str, client: Any = client) -> Any:
                answer = await client.get("/v1/me", headers={"authorization": f"Bearer {secret}"})
                await client._transport.app.state.services.presence.flush()
                return answer

            answers = [await ask(busy) for _ in range(10)]
            assert (answers[0].status_code, answers[-1].status_code, code_of(answers[-1])) == (200, 429, code)
            assert int(answers[-1].headers["retry-after"]) > 0
            assert (await ask(calm)).status_code == 200


async def test_api5_broken_function_level_authorization(db: Database) -> None:
    """What is for admins, people or reviewers is for nobody else, whatever other roles they have."""
    async with door(db) as at:
        asked = await _ask(db, "bot")
        path = f"/v1/approvals/{asked.id}"
        vote = {"vote": "approve", "digest": DIGEST.hex()}
        glass = {"digest": DIGEST.hex(), "reason": "now"}
        hook = {"url": "https://desk.example/", "events": ["*"]}
        wanted = {
            ("POST", "/v1/webhooks"): (hook, dict.fromkeys(("eva", "hana", "desk", "bot"), "role_missing")),
            ("GET", "/v1/webhooks"): (None, dict.fromkeys(("eva", "hana", "desk", "bot"), "role_missing")),
            ("DELETE", "/v1/webhooks/1"): (None, dict.fromkeys(("eva", "hana", "desk", "bot"), "role_missing")),
            ("GET", "/v1/approvals/reviews"): (None, {"bot": "role_missing"}),
            ("POST", f"{path}/votes"): (
                vote, {"bot": "agents_never_vote", "desk": "only_people_vote", "hana": "role_missing", "root": "role_missing"},
            ),
            ("POST", f"{path}/break-glass"): (
                glass, {"bot": "agents_never_vote", "desk": "only_people_vote", "hana": "role_missing"},
            ),
            ("POST", f"{path}/withdraw"): (None, {"eva": "not_the_maker", "desk": "not_the_maker"}),
        }  # fmt: skip
        for (method, address), (body, refused) in wanted.items():
            for who, code in refused.items():
                response = await at.ask(who, method, address, body)
                assert (response.status_code, code_of(response)) == (403, code), (method, address, who)


async def test_api6_unrestricted_access_to_sensitive_business_flows(db: Database) -> None:
    """The flow of an approval is not walked by one alone: not with two keys, nor through one's agent, nor by an edit."""
    async with door(db) as at:
        yes = {"vote": "approve", "digest": DIGEST.hex()}
        # Two keys of one person.
        async with db.write() as tx:
            second = (await identity.create_key(tx, "eva", by="t")).secret
        asked = await _ask(db, "bot", excluded=frozenset())
        async with db.write() as tx:
            question = Question("transfer", None, DIGEST, {}, "bot", (("approver", 2),), 3600)
            two = await approvals.ask(tx, question, identity.Principal("bot", "agent"))
        path = f"/v1/approvals/{two.id}/votes"
        assert (await at.ask("eva", "POST", path, yes)).json()["status"] == "open"
        again = await at.client.post(path, json=yes, headers={"authorization": f"Bearer {second}"})
        assert code_of(again) == "voted_already"
        # Who owns the agent that asks.
        assert code_of(await at.ask("olga", "POST", f"/v1/approvals/{asked.id}/votes", yes)) == "maker_is_not_checker"
        # Who edited it.
        other = hashlib.sha256(b"6").digest()
        async with db.write() as tx:
            jan = await identity.acting(tx, "jan")
            assert jan is not None
            await approvals.amend(tx, asked.id, other, {"amount": "6"}, jan)
        path = f"/v1/approvals/{asked.id}/votes"
        assert code_of(await at.ask("jan", "POST", path, yes | {"digest": other.hex()})) == "maker_is_not_checker"
        # Of what was shown before.
        assert code_of(await at.ask("eva", "POST", path, yes)) == "approval_changed"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[::1]", "[fd00::1]",
     "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1",
     "localhost", "localhost."],
)  # fmt: skip
async def test_api7_server_side_request_forgery(db: Database, host: str) -> None:
    """Nothing is sent to the inside: not where it is written as an address, in any way, nor where a name stands for it."""
    url = f"https://{host}/latest/meta-data"
    settings = WebhookSettings()
    if not host.startswith("localhost"):
        with pytest.raises(Invalid, match=r"address_not_allowed|url_malformed"):
            async with db.write() as tx:
                await approvals.add_webhook(tx, url, ["*"], by="root", settings=settings)
    # It is checked again when something is sent.
    with pytest.raises(NotDelivered) as caught:
        await post(approvals.Signed(url, 0, "0" * 64), b"{}", settings)
    assert caught.value.code in ("address_not_allowed", "name_unknown", "url_malformed")


async def test_api8_security_misconfiguration(db: Database) -> None:
    """By default keys are asked for; answers say nothing of what runs here, are not kept, and are for no other origin."""
    assert HttpSettings.model_fields["open"].default is False
    async with serving(db, LOCKED) as client:
        for path in ("/v1/accounts", "/healthz", "/nowhere", "/v1/tasks/%00", "/docs"):
            response = await client.get(path, headers={"origin": "https://evil.example"})
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "cache-control" in response.headers
            assert "access-control-allow-origin" not in response.headers
            assert "server" not in response.headers
            assert "Traceback" not in response.text
            assert "psycopg" not in response.text
        preflight = await client.options(
            "/v1/transfers", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
        )
        assert preflight.status_code == 405
        assert (await client.request("TRACE", "/v1/transfers")).status_code == 405


def test_api9_improper_inventory_management() -> None:
    """Every route is in the document, and what is open to everybody is on this list."""
    app = create_app(LOCKED, Database("host=/nowhere"))
    documented = set(_operations())
    keyed = {f"{method} {route.path}" for route in app.routes if isinstance(route, APIRoute) for method in route.methods or ()}
    assert keyed == documented
    text = (ROOT / "docs/security.md").read_text("utf-8").split("## Open to everybody")[1].split("\n## ")[0]
    open_to_all = {getattr(route, "path", "") for route in app.routes if not isinstance(route, APIRoute)}
    # It takes a key (tests/test_http_metrics.py); its answer is no JSON, so it is not in the document.
    open_to_all.remove("/metrics")
    assert open_to_all == set(re.findall(r"^\| `(/[^`]*)` \|", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 1_000_000, None),
        (b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-type: text/html\r\n\r\n<script>", None),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n", "unreachable"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "unreachable"),
        (b"\x00" * 1000, "unreachable"),
        (b"", "unreachable"),
        (b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", "http_999"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", "redirected"),
    ],
)
async def test_api10_unsafe_consumption_of_apis(said: bytes, code: str | None) -> None:
    """Of what another program answers only the status is taken; whatever else it says costs neither memory nor sense."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()
            writer.close()

    settings = WebhookSettings(allow=(ipaddress.ip_network("127.0.0.0/8"),), plain_http=True, timeout_s=5)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            became: str | None = None
            await post(approvals.Signed(url, 0, "0" * 64), b"{}", settings)
        except NotDelivered as failure:
            became = failure.code
    assert became == code
