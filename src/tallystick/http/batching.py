"""Group commit: transfers of concurrent requests share a transaction, and each gets its own answer.

While one batch commits, the next one gathers; so an idle server adds no wait, and a busy one commits once for many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tallystick import actions
from tallystick.db import Database, Tx
from tallystick.kit import TallystickError, Unavailable

MAX_BATCH = 200
MAX_WAITING = 5000


@dataclass(frozen=True, slots=True)
class _Waiting:
    principal: str
    new: actions.NewTransfer
    answer: asyncio.Future[actions.Transfer]


class TransferBatcher:
    """Gathers transfers and proposes them in batches; `run` does the work until it is cancelled."""

    def __init__(self, database: Database, on_queued: Callable[[], None], lanes: int = 2) -> None:
        """`on_queued` is called after a commit that stored queued transfers; `lanes` batches may commit at once."""
        self._database = database
        self._on_queued = on_queued
        self._lanes = lanes
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    async def submit(self, principal: str, new: actions.NewTransfer) -> actions.Transfer:
        """Propose one transfer; returns when it is committed, raises its refusal.

        `Unavailable` (`overloaded`) where too many are waiting already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("overloaded", "too many transfers are waiting; try again")
        answer: asyncio.Future[actions.Transfer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(principal, new, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Work off what is submitted. Cancelled, it answers what was never begun with `Unavailable`."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._lanes):
                    group.create_task(self._lane())
        finally:
            while self._waiting:
                _refuse([self._waiting.popleft()], Unavailable("shutting_down", "the server is stopping"))

    async def _lane(self) -> None:
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                await self._commit(batch)

    def _take(self) -> list[_Waiting]:
        """The next batch: one principal's transfers, no key twice, as a repeated key has to see the first one's answer."""
        batch: list[_Waiting] = []
        kept: list[_Waiting] = []
        keys: set[str] = set()
        while self._waiting and len(batch) < MAX_BATCH:
            waiting = self._waiting.popleft()
            key = waiting.new.key
            if waiting.answer.done():
                continue
            if (batch and waiting.principal != batch[0].principal) or (key is not None and key in keys):
                kept.append(waiting)
                continue
            if key is not None:
                keys.add(key)
            batch.append(waiting)
        self._waiting.extendleft(reversed(kept))
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Commit a batch; where something unexpected stops it, halve it until the culprit stands alone."""
        try:
            answers = await self._database.retrying(lambda tx: _propose(tx, batch))
        except Unavailable as away:
            # Whether the commit happened is unknown: the caller asks again under the same key, and is told.
            _refuse(batch, away)
        except Exception as error:  # noqa: BLE001 - one transfer's bug must not take its neighbours down
            if len(batch) == 1:
                _refuse(batch, error)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            self._answer(batch, answers)

    def _answer(self, batch: Sequence[_Waiting], answers: Sequence[actions.Transfer | TallystickError]) -> None:
        queued = False
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, TallystickError):
                _refuse([waiting], answer)
                continue
            queued = queued or answer.status == "queued"
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        if queued:
            self._on_queued()


async def _propose(tx: Tx, batch: Sequence[_Waiting]) -> list[actions.Transfer | TallystickError]:
    return await actions.propose(tx, batch[0].principal, [waiting.new for waiting in batch])


def _refuse(batch: Sequence[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
