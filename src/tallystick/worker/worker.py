"""The worker: claims tasks, lets agents carry them out, and finishes them, all in one transaction a batch."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import socket
import traceback
from collections.abc import Sequence

from tallystick import approvals, work
from tallystick.agents import BuiltInAgent, built_in
from tallystick.db import Database, Tx, listen
from tallystick.kit import TallystickError, Unavailable, end
from tallystick.worker.notifier import Notifier
from tallystick.worker.sweeper import Sweeper

_log = logging.getLogger(__name__)
_BACKOFF_S = 0.1
_MAX_BACKOFF_S = 5.0
_LEASE_S = 60
_AWAY = frozenset({"database_unavailable", "database_busy"})


class Worker:
    """Runs `agents` on their queued tasks until it is told to stop. Any number of workers may run at once.

    `poll_s` is how long a task may wait when the bell that announces it is lost, and how often expired holds are swept;
    `batch` is how many tasks of an agent share a transaction; `name` appears in the record, and is made of the host and the
    process where it is not given. Notices to others go out as `webhooks` allow, by default as the environment says.
    """

    def __init__(
        self,
        database: Database,
        agents: Sequence[BuiltInAgent] | None = None,
        *,
        poll_s: float = 1.0,
        batch: int = 100,
        name: str | None = None,
        webhooks: approvals.WebhookSettings | None = None,
    ) -> None:
        self._database = database
        self._agents = tuple(built_in() if agents is None else agents)
        self._poll_s = poll_s
        self._batch = batch
        self._name = name or default_name("worker")
        self._sweeper = Sweeper(database, self._name, every_s=poll_s)
        self._notifier = Notifier(database, self._name, webhooks, poll_s=poll_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then end the transaction in hand and return. A lost database is waited for, never fatal."""
        # Notices wait for others, so they are delivered beside all other work.
        notifying = asyncio.create_task(self._notifier.run(stop), name="notifier")
        try:
            await self._work(stop)
        finally:
            await end([notifying])

    async def _work(self, stop: asyncio.Event) -> None:
        failures = 0
        async with listen(self._database, work.CHANNEL) as woken:
            while not stop.is_set():
                woken.clear()
                try:
                    busy = await self.round(stop)
                except Exception as error:  # noqa: BLE001 - this loop owns the work
                    failures += 1
                    delay = _backoff(failures)
                    _log.warning("%s could not work; it tries again in %.1f s: %s", self._name, delay, _for_the_log(error))
                    await _first_of(stop, timeout_s=delay)
                    continue
                failures = 0
                if not busy:
                    await _first_of(stop, woken, timeout_s=self._poll_s)

    async def round(self, stop: asyncio.Event) -> bool:
        """Take back and free what expired, then one batch of each agent, until `stop` is set; whether any task was found."""
        await self._sweeper.sweep_if_due()
        busy = False
        for agent in self._agents:
            if stop.is_set():
                break
            busy = await self._batch_of(agent, stop) or busy
        return busy

    async def _batch_of(self, agent: BuiltInAgent, stop: asyncio.Event) -> bool:
        claimed: list[work.Claimed] = []

        async def attempt(tx: Tx) -> None:
            claimed.clear()
            claimed.extend(
                await work.claim(
                    tx, agents=[agent.name], types=agent.types, worker=self._name, limit=self._batch, lease_s=_LEASE_S
                )
            )
            await self._carry_out(tx, agent, claimed)

        try:
            await self._database.retrying(attempt)
        except Exception as error:
            if not claimed or _is_away(error):
                raise
            _log.warning("a batch of %s was rolled back; its tasks are tried one by one: %s", agent.name, _for_the_log(error))
            for task in claimed:
                if stop.is_set():
                    break
                await self._alone(agent, task.task_id)
        return bool(claimed)

    async def _alone(self, agent: BuiltInAgent, task_id: int) -> None:
        async def attempt(tx: Tx) -> None:
            claimed = await work.claim_these(tx, [task_id], worker=self._name, lease_s=_LEASE_S)
            await self._carry_out(tx, agent, claimed)

        try:
            await self._database.retrying(attempt)
        except Exception as error:
            if _is_away(error):
                raise
            _log.error("%s could not carry out task %d: %s", agent.name, task_id, _for_the_log(error))
            failure = error
        else:
            return
        await self._database.retrying(lambda tx: self._record_failure(tx, task_id, failure))

    async def _carry_out(self, tx: Tx, agent: BuiltInAgent, claimed: Sequence[work.Claimed]) -> None:
        if not claimed:
            return
        finishes = await agent.run(tx, claimed)
        if {finish.task_id for finish in finishes} != {task.task_id for task in claimed}:
            raise AssertionError(f"{agent.name} did not say of every task how it ended")
        if not all(await work.finish(tx, finishes, self._name)):
            raise AssertionError("a fence was lost inside the transaction that took it")

    async def _record_failure(self, tx: Tx, task_id: int, error: Exception) -> None:
        claimed = await work.claim_these(tx, [task_id], worker=self._name, lease_s=_LEASE_S)
        if isinstance(error, Unavailable):
            # Rows in use, or too slow: it is not the task's fault, so it has a few more attempts, each of them counted.
            await work.fail(
                tx, [work.Failure(task.task_id, task.fence, _stable(error), retry_in_s=0) for task in claimed], self._name
            )
            return
        await work.finish(
            tx, [work.Finish(task.task_id, task.fence, "failed", error=_stable(error)) for task in claimed], self._name
        )


def _stable(error: Exception) -> str:
    """What a task says of its failure: the code of a refusal, or the kind of a bug; never a message that may hold data."""
    return str(error)[:1000] if isinstance(error, TallystickError) else f"agent_raised: {type(error).__name__}"


def _for_the_log(error: Exception) -> str:
    """A refusal as it is; of a bug its kind and where it came from, without its message, which may hold customers' data."""
    if isinstance(error, TallystickError):
        return str(error)
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"


def _is_away(error: Exception) -> bool:
    return isinstance(error, Unavailable) and error.code in _AWAY


def _backoff(failures: int) -> float:
    """A delay that doubles with every failure in a row, up to a bound; its jitter keeps workers from returning together."""
    return random.uniform(0.5, 1.0) * min(_MAX_BACKOFF_S, _BACKOFF_S * 2.0 ** min(failures - 1, 10))  # noqa: S311 - jitter


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Wait until one of the events is set, or the time is up."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def default_name(who: str) -> str:
    """A name for a worker process, by which people find it: who works, where, and as which process."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    return f"{who[:50]}@{host[:35]}:{os.getpid()}"
