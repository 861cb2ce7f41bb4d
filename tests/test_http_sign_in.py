"""People sign in at their issuer and services bring its tokens: over HTTP, with an issuer that does right and one that lies."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError
from starlette.responses import Response

from tallystick import audit, identity
from tallystick.db import Database
from tallystick.http import HttpSettings
from tallystick.http.sessions import Cookies
from tests.issuer import Issuer, issuing
from tests.processes import python
from tests.serving import code_of, serving

_URL = "http://localhost:8000"
_ORIGIN = {"origin": _URL}
_CLIENT = "tallystick-test"
_AUDIENCE = "https://tallystick.example/api"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as found:
        yield found


_PROVIDER = """
import oidc_provider_mock
with oidc_provider_mock.run_server_in_thread() as server:
    print(server.server_port, flush=True)
    input()
"""


@contextmanager
def _provider() -> Iterator[str]:
    """A provider that others have made, in a process of its own."""
    process = python(_PROVIDER, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://localhost:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def _settings(issuer: str, **more: Any) -> HttpSettings:
    return HttpSettings(
        sign_in_issuer=issuer,
        sign_in_client_id=_CLIENT,
        public_url=_URL,
        token_issuers={issuer: _AUDIENCE},
        key_cache_s=0,
        **more,
    )


async def _known(db: Database, issuer: str, *, subject: str = "s-1", roles: tuple[str, ...] = ("operator", "approver")) -> None:
    """anna, who is known by an account of the issuer."""
    async with db.write() as tx:
        await identity.add_principal(tx, "anna", kind="person", roles=roles, by="test")
        await identity.add_login(tx, "anna", issuer=issuer, subject=subject, by="test")


async def _begin(client: httpx.AsyncClient, following: str | None = None) -> str:
    answer = await client.get("/v1/sign-in", params={} if following is None else {"next": following})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def _sign_in(client: httpx.AsyncClient, issuer: Issuer, subject: str = "s-1") -> httpx.Response:
    code, state = issuer.code(await _begin(client), subject)
    return await client.get("/v1/sign-in/callback", params={"code": code, "state": state})


async def test_a_person_signs_in_at_a_real_provider_acts_and_signs_out(db: Database) -> None:
    with _provider() as url:
        await _known(db, url, subject="anna@bank.example")
        async with serving(db, _settings(url, sign_in_client_secret="s")) as client:
            location = await _begin(client, "/v1/accounts?limit=5")
            async with httpx.AsyncClient() as browser:
                answer = await browser.post(location, data={"sub": "anna@bank.example"})
            assert answer.status_code == 302, answer.text
            back = urlsplit(answer.headers["location"])
            assert f"{back.scheme}://{back.netloc}" == _URL
            ended = await client.get(f"{back.path}?{back.query}")
            assert (ended.status_code, ended.headers["location"]) == (303, "/v1/accounts?limit=5"), ended.text
            cookie = next(each for each in ended.headers.get_list("set-cookie") if each.startswith("tallystick="))
            assert "HttpOnly" in cookie
            assert "SameSite=lax" in cookie
            assert "Secure" not in cookie
            assert (await client.get("/v1/me")).json()["name"] == "anna"
            # The same answer of the provider again begins nothing.
            again = await client.get(f"{back.path}?{back.query}")
            assert (again.status_code, code_of(again)) == (401, "state_refused")
            out = await client.post("/v1/sign-out", headers=_ORIGIN)
            assert out.status_code == 204
            client.cookies.set("tallystick", cookie.partition(";")[0].partition("=")[2])
            assert code_of(await client.get("/v1/me")) == "session_over"
    async with db.read() as tx:
        told = [event async for event in audit.stream(tx, audit.Filter(verb="sign_in."), ascending=True)]
    assert [(event.verb, event.principal) for event in told][:2] == [("sign_in.open", "anna"), ("sign_in.end", "anna")]
    assert "anna@bank.example" not in "".join(event.leaf for event in told)


async def test_a_code_that_was_used_is_refused_by_the_provider_whoever_brings_it(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url)
    async with serving(db, _settings(issuer.url)) as client:
        code, state = issuer.code(await _begin(client), "s-1")
        kept = dict(client.cookies)
        path = f"/v1/sign-in/callback?code={code}&state={state}"
        assert (await client.get(path)).status_code == 303
        client.cookies.update(kept)
        assert code_of(await client.get(path)) == "code_refused"


async def test_another_state_or_another_browser_ends_no_sign_in(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url)
    async with serving(db, _settings(issuer.url)) as client:
        code, state = issuer.code(await _begin(client), "s-1")
        path = "/v1/sign-in/callback"
        for sent in ({"code": code}, {"code": code, "state": "x"}, {"code": code, "state": state + "é"},
                     {"code": code, "state": state, "iss": "https://evil.example"}):  # fmt: skip
            assert code_of(await client.get(path, params=sent)) == "state_refused"
        # Somebody is led to the end of a sign-in that another has begun.
        async with httpx.AsyncClient(transport=client._transport, base_url="http://test") as other:
            assert code_of(await other.get(path, params={"code": code, "state": state})) == "state_refused"
            await _begin(other)
            assert code_of(await other.get(path, params={"code": code, "state": state})) == "state_refused"
        assert code_of(await client.get(path, params={"error": "access_denied", "state": state})) == "sign_in_refused"
        assert (await client.get(path, params={"code": code, "state": state})).status_code == 303


_PAST = 1_700_000_000


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "x"}, {"nonce": None}, {"exp": _PAST}, {"exp": None}, {"iat": None}, {"sub": None}, {"aud": "another"},
        {"aud": ["another"]}, {"iss": "https://evil.example"}, {"aud": [_CLIENT, "another"], "azp": "another"},
        {"nbf": 4_000_000_000},
    ],
)  # fmt: skip
async def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    db: Database, issuer: Issuer, claims: dict[str, Any]
) -> None:
    await _known(db, issuer.url)
    issuer.claims = claims
    async with serving(db, _settings(issuer.url)) as client:
        answer = await _sign_in(client, issuer)
        assert (answer.status_code, code_of(answer)) == (401, "token_refused")
        assert "tallystick" not in client.cookies


def _unsigned(issuer: Issuer, audience: str, **claims: Any) -> str:
    now = int(time.time())
    said = {"iss": issuer.url, "aud": audience, "sub": "s-1", "iat": now, "exp": now + 300} | claims
    return jwt.encode(said, "", algorithm="none", headers={"kid": issuer.kid})


def _with_the_public_key_as_secret(issuer: Issuer, audience: str) -> str:
    public = issuer.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT","kid":"first"}').decode()
    body = issuer.token("s-1", audience).split(".")[1]
    signed = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{header}.{body}".encode(), public)
    return f"{header}.{body}.{jwt.utils.base64url_encode(signed).decode()}"


def _tokens(issuer: Issuer, audience: str) -> dict[str, str]:
    """Tokens that nobody may believe, by what is wrong with them."""
    good = issuer.token("s-1", audience)
    head, body, signature = good.split(".")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "none": _unsigned(issuer, audience),
        "no signature": f"{head}.{body}.",
        "another's key": issuer.token("s-1", audience, key=other),
        "public key as a secret": _with_the_public_key_as_secret(issuer, audience),
        "another kind of key": issuer.token("s-1", audience, key=ec.generate_private_key(ec.SECP256R1()), alg="ES256"),
        "changed body": f"{head}.{issuer.token('s-2', audience).split('.')[1]}.{signature}",
        "expired": issuer.token("s-1", audience, exp=_PAST),
        "another audience": issuer.token("s-1", "another"),
        "another issuer": issuer.token("s-1", audience, iss="https://evil.example"),
        "no subject": issuer.token("s-1", audience, sub=None),
        "no end": issuer.token("s-1", audience, exp=None),
        "of a page": issuer.token("s-1", audience, nonce="n"),
        "no token": "a.b.c",
        "long": f"{head}.{body}.{'a' * 9000}",
    }


async def test_a_sign_in_believes_no_forged_token(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url)
    async with serving(db, _settings(issuer.url)) as client:
        for wrong, token in _tokens(issuer, _CLIENT).items():
            issuer.claims = {"raw": token}
            answer = await _sign_in(client, issuer)
            assert (answer.status_code, code_of(answer)) == (401, "token_refused"), wrong
        issuer.claims = {}
        assert (await _sign_in(client, issuer)).status_code == 303


async def test_a_service_brings_a_token_of_its_issuer_and_nobody_a_forged_one(db: Database, issuer: Issuer) -> None:
    async with db.write() as tx:
        await identity.add_principal(tx, "pay", kind="service", by="test")
        await identity.add_login(tx, "pay", issuer=issuer.url, subject="s-1", by="test")
    async with serving(db, _settings(issuer.url)) as client:

        async def me(token: str) -> httpx.Response:
            return await client.get("/v1/me", headers={"authorization": f"Bearer {token}"})

        assert (await me(issuer.token("s-1", _AUDIENCE))).json()["name"] == "pay"
        assert (await me(issuer.token("s-1", ["x", _AUDIENCE]))).json()["roles"] == ["operator"]  # type: ignore[arg-type]
        assert code_of(await me(issuer.token("s-2", _AUDIENCE))) == "login_unknown"
        for wrong, token in _tokens(issuer, _AUDIENCE).items():
            answer = await me(token)
            assert (answer.status_code, code_of(answer)) == (401, "token_refused"), wrong
        assert code_of(await me(issuer.token("s-1", _CLIENT))) == "token_refused"
        async with db.write() as tx:
            await identity.disable(tx, "pay", by="test")
        assert code_of(await me(issuer.token("s-1", _AUDIENCE))) == "login_unknown"


async def test_a_new_key_of_the_issuer_is_found_and_an_old_one_is_believed_no_more(db: Database, issuer: Issuer) -> None:
    async with db.write() as tx:
        await identity.add_principal(tx, "pay", kind="service", by="test")
        await identity.add_login(tx, "pay", issuer=issuer.url, subject="s-1", by="test")
    async with serving(db, _settings(issuer.url)) as client:

        async def ask(token: str) -> int:
            return (await client.get("/v1/me", headers={"authorization": f"Bearer {token}"})).status_code

        old = issuer.token("s-1", _AUDIENCE)
        assert await ask(old) == 200
        issuer.rotate("second")
        assert await ask(issuer.token("s-1", _AUDIENCE)) == 200
        assert await ask(old) == 401
        # Keys that nobody has are not asked for again and again.
        issuer.kid = "made-up"
        assert await asyncio.gather(*(ask(issuer.token("s-1", _AUDIENCE, n=n)) for n in range(20))) == [401] * 20
        assert issuer.asked.count("/keys") <= 5


async def test_no_log_and_no_answer_holds_a_secret(db: Database, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    await _known(db, issuer.url)
    forged = _tokens(issuer, _AUDIENCE)
    told = ""
    with caplog.at_level(logging.INFO):
        async with serving(db, _settings(issuer.url, sign_in_client_secret="client-secret-1")) as client:
            code, state = issuer.code(await _begin(client), "s-1")
            begun = client.cookies["tallystick-signing-in"]
            told += (await client.get("/v1/sign-in/callback", params={"code": code, "state": "wrong"})).text
            ended = await client.get("/v1/sign-in/callback", params={"code": code, "state": state})
            session = client.cookies["tallystick"]
            told += ended.text + (await client.get("/v1/me")).text
            client.cookies.clear()
            for token in (*forged.values(), "ts_" + "a" * 43):
                told += (await client.get("/v1/me", headers={"authorization": f"Bearer {token}"})).text
    async with db.read() as tx:
        told += "".join([event.leaf + str(event.payload) async for event in audit.stream(tx, audit.Filter())])
    assert "sign_in.open" in told
    for secret in (code, state, begun, session, "client-secret-1", "ts_" + "a" * 43, *forged.values()):
        assert secret not in told
        # What the client of this test logs is its own.
        assert not [line for line in caplog.messages if secret in line and "http://test/" not in line]


async def test_who_signs_in_and_is_not_known_is_let_in_by_nobody(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url)
    async with db.write() as tx:
        await identity.add_principal(tx, "pay", kind="service", by="test")
        await identity.add_login(tx, "pay", issuer=issuer.url, subject="s-9", by="test")
    async with serving(db, _settings(issuer.url)) as client:
        for subject in ("s-2", "s-9"):
            assert code_of(await _sign_in(client, issuer, subject)) == "login_unknown"


async def test_with_a_cookie_only_our_own_pages_change_something(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url, roles=("operator",))
    async with serving(db, _settings(issuer.url), keyed=True) as client:
        await _sign_in(client, issuer)
        body = {"agent": "a", "type": "t", "payload": {}}
        for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}, {"referer": f"{_URL}/"}):
            answer = await client.post("/v1/events", json=body, headers=headers)
            assert (answer.status_code, code_of(answer)) == (403, "origin_refused")
        assert code_of(await client.post("/v1/sign-out", headers={"origin": "https://evil.example"})) == "origin_refused"
        assert (await client.get("/v1/me")).json()["name"] == "anna"
        assert (await client.post("/v1/events", json=body, headers=_ORIGIN)).status_code == 201
        transfer = {"from_account": "A", "to_account": "B", "amount": {"amount": "1", "currency": "CZK"}}
        assert code_of(await client.post("/v1/transfers", json=transfer)) == "origin_refused"


async def test_a_session_ends_with_its_time_its_login_and_its_person(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url)
    async with serving(db, _settings(issuer.url)) as client:
        await _sign_in(client, issuer)
        assert (await client.get("/v1/me")).status_code == 200
        async with db.write() as tx:
            (login,) = await identity.logins(tx, "anna")
            await identity.remove_login(tx, "anna", login.id, by="test")
        assert code_of(await client.get("/v1/me")) == "session_over"
        async with db.write() as tx:
            await identity.add_login(tx, "anna", issuer=issuer.url, subject="s-1", by="test")
        await _sign_in(client, issuer)
        async with db.write() as tx:
            await identity.disable(tx, "anna", by="test")
            await identity.enable(tx, "anna", by="test")
        assert code_of(await client.get("/v1/me")) == "session_over"
    async with db.write() as tx:
        short = await identity.open_session(tx, issuer=issuer.url, subject="s-1", lasts_s=0)
        assert await identity.recognize_session(tx, short.secret) is None


async def test_a_person_has_twenty_sessions_at_most(db: Database) -> None:
    await _known(db, "https://i.example")
    async with db.write() as tx:
        made = [await identity.open_session(tx, issuer="https://i.example", subject="s-1", lasts_s=60) for _ in range(25)]
        alive = [await identity.recognize_session(tx, each.secret) is not None for each in made]
    assert alive == [False] * 5 + [True] * 20


async def test_a_claim_leaves_of_a_persons_roles_those_that_it_is_set_up_to(db: Database, issuer: Issuer) -> None:
    await _known(db, issuer.url, roles=("operator", "approver"))
    settings = _settings(issuer.url, sign_in_roles_claim="groups", sign_in_roles={"bank-approvers": ["approver", "admin"]})
    async with serving(db, settings) as client:
        for groups, roles in (
            (["x", "bank-approvers"], ["approver"]),
            ("bank-approvers", ["approver"]),
            (["x"], []),
            (None, []),
        ):
            issuer.claims = {"groups": groups}
            await _sign_in(client, issuer)
            assert (await client.get("/v1/me")).json()["roles"] == roles


@pytest.mark.parametrize(
    "following", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\nb", "/" + "a" * 300]
)
async def test_nobody_is_sent_elsewhere_after_a_sign_in(db: Database, issuer: Issuer, following: str) -> None:
    async with serving(db, _settings(issuer.url)) as client:
        answer = await client.get("/v1/sign-in", params={"next": following})
    assert (answer.status_code, code_of(answer)) == (422, "next_malformed")


async def test_an_issuer_that_is_away_or_is_another_is_said_to_be(db: Database, issuer: Issuer) -> None:
    async with serving(db, _settings("http://127.0.0.1:9")) as client:
        assert code_of(await client.get("/v1/sign-in")) == "issuer_unavailable"
    async with serving(db, _settings(f"{issuer.url}/")) as client:
        assert code_of(await client.get("/v1/sign-in")) == "issuer_unavailable"
    async with serving(db, HttpSettings()) as client:
        assert code_of(await client.get("/v1/sign-in")) == "no_sign_in"


@pytest.mark.parametrize(
    "settings",
    [
        {"sign_in_issuer": "https://i.example"},
        {"sign_in_issuer": "http://i.example", "sign_in_client_id": "x", "public_url": "https://b.example"},
        {"sign_in_issuer": "https://i.example", "sign_in_client_id": "x", "public_url": "http://b.example"},
        {"token_issuers": {"http://i.example": "x"}},
    ],
)
def test_sign_in_is_set_up_whole_and_safe_or_not_at_all(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(**settings)


def test_over_https_cookies_are_held_to_the_host() -> None:
    settings = HttpSettings(sign_in_issuer="https://i.example", sign_in_client_id="x", public_url="https://b.example")
    response = Response()
    Cookies(settings).signed_in(response, "secret")
    cookie = response.headers.getlist("set-cookie")[-1]
    assert cookie.startswith("__Host-tallystick=secret;")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()


async def test_a_daily_quota_is_of_all_processes_together(db: Database) -> None:
    async with db.write() as tx:
        busy, calm = [(await identity.create_key(tx, name, by="test")).secret for name in ("busy", "calm")]
    settings = HttpSettings(daily_quota=5, key_cache_s=0)
    async with serving(db, settings) as first, serving(db, settings) as second:

        async def ask(client: httpx.AsyncClient, secret: str) -> httpx.Response:
            answer = await client.get("/v1/me", headers={"authorization": f"Bearer {secret}"})
            await client._transport.app.state.services.presence.flush()  # type: ignore[attr-defined]
            return answer

        assert [(await ask(each, busy)).status_code for each in (first, second) * 2] == [200] * 4
        assert (await ask(first, busy)).status_code == 200
        refused = await ask(first, busy)
        assert (refused.status_code, code_of(refused)) == (429, "quota_used")
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        # The other process learns of it with what it adds next.
        assert [(await ask(second, busy)).status_code for _ in range(2)] == [200, 429]
        assert (await ask(second, calm)).status_code == 200


async def test_who_asks_too_often_waits_and_others_do_not(db: Database) -> None:
    async with db.write() as tx:
        busy, calm = [(await identity.create_key(tx, name, by="test")).secret for name in ("busy", "calm")]
    async with serving(db, HttpSettings(rate_per_s=0.01, rate_burst=5)) as client:

        async def ask(secret: str) -> httpx.Response:
            return await client.get("/v1/me", headers={"authorization": f"Bearer {secret}"})

        assert [(await ask(busy)).status_code for _ in range(6)] == [200] * 5 + [429]
        refused = await ask(busy)
        assert (code_of(refused), int(refused.headers["retry-after"]) > 10) == ("rate_limited", True)
        assert (await ask(calm)).status_code == 200
