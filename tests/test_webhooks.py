"""Notices of questions: signed, retried, and never sent to where they should not go. The receivers are real servers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tallystick import approvals, audit, work
from tallystick.approvals import Approval, Question, WebhookSettings
from tallystick.db import Database
from tallystick.identity import Principal, house
from tallystick.kit import Conflict, Invalid, NotFound
from tallystick.worker import Worker
from tallystick.worker.notifier import Notifier
from tests.clocks import SetClock
from tests.conftest import ROOT, TestDatabase

EVA = Principal("eva", "person", frozenset({"approver"}))
QUESTION = Question("transfer", 7, hashlib.sha256(b"5").digest(), {"to": "Mrs Nova"}, "bot", (("approver", 1),), 3600)
LOOPBACK = WebhookSettings(allow=(ipaddress.ip_network("127.0.0.0/8"),), plain_http=True, timeout_s=2)


@dataclass
class Receiver:
    """A small HTTP server. It answers with what `answers` says, in turn, and the last of it ever after."""

    answers: list[bytes]
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.got.append((first, headers, body))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said == b"hang":
            await reader.read()
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()


def says(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "content-length: 0", *headers, "", ""]).encode()


@contextlib.asynccontextmanager
async def receiver(*answers: bytes, certificate: Path | None = None) -> AsyncIterator[Receiver]:
    one = Receiver(list(answers or [says("204 No Content")]))
    secure = None
    if certificate is not None:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate)
    async with await asyncio.start_server(one.answer, "127.0.0.1", 0, ssl=secure) as server:
        one.port = server.sockets[0].getsockname()[1]
        yield one


async def subscribe(db: Database, url: str, *events: str, settings: WebhookSettings = LOOPBACK) -> approvals.NewWebhook:
    async with db.write() as tx:
        return await approvals.add_webhook(tx, url, events or ("*",), by="root", settings=settings)


async def ask(db: Database) -> Approval:
    async with db.write() as tx:
        return await approvals.ask(tx, QUESTION, house("bot"))


async def deliver(db: Database, settings: WebhookSettings = LOOPBACK) -> None:
    """Deliver what is due, and let what waits to be tried again be due at once."""
    async with db.write() as tx:
        await work.wake_due(tx)
    notifier = Notifier(db, "w", settings)
    while await notifier.round():
        pass


def due_now(database: TestDatabase) -> None:
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("update work.wait set wake_at = db.clock() - interval '1 second'")


async def notices(db: Database) -> list[work.Task]:
    async with db.read() as tx:
        return sorted(await work.page(tx, agent=approvals.NOTIFIER, limit=100), key=lambda task: task.id)


def verify(secret: str, header: str, body: bytes, now: int) -> bool:
    """As docs/approvals.md tells receivers to do it."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(now - int(parts["t"])) <= 300


async def test_a_notice_is_signed_and_tells_ids_and_codes_alone(db: Database) -> None:
    async with receiver() as other:
        made = await subscribe(db, other.url(path="/hook?x=1"))
        asked = await ask(db)
        await deliver(db)
        ((first, headers, body),) = other.got
    assert first == "POST /hook?x=1 HTTP/1.1"
    assert (headers["host"], headers["content-type"]) == (f"127.0.0.1:{other.port}", "application/json")
    (task,) = await notices(db)
    told = json.loads(body)
    assert told == {
        "notice": str(task.id),
        "event": "approval.asked",
        "at": asked.asked_at.isoformat(),
        "approval": {
            "id": str(asked.id), "action": "transfer", "action_id": "7", "status": "open", "version": 1, "roles": ["approver"],
            "expires_at": asked.expires_at.isoformat(),
        },
    }  # fmt: skip
    assert (task.status, task.result) == ("done", {"delivered": True, "status": 204})
    at = int(headers["tallystick-signature"].split(",")[0][2:])
    assert verify(made.secret, headers["tallystick-signature"], body, at)
    assert not verify(made.secret, headers["tallystick-signature"], body, at + 301)
    assert not verify(made.secret, headers["tallystick-signature"], body + b" ", at)
    assert not verify("tsw_other", headers["tallystick-signature"], body, at)
    later = headers["tallystick-signature"].replace(f"t={at}", f"t={at + 1}")
    assert not verify(made.secret, later, body, at)
    async with db.read() as tx:
        steps = await work.steps(tx, task.id)
    assert [(step.kind, step.state) for step in steps] == [("call", "intent"), ("call", "done")]


