"""The database as the place where an agent's tasks are kept: what the sdk asks for, by the verbs of the rooms."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TypeVar

from tallystick import agents, sdk, work
from tallystick.db import Bell, Connected, Database, DatabaseSettings, Tx, listen_privately
from tallystick.kit import Conflict, Unavailable, end, wait_for
from tallystick.worker.lease import Lease
from tallystick.worker.waiting import OpenClaim

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_AT_ONCE = 1000
T = TypeVar("T")


class DatabaseBackend:
    """Tasks in the database, for runners beside it; see `sdk.Backend` for what each method promises.

    `lease_s` is how long tasks stay with a worker that was killed, and how long a worker may be without the database before its
    attempts end. `name` appears in the record. `poll_s` is how long a task may wait when the bell that announces it is lost.
    """

    def __init__(
        self,
        database: Database,
        settings: DatabaseSettings | None = None,
        *,
        name: str,
        lease_s: int = 30,
        poll_s: float = _LOOK_S,
    ) -> None:
        self._database = database
        self._name = name
        self._poll_s = poll_s
        self._bell = Bell(database, work.CHANNEL)
        self._types: dict[str, list[str]] = {}
        self._handed: dict[int, float] = {}
        self._ending: set[int] = set()
        self._news: asyncio.Queue[sdk.Lost] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = OpenClaim(self._on_handed)
        self._closing: asyncio.Task[None] | None = None
        self._lease = Lease(
            database.url,
            settings,
            name=name,
            lease_s=lease_s,
            handed=self._open.to_take_up,
            held=self._on_held,
            lost=self._on_lost,
        )
        self._is_dry = False
        self._claims: Connected | None = None
        self._around = AsyncExitStack()
        self._claiming: set[asyncio.Task[Sequence[sdk.Attempt]]] = set()
        self._giving_back: asyncio.Task[None] | None = None

    async def open(self, queues: Sequence[sdk.Queue]) -> None:
        """Make the queues known, begin the lease and listen for the bell."""
        async with self._answered():
            self._loop = asyncio.get_running_loop()
            self._types = {}
            async with self._database.write() as tx:
                for queue in queues:
                    self._types.setdefault(queue.agent, []).append(queue.type)
                    await work.configure(
                        tx,
                        queue.agent,
                        queue.type,
                        by=self._name,
                        max_attempts=queue.max_attempts,
                        max_crashes=queue.max_crashes,
                        timeout_s=queue.timeout_s,
                        backoff_s=queue.backoff_s,
                        max_backoff_s=queue.max_backoff_s,
                    )
            await self._lease.open()
            self._claims = await self._around.enter_async_context(self._database.connected())
            await self._around.enter_async_context(
                listen_privately(self._database, work.CHANNEL, self._open, prefix=f"{work.CHANNEL}_")
            )
            await self._around.enter_async_context(_running(self._bell.run()))

    async def claim(self, limit: int, wait_s: float) -> Sequence[sdk.Attempt]:
        """Begin attempts; where there are no tasks, wait for the bell, or look again after `poll_s`.

        A claim that found less than it asked for stands open meanwhile: what comes is handed over, and needs no claim.
        """
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None
        try:
            return await self._next(limit, wait_s)
        except asyncio.CancelledError:
            # Nobody has a place any more for what would be handed over.
            self._closing = asyncio.ensure_future(self._close_claim())
            raise

    async def _next(self, limit: int, wait_s: float) -> Sequence[sdk.Attempt]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            if handed := self._open.take(limit):
                return handed
            if self._is_dry and not self._open.is_rung and self._open.suffices(limit):
                # The last claim found less than it asked for. For whatever came since then, the bell is rung.
                self._open.stirred.clear()
                await wait_for(self._open.stirred, min(until - loop.time(), self._poll_s))
                if handed := self._open.take(limit):
                    return handed
            self._open.is_rung = False
            # A claim whose caller is cancelled goes on; what it got goes back when the lease ends.
            task = loop.create_task(self._claim(limit))
            self._claiming.add(task)
            task.add_done_callback(self._claiming.discard)
            attempts = await asyncio.shield(task)
            self._is_dry = len(attempts) < limit
            if attempts or loop.time() >= until:
                return attempts

    async def settle(self, ends: Sequence[sdk.End]) -> Sequence[bool]:
        """End attempts, many in a statement."""
        finishes = [(place, _finish(end)) for place, end in enumerate(ends) if _is_final(end)]
        failures = [(place, _failure(end)) for place, end in enumerate(ends) if not _is_final(end)]
        held = [False] * len(ends)
        async with self._answered():
            if finishes:
                batch = [finish for _, finish in finishes]
                done = await self._database.retrying(lambda tx: work.finish(tx, batch, self._name), one_statement=True)
                for (place, _), holds in zip(finishes, done, strict=True):
                    held[place] = holds
            if failures:
                became = await self._database.retrying(
                    lambda tx: work.fail(tx, [failure for _, failure in failures], self._name)
                )
                for (place, _), what in zip(failures, became, strict=True):
                    held[place] = what != "lost"
            await self._recognize(ends, held)
        self._drop([each.attempt.fence for each in ends])
        return held

    async def steps(self, attempt: sdk.Attempt) -> Sequence[sdk.StepRecord]:
        """All that is recorded of the steps of the task."""
        async with self._answered(), self._database.read() as tx:
            return [_step_record(step) for step in await work.steps(tx, attempt.task_id)]

    async def record(self, attempt: sdk.Attempt, step: sdk.StepRecord) -> None:
        """Record a try of a step, or that it is meant."""
        new = work.NewStep(
            step.name,
            step.kind,
            step.state,
            step.input_hash,
            step.try_no,
            step.output,
            step.error,
            step.detail,
            step.took_ms,
        )
        async with self._answered():
            try:
                await self._database.retrying(lambda tx: work.record_step(tx, attempt.task_id, attempt.fence, new))
            except Conflict as refusal:
                # Written once under its fence: an earlier call of ours has done it, and its answer was lost.
                if refusal.code != "already_exists":
                    raise

    async def intend(self, attempt: sdk.Attempt, step: sdk.StepRecord) -> None:
        """Record that a call to the outside is about to be sent."""
        await self.record(attempt, step)

    async def park(self, attempt: sdk.Attempt, wait: sdk.Wait) -> None:
        """End the attempt and let its task wait."""
        waits = work.Wait(
            wait.kind, wait.step, wait.input_hash, wait.wake_at, wait.in_s, wait.event_type, wait.match, wait.question
        )
        async with self._ends(attempt), self._answered():
            await self._database.retrying(lambda tx: agents.park(tx, _fence(attempt), waits))

    async def finish(self, attempt: sdk.Attempt, completion: sdk.Completion) -> None:
        """Carry out the effects and end the task, in one transaction."""
        fence = _fence(attempt)

        async def carry_out(tx: Tx) -> None:
            by = await agents.authority(tx, attempt.agent)
            await agents.carry_out(tx, by=by, worker=self._name, agent=attempt.agent, attempt=fence, completion=completion)

        async with self._ends(attempt), self._answered():
            try:
                await self._database.retrying(carry_out)
            except agents.Refused as refusal:
                codes = refusal.codes
                await self._database.retrying(lambda tx: work.record_refusal(tx, attempt.task_id, self._name, codes))
                raise sdk.EffectRefused(codes, refusal.detail) from None
            except Conflict as refusal:
                if refusal.code != "fence_lost" or not await self._ended((fence, "done")):
                    raise
        self._bell.ring()

    async def lost(self) -> sdk.Lost:
        """Wait for attempts that the database no longer counts as ours."""
        return await self._news.get()

    async def close(self) -> None:
        """End the lease; what is still held goes back to its queue."""
        await asyncio.gather(*self._claiming, return_exceptions=True)
        if self._closing is not None:
            await self._closing
        await self._lease.close()
        if self._giving_back is not None:
            await asyncio.gather(self._giving_back, return_exceptions=True)
        await self._around.aclose()
        worker_id = self._lease.worker_id
        if worker_id is not None:
            async with self._answered():
                await self._database.retrying(lambda tx: work.leave(tx, worker_id))
        self._open.drop(self._handed)
        self._handed.clear()

    async def _claim(self, limit: int) -> Sequence[sdk.Attempt]:
        worker_id = self._lease.worker_id
        if worker_id is None:
            raise sdk.BackendAway("there is no lease at this moment")
        attempts: list[sdk.Attempt] = []
        self._open.belongs_to(worker_id)
        # While there is more than is asked for, there is nothing to wait for.
        channel = self._open.channel if self._closing is None and (self._is_dry or self._open.left > 0) else None
        try:
            async with self._answered():
                for agent, types in self._types.items():
                    room = limit - len(attempts)
                    if room > 0:
                        claim = self._claim_of(agent, types, worker_id, room, channel)
                        claimed = await self._database.retrying(claim, one_statement=True, on=self._claims)
                        attempts += [_attempt(each) for each in claimed]
            if channel is not None:
                self._open.left = limit - len(attempts)
        except sdk.BackendAway:
            # Those of the agents before are ours in any case. Whether more are, the next beat tells.
            self._lease.hurry()
            if not attempts:
                raise
        now = time.monotonic()
        for attempt in attempts:
            self._handed[attempt.fence] = now
        return attempts

    def _claim_of(
        self, agent: str, types: Sequence[str], worker_id: int, limit: int, channel: str | None
    ) -> Callable[[Tx], Awaitable[list[work.Claimed]]]:
        if channel is None:
            return partial(
                work.claim, agents=[agent], types=types, worker=self._name, worker_id=worker_id, limit=limit, lightly=True
            )
        return partial(
            work.claim_openly,
            agents=[agent],
            types=types,
            worker=self._name,
            worker_id=worker_id,
            limit=limit,
            channel=channel,
            heard=self._open.heard,
            serves=[(agent, type) for agent, types in self._types.items() for type in types],
        )

    async def _close_claim(self) -> None:
        """Be handed nothing more, and give back what was handed over and has not begun."""
        await asyncio.gather(*self._claiming, return_exceptions=True)
        worker_id = self._lease.worker_id
        try:
            if worker_id is not None:
                async with self._answered():
                    await self._database.retrying(lambda tx: work.close_claim(tx, worker_id), one_statement=True)
            self._open.begin()
            await self._return_handed()
        except sdk.BackendAway as error:
            _log.warning("%s could not say that it takes no more tasks: %s", self._name, error)

    async def _return_handed(self) -> None:
        if not (handed := self._open.take(_AT_ONCE)):
            return
        reason = "worker_stopped: the worker it was handed to was stopped"
        back = [work.Failure(each.task_id, each.fence, reason, "returned", retry_in_s=0) for each in handed]
        async with self._answered():
            await self._database.retrying(lambda tx: work.fail(tx, back, self._name))
        self._drop([each.fence for each in handed])
        self._bell.ring()

    def _on_handed(self, attempt: sdk.Attempt) -> None:
        self._handed[attempt.fence] = time.monotonic()
        if self._closing is not None and self._closing.done():
            # It was under way when the claim was closed.
            self._closing = asyncio.ensure_future(self._close_claim())

    async def _recognize(self, ends: Sequence[sdk.End], held: list[bool]) -> None:
        """An end that did not hold may be one whose answer was lost: then its own fence has ended the task, in that way."""
        missing = [place for place, holds in enumerate(held) if not holds]
        if not missing:
            return
        async with self._database.read() as tx:
            ours = await work.ended_under(
                tx, [_fence(ends[place].attempt) for place in missing], [_ended(ends[place]) for place in missing]
            )
        for place, holds in zip(missing, ours, strict=True):
            held[place] = holds

    async def _ended(self, *attempts: tuple[work.Fence, str]) -> bool:
        async with self._database.read() as tx:
            return all(await work.ended_under(tx, [fence for fence, _ in attempts], [ended for _, ended in attempts]))

    def _on_held(self, held: Sequence[work.Held], asked_at: float) -> None:
        self._tell(lambda: self._compare(held, asked_at))

    def _on_lost(self) -> None:
        self._tell(self._all)

    def _tell(self, news: Callable[[], None]) -> None:
        assert self._loop is not None, "a lease begins with open"
        try:
            self._loop.call_soon_threadsafe(news)
        except RuntimeError:
            _log.debug("the loop is closed, so nobody is left to be told of lost attempts")

    def _compare(self, held: Sequence[work.Held], asked_at: float) -> None:
        """What the database says is held, beside what was handed out."""
        fences = {each.fence for each in held}
        # What was claimed while the database was asked is not in its answer.
        self._forget(
            [
                fence
                for fence, since in self._handed.items()
                if since < asked_at and fence not in fences and fence not in self._ending
            ]
        )
        self._open.taken_up(held)
        # What is being handed over at this moment goes back by itself where its news is lost.
        unheard = [work.Fence(each.task_id, each.fence) for each in held if each.heard and each.fence not in self._handed]
        if unheard and (self._giving_back is None or self._giving_back.done()):
            self._giving_back = asyncio.ensure_future(self._give_back(unheard))

    async def _give_back(self, unheard: Sequence[work.Fence]) -> None:
        """Give back what was claimed in a call whose answer was lost: the lease would keep it, and nobody would run it."""
        # A claim that is under way may bring some of it, and what has ended meanwhile is not held.
        await asyncio.gather(*self._claiming, return_exceptions=True)
        lost = [
            work.Failure(each.task_id, each.fence, "claim_unheard: the answer to its claim was lost", "returned", retry_in_s=0)
            for each in unheard
            if each.fence not in self._handed
        ]
        if not lost:
            return
        try:
            async with self._answered():
                became = await self._database.retrying(lambda tx: work.fail(tx, lost, self._name))
        except sdk.BackendAway as error:
            _log.warning("%s could not give back %d tasks, and tries again: %s", self._name, len(lost), error)
            return
        if count := sum(1 for what in became if what != "lost"):
            _log.warning("%s gave back %d tasks; it had not heard that they were claimed", self._name, count)
            self._bell.ring()

    @asynccontextmanager
    async def _ends(self, attempt: sdk.Attempt) -> AsyncIterator[None]:
        """What would end an attempt. It hears itself whether the fence held; so a beat that sees it ended says nothing."""
        self._ending.add(attempt.fence)
        try:
            yield
        finally:
            self._ending.discard(attempt.fence)
        self._drop([attempt.fence])

    def _drop(self, fences: Iterable[int]) -> None:
        for fence in fences:
            self._handed.pop(fence, None)
        self._open.drop(fences)

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Errors as the sdk knows them. A connection that has died without a word is not waited for for ever."""
        try:
            async with asyncio.timeout(self._database.patience_s):
                yield
        except TimeoutError as error:
            raise sdk.BackendAway("the database does not answer") from error
        except Unavailable as error:
            raise sdk.BackendAway(str(error)) from error
        except Conflict as error:
            if error.code == "fence_lost":
                raise sdk.FenceLost(error.detail) from None
            if error.code == "lease_lost":
                raise sdk.BackendAway(str(error)) from None
            raise

    def _all(self) -> None:
        self._forget(list(self._handed))

    def _forget(self, lost: Sequence[int]) -> None:
        self._drop(lost)
        if lost:
            self._news.put_nowait(sdk.Lost(frozenset(lost)))


