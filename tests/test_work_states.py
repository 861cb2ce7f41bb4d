"""Whatever happens to tasks, each is in exactly one of ready, run and outcome."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick import work
from tallystick.db import Database
from tallystick.kit import TallystickError
from tests.conftest import TestDatabase

_PLACES = """
    select (select count(*) from work.ready r where r.task_id = t.id)
           + (select count(*) from work.run r where r.task_id = t.id)
           + (select count(*) from work.wait w where w.task_id = t.id)
           + (select count(*) from work.dead d where d.task_id = t.id)
           + (select count(*) from work.outcome o where o.task_id = t.id)
      from work.task t
"""
_number = st.integers(0, 7)
_operations = st.lists(
    st.one_of(
        st.tuples(st.just("enqueue"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("claim"), st.integers(1, 4), st.booleans()),
        st.tuples(st.just("claim_these"), _number, st.booleans()),
        st.tuples(st.just("finish"), _number, st.booleans()),
        st.tuples(st.just("fail"), _number, st.booleans()),
        st.tuples(st.just("report"), _number, st.booleans()),
        st.tuples(st.just("expire"), st.just(0), st.booleans()),
    ),
    max_size=25,
)


class _RolledBack(Exception):
    pass


class _Bank:
    """Carries operations out, and remembers every task and every attempt there ever was, stale ones too."""

    def __init__(self, db: Database, owner: psycopg.Connection[Any]) -> None:
        self._db = db
        self._owner = owner
        self._tasks: list[int] = []
        self._attempts: list[work.Claimed] = []

    async def do(self, operation: str, number: int, keep: bool) -> None:
        """One call in one transaction, which rolls back unless `keep`."""
        tasks, attempts = list(self._tasks), list(self._attempts)
        try:
            async with self._db.write() as tx:
                if operation == "enqueue":
                    tasks += await work.enqueue(tx, "me", [work.NewTask("a", "t", {})] * number)
                elif operation == "claim":
                    attempts += await work.claim(tx, agents=["a"], worker="w", limit=number)
                elif operation == "claim_these" and tasks:
                    attempts += await work.claim_these(tx, [tasks[number % len(tasks)]], worker="w")
                elif operation == "finish" and attempts:
                    attempt = attempts[number % len(attempts)]
                    await work.finish(tx, [work.Finish(attempt.task_id, attempt.fence, "done")], "w")
                elif operation == "fail" and attempts:
                    attempt = attempts[number % len(attempts)]
                    await work.fail(tx, [work.Failure(attempt.task_id, attempt.fence, "busy", retry_in_s=number % 2)], "w")
                elif operation == "report" and tasks:
                    await work.complete_from_outside(tx, tasks[number % len(tasks)], "them", {"n": number})
                elif operation == "expire":
                    self._owner.execute("update work.run set lease_until = clock_timestamp() - interval '1 second'")
                    await work.reap(tx)
                if not keep:
                    raise _RolledBack
        except (_RolledBack, TallystickError):
            return
        self._tasks, self._attempts = tasks, attempts

    def places(self) -> list[int]:
        """For each task, in how many places it is."""
        return [count for (count,) in self._owner.execute(_PLACES)]

    def tasks(self) -> int:
        return len(self._tasks)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=_operations)
def test_every_task_is_in_exactly_one_place_after_any_operations(
    database: TestDatabase, operations: list[tuple[str, int, bool]]
) -> None:
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        # Facts refuse to be deleted; this session may, so that every example begins with none.
        owner.execute("set session_replication_role = replica")
        for table in ("outcome", "run", "ready", "task"):
            owner.execute(f"delete from work.{table}".encode())
        asyncio.run(_play(database, owner, operations))


async def _play(database: TestDatabase, owner: psycopg.Connection[Any], operations: list[tuple[str, int, bool]]) -> None:
    db = Database(database.app_url)
    await db.open()
    try:
        bank = _Bank(db, owner)
        for operation, number, keep in operations:
            await bank.do(operation, number, keep)
            places = bank.places()
            assert places == [1] * bank.tasks()
    finally:
        await db.close()
