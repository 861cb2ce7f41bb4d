"""A server as the place where an agent's tasks are kept: what the sdk asks for, by the routes of `/v1/tasks`.

Everything that is written is written with a fence, which the server takes once; so what is in doubt is simply asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from tallystick.client import wire
from tallystick.client.exact import dumps, loads
from tallystick.client.lease import Lease
from tallystick.client.transport import ApiError, refusal
from tallystick.sdk import (
    Attempt,
    BackendAway,
    Completion,
    EffectRefused,
    End,
    FenceLost,
    Lost,
    Queue,
    Returned,
    StepRecord,
    Wait,
)

MAX_CLAIM = 100
MAX_WAIT_S = 30
_MAX_ENDS = 1000
_MAX_BYTES = 4 * 1024 * 1024
_STEPS_AT_ONCE = 50
_CONNECTIONS = 32
_AWAY = frozenset({401, 408, 429, 502, 503, 504})
_log = logging.getLogger("tallystick.client")


class HttpBackend:
    """Tasks on a server, for runners anywhere; see `sdk.Backend` for what each method promises.

    `lease_s` is how long tasks stay with a process that was killed, and how long it may be without the server before its
    attempts end. `timeout_s` is how long a request may take that does not wait for tasks.
    """

    def __init__(self, base_url: str, api_key: str | None = None, *, lease_s: int = 30, timeout_s: float = 10.0) -> None:
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._base_url = base_url
        self._headers = headers
        self._timeout_s = timeout_s
        self._wanted: list[dict[str, Any]] = []
        self._handed: dict[int, float] = {}
        self._ending: set[int] = set()
        self._strays: dict[int, float] = {}
        self._claiming: dict[int, float] = {}
        self._claims = 0
        self._returning: set[asyncio.Task[None]] = set()
        self._news: asyncio.Queue[Lost] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None
        self._lease = Lease(base_url, headers, lease_s=lease_s, held=self._on_held, lost=self._on_lost)

    async def open(self, queues: Sequence[Queue]) -> None:
        """Make the queues known, and begin the lease."""
        self._loop = asyncio.get_running_loop()
        if self._client is None:
            limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
            self._client = httpx.AsyncClient(
                base_url=self._base_url, headers=self._headers, timeout=self._timeout_s, limits=limits
            )
        types: dict[str, list[str]] = {}
        for queue in queues:
            types.setdefault(queue.agent, []).append(queue.type)
            path = f"/v1/work/queues/{quote(queue.agent, safe='')}/{quote(queue.type, safe='')}"
            await self._ask("PATCH", path, wire.policy(queue))
        self._wanted = [{"agent": agent, "types": names} for agent, names in types.items()]
        await self._lease.open()

    async def claim(self, limit: int, wait_s: float) -> Sequence[Attempt]:
        """Begin attempts. Of a claim whose answer nobody heard, the heartbeat tells what it took, and that is given back."""
        worker_id = self._lease.worker_id
        if worker_id is None:
            raise BackendAway("there is no lease at this moment")
        whole_s = max(0, min(MAX_WAIT_S, round(wait_s)))
        body = {"queues": self._wanted, "limit": min(limit, MAX_CLAIM), "worker_id": worker_id, "wait_s": whole_s}
        self._claims += 1
        number = self._claims
        self._claiming[number] = time.monotonic()
        try:
            answer = await self._ask("POST", "/v1/tasks/claim", body, timeout_s=self._timeout_s + whole_s)
            attempts = [wire.attempt(item) for item in answer["items"]]
            now = time.monotonic()
            self._handed.update({attempt.fence: now for attempt in attempts})
            return attempts
        finally:
            del self._claiming[number]

    async def settle(self, ends: Sequence[End]) -> Sequence[bool]:
        """End attempts, many in a request."""
        held: list[bool] = []
        with self._ending_of(*(each.attempt for each in ends)):
            for body in _bodies(ends):
                answer = await self._send("POST", "/v1/tasks/settle", body)
                held += loads(answer.text)["held"]
        return held

    async def steps(self, attempt: Attempt) -> Sequence[StepRecord]:
        """All that is recorded of the steps of the task."""
        lines: list[StepRecord] = []
        cursor: str | None = None
        while True:
            query = f"limit={_STEPS_AT_ONCE}" + (f"&cursor={cursor}" if cursor else "")
            page = await self._ask("GET", f"/v1/tasks/{attempt.task_id}/steps?{query}")
            lines += [wire.step_record(item) for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return lines

    async def record(self, attempt: Attempt, step: StepRecord) -> None:
        """Record a try of a step, or that it is meant."""
        await self._ask("POST", f"/v1/tasks/{attempt.task_id}/steps", wire.line(attempt, step))

    async def intend(self, attempt: Attempt, step: StepRecord) -> None:
        """Record that a call to the outside is about to be sent."""
        await self.record(attempt, step)

    async def park(self, attempt: Attempt, wait: Wait) -> None:
        """End the attempt and let its task wait."""
        with self._ending_of(attempt):
            await self._ask("POST", f"/v1/tasks/{attempt.task_id}/park", wire.wait(attempt, wait))

    async def finish(self, attempt: Attempt, completion: Completion) -> None:
        """Carry out the effects and end the task, in one transaction of the server's."""
        try:
            with self._ending_of(attempt):
                await self._ask("POST", f"/v1/tasks/{attempt.task_id}/finish", wire.finish(attempt, completion))
        except ApiError as error:
            if 400 <= error.status < 500:
                raise EffectRefused(error.codes, error.detail) from None
            raise

    async def lost(self) -> Lost:
        """Wait for attempts that the server no longer counts as ours."""
        return await self._news.get()

    async def close(self) -> None:
        """End the lease, with which all that is held goes back, and close the connections."""
        if self._client is None:
            return
        worker_id = await self._lease.close()
        try:
            await asyncio.gather(*self._returning, return_exceptions=True)
            if worker_id is not None:
                await self._ask("POST", f"/v1/workers/{worker_id}/leave")
        finally:
            await self._client.aclose()
            self._client = None
            for kept in (self._handed, self._ending, self._strays):
                kept.clear()

    async def _ask(self, method: str, path: str, body: Any = None, *, timeout_s: float | None = None) -> Any:
        """The JSON of an answer. Raises `BackendAway`, `FenceLost`, and `ApiError` for other refusals."""
        content = None if body is None else dumps(body).encode()
        return loads((await self._send(method, path, content, timeout_s=timeout_s)).text)

    async def _send(self, method: str, path: str, content: bytes | None, *, timeout_s: float | None = None) -> httpx.Response:
        assert self._client is not None, "open comes first"
        request = self._client.build_request(
            method,
            path,
            content=content,
            headers={} if content is None else {"Content-Type": "application/json"},
            timeout=self._timeout_s if timeout_s is None else timeout_s,
        )
        try:
            response = await self._client.send(request)
        except httpx.TransportError as error:
            raise BackendAway(f"the server cannot be reached: {type(error).__name__}") from error
        if response.is_success:
            return response
        refused = refusal(response)
        if refused.status in _AWAY or refused.code == "lease_lost":
            raise BackendAway(str(refused))
        if refused.code == "fence_lost":
            raise FenceLost(refused.detail)
        raise refused

    @contextmanager
    def _ending_of(self, *attempts: Attempt) -> Iterator[None]:
        """While attempts end, it is their own answer that says whether they held. In doubt, they are asked about again."""
        fences = [attempt.fence for attempt in attempts]
        self._ending.update(fences)
        try:
            yield
        except BackendAway:
            raise
        except FenceLost:
            self._forget(fences)
            raise
        except BaseException:
            self._ending.difference_update(fences)
            raise
        self._forget(fences)

    def _forget(self, fences: Sequence[int]) -> None:
        self._ending.difference_update(fences)
        for fence in fences:
            self._handed.pop(fence, None)

    def _on_held(self, held: Mapping[int, int], asked_at: float) -> None:
        self._tell(lambda: self._compare(held, asked_at))

    def _on_lost(self) -> None:
        self._tell(lambda: self._lose([*self._handed]))

    def _tell(self, news: Callable[[], None]) -> None:
        """The lease, in its thread, has heard something."""
        assert self._loop is not None, "a lease begins with open"
        try:
            self._loop.call_soon_threadsafe(news)
        except RuntimeError:
            _log.debug("the loop is closed, so nobody is left to be told of lost attempts")

    def _compare(self, held: Mapping[int, int], asked_at: float) -> None:
        """What was handed out before the server was asked and is not held any more is lost; what is held and was never handed
        out is given back, once no claim is under way any more that may still bring it."""
        self._lose([fence for fence, since in self._handed.items() if since < asked_at and fence not in held])
        unknown = {fence: task_id for fence, task_id in held.items() if fence not in self._handed and fence not in self._ending}
        oldest_claim = min(self._claiming.values(), default=float("inf"))
        now = time.monotonic()
        stray = {fence: task_id for fence, task_id in unknown.items() if self._strays.get(fence, now) < min(oldest_claim, now)}
        self._strays = {fence: self._strays.get(fence, now) for fence in unknown}
        if stray:
            _log.warning("%d tasks of claims whose answers were lost are given back", len(stray))
            returning = asyncio.create_task(self._give_back(stray), name="return of stray tasks")
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    def _lose(self, fences: Sequence[int]) -> None:
        lost = [fence for fence in fences if fence not in self._ending]
        self._forget(lost)
        if lost:
            self._news.put_nowait(Lost(frozenset(lost)))

    async def _give_back(self, stray: Mapping[int, int]) -> None:
        reason = "claim_unheard: the answer to its claim was lost"
        try:
            await self.settle(
                [Returned(Attempt(task_id, fence, "", "", None, 1, 0.0), reason) for fence, task_id in stray.items()]
            )
        except (BackendAway, ApiError) as error:
            _log.warning("stray tasks could not be given back, and are tried again: %s", error)


def _bodies(ends: Sequence[End]) -> Iterator[bytes]:
    """The ends as JSON, in as many bodies as the bounds of the server need."""
    part: list[bytes] = []
    size = 0
    for each in ends:
        one = dumps(wire.end(each)).encode()
        if part and (len(part) == _MAX_ENDS or size + len(one) > _MAX_BYTES):
            yield _body(part)
            part, size = [], 0
        part.append(one)
        size += len(one)
    if part:
        yield _body(part)


def _body(part: Sequence[bytes]) -> bytes:
    return b'{"ends":[' + b",".join(part) + b"]}"
