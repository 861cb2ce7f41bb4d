"""The house's agent that tells others what became of questions: notices are tasks, each delivery a call to the outside."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tallystick import approvals, work
from tallystick.db import Database, Tx
from tallystick.kit import TallystickError, Unavailable, wait_for
from tallystick.worker.posting import NotDelivered, post

_log = logging.getLogger(__name__)
_AT_ONCE = 32
_LEASE_S = 60
_FIRST_RETRY_S = 5
_LAST_RETRY_S = 3600
_REST_S = 30
_SILENT = frozenset({"timeout", "unreachable", "name_unknown"})


@dataclass(frozen=True, slots=True)
class _Delivery:
    task: work.Claimed
    webhook: int
    body: bytes
    signed: approvals.Signed | None

    def step(
        self,
        state: Literal["intent", "failed", "done"],
        *,
        took_ms: int = 0,
        status: int | None = None,
        error: str | None = None,
    ) -> work.NewStep:
        """What is on record of this delivery. Each attempt is a call of its own: one may have been made though nobody knows."""
        output = None if status is None else {"status": status}
        return work.NewStep(
            f"delivery {self.task.fence}", "call", state, hashlib.sha256(self.body).digest(),
            output=output, error=error, took_ms=took_ms,
        )  # fmt: skip


class Notifier:
    """Delivers notices until it is told to stop; any number may run at once. No transaction is open while one is on its way.

    That a delivery is meant is on record before it is made. What is not taken is tried again, later each time, twelve times in
    all within about three hours; then the task is dead, and people may put it back. A worker that is killed in between leaves
    a notice that may come twice: its number is the same. Who does not answer is left alone for half a minute, so that many
    notices to one who is silent do not keep the others waiting; those are put back and not counted.
    """

    def __init__(
        self, database: Database, name: str, settings: approvals.WebhookSettings | None = None, *, poll_s: float = 1.0
    ) -> None:
        self._database = database
        self._name = name
        self._settings = settings or approvals.WebhookSettings()
        self._poll_s = poll_s
        self._rests_until: dict[int, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set. A lost database is waited for, and a defect is logged."""
        while not stop.is_set():
            try:
                busy = await self.round()
            except Unavailable as error:
                _log.info("%s could not tell anybody anything: %s", self._name, error)
                busy = False
            except Exception as error:  # noqa: BLE001 - this loop owns the work
                # Its message may hold what is not for the log.
                _log.error("%s could not tell anybody anything: %s", self._name, type(error).__name__)
                busy = False
            if not busy:
                await wait_for(stop, self._poll_s)

    async def round(self) -> bool:
        """Deliver a few notices, side by side; whether there were any."""
        found, deliveries = await self._database.retrying(self._begin)
        await asyncio.gather(*(self._deliver(each) for each in deliveries))
        return found

    async def _begin(self, tx: Tx) -> tuple[bool, list[_Delivery]]:
        claimed = await work.claim(
            tx, agents=[approvals.NOTIFIER], types=[approvals.NOTICE_TASK], worker=self._name, limit=_AT_ONCE, lease_s=_LEASE_S
        )
        deliveries, put_back = [], []
        for task in claimed:
            webhook, body = approvals.notice(task)
            if time.monotonic() < self._rests_until.get(webhook, 0):
                put_back.append(work.Failure(task.task_id, task.fence, "silent", "returned", _REST_S))
                continue
            delivery = _Delivery(task, webhook, body, await approvals.sign(tx, webhook, body))
            if delivery.signed is not None:
                await work.record_step(tx, task.task_id, task.fence, delivery.step("intent"))
            deliveries.append(delivery)
        await work.fail(tx, put_back, self._name)
        return bool(claimed), deliveries

    async def _deliver(self, delivery: _Delivery) -> None:
        if delivery.signed is None:
            await self._end(delivery, {"delivered": False, "reason": "the webhook was removed"}, None)
            return
        began = time.monotonic()
        try:
            status = await post(delivery.signed, delivery.body, self._settings)
        except Exception as failure:  # noqa: BLE001 - one that cannot be delivered keeps no other from it
            code = failure.code if isinstance(failure, NotDelivered) else f"notifier_raised: {type(failure).__name__}"
            if code in _SILENT:
                self._rests_until[delivery.webhook] = time.monotonic() + _REST_S
            step = delivery.step("failed", error=code, took_ms=_since(began))
            await self._again(delivery, step, code)
        else:
            step = delivery.step("done", status=status, took_ms=_since(began))
            await self._end(delivery, {"delivered": True, "status": status}, step)

    async def _end(self, delivery: _Delivery, result: dict[str, object], step: work.NewStep | None) -> None:
        task = delivery.task

        async def attempt(tx: Tx) -> None:
            if step is not None:
                await work.record_step(tx, task.task_id, task.fence, step)
            await work.finish(tx, [work.Finish(task.task_id, task.fence, "done", result)], self._name)

        await self._write(attempt)

    async def _again(self, delivery: _Delivery, step: work.NewStep, code: str) -> None:
        task = delivery.task
        delay_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** (task.attempts - 1))

        async def attempt(tx: Tx) -> None:
            await work.record_step(tx, task.task_id, task.fence, step)
            await work.fail(tx, [work.Failure(task.task_id, task.fence, code, retry_in_s=delay_s)], self._name)

        await self._write(attempt)

    async def _write(self, attempt: Callable[[Tx], Awaitable[None]]) -> None:
        try:
            await self._database.retrying(attempt)
        except TallystickError as error:
            # Where the database is away, the lease runs out and the notice is sent again.
            if error.code != "fence_lost":
                raise


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