async def test_each_thing_that_happens_is_told_to_those_who_want_it(db: Database) -> None:
    async with receiver() as all_of_it, receiver() as ends:
        await subscribe(db, all_of_it.url())
        await subscribe(db, ends.url(), "approved", "glass_broken", "withdrawn")
        first, second, third = await ask(db), await ask(db), await ask(db)
        async with db.write() as tx:
            await approvals.comment(tx, first.id, EVA, "Mrs Nova phoned")
            await approvals.vote(tx, first.id, EVA, "approve", first.digest)
            await approvals.consume(tx, first.id, first.digest, by="gate")
            await approvals.amend(tx, second.id, bytes(32), {}, house("ivan"))
            await approvals.withdraw(tx, second.id, house("bot"))
            for name in ("eva", "jan"):
                who = Principal(name, "person", frozenset({"admin"}))
                await approvals.break_glass(tx, third.id, who, third.digest, reason="fire")
            hana = Principal("hana", "person", frozenset({"auditor"}))
            await approvals.close_review(tx, third.id, hana, "justified", "it was")
        await deliver(db)

    def events(of: Receiver) -> list[str]:
        told = sorted((json.loads(body) for _, _, body in of.got), key=lambda body: int(body["notice"]))
        return [each["event"].removeprefix("approval.") for each in told]

    assert events(all_of_it) == [
        *["asked"] * 3, "commented", "voted", "approved", "consumed", "amended", "withdrawn", "glass_broken", "commented",
        "reviewed",
    ]  # fmt: skip
    assert events(ends) == ["approved", "withdrawn", "glass_broken"]
    assert b"Nova" not in b"".join(body for _, _, body in all_of_it.got)


async def test_what_the_clock_does_is_told_whoever_lets_it(db: Database, database: TestDatabase) -> None:
    escalate = approvals.Escalation(60, ("admin",))
    with closing(SetClock(database.owner_url, "2031-05-06T07:00:00")) as clock:
        async with receiver() as other:
            await subscribe(db, other.url(), "escalated", "expired")
            async with db.write() as tx:
                swept, voted = [await approvals.ask(tx, replace(QUESTION, escalate=escalate), house("bot")) for _ in range(2)]
            clock.set("2031-05-06T07:01:00")
            async with db.write() as tx:
                root = Principal("root", "person", frozenset({"operator"}))
                await approvals.vote(tx, voted.id, root, "approve", voted.digest)
                await approvals.expire_due(tx)
            clock.set("2031-05-06T08:00:00")
            async with db.write() as tx:
                await approvals.consume(tx, voted.id, voted.digest, by="gate")
                await approvals.expire_due(tx)
            await deliver(db)
    told = sorted((body["approval"]["id"], body["event"]) for body in (json.loads(body) for _, _, body in other.got))
    assert told == [(str(each.id), f"approval.{what}") for each in (swept, voted) for what in ("escalated", "expired")]


async def test_nothing_is_told_of_what_was_rolled_back(db: Database) -> None:
    async with receiver() as other:
        await subscribe(db, other.url())
        with pytest.raises(ZeroDivisionError):
            async with db.write() as tx:
                await approvals.ask(tx, QUESTION, house("bot"))
                raise ZeroDivisionError
        await deliver(db)
    assert other.got == []


async def test_a_receiver_that_fails_twice_gets_it_the_third_time_under_the_same_number(
    db: Database, database: TestDatabase
) -> None:
    broken = says("500 Internal Server Error")
    async with receiver(broken, broken, says("200 OK")) as other:
        made = await subscribe(db, other.url())
        await ask(db)
        for failed in (1, 2):
            await deliver(db)
            (task,) = await notices(db)
            assert (len(other.got), task.status, task.waiting_for, task.attempts) == (failed, "waiting", "backoff", failed)
            due_now(database)
        await deliver(db)
    assert len({body for _, _, body in other.got}) == 1
    for _, headers, body in other.got:
        signature = headers["tallystick-signature"]
        assert verify(made.secret, signature, body, int(signature.split(",")[0][2:]))
    (task,) = await notices(db)
    assert (task.status, task.attempts) == ("done", 3)
    async with db.read() as tx:
        tried = [(step.state, step.error) for step in await work.steps(tx, task.id)]
    assert tried == [*[("intent", None), ("failed", "http_500")] * 2, ("intent", None), ("done", None)]


