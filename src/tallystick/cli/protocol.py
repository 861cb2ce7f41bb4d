"""The HTTP protocol of the server, with bounds before anybody is asked for a key: on the size of a request's head, and on the
time it may take to come. What cannot be read as HTTP is answered as a problem, like every other refusal."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tallystick.cli.writing import OneWrite
from tallystick.kit import dumps

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol. `MAX_HEAD_BYTES`, past the first read, bounds a request's line and headers; `HEAD_TIMEOUT_S` bounds
    the wait for the end of them. What was asked well before something is refused has its own answer first."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._head_bytes = 0
        self._begins_here = False
        self._in_head = False
        self._deadline: asyncio.TimerHandle | None = None
        self._refusal: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", OneWrite(transport)))
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
        if self._refusal is not None:
            # Where the next request begins is not known any more.
            return
        self._begins_here = False
        super().data_received(data)
        if self._in_head:
            # Of the read that a head begins in, what stood before it is not known; so that one read is let pass.
            self._head_bytes += 1 if self._begins_here else len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "headers_too_large", f"a request's head may have {MAX_HEAD_BYTES} bytes")

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if last and self._refusal is not None:
            self._hang_up()

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
        in_body = self._is_in_body()
        self._stop_waiting()
        title = code.replace("_", " ").capitalize()
        content = {"type": f"urn:tallystick:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
        body = dumps(content)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._refusal = head.encode() + body
        if self.cycle is None or self.cycle.response_complete:
            self._hang_up()
        elif in_body and self.pipeline:
            # It is the newest of those that wait for their turn, and never gets it.
            self.pipeline.popleft()
        elif in_body:
            # Nobody can answer it any more; where that has begun, it ends here.
            if self.cycle.response_started:
                self._refusal = b""
            self._hang_up()

    def _is_in_body(self) -> bool:
        """Whether the newest request has a head, and its body has not come to an end."""
        return not self._in_head and self.cycle is not None and self.cycle.more_body

    def _hang_up(self) -> None:
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.transport.write(self._refusal or b"")
            self.transport.close()
