"""The lease of a process that runs agents: kept by a thread of its own, so that code which blocks the event loop does not
cost it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tallystick.client.exact import dumps, loads
from tallystick.client.transport import ApiError, refusal
from tallystick.sdk import BackendAway

_log = logging.getLogger("tallystick.client")
_RETRY_S = 0.5


class Lease:
    """Holds a lease on a server, until it is closed. `worker_id` is what to claim under; it changes when a lease is lost.

    `held` is told, from the thread, which attempts the server says are held, as tasks by their fences, and the time
    (`time.monotonic`) just before it was asked; `lost` that all that was claimed before is over. A process that could not reach
    the server for as long as its lease says so by itself, whatever the server would say.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        lease_s: int,
        held: Callable[[Mapping[int, int], float], None],
        lost: Callable[[], None],
    ) -> None:
        self._base_url = base_url
        self._headers = {**headers, "Content-Type": "application/json"}
        self._lease_s = lease_s
        self._held = held
        self._lost = lost
        self._worker_id: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def worker_id(self) -> str | None:
        """`None` while there is no lease."""
        return self._worker_id

    async def open(self) -> None:
        """Begin the lease; raises `BackendAway` where the server cannot be reached."""
        self._worker_id = await asyncio.to_thread(self._begin)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="lease of tallystick agents", daemon=True)
        self._thread.start()

    async def close(self) -> str | None:
        """Beat no more; the worker that still holds a lease, to be given back or to run out."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        worker_id, self._worker_id = self._worker_id, None
        return worker_id

    def _begin(self) -> str:
        with self._client() as http:
            try:
                return self._register(http)
            except (httpx.TransportError, ApiError) as error:
                raise BackendAway(f"there is no lease to be had: {error}") from error

    def _client(self) -> httpx.Client:
        # A beat that waits longer than this comes too late for the next one.
        return httpx.Client(base_url=self._base_url, headers=self._headers, timeout=max(1.0, self._lease_s / 4))

    def _run(self) -> None:
        good = time.monotonic()
        wait_s = self._lease_s / 4
        with self._client() as http:
            while not self._stopping.wait(wait_s):
                began = time.monotonic()
                try:
                    self._beat(http, began)
                    good = began
                    wait_s = self._lease_s / 4
                except (httpx.TransportError, ApiError) as error:
                    _log.warning("the lease could not be renewed, and is tried again: %s", error)
                    wait_s = _RETRY_S
                    if self._worker_id is not None and time.monotonic() - good >= self._lease_s:
                        self._lose()

    def _beat(self, http: httpx.Client, began: float) -> None:
        if self._worker_id is None:
            self._worker_id = self._register(http)
            return
        try:
            answer = self._post(http, f"/v1/workers/{self._worker_id}/heartbeat")
        except ApiError as refused:
            if refused.code != "lease_lost":
                raise
            self._lose()
            self._worker_id = self._register(http)
        else:
            self._held({int(each["fence"]): int(each["id"]) for each in answer["attempts"]}, began)

    def _register(self, http: httpx.Client) -> str:
        return str(self._post(http, "/v1/workers")["id"])

    def _post(self, http: httpx.Client, path: str) -> Any:
        response = http.post(path, content=dumps({"lease_s": self._lease_s}).encode())
        if not response.is_success:
            raise refusal(response)
        return loads(response.text)

    def _lose(self) -> None:
        _log.warning("the lease is lost, and with it all that ran under it")
        self._worker_id = None
        self._lost()
