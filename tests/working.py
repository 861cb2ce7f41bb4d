"""What the tests of the work share: short ways to its verbs, where a task is, a clock that can be shifted, who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from tallystick import work
from tallystick.db import Database, Tx
from tests.conftest import TestDatabase
from tests.waiting import until

T = TypeVar("T")
HASH = b"h" * 32
PLACES = ("ready", "wait", "run", "dead", "outcome")


async def enqueue(db: Database, *tasks: work.NewTask, principal: str = "me") -> list[int]:
    async with db.write() as tx:
        return await work.enqueue(tx, principal, tasks)


async def one(db: Database, agent: str = "a", type: str = "t", **fields: Any) -> int:
    """A new task; its id."""
    return (await enqueue(db, new(agent, type, **fields)))[0]


def new(agent: str = "a", type: str = "t", **fields: Any) -> work.NewTask:
    return work.NewTask(agent, type, fields.pop("payload", {}), **fields)


async def claim(db: Database, limit: int = 100, agents: tuple[str, ...] = ("a",), **fields: Any) -> list[work.Claimed]:
    async with db.write() as tx:
        return await work.claim(tx, agents=agents, worker="w", limit=limit, **fields)


async def claim_one(db: Database, agent: str = "a", **fields: Any) -> work.Claimed:
    (claimed,) = await claim(db, 1, (agent,), **fields)
    return claimed


async def finish(db: Database, *held: work.Claimed) -> list[bool]:
    async with db.write() as tx:
        return await work.finish(tx, [work.Finish(each.task_id, each.fence, "done") for each in held], "w")


async def finish_failed(db: Database, *held: work.Claimed) -> list[bool]:
    async with db.write() as tx:
        return await work.finish(tx, [work.Finish(each.task_id, each.fence, "failed", error="no") for each in held], "w")


async def fail(db: Database, *held: work.Claimed, ended: Any = "error", retry_in_s: float | None = None) -> list[work.Became]:
    failures = [work.Failure(each.task_id, each.fence, "busy", ended, retry_in_s) for each in held]
    async with db.write() as tx:
        return await work.fail(tx, failures, "w")


async def get(db: Database, task_id: int) -> work.Task:
    async with db.read() as tx:
        return await work.get(tx, task_id)


async def statuses(db: Database, *task_ids: int) -> list[str]:
    return [(await get(db, task_id)).status for task_id in task_ids]


async def call(db: Database, verb: Callable[..., Awaitable[T]], *args: Any, **fields: Any) -> T:
    """One verb in a transaction of its own."""
    async with db.write() as tx:
        return await verb(tx, *args, **fields)


def step(name: str, **fields: Any) -> work.NewStep:
    return work.NewStep(name, fields.pop("kind", "step"), fields.pop("state", "done"), HASH, **fields)


def sleeping(name: str = "nap", in_s: float = 3600) -> work.Wait:
    return work.Wait("sleep", name, HASH, in_s=in_s)


def asking(name: str = "ask", in_s: float | None = None, question: Any = "may I?") -> work.Wait:
    return work.Wait("approval", name, HASH, in_s=in_s, question=question)


def expecting(
    type: str = "paid", match: dict[str, Any] | None = None, name: str = "ev", in_s: float | None = None
) -> work.Wait:
    return work.Wait("event", name, HASH, in_s=in_s, event_type=type, match=match)


class Owner:
    """The owner's hand: it looks into every table, and shifts the clock of the database."""

    def __init__(self, database: TestDatabase) -> None:
        self._connection = psycopg.connect(database.owner_url, autocommit=True)

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def all(self, query: str, *args: Any) -> list[Any]:
        """Rows; of a single column, its values."""
        rows = self._connection.execute(query.encode(), args).fetchall()
        return [row[0] for row in rows] if rows and len(rows[0]) == 1 else rows

    def do(self, query: str, *args: Any) -> None:
        self._connection.execute(query.encode(), args)

    def place(self, task_id: int) -> str:
        """The one place where a task is; fails where it is in none or in several."""
        found = [place for place in PLACES if self.all(f"select 1 from work.{place} where task_id = %s", task_id)]
        assert len(found) == 1, f"task {task_id} is in {found}"
        return found[0]

    def check(self) -> None:
        """Whatever happened, these hold: each task in one place, and nothing left behind of those that ended."""
        places = " union all ".join(f"select task_id, '{place}' as place from work.{place}" for place in PLACES)
        wrong = f"""
            select t.id, array_agg(p.place)
              from work.task t left join ({places}) p on p.task_id = t.id
             group by t.id having count(p.place) <> 1
        """
        assert self.all(wrong) == []
        assert (
            self.all(f"select task_id from ({places}) p where not exists (select from work.task t where t.id = p.task_id)")
            == []
        )
        for table, column in (("due", "task_id"), ("turn", "task_id"), ("dependency", "task_id"), ("dependency", "on_task")):
            assert self.all(f"select d.{column} from work.{table} d join work.outcome o on o.task_id = d.{column}") == [], table
        # A task under an order key either has its turn or waits for it, unless it was given up.
        waiting = "(select from work.wait w where w.task_id = t.task_id and w.kind = 'turn')"
        assert self.all(f"select task_id from work.turn t where not in_turn and not exists {waiting}") == []
        its_turn = "(select from work.turn t where t.task_id = w.task_id and not t.in_turn)"
        assert self.all(f"select task_id from work.wait w where kind = 'turn' and not exists {its_turn}") == []
        assert self.all("select task_id from work.turn join work.dead using (task_id)") == []
        # Who waits for tasks has one to wait for, and who may run has none.
        none = "not exists (select from work.dependency d where d.task_id = w.task_id)"
        assert self.all(f"select task_id from work.wait w where kind = 'tasks' and {none}") == []
        active = " union all ".join(f"select task_id from work.{place}" for place in ("ready", "run", "dead"))
        assert self.all(f"select task_id from work.dependency join ({active}) p using (task_id)") == []

    def shiftable(self) -> Owner:
        """Let `shift` move the database's clock, and `shifted` that of one transaction; by the hour as by the second."""
        self.do("create sequence db.shift_s minvalue -100000000000 start 0")
        self.do("select setval('db.shift_s', 0)")
        self.do("grant select on db.shift_s to public")
        self.do("""
            create or replace function db.clock() returns timestamptz language sql volatile return clock_timestamp()
                + make_interval(secs => (select last_value from db.shift_s)
                                        + coalesce(nullif(current_setting('tallystick.shift_s', true), ''), '0')::bigint)
        """)
        return self

    def shift(self, to_s: int) -> None:
        """The clock is now so many seconds off from the real one."""
        self.do("select setval('db.shift_s', %s)", to_s)


async def shifted(tx: Tx, by_s: int) -> None:
    """For this transaction the clock is so many seconds off."""
    await tx._connection.execute("select set_config('tallystick.shift_s', %s, true)", (str(by_s),))


@dataclass
class Call:
    """A verb that was begun in a transaction of its own, and its answer, an error included."""

    pid: int
    task: asyncio.Task[Any]


async def begun(db: Database, verb: Callable[[Tx], Awaitable[Any]], shift_s: int = 0) -> Call:
    """Begin a transaction that calls a verb and commits; what it raises is its answer."""
    pids: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run() -> Any:
        try:
            async with db.write() as tx:
                await shifted(tx, shift_s)
                pids.set_result(tx._connection.info.backend_pid)
                return await verb(tx)
        except Exception as error:  # noqa: BLE001 - it is looked at by the caller
            return error

    task = asyncio.create_task(run())
    return Call(await pids, task)


async def blocked_or_done(owner: Owner, call: Call, by: int) -> bool:
    """Wait until a call is over or waits for another's locks; whether it waits."""

    async def seen() -> str | None:
        if call.task.done():
            return "done"
        return "blocked" if owner.all("select 1 where %s = any (pg_blocking_pids(%s))", by, call.pid) else None

    return await until(seen) == "blocked"
