"""The runner: claims tasks into free places, runs their handlers side by side, and settles their ends in batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from tallystick.sdk.agent import Agent, TaskType
from tallystick.sdk.backend import Backend
from tallystick.sdk.crew import Crew
from tallystick.sdk.errors import BackendAway
from tallystick.sdk.hold import delay_s
from tallystick.sdk.settling import Settler
from tallystick.sdk.threads import Threads

_log = logging.getLogger("tallystick.sdk")
_MAX_CLAIM = 500
_UNSETTLED_BATCHES = 4
_GATHER_S = 0.005
_CANCELLED_S = 2.0

Answer = TypeVar("Answer")


class Stuck(RuntimeError):
    """Every place is taken by a handler that goes on after its attempt was over. Only a new process helps."""


class Runner:
    """Runs the tasks of some agents on one backend, in one event loop.

    `concurrency` handlers run at a time, those that block in up to `threads` threads. A claim waits `wait_s` for work. Up to
    `max_batch` ends share a commit. Told to stop, it gives its handlers `grace_s` to end.
    """

    def __init__(
        self,
        backend: Backend,
        agents: Iterable[Agent],
        *,
        concurrency: int = 100,
        threads: int = 32,
        wait_s: float = 10.0,
        max_batch: int = 250,
        grace_s: float = 10.0,
    ) -> None:
        self._backend = backend
        self._kinds: dict[tuple[str, str], TaskType] = {}
        for agent in agents:
            for type, kind in agent.task_types.items():
                if (agent.name, type) in self._kinds:
                    raise ValueError(f"{agent.name!r} is there twice with handlers of {type!r}")
                self._kinds[agent.name, type] = kind
        if not self._kinds:
            raise ValueError("there is no handler to run")
        if min(concurrency, threads, max_batch) < 1:
            raise ValueError("concurrency, threads and max_batch are at least 1")
        self._concurrency = concurrency
        self._threads = threads
        self._wait_s = wait_s
        self._max_batch = max_batch
        self._grace_s = grace_s

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then let what runs end, or give it back, and return.

        A backend that is away is waited for, never fatal. Cancelled, it gives back at once. Raises `Stuck`.
        """
        if not await self._opened(stop):
            return
        threads = Threads(self._threads)
        settler = Settler(self._backend, self._max_batch)
        crew = Crew(self._backend, self._kinds, settler.add, limit=self._concurrency, threads=threads)
        settling = asyncio.create_task(settler.run())
        working = [
            asyncio.create_task(each)
            for each in (self._claim(crew, settler), self._heed_losses(crew), stop.wait(), crew.stuck.wait())
        ]
        grace_s = 0.0
        try:
            done, _ = await asyncio.wait([*working, settling], return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                # Only a defect ends one of these by itself; it is not to pass for a stop.
                each.result()
            if crew.stuck.is_set():
                raise Stuck(f"{self._concurrency} handlers go on after their attempts were over")
            grace_s = self._grace_s
        finally:
            await self._leave(crew, settler, working, settling, grace_s)
            threads.close()

    async def _opened(self, stop: asyncio.Event) -> bool:
        """Open the backend, which may be away for now; false where `stop` is set before."""
        queues = [kind.queue for kind in self._kinds.values()]
        opening = asyncio.create_task(_patiently(lambda: self._backend.open(queues), "begin"))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
                return True
            return False
        finally:
            await _cancel([opening, stopping])

    async def _claim(self, crew: Crew, settler: Settler) -> None:
        """Keep the free places full. While one claim is under way, what the last one brought runs."""
        most = max(1, min(_MAX_CLAIM, (self._concurrency + 1) // 2))
        while True:
            await settler.below(_UNSETTLED_BATCHES * self._max_batch)
            while crew.free < 1:
                crew.freed.clear()
                await crew.freed.wait()
            limit = min(crew.free, most)
            claimed = await _patiently(partial(self._backend.claim, limit, self._wait_s), "claim")
            crew.take_on(claimed)
            if len(claimed) == limit and crew.free * 4 < self._concurrency:
                # There is more, and few places are free: a moment later there are more of them for the same claim.
                await asyncio.sleep(_GATHER_S)

    async def _heed_losses(self, crew: Crew) -> None:
        while True:
            crew.lose(await _patiently(self._backend.lost, "ask which attempts were lost"))

    async def _leave(
        self,
        crew: Crew,
        settler: Settler,
        working: Sequence[asyncio.Task[object]],
        settling: asyncio.Task[None],
        grace_s: float,
    ) -> None:
        reason = "worker_stopped: the worker that ran it was stopped"
        claiming, *others = working
        await _cancel([claiming])
        crew.give_back_waiting(reason)
        await _within(grace_s, crew.idle())
        crew.give_back_all(reason)
        await _within(_CANCELLED_S, crew.idle())
        await _within(max(grace_s, _CANCELLED_S), settler.below(1))
        if settler.unsettled:
            _log.error("%d attempts that have ended could not be settled; they come back by themselves", settler.unsettled)
        await _cancel([*others, settling])
        crew.close()
        try:
            await self._backend.close()
        except BackendAway as error:
            _log.warning("the backend is away, and was left without a word: %s", error)
        except Exception:  # noqa: BLE001 - see below
            # Whatever it was, the lease ends by itself, and what ended the runner is to be told.
            _log.exception("the backend could not be left")


async def _patiently(ask: Callable[[], Awaitable[Answer]], what: str) -> Answer:
    """Ask a backend until it answers; a defect of its own is logged, and waited out alike."""
    failures = 0
    while True:
        try:
            return await ask()
        except BackendAway as error:
            failures += 1
            if failures == 1:
                _log.warning("could not %s, and tries again: %s", what, error)
        except Exception:  # noqa: BLE001 - the loops of a runner outlive the defects of a backend
            failures += 1
            _log.exception("could not %s, and tries again", what)
        await asyncio.sleep(delay_s(failures))


async def _within(seconds: float, waited_for: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waited_for


async def _cancel(tasks: Iterable[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
