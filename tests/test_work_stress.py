"""All verbs at once over real connections, on tasks that hang together by keys, by dependencies and by deadlines."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from tallystick import work
from tallystick.db import Database, DatabaseSettings, Tx
from tallystick.kit import TallystickError, Unavailable
from tests.conftest import TestDatabase
from tests.working import Owner, asking, expecting, new, sleeping, step

CALLERS = 8
CALLS = int(os.environ.get("TALLYSTICK_WORK_CALLS", "120"))
AGENTS = ("a", "b")
TYPES = ("t", "u")
KEYS = ("k1", "k2", "k3", None)


class _Caller:
    """Calls verbs at random, each in a transaction of its own, about any of the tasks there are."""

    def __init__(self, db: Database, seed: int, tasks: list[int]) -> None:
        self._db = db
        self._random = random.Random(seed)
        self._tasks = tasks
        self._held: list[work.Claimed] = []
        self.answers: Counter[str] = Counter()

    async def run(self, calls: int) -> None:
        for _ in range(calls):
            verb = self._random.choice(VERBS)
            try:
                async with self._db.write() as tx:
                    await verb(self, tx)
                    self.answers["done"] += 1
            except Unavailable as error:
                # Nothing may be worth another try here: no deadlock, and no lock that takes long.
                raise AssertionError(f"{verb.__name__}: {error.__cause__}") from error
            except TallystickError as error:
                self.answers[error.code] += 1

    async def enqueue(self, tx: Tx) -> None:
        tasks = []
        for _ in range(self._random.randint(1, 3)):
            after = self._random.sample(self._tasks[-30:], k=min(self._random.randint(0, 2), len(self._tasks)))
            deadline_at = datetime.now(UTC) + timedelta(seconds=self._random.uniform(0.05, 5)) if self._chance(3) else None
            tasks.append(
                new(self._random.choice(AGENTS), self._random.choice(TYPES), after=after, deadline_at=deadline_at,
                    order_key=self._random.choice(KEYS), max_attempts=2)
            )  # fmt: skip
        self._tasks += await work.enqueue(tx, "me", tasks)

    async def claim(self, tx: Tx) -> None:
        self._held += await work.claim(tx, agents=AGENTS, worker="w", limit=self._random.randint(1, 6), lease_s=self._lease())

    async def finish(self, tx: Tx) -> None:
        held = self._some_held()
        ends: list[Any] = [("failed", "no") if self._chance(3) else ("done", None) for _ in held]
        finishes = [work.Finish(h.task_id, h.fence, state, error=error) for h, (state, error) in zip(held, ends, strict=True)]
        await work.finish(tx, finishes, "w")

    async def fail(self, tx: Tx) -> None:
        retry_in_s = self._random.choice([0, 0.02, None])
        await work.fail(tx, [work.Failure(h.task_id, h.fence, "busy", retry_in_s=retry_in_s) for h in self._some_held()], "w")

    async def park(self, tx: Tx) -> None:
        for held in self._some_held()[:1]:
            name = f"s{held.fence}"
            wait = self._random.choice([sleeping(name, in_s=0.02), asking(name, in_s=0.1), expecting(name=name)])
            if wait.event_type is not None:
                await work.lock_event(tx, wait.event_type)
            await work.park(tx, held.task_id, held.fence, wait)

    async def record(self, tx: Tx) -> None:
        for held in self._some_held()[:1]:
            await work.record_step(tx, held.task_id, held.fence, step("s", state="failed", error="no", attempt=1))

    async def extend(self, tx: Tx) -> None:
        for held in sorted(self._some_held(), key=lambda held: held.task_id):
            await work.extend(tx, held.task_id, held.fence, self._lease())

    async def cancel(self, tx: Tx) -> None:
        if self._tasks:
            await work.cancel(tx, self._random.choice(self._tasks[-40:]), "me")

    async def put_back(self, tx: Tx) -> None:
        for task in await work.page(tx, status="dead", limit=1):
            await work.put_back(tx, task.id, "me")

    async def answer(self, tx: Tx) -> None:
        for question in await work.questions(tx, limit=1):
            await work.answer(tx, question.task_id, question.step, "me", approved=True)

    async def publish(self, tx: Tx) -> None:
        await work.wake_for_event(tx, "paid", {"n": 1}, {"id": 1})

    async def reap(self, tx: Tx) -> None:
        await work.reap(tx, limit=5)

    async def expire(self, tx: Tx) -> None:
        await work.expire(tx, limit=5)

    async def wake(self, tx: Tx) -> None:
        await work.wake_due(tx, limit=5)

    def _some_held(self) -> list[work.Claimed]:
        self._random.shuffle(self._held)
        some = self._held[: self._random.randint(1, 4)]
        del self._held[: len(some) - 1]
        return some

    def _chance(self, one_in: int) -> bool:
        return self._random.randrange(one_in) == 0

    def _lease(self) -> int:
        return 1 if self._chance(2) else 60


VERBS: list[Any] = [
    _Caller.enqueue, _Caller.enqueue, _Caller.claim, _Caller.claim, _Caller.finish, _Caller.finish, _Caller.fail,
    _Caller.park, _Caller.record, _Caller.extend, _Caller.cancel, _Caller.put_back, _Caller.answer, _Caller.publish,
    _Caller.reap, _Caller.expire, _Caller.wake,
]  # fmt: skip


async def test_all_verbs_at_once_never_block_each_other_for_ever_and_lose_nothing(database: TestDatabase) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    tasks: list[int] = []
    db = Database(database.app_url, DatabaseSettings(pool_max_size=CALLERS))
    await db.open()
    with Owner(database) as owner:
        try:
            callers = [_Caller(db, seed + number, tasks) for number in range(CALLERS)]
            await asyncio.gather(*(caller.run(CALLS) for caller in callers))
            owner.check()
            assert owner.all("select deadlocks from pg_stat_database where datname = current_database()") == [0]
            await _drain(db, owner)
            owner.check()
            stored = owner.all("select count(*) from work.task")
            assert stored == owner.all("select count(*) from work.outcome") == [len(tasks)]
            assert (
                owner.all("select 1 from work.turn union all select 1 from work.dependency union all select 1 from work.due")
                == []
            )
        finally:
            await db.close()


async def _drain(db: Database, owner: Owner) -> None:
    """Whatever is left can be ended by the verbs alone, without any clock but the database's."""
    owner.shiftable().shift(100_000)
    while owner.all("select 1 from work.task t where not exists (select from work.outcome o where o.task_id = t.id) limit 1"):
        async with db.write() as tx:
            await work.reap(tx)
            await work.expire(tx)
            await work.wake_due(tx)
            await work.wake_for_event(tx, "paid", {}, {})
            for question in await work.questions(tx):
                await work.answer(tx, question.task_id, question.step, "me", approved=False)
            for task in await work.page(tx, status="dead"):
                await work.put_back(tx, task.id, "me")
            held = await work.claim(tx, agents=AGENTS, worker="w", limit=100)
            await work.finish(tx, [work.Finish(each.task_id, each.fence, "done") for each in held], "w")
