"""What surrounds every request: its id, its bounds in size and time, safe headers, and an answer even to a bug of ours."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick import audit
from tallystick.db import Told, hear_of_events
from tallystick.http.deadlines import Deadlines
from tallystick.http.problems import REQUEST_ID, problem

EXTEND = "tallystick.extend"
"""Where the scope of a request keeps what gives it its time anew: a long answer has that time for each piece."""

LARGER = dict.fromkeys(
    ("/v1/journals/batch", "/v1/holds/batch", "/v1/transfers/batch", "/v1/tasks/batch", "/v1/tasks/settle"), 8 * 1024 * 1024
)
"""Bytes that a body may have at these addresses, where the setting allows less: 8,192 things of 1 KiB."""

_log = logging.getLogger(__name__)
_ONCE = frozenset({b"authorization", b"idempotency-key", b"content-type"})
_DIGITS = re.compile(rb"[0-9]{13,}")
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context: version, trace, parent, flags. A trace of zeros is none.
_TRACE = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Envelope:
    """ASGI middleware around the application.

    The framework's own limit of bodies answers in plain text where a length is announced; this one answers as a problem.
    """

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, timeout_s: float, answered: Counter[int], stopping: asyncio.Event
    ) -> None:
        """Each answer is counted in `answered`, by its status. While the server is `stopping`, it may cancel requests."""
        self._app = app
        self._answered = answered
        self._stopping = stopping
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s
        self._deadlines = Deadlines(timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, trace_id, announced, repeated = _read_headers(scope)
        audit.answer_for(request_id, trace_id)
        told = hear_of_events()
        max_body_bytes = max(self._max_body_bytes, LARGER.get(scope["path"], 0))
        scope[REQUEST_ID] = request_id
        started = False

        async def send_framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._answered[message["status"]] += 1
                message["headers"] = _with_ours(message["headers"], request_id, told)
            await send(message)

        try:
            if repeated:
                answer = problem(400, "header_repeated", f"the header {repeated} is sent twice", request_id=request_id)
                await answer(scope, receive, send_framed)
                return
            if announced > max_body_bytes:
                await _too_large(request_id, max_body_bytes)(scope, receive, send_framed)
                return
            async with asyncio.timeout(None) as deadline:
                self._deadlines.begin(deadline)
                scope[EXTEND] = partial(self._deadlines.begin, deadline)
                try:
                    await self._app(scope, _bounded(receive, max_body_bytes), send_framed)
                finally:
                    self._deadlines.end(deadline)
        except TimeoutError:
            _log.warning("request %s took over %s s", request_id, self._timeout_s)
            if not started:
                answer = problem(503, "timeout", "the request took too long", request_id=request_id)
                await answer(scope, receive, send_framed)
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            _log.warning("request %s was not done in the time that there was before the stop", request_id)
            if not started:
                answer = problem(503, "shutting_down", "the server is stopping", request_id=request_id)
                await answer(scope, receive, send_framed)
        except ClientDisconnect:
            _log.debug("the caller of request %s left", request_id)
        except Exception:  # the last word on a request: whoever sent it gets an answer, and we get the trace
            _log.exception("request %s failed", request_id)
            if started:
                raise
            answer = problem(500, "internal_error", "something is wrong on our side", request_id=request_id)
            await answer(scope, receive, send_framed)


def _too_large(request_id: str, max_bytes: int) -> Response:
    # The connection is closed, as the rest of the body will not be read.
    detail = f"a body may have {max_bytes} bytes"
    return problem(413, "body_too_large", detail, request_id=request_id, headers={"Connection": "close"})


def _read_headers(scope: Scope) -> tuple[str, str | None, int, str]:
    """The caller's request id, or a new one; the trace it is part of, if any; the announced length of the body, 0 where there
    is none; and the name of a header that must not be sent twice and was, as readers differ in which one they take."""
    request_id = ""
    trace_id = None
    announced = 0
    seen: set[bytes] = set()
    repeated = ""
    for name, value in scope["headers"]:
        if name in _ONCE:
            repeated = name.decode("ascii") if name in seen else repeated
            seen.add(name)
        if name == b"x-request-id" and _ID.fullmatch(value) and not _holds_card_number(value):
            request_id = value.decode("ascii")
        elif name == b"content-length" and value.isdigit() and len(value) < 20:
            announced = int(value)
        elif name == b"traceparent" and (found := _TRACE.fullmatch(value)):
            trace_id = found[1].decode("ascii")
    return request_id or f"{random.getrandbits(64):016x}", trace_id, announced, repeated


def _holds_card_number(value: bytes) -> bool:
    """Whether 13 to 19 digits in it pass the check of card numbers (ISO/IEC 7812): such a thing is not to be in the record."""
    return any(len(run) <= 19 and _passes_luhn(run) for run in _DIGITS.findall(value))


def _passes_luhn(digits: bytes) -> bool:
    doubled = sum(sum(divmod(2 * (digit - 48), 10)) for digit in digits[-2::-2])
    return (doubled + sum(digit - 48 for digit in digits[::-2])) % 10 == 0


def _with_ours(headers: Iterable[tuple[bytes, bytes]], request_id: str, told: Sequence[Told]) -> list[tuple[bytes, bytes]]:
    """The headers of the answer and ours; it may be kept by nobody unless it says so itself.

    What the call left in the record is named by its events and the hashes of their leaves, in order.
    """
    ours = [(b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")]
    if not any(name == b"cache-control" for name, _ in headers):
        ours.append((b"cache-control", b"no-store"))
    if told:
        ours.append((b"tallystick-event", ", ".join([one.event for one in told]).encode()))
        ours.append((b"tallystick-leaf", ", ".join([one.leaf for one in told]).encode()))
    return [*headers, *ours]


def _bounded(receive: Receive, max_bytes: int) -> Receive:
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > max_bytes:
                raise HTTPException(413, headers={"Connection": "close"})
        return message

    return bounded