@asynccontextmanager
async def _running(work_: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work_)
    try:
        yield
    finally:
        await end([task])


def _fence(attempt: sdk.Attempt) -> work.Fence:
    return work.Fence(attempt.task_id, attempt.fence)


def _attempt(claimed: work.Claimed) -> sdk.Attempt:
    return sdk.Attempt(
        claimed.task_id, claimed.fence, claimed.agent, claimed.type, claimed.payload, claimed.attempts, claimed.timeout_s
    )


def _is_final(end: sdk.End) -> bool:
    return isinstance(end, sdk.Done) or (isinstance(end, sdk.Failed) and end.final)


def _finish(end: sdk.End) -> work.Finish:
    attempt = end.attempt
    if isinstance(end, sdk.Done):
        return work.Finish(attempt.task_id, attempt.fence, "done", end.result)
    assert isinstance(end, sdk.Failed)
    return work.Finish(attempt.task_id, attempt.fence, "failed", error=end.error)


def _failure(end: sdk.End) -> work.Failure:
    attempt = end.attempt
    if isinstance(end, sdk.Returned):
        return work.Failure(attempt.task_id, attempt.fence, end.reason, "returned")
    assert isinstance(end, sdk.Failed)
    return work.Failure(attempt.task_id, attempt.fence, end.error, end.kind, end.retry_in_s)


def _ended(end: sdk.End) -> str:
    if isinstance(end, sdk.Done):
        return "done"
    if isinstance(end, sdk.Returned):
        return "returned"
    return "failed" if end.final else end.kind


def _step_record(step: work.Step) -> sdk.StepRecord:
    return sdk.StepRecord(
        step.name,
        step.kind,  # type: ignore[arg-type]
        step.state,  # type: ignore[arg-type]
        step.input_hash,
        step.attempt,
        step.output,
        step.error,
        step.detail,
    )
