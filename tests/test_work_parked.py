"""A hundred thousand parked tasks: each wakes when it should over a week, and until then costs nothing."""

from __future__ import annotations

from typing import Any

from tallystick import work
from tallystick.db import Database, Tx
from tests.conftest import TestDatabase
from tests.working import HASH, Owner, call, claim, enqueue, finish, new, one

PARKED = 100_000
DAY = 86_400
DAYS = 7


def _park(owner: Owner) -> None:
    """Half of them sleep, spread over a week; half wait for an event of one type, each for another payment."""
    owner.do("insert into work.queue (agent, type) values ('p', 't')")
    owner.do("select setval('work.task_id', %s)", PARKED)
    owner.do(
        "insert into work.task (id, queue, payload, priority, created_by, created_at) "
        "select n, (select id from work.queue), '{}', 0, 'me', db.clock() from generate_series(1, %s) n",
        PARKED,
    )
    owner.do(
        "insert into work.step (task_id, name, state, fence, try, kind, input_hash, started_at, ended_at) "
        "select n, 'w', 'intent', 1, 0, case n %% 2 when 0 then 'sleep' else 'event' end, %s, db.clock(), db.clock() "
        "from generate_series(1, %s) n",
        HASH, PARKED,
    )  # fmt: skip
    # In seven days and fourteen hours less one: a sleeper every 6.5 seconds, in no order of ids.
    owner.do(
        "insert into work.wait (task_id, queue, priority, attempts, crashes, extras, kind, since, wake_at, step, event_type, "
        "match_key, match) "
        "select n, (select id from work.queue), 0, 0, 0, false, case n %% 2 when 0 then 'sleep' else 'event' end, db.clock(), "
        "       case n %% 2 when 0 then db.clock() + make_interval(secs => 60 + (n::bigint * 7919 %% 100003) * 6) end, 'w', "
        "       case n %% 2 when 1 then 'paid' end, "
        "       case n %% 2 when 1 then (work.match_keys(jsonb_build_object('payment', n)))[1] end, "
        "       case n %% 2 when 1 then jsonb_build_object('payment', n) end "
        "from generate_series(1, %s) n",
        PARKED,
    )


async def _read(tx: Tx) -> tuple[int, int]:
    """How often this session looked into `work.wait`, and how many rows it read, since it last told the statistics."""
    cursor = await tx._connection.execute(
        "select coalesce(seq_scan, 0) + coalesce(idx_scan, 0), coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
        "from pg_stat_xact_user_tables where relid = 'work.wait'::regclass"
    )
    row: Any = await cursor.fetchone()
    return int(row[0]), int(row[1])


async def test_parked_tasks_wake_when_they_should_and_cost_nothing_until_then(db: Database, database: TestDatabase) -> None:
    with Owner(database) as owner:
        owner.shiftable()
        _park(owner)
        for _ in range(2):
            await _others_go_on(db)
            # With statistics the planner knows better, without it has to guess; neither reads what is parked.
            owner.do("analyze work.wait, work.ready, work.run")

        woken = await _a_week(db, owner)
        assert woken == PARKED // 2
        for number in (1, 4711, PARKED - 1):
            async with db.write() as tx:
                _, before = await _read(tx)
                assert await work.wake_for_event(tx, "paid", {"payment": number, "amount": 5}, {"id": number}) == 1
                assert (await _read(tx))[1] - before < 10
        assert await call(db, work.wake_for_event, "paid", {"payment": 2}, {"id": 2}) == 0
        assert await call(db, work.wake_for_event, "refused", {"payment": 3}, {"id": 3}) == 0
        outputs = "select task_id, output from work.step where state = 'done' and kind = 'event' order by 1"
        assert owner.all(outputs) == [(number, {"id": number}) for number in (1, 4711, PARKED - 1)]
        assert owner.all("select count(*) from work.ready where task_id <= %s", PARKED) == [PARKED // 2 + 3]
        assert owner.all("select count(*), count(distinct task_id) from work.step where state = 'done'") == [
            (woken + 3, woken + 3)
        ]


async def _others_go_on(db: Database) -> None:
    """The life of a task reads nothing of what is parked, and a look for what is due no more than is due."""
    await enqueue(db, *[new() for _ in range(20)])
    async with db.write() as tx:
        before = await _read(tx)
        held = await work.claim(tx, agents=["a"], worker="w", limit=20)
        await work.finish(tx, [work.Finish(each.task_id, each.fence, "done") for each in held[1:]], "w")
        await work.fail(tx, [work.Failure(held[0].task_id, held[0].fence, "busy", retry_in_s=0)], "w")
        await work.reap(tx)
        await work.expire(tx)
        assert await _read(tx) == before
        assert await work.wake_due(tx) == 0
        assert await work.wake_for_event(tx, "paid", {"payment": 0}, {}) == 0
        assert (await _read(tx))[1] - before[1] < 10
    assert await finish(db, *await claim(db)) == [True]
    await one(db)
    assert await finish(db, *await claim(db)) == [True]


async def _a_week(db: Database, owner: Owner) -> int:
    """Day after day, exactly those whose time has come are woken."""
    total = 0
    for day in range(1, DAYS + 1):
        owner.shift(day * DAY)
        (due,) = owner.all("select count(*) from work.wait where wake_at <= db.clock()")
        woken = 0
        while more := await call(db, work.wake_due, limit=5000):
            woken += more
        # The clock goes on while they are woken.
        assert due <= woken <= due + 30
        assert owner.all("select count(*) from work.wait where wake_at <= db.clock() - interval '1 minute'") == [0]
        total += woken
    return total
