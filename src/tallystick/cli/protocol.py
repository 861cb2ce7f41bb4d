"""The HTTP protocol of the server, with bounds before anybody is asked for a key: on the size of a request's head, and on the
time it may take to come. What cannot be read as HTTP is answered as a problem, like every other refusal."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallystick.kit import dumps

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol. `MAX_HEAD_BYTES`, past the first read, bounds a request's line and headers; `HEAD_TIMEOUT_S` bounds
    the wait for the end of them."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._head_bytes = 0
        self._begins_here = False
        self._in_head = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._begins_here = True
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        self._begins_here = False
        super().data_received(data)
        if self._in_head:
            # Of the read that a head begins in, what stood before it is not known; so that one read is let pass.
            self._head_bytes += 1 if self._begins_here else len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "headers_too_large", f"a request's head may have {MAX_HEAD_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says it
        self._refuse(400, "bad_request", "this is not an HTTP request")

    def _wait_for_head(self) -> None:
        self._in_head = True
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _stop_waiting(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._in_head and self._head_bytes:
            self._refuse(408, "request_too_slow", f"a request's head is awaited for {HEAD_TIMEOUT_S} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        self._stop_waiting()
        title = code.replace("_", " ").capitalize()
        content = {"type": f"urn:tallystick:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
        body = dumps(content)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        if not self.transport.is_closing():
            self.transport.write(head.encode() + body)
            self.transport.close()
