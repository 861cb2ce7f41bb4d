"""What surrounds every route: keys, health, documentation, request ids, bounds, and what happens when things break."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystick import identity
from tallystick.db import Database, DatabaseSettings, EmbeddedServer
from tallystick.http import HttpSettings, create_app
from tallystick.kit import Unavailable
from tests.conftest import TestDatabase
from tests.serving import OPEN, code_of, fund, live, serving

CLOSED = HttpSettings()


async def test_without_a_key_only_health_and_documentation_answer(db: Database) -> None:
    async with serving(db, CLOSED) as client:
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/docs/static/swagger-ui.css", "/docs/static/start.js"):
            assert (await client.get(path)).status_code == 200, path
        app = create_app(CLOSED, db)
        for route in app.routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    response = await client.request(method, route.path.replace("{", "").replace("}", ""), content=b"{")
                    assert (response.status_code, code_of(response)) == (401, "key_missing"), route.path
                    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Token x", "bearer  "])
async def test_a_header_without_a_key_is_no_key(db: Database, header: str) -> None:
    async with serving(db, CLOSED) as client:
        response = await client.get("/v1/accounts", headers={"authorization": header})
    assert (response.status_code, code_of(response)) == (401, "key_missing")


@pytest.mark.parametrize("key", ["x", "ts_" + "a" * 43, "é", "x" * 5000, "%00", "' or 1=1"])
async def test_an_unknown_key_is_refused(db: Database, key: str) -> None:
    async with serving(db, CLOSED) as client:
        response = await client.get("/v1/accounts", headers=[(b"authorization", b"Bearer " + key.encode("latin-1"))])
    assert (response.status_code, code_of(response)) == (401, "key_unknown")


async def test_a_key_acts_as_its_principal_until_it_is_revoked(db: Database, database: TestDatabase) -> None:
    async with db.write() as tx:
        key = await identity.create_key(tx, "agent-7", kind="agent", by="test")
    settings = HttpSettings(key_cache_s=0)
    headers = {"authorization": f"Bearer {key.secret}"}
    async with serving(db, settings) as client:
        created = await client.post("/v1/events", json={"agent": "agent-7", "type": "t", "payload": {}}, headers=headers)
        assert created.status_code == 201
        async with db.write() as tx:
            await identity.revoke_key(tx, key.id, by="test")
        assert code_of(await client.get("/v1/events", headers=headers)) == "key_unknown"
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("select created_by from memory.event").fetchone() == ("agent-7",)


async def test_the_bootstrap_key_of_the_environment_works_and_is_not_shown(db: Database) -> None:
    settings = HttpSettings(api_key=SecretStr("first-key"))
    assert "first-key" not in repr(settings)
    async with serving(db, settings) as client:
        assert (await client.get("/v1/accounts", headers={"authorization": "Bearer first-key"})).status_code == 200
        refused = await client.get("/v1/accounts", headers={"authorization": "Bearer first-ke"})
    assert code_of(refused) == "key_unknown"


def test_an_empty_bootstrap_key_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "")
    app = create_app(HttpSettings(), Database("host=/nowhere"))
    with pytest.raises(Exception, match="key_missing"):
        asyncio.run(app.state.services.gatekeeper.principal({"headers": [(b"authorization", b"Bearer ")]}))


async def test_a_request_keeps_its_id_and_a_strange_one_gets_a_new_one(db: Database) -> None:
    async with serving(db) as client:
        kept = await client.get("/nope", headers={"x-request-id": "trace-1.a_B"})
        assert (kept.headers["x-request-id"], kept.json()["request_id"]) == ("trace-1.a_B", "trace-1.a_B")
        almost = await client.get("/nope", headers={"x-request-id": "4111111111111112"})
        assert almost.headers["x-request-id"] == "4111111111111112"
        # The last two hold numbers of cards, which the record never does.
        for strange in ("a b", "x" * 65, "", "<script>", "4111111111111111", "pay-378282246310005.x"):
            answer = await client.get("/healthz", headers={"x-request-id": strange})
            assert answer.headers["x-request-id"] not in ("", strange)


async def test_answers_are_not_sniffed_and_not_kept(db: Database) -> None:
    async with serving(db) as client:
        for path in ("/v1/accounts", "/nope", "/healthz", "/docs"):
            response = await client.get(path, headers={"origin": "https://example.com"})
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["cache-control"] == "no-store"
            assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_the_documentation_loads_nothing_from_elsewhere(db: Database) -> None:
    async with serving(db) as client:
        page = await client.get("/docs")
        assert "://" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe-inline" not in page.headers["content-security-policy"].split("style-src")[0]
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png", "start.js"):
            assert f"/docs/static/{asset}" in page.text
            assert (await client.get(f"/docs/static/{asset}")).status_code == 200
        for other in ("redoc.standalone.js", "x", "..%2f__init__.py", "%00", "../__init__.py"):
            assert code_of(await client.get(f"/docs/static/{other}")) == "not_found"


async def test_a_path_with_a_slash_too_many_is_not_found(db: Database) -> None:
    async with serving(db) as client:
        for path in ("/v1/accounts/", "//v1/accounts", "/v1", "/", "/V1/accounts"):
            assert code_of(await client.get(path)) == "not_found"


async def test_ready_means_that_the_database_has_the_schema_of_this_program(db: Database, database: TestDatabase) -> None:
    async with serving(db) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        with psycopg.connect(database.owner_url) as connection:
            connection.execute("update db.revision set version_num = '0001'")
        response = await client.get("/readyz")
        assert (response.status_code, code_of(response)) == (503, "not_migrated")
        assert (await client.get("/healthz")).status_code == 200


async def test_a_database_that_is_away_is_503_until_it_is_back(cluster: EmbeddedServer, database: TestDatabase) -> None:
    opened = Database(database.app_url, DatabaseSettings(pool_wait_s=0.5))
    await opened.open()
    try:
        async with serving(opened, keyed=True) as client:
            _allow_connections(cluster, database, allowed=False)
            for method, path in (("GET", "/readyz"), ("GET", "/v1/accounts"), ("POST", "/v1/transfers")):
                body = {"from_account": "A", "to_account": "B", "amount": {"amount": "1", "currency": "CZK"}}
                response = await client.request(method, path, json=body if method == "POST" else None)
                assert response.status_code == 503, response.text
                assert code_of(response) in ("database_unavailable", "database_busy")
                assert response.headers["retry-after"] == "1"
            assert (await client.get("/healthz")).status_code == 200
            _allow_connections(cluster, database, allowed=True)
            async with asyncio.timeout(30):
                while (response := await client.get("/readyz")).status_code != 200:
                    assert code_of(response).startswith("database_")
    finally:
        await opened.close()


def _allow_connections(cluster: EmbeddedServer, database: TestDatabase, *, allowed: bool) -> None:
    with psycopg.connect(cluster.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f'alter database "{database.name}" allow_connections {allowed}'.encode())
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database.name,))


@pytest.mark.parametrize("announced", [True, False])
def test_a_real_server_answers_a_sender_of_ten_megabytes(database: TestDatabase, announced: bool) -> None:
    body: bytes | Iterator[bytes] = b"x" * 10_000_000 if announced else (b"x" * 100_000 for _ in range(100))
    with live(database.app_url) as base:
        response = httpx.post(f"{base}/v1/transfers", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, code_of(response)) == (413, "body_too_large")


async def _break(_: Request) -> Response:
    raise RuntimeError("secret internals")


async def _wait(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def _away(_: Request) -> Response:
    raise Unavailable("overloaded", "too much")


async def test_a_bug_is_a_500_with_an_id_and_without_internals(db: Database) -> None:
    app = create_app(HttpSettings(open=True, request_timeout_s=0.05), db)
    app.router.routes.extend([Route("/break", _break), Route("/wait", _wait), Route("/away", _away)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        broken = await client.get("/break", headers={"x-request-id": "find-me"})
        assert (broken.status_code, code_of(broken)) == (500, "internal_error")
        assert broken.json()["request_id"] == "find-me"
        assert "secret" not in broken.text
        slow = await client.get("/wait")
        assert (slow.status_code, code_of(slow)) == (503, "timeout")
        later = await client.get("/away")
        assert (later.status_code, code_of(later), later.headers["retry-after"]) == (503, "overloaded", "1")


SHORT_WAY = [
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":1.50,"currency":"CZK"}}', {}),
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":"1","currency":"CZK"},"settle":"queued"}', {}),
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":"1000000","currency":"CZK"}}', {}),
    (b"", {}),
    (b"null", {}),
    (b"[]", {}),
    (b"{", {}),
    (b"{}", {}),
    (b"{}", {"content-type": "text/plain"}),
    (b'{"from_account":"A B","to_account":5,"amount":{"amount":true,"currency":"czk","x":1},"y":2}', {}),
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":NaN,"currency":"CZK"}}', {}),
    (b'{"from_account":"ALICE","to_account":"none","amount":{"amount":"1","currency":"CZK"}}', {}),
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":"1","currency":"CZK"}}', {"idempotency-key": "a b"}),
    (b"{}", {"content-type": "application/json; charset=utf-8"}),
    (b'{"from_account":"ALICE","to_account":"BOB","amount":{"amount":1.50,"currency":"CZK"}}', {"idempotency-key": ""}),
    (b"{}", {"x-no-key": "1"}),
]


@pytest.mark.parametrize(("body", "headers"), SHORT_WAY)
async def test_the_short_way_answers_as_the_framework_would(db: Database, body: bytes, headers: dict[str, str]) -> None:
    await fund(db)
    answers = []
    for short in (True, False):
        app = create_app(OPEN, db)
        if not short:
            _through_the_framework(app.router.routes)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                sent = {"content-type": "application/json", "idempotency-key": f"key-{short}"} | headers
                if "x-no-key" in sent:
                    del sent["idempotency-key"]
                answers.append(await client.post("/v1/transfers", content=body, headers=sent))
    short_answer, long_answer = answers
    assert short_answer.status_code == long_answer.status_code
    assert short_answer.headers["content-type"] == long_answer.headers["content-type"]
    assert _without_what_differs(short_answer) == _without_what_differs(long_answer)


def _through_the_framework(routes: list[Any]) -> None:
    (busy,) = [route for route in routes if getattr(route, "path", "") == "/v1/transfers" and "POST" in route.methods]
    usual = type(busy).__mro__[1]
    routes[routes.index(busy)] = usual(busy.path, busy.endpoint, methods=["POST"], status_code=201)


def _without_what_differs(response: httpx.Response) -> Any:
    answer = response.json()
    for name in ("id", "journal_id", "decision_id", "created_at", "settled_at", "request_id"):
        answer.pop(name, None)
    for violation in answer.get("errors", ()):
        # The framework words the pattern of a header in its own way.
        if violation["in"] == "header":
            violation.pop("detail")
    return answer
