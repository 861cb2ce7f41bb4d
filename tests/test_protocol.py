"""What comes before HTTP is understood: bounded in size, and refused as a problem."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import pytest

from tests.conftest import TestDatabase
from tests.test_commands import address, started

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with TemporaryDirectory(prefix="tallystick-") as folder:
        data = Path(folder).resolve() / "data"
        with started("serve", "--open", "--port", "0", "--data", str(data)) as server:
            yield urlparse(address(server)).port or 0
            server.terminate()
            server.wait(60)


def _answer(port: int, *parts: bytes) -> tuple[int, dict[str, object]]:
    """Send the parts until the server stops listening; the status and the problem it answered with."""
    head, _, body = _heard(port, *parts).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return int(head.split()[1]), json.loads(body)


def _heard(port: int, *parts: bytes) -> bytes:
    """What is answered to the parts, until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass
        seen = b""
        try:
            while chunk := connection.recv(65536):
                seen += chunk
        except OSError:
            pass
    return seen


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"BREW / HTTP/1.1\r\nhost: t\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /tasks HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http_is_refused_as_a_problem(port: int, request_bytes: bytes) -> None:
    status, problem = _answer(port, request_bytes)
    assert (status, problem["code"]) == (400, "bad_request")


@pytest.mark.parametrize("line", [b"x-long: " + b"a" * 60_000, b"x-many: a\r\n" * 6_000])
def test_a_head_without_end_is_refused_before_anybody_is_asked_for_a_key(port: int, line: bytes) -> None:
    status, problem = _answer(port, b"GET /healthz HTTP/1.1\r\nhost: t\r\n", *([line] * 40))
    assert (status, problem["code"]) == (431, "headers_too_large")


def test_many_requests_on_one_connection_are_not_one_long_head(port: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nhost: t\r\nx-padding: " + b"a" * 4000 + b"\r\n\r\n"
    last = request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(request * 40 + last)
        seen = b""
        while chunk := connection.recv(65536):
            seen += chunk
    assert seen.count(b"HTTP/1.1 200 OK") == 41


_GOOD = b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n"
_STRAY = b"nonsense\r\n\r\n"
_JSON = b"host: t\r\ncontent-type: application/json\r\n"
_TASK = b'{"agent": "a", "type": "t", "payload": {}}'
_MAKES = b"POST /v1/tasks HTTP/1.1\r\n" + _JSON + b"content-length: %d\r\n\r\n" % len(_TASK) + _TASK
_LONG = b"GET / HTTP/1.1\r\nx-long: " + b"a" * 300_000
_BROKEN = b"POST /v1/tasks HTTP/1.1\r\n" + _JSON + b"transfer-encoding: chunked\r\n\r\nno length\r\n"
_CLAIM = b'{"agents": ["nobody"], "wait_s": 1}'
_WAITS = b"POST /v1/tasks/claim HTTP/1.1\r\n" + _JSON + b"content-length: %d\r\n\r\n" % len(_CLAIM) + _CLAIM
FOLLOWED: dict[str, tuple[list[bytes], list[int]]] = {
    "a good request": ([_GOOD + _STRAY], [200, 400]),
    "a good one with a body": ([_MAKES + _STRAY], [201, 400]),
    "two good ones": ([_GOOD + _MAKES + _STRAY], [200, 201, 400]),
    "one that is the last": ([_GOOD.replace(b"host", b"connection: close\r\nhost") + _STRAY], [200]),
    "one that waits, later": ([_WAITS, _STRAY, _STRAY], [200, 400]),
    "one that waits, by a good one and more": ([_WAITS, _GOOD, _STRAY], [200, 200, 400]),
    "one that waits, by a head without end": ([_WAITS, _LONG], [200, 431]),
    "a good one, by a body that is none": ([_MAKES + _BROKEN], [201, 400]),
    "one that waits, by a body that is none": ([_WAITS, _BROKEN, _GOOD], [200, 400]),
    "one that waits, by a body that is none and much more": ([_WAITS, _BROKEN, _GOOD * 20_000], [200, 400]),
    "nothing, but a body that is none": ([_BROKEN], [400]),
    "nothing, but a body that is none and nobody reads": ([_BROKEN.replace(b"POST /v1/tasks", b"GET /healthz")], [400]),
}


def test_what_is_asked_well_is_answered_before_what_follows_it_is_refused(database: TestDatabase) -> None:
    with started("serve", "--open", "--port", "0", DATABASE_URL=database.app_url) as server:
        port = urlparse(address(server)).port or 0
        heard = {name: _heard(port, *parts) for name, (parts, _) in FOLLOWED.items()}
        server.terminate()
        log, _ = server.communicate(timeout=60)
    statuses = {name: [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", one)] for name, one in heard.items()}
    assert statuses == {name: expected for name, (_, expected) in FOLLOWED.items()}
    assert all(b'"code":"' in one for name, one in heard.items() if FOLLOWED[name][1][-1] >= 400)
    assert "Traceback" not in log, log
    assert "Exception" not in log, log