async def _only_failure(db: Database, url: str, settings: WebhookSettings, database: TestDatabase) -> str:
    """What is said of a delivery to a url, however it came into the table."""
    made = await subscribe(db, "https://example.com/hook")
    with psycopg.connect(database.owner_url) as connection:
        connection.execute("update approvals.webhook set url = %s where id = %s", (url, made.webhook.id))
    await ask(db)
    await deliver(db, settings)
    *_, task = await notices(db)
    assert (task.status, task.waiting_for) == ("waiting", "backoff")
    async with db.read() as tx:
        (tried,) = await work.attempts(tx, task.id)
    return str(tried.error)


async def test_what_is_no_url_keeps_no_other_notice_from_going_out(db: Database, database: TestDatabase) -> None:
    async with receiver() as other:
        await subscribe(db, other.url())
        assert await _only_failure(db, "http://0177.0.0.1/", LOOPBACK, database) == "url_malformed"
    assert len(other.got) == 1


async def test_a_redirect_is_not_followed(db: Database, database: TestDatabase) -> None:
    async with receiver() as inside, receiver(says("307 Temporary Redirect", f"location: {inside.url()}")) as other:
        assert await _only_failure(db, other.url(), LOOPBACK, database) == "redirected"
    assert (len(other.got), inside.got) == (1, [])


async def test_a_receiver_that_hangs_is_left(db: Database, database: TestDatabase) -> None:
    async with receiver(b"hang") as other:
        settings = LOOPBACK.model_copy(update={"timeout_s": 0.3})
        assert await _only_failure(db, other.url(), settings, database) == "timeout"


async def test_one_who_is_silent_keeps_no_other_waiting(db: Database) -> None:
    settings = LOOPBACK.model_copy(update={"timeout_s": 0.5})
    async with receiver(b"hang") as silent, receiver() as other:
        await subscribe(db, silent.url())
        for _ in range(60):
            await ask(db)
        await subscribe(db, other.url())
        last = await ask(db)
        await deliver(db, settings)
    assert [json.loads(body)["approval"]["id"] for _, _, body in other.got] == [str(last.id)]
    assert len(silent.got) == 32
    waiting = [task for task in await notices(db) if task.status == "waiting"]
    # Those that were put back were not tried.
    assert sorted(task.attempts for task in waiting) == [0] * 29 + [1] * 32


