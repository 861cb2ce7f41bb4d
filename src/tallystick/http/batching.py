"""Group commit: what concurrent requests ask for shares a transaction, and each gets its own answer.

While one batch commits, the next one gathers; so an idle server adds no wait, and a busy one commits once for many. A second
lane takes what has gathered for 50 ms, or fills a batch, so that one batch that waits for a lock does not hold up all. For the
same principal it does not begin before: two at once wait for each other's counters and balances, which costs the database more
than it saves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from tallystick import audit
from tallystick.db import Database, Told, Tx, listener, pass_on
from tallystick.identity import Principal
from tallystick.kit import TallystickError, Unavailable, end

MAX_BATCH = 200
MAX_WAITING = 5000
_GATHER_S = 0.05
_AT_ONCE = 4
_ATTEMPTS = 2
_PATIENCE_MS = 250
_SEARCH_S = 8.0

_log = logging.getLogger(__name__)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Answer]):
    principal: Principal
    key: str | None
    item: Item
    answer: asyncio.Future[Answer]
    request: str | None
    told: list[Told] | None


class Batcher(Generic[Item, Answer]):
    """Gathers items of one kind and carries them out in batches; `run` does the work until it is cancelled."""

    def __init__(
        self,
        database: Database,
        carry_out: Callable[[Tx, Principal, Sequence[Item]], Awaitable[Sequence[Answer | TallystickError]]],
        *,
        committed: Callable[[Sequence[Answer]], None] | None = None,
        lanes: int = 2,
    ) -> None:
        """`carry_out` does the work of one principal's items in a transaction, with an answer for each, in order.

        `committed` is told the answers after a commit; `lanes` batches may commit at once.
        """
        self._database = database
        self._carry_out = carry_out
        self._committed = committed
        self._lanes = lanes
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._arrived = asyncio.Event()
        self._begun: dict[object, tuple[Principal, float]] = {}
        self._ended = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    async def submit(self, principal: Principal, key: str | None, item: Item) -> Answer:
        """Have one item carried out; returns when it is committed, raises its refusal.

        `Unavailable` (`overloaded`) where too many are waiting already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("overloaded", "too many requests of this kind are waiting; try again")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(principal, key, item, answer, audit.current_request(), listener()))
        self._arrived.set()
        if len(self._waiting) == MAX_BATCH:
            self._look_again()
        return await answer

    async def run(self) -> None:
        """Work off what is submitted. Cancelled, it answers all that has no answer with `Unavailable`."""
        lanes = [asyncio.create_task(self._lane()) for _ in range(self._lanes)]
        try:
            await asyncio.gather(*lanes)
        finally:
            await end(lanes)
            await asyncio.gather(*self._answering, return_exceptions=True)
            while self._waiting:
                _refuse([self._waiting.popleft()], Unavailable("shutting_down", "the server is stopping"))

    async def _lane(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            batch = self._take()
            if not batch:
                continue
            run = object()
            self._begun[run] = batch[0].principal, asyncio.get_running_loop().time()
            try:
                await self._commit(batch)
            except BaseException:
                # Whoever has no answer by now was cut off with the lane.
                _refuse(batch, Unavailable("shutting_down", "the server is stopping"))
                raise
            finally:
                del self._begun[run]
                self._look_again()

    def _look_again(self) -> None:
        """Have the lanes that gather see whether they still have to."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def _gather(self) -> None:
        """While another lane commits for the principal whose turn it is, wait for more to share the next commit."""
        while 0 < len(self._waiting) < MAX_BATCH:
            begun = [since for principal, since in self._begun.values() if principal == self._waiting[0].principal]
            left_s = max(begun, default=0) + _GATHER_S - asyncio.get_running_loop().time()
            if not begun or left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which on Python 3.11 may swallow that the lane is cancelled.
                async with asyncio.timeout(left_s):
                    await self._ended.wait()

    def _take(self) -> list[_Waiting[Item, Answer]]:
        """The next batch: one principal's items, no key twice, as a repeated key has to see the first one's answer."""
        batch: list[_Waiting[Item, Answer]] = []
        kept: list[_Waiting[Item, Answer]] = []
        keys: set[str] = set()
        together: Principal | None = None
        while self._waiting and len(batch) < MAX_BATCH:
            waiting = self._waiting.popleft()
            key = waiting.key
            if waiting.answer.done():
                continue
            together = together or waiting.principal
            if waiting.principal != together or (key is not None and key in keys):
                kept.append(waiting)
                continue
            if key is not None:
                keys.add(key)
            batch.append(waiting)
        self._waiting.extendleft(reversed(kept))
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _commit(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        try:
            answers, told = await self._database.retrying(partial(self._work, batch=batch), attempts=_ATTEMPTS)
        except Exception as error:  # noqa: BLE001 - whatever it was, it belongs to those it stopped
            await self._search(batch, error, asyncio.get_running_loop().time() + _SEARCH_S)
        else:
            # The lane goes on with the next batch meanwhile.
            answering = asyncio.create_task(self._tell(batch, answers, told))
            self._answering.add(answering)
            answering.add_done_callback(self._answering.discard)

    async def _search(self, batch: Sequence[_Waiting[Item, Answer]], error: Exception, until_s: float) -> None:
        """Halve a batch that `error` stopped until the culprit stands alone; the others are committed on the way.

        Every part goes out under the same keys. Rows that were waited for in vain are waited for briefly now, and the search
        ends at `until_s` of the loop's clock, so that one stuck row does not keep a lane for long.
        """
        if len(batch) == 1 or _is_hopeless(error) or asyncio.get_running_loop().time() > until_s:
            # After a lost connection nobody knows whether it was carried out: asked again under the key, we can tell.
            _refuse(batch, error)
            return
        patience_ms = _PATIENCE_MS if isinstance(error, Unavailable) else None
        middle = len(batch) // 2
        for part in (batch[:middle], batch[middle:]):
            try:
                answers, told = await self._database.retrying(
                    partial(self._work, batch=part), attempts=1, lock_timeout_ms=patience_ms
                )
            except Exception as again:  # noqa: BLE001 - as above
                await self._search(part, again, until_s)
            else:
                await self._tell(part, answers, told)

    async def _work(
        self, tx: Tx, batch: Sequence[_Waiting[Item, Answer]]
    ) -> tuple[Sequence[Answer | TallystickError], Sequence[Told]]:
        audit.answer_for(" ".join(waiting.request for waiting in batch if waiting.request) or None)
        answers = await self._carry_out(tx, batch[0].principal, [waiting.item for waiting in batch])
        return answers, tuple(tx.told)

    async def _tell(
        self, batch: Sequence[_Waiting[Item, Answer]], answers: Sequence[Answer | TallystickError], told: Sequence[Told]
    ) -> None:
        """Give each its answer, a few at a time: what the database says of the next batch is heard in between."""
        place = 0
        try:
            while place < len(batch):
                few = slice(place, place + _AT_ONCE)
                place += _AT_ONCE
                _answer(batch[few], answers[few], told)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            # Cut off in between, it is committed nevertheless.
            _answer(batch[place:], answers[place:], told)
            raise
        except ValueError as error:
            _log.exception("a batch has not as many answers as items")
            _refuse(batch, error)
        finally:
            if self._committed is not None and (good := [one for one in answers if not isinstance(one, TallystickError)]):
                self._committed(good)


def _answer(batch: Sequence[_Waiting[Item, Answer]], answers: Sequence[Answer | TallystickError], told: Sequence[Told]) -> None:
    for waiting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, TallystickError):
            _refuse([waiting], answer)
            continue
        pass_on(told, waiting.told)
        if not waiting.answer.done():
            waiting.answer.set_result(answer)


def _is_hopeless(error: Exception) -> bool:
    """Whether no part of the batch would fare better now. Rows in use are another matter: they are some item's."""
    return isinstance(error, Unavailable) and error.code != "contention"


def _refuse(batch: Sequence[_Waiting[Item, Answer]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
