"""What comes before HTTP is understood: bounded in size, and refused as a problem."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import pytest

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
    head, _, body = seen.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return int(head.split()[1]), json.loads(body)


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