async def test_nobody_at_home_is_tried_again(db: Database, database: TestDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await _only_failure(db, f"http://127.0.0.1:{port}/", LOOPBACK, database) == "unreachable"


@pytest.mark.parametrize(("name", "became"), [("hooks.example", None), ("other.example", "tls_failed")])
async def test_a_receiver_shows_a_certificate_of_its_name(
    db: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, name: str, became: str | None
) -> None:
    chain = _certificate("hooks.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _resolving("127.0.0.1"))
    async with receiver(certificate=chain) as other:
        url = other.url(name).replace("http:", "https:")
        if became is not None:
            assert await _only_failure(db, url, LOOPBACK, database) == became
            assert other.got == []
        else:
            await subscribe(db, url, settings=WebhookSettings())
            await ask(db)
            await deliver(db)
            assert len(other.got) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    db: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _resolving("127.0.0.1"))
    async with receiver(certificate=_certificate("hooks.example", tmp_path)) as other:
        url = other.url("hooks.example").replace("http:", "https:")
        assert await _only_failure(db, url, LOOPBACK, database) == "tls_failed"
    assert other.got == []


def _certificate(name: str, folder: Path) -> Path:
    """A certificate of its own authority, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "receiver.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def _resolving(*answers: str) -> Callable[..., Any]:
    """A resolver that says something else each time it is asked, as a name does that is rebound."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in address.split()]

    return getaddrinfo


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "93.184.216.34 10.0.0.7", "0.0.0.0"])
async def test_a_name_that_stands_for_the_inside_is_not_connected_to(
    db: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async with receiver() as other:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", _resolving(address))
        settings = WebhookSettings(plain_http=True)
        assert await _only_failure(db, other.url("hooks.example"), settings, database) == "address_not_allowed"
    assert other.got == []


async def test_a_name_is_looked_up_once_and_the_connection_goes_where_was_checked(
    db: Database, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver() as right, receiver() as wrong:
        await subscribe(db, right.url("hooks.example"))
        await ask(db)
        # By the second look the name stands for another address, where somebody listens on the same port.
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _resolving("127.0.0.1", "127.0.0.2"))
        await deliver(db)
    ((_, headers, _),) = right.got
    assert headers["host"] == f"hooks.example:{right.port}"
    assert wrong.got == []


async def test_a_worker_that_is_lost_while_it_delivers_leaves_a_notice_that_comes_again(
    db: Database, database: TestDatabase
) -> None:
    async with receiver(b"hang", says("200 OK")) as other:
        await subscribe(db, other.url())
        await ask(db)
        lost = asyncio.create_task(Notifier(db, "w", LOOPBACK).round())
        while not other.got:
            await asyncio.sleep(0.01)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        with psycopg.connect(database.owner_url) as connection:
            connection.execute("update work.run set lease_until = db.clock() - interval '1 second'")
        async with db.write() as tx:
            assert len(await work.reap(tx)) == 1
        await deliver(db)
        first, second = [body for _, _, body in other.got]
    assert first == second
    (task,) = await notices(db)
    async with db.read() as tx:
        ended = [each.ended for each in await work.attempts(tx, task.id)]
    assert (task.status, ended[0]) == ("done", "crash")


async def test_what_is_not_taken_twelve_times_is_dead_and_may_be_put_back(db: Database, database: TestDatabase) -> None:
    async with receiver(*[says("503 Service Unavailable")] * 12, says("200 OK")) as other:
        await subscribe(db, other.url())
        await ask(db)
        for _ in range(12):
            await deliver(db)
            due_now(database)
        await deliver(db)
        (task,) = await notices(db)
        assert (len(other.got), task.status, task.error) == (12, "dead", "http_503")
        async with db.write() as tx:
            await work.put_back(tx, task.id, "cli:eva")
        await deliver(db)
    assert (await notices(db))[0].status == "done"


async def test_who_is_removed_is_told_no_more_and_the_keys_are_gone(db: Database, database: TestDatabase) -> None:
    async with receiver() as other:
        made = await subscribe(db, other.url())
        await ask(db)
        async with db.write() as tx:
            removed = await approvals.remove_webhook(tx, made.webhook.id, by="root")
            with pytest.raises(NotFound, match="unknown_webhook"):
                await approvals.remove_webhook(tx, made.webhook.id, by="root")
        await ask(db)
        await deliver(db)
        assert other.got == []
    assert removed.removed_by == "root"
    (task,) = await notices(db)
    assert (task.status, task.result) == ("done", {"delivered": False, "reason": "the webhook was removed"})
    with psycopg.connect(database.owner_url) as connection:
        assert connection.execute("select inner_key, outer_key from approvals.webhook").fetchall() == [(bytes(64), bytes(64))]


async def test_the_secret_is_nowhere_but_in_the_answer(db: Database, database: TestDatabase) -> None:
    made = await subscribe(db, "https://example.com/hook")
    assert made.secret.startswith("tsw_")
    async with db.read() as tx:
        assert made.secret not in repr(await approvals.webhooks(tx))
        events = await audit.page(tx, audit.Filter(verb="webhooks.add"), limit=10)
    assert [(event.detail, event.payload) for event in events] == [({"events": ["*"], "host": "example.com"}, None)]
    with psycopg.connect(database.owner_url) as connection:
        rows = connection.execute("select w::text from approvals.webhook w").fetchall()
        assert made.secret.encode().hex() not in str(rows)
    with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select inner_key from approvals.webhook")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.com/", "url_malformed"),
        ("http://example.com/", "url_malformed"),
        ("https://", "url_malformed"),
        ("example.com", "url_malformed"),
        ("https://user:pw@example.com/", "url_malformed"),
        ("https://user@example.com/", "url_malformed"),
        ("https://example.com/#x", "url_malformed"),
        ("https://example.com/a b", "url_malformed"),
        ("https://example.com/\r\nX: y", "url_malformed"),
        ("https://exämple.com/", "url_malformed"),
        ("https://example.com:99999/", "url_malformed"),
        ("https://[::1/", "url_malformed"),
        ("https://example.com\\@127.0.0.1/", "url_malformed"),
        ("https://example.com/" + "x" * 2000, "url_malformed"),
        *((f"https://{host}/", "url_malformed") for host in ("0177.0.0.1", "2130706433", "0x7f000001", "127.1", "127.0.0.1.")),
        ("https://127.0.0.1/", "address_not_allowed"),
        ("https://10.1.2.3/", "address_not_allowed"),
        ("https://169.254.169.254/latest/meta-data", "address_not_allowed"),
        ("https://[::1]/", "address_not_allowed"),
        ("https://[fe80::1]/", "address_not_allowed"),
        ("https://[::ffff:127.0.0.1]/", "address_not_allowed"),
        ("https://[64:ff9b::7f00:1]/", "address_not_allowed"),
        ("https://[2002:7f00:1::]/", "address_not_allowed"),
        ("https://100.64.0.1/", "address_not_allowed"),
        ("https://224.0.0.1/", "address_not_allowed"),
        ("https://0.0.0.0/", "address_not_allowed"),
    ],
)
async def test_what_notices_must_not_go_to_is_refused(db: Database, url: str, code: str) -> None:
    with pytest.raises(Invalid, match=code):
        await subscribe(db, url, settings=WebhookSettings())


async def test_twenty_are_told_at_most_and_of_what_there_is(db: Database) -> None:
    with pytest.raises(Invalid, match="unknown_event_kind"):
        await subscribe(db, "https://example.com/", "everything")
    async with db.write() as tx:
        for _ in range(20):
            await approvals.add_webhook(tx, "https://example.com/", ["asked"], by="root", settings=LOOPBACK)
    with pytest.raises(Conflict, match="too_many_webhooks"):
        await subscribe(db, "https://example.com/")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "8.8.8.8", "2606:4700::1111"])
def test_an_allowed_network_is_allowed_and_no_other(address: str) -> None:
    settings = WebhookSettings(allow=(ipaddress.ip_network("10.1.0.0/16"),))
    assert settings.allows(ipaddress.ip_address(address)) == (address != "127.0.0.1")
    assert not settings.allows(ipaddress.ip_address("10.2.0.1"))


def test_the_environment_says_which_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYSTICK_WEBHOOKS_ALLOW", "10.1.0.0/16, fd00::/8")
    assert [str(network) for network in WebhookSettings().allow] == ["10.1.0.0/16", "fd00::/8"]


async def test_a_worker_delivers_beside_its_other_work(db: Database) -> None:
    stop = asyncio.Event()
    async with receiver() as other:
        await subscribe(db, other.url())
        working = asyncio.create_task(Worker(db, poll_s=0.02, webhooks=LOOPBACK).run(stop))
        await ask(db)
        while not other.got:
            await asyncio.sleep(0.01)
        stop.set()
        await working


async def test_the_documented_way_to_check_a_notice_is_right(db: Database) -> None:
    text = (ROOT / "docs/approvals.md").read_text("utf-8")
    space: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], space)
    is_genuine = space["is_genuine"]
    async with receiver() as other:
        made = await subscribe(db, other.url())
        await ask(db)
        await deliver(db)
        ((_, headers, body),) = other.got
    signature = headers["tallystick-signature"]
    at = int(signature.split(",")[0][2:])
    assert is_genuine(made.secret, signature, body)
    assert is_genuine(made.secret, signature, body, at + 300)
    for wrong in (
        (made.secret, signature, body, at + 301), (made.secret, signature, body, at - 301),
        (made.secret, signature, body.replace(b"open", b"done"), at), ("tsw_x", signature, body, at),
        (made.secret, signature.replace(f"t={at}", f"t={at + 9}"), body, at), (made.secret, "", body, at),
        (made.secret, "v1=", body, at), (made.secret, f"t={at},v1=", body, at),
    ):  # fmt: skip
        assert not is_genuine(*wrong)
