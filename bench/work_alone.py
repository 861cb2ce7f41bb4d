"""Tallystick's tasks against themselves: with ten million finished tasks, and with 100,000 parked ones, in the tables."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import work_ours, work_runs
from bench.work_contenders import OURS, Settings
from tallystick import work as tasks
from tallystick.db import Database

_CHUNK = 20_000
_CLAIM = 100
Rates = dict[str, list[float]]
"""Tasks a second of each run, by what was run."""

EMPTY = "drain without history"
HISTORY = "drain with history"
NONE_PARKED = "claims with none parked"
PARKED = "claims with parked tasks"


class Alone:
    """Runs with and without, in turns; `empty` is a database that has neither history nor parked tasks to speak of."""

    def __init__(self, stage: work_runs.Stage, empty: str, settings: Settings, tasks: int) -> None:
        self.rates: Rates = defaultdict(list)
        self._stage = stage
        self._empty = empty
        self._settings = settings
        self._tasks = tasks

    def measure(self) -> None:
        """All that was not switched off."""
        if self._stage.arguments.history:
            full = work_runs.new_database(self._stage.server, OURS, "history")
            _load_history(full, self._stage.arguments.history, self._stage.progress)
            self._take_turns(self._drain, {EMPTY: self._empty, HISTORY: full}, "draining with history")
        if self._stage.arguments.parked:
            parked = work_runs.new_database(self._stage.server, OURS, "parked")
            _park(parked, self._stage.arguments.parked, self._stage.progress)
            self._take_turns(self._claims, {NONE_PARKED: self._empty, PARKED: parked}, "claiming beside parked tasks")

    def _take_turns(self, run: Callable[[str], float], places: dict[str, str], what: str) -> None:
        """Each goes first every other time, as what comes second finds a warmer machine."""
        bar = self._stage.progress.add_task(what, total=self._stage.arguments.rounds * len(places))
        for number in range(self._stage.arguments.rounds):
            for name, url in list(places.items())[:: 1 if number % 2 == 0 else -1]:
                self.rates[name].append(run(url))
                self._stage.progress.advance(bar)

    def _drain(self, url: str) -> float:
        work_runs.fill(OURS, url, tasks=self._tasks)
        return work_runs.drain(OURS, url, self._settings, processes=1, tasks=self._tasks).rate

    def _claims(self, url: str) -> float:
        """Tasks claimed a second of the time that claims alone took, a hundred at a time; each is finished before the next."""
        work_runs.fill(OURS, url, tasks=self._tasks)
        return uvloop.run(_claim_all(url, self._tasks))


def report(rates: Rates) -> None:
    """Print the table and the ratios."""
    if not rates:
        return
    table = Table("ours alone, 1 process", "tasks/s (median)", "min", "max")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f}", f"{max(found):,.0f}")
    Console().print(table)
    for ratio, one, other in (
        ("drain_with_10M_history_vs_empty", HISTORY, EMPTY),
        ("claim_with_100k_parked_vs_none", PARKED, NONE_PARKED),
    ):
        if one in rates:
            print(f"ratio {ratio} {statistics.median(rates[one]) / statistics.median(rates[other]):.2f}")


async def _claim_all(url: str, count: int) -> float:
    database = Database(make_conninfo(url, user="tallystick_app"))
    await database.open()
    seconds, done = 0.0, 0
    while True:
        async with database.write() as tx:
            began = time.perf_counter()
            claimed = await tasks.claim(tx, agents=[work_ours.AGENT], worker="bench", limit=_CLAIM)
            seconds += time.perf_counter() - began
        if not claimed:
            break
        async with database.write() as tx:
            assert all(await tasks.finish(tx, [tasks.Finish(task.task_id, task.fence, "done") for task in claimed], "bench"))
        done += len(claimed)
    await database.close()
    assert done == count, (done, count)
    return done / seconds


def _load_history(url: str, count: int, progress: Progress) -> None:
    """Put finished tasks into the tables as the verbs would have left them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select work.extend_history(%s)", [count])
        connection.execute("insert into work.queue (agent, type) values (%s, %s)", [work_ours.AGENT, work_ours.TYPE])
        connection.execute("select setval('work.task_id', %s), setval('work.fence', %s)", [count, count])
        for first, last in _chunks(count, "loading history", progress):
            connection.execute(_HISTORY.encode(), {"first": first, "last": last})
        connection.execute("vacuum (analyze) work.task, work.outcome")
        connection.execute("checkpoint")


def _park(url: str, count: int, progress: Progress) -> None:
    """Have tasks claimed and parked, by the verbs."""
    with psycopg.connect(url, autocommit=True) as connection:
        for first, last in _chunks(count, "parking", progress):
            row = connection.execute(
                _PARKED.encode(), {"agent": work_ours.AGENT, "type": work_ours.TYPE, "first": first, "last": last}
            ).fetchone()
            assert row == (last - first + 1,), row
        connection.execute("vacuum (analyze) work.task, work.wait, work.step")
        connection.execute("checkpoint")


def _chunks(count: int, what: str, progress: Progress) -> Iterator[tuple[int, int]]:
    bar = progress.add_task(what, total=count)
    for first in range(1, count + 1, _CHUNK):
        last = min(count, first + _CHUNK - 1)
        yield first, last
        progress.advance(bar, last - first + 1)


_HISTORY = """
with stored as (
    insert into work.task (id, queue, payload, priority, created_by, created_at)
    select n, q.id, jsonb_build_object('number', n), 0, 'bench', now() - interval '1 day'
      from work.queue q, generate_series(%(first)s::bigint, %(last)s::bigint) as n
    returning id, queue, created_at
)
insert into work.outcome (task_id, fence, queue, state, worker, attempts, started_at, finished_at)
select s.id, s.id, s.queue, 'done', 'bench', 1, s.created_at, s.created_at
  from stored s
"""

# A third of them sleep for a week, a third wait for an event, and a third for people.
_PARKED = """
with queued as materialized (
    select cardinality(work.enqueue('bench', null, array_agg(%(agent)s::text), array_agg(%(type)s::text),
                                    array_agg('{}'::text), null, null, null, null, null, null, null)) as tasks
      from generate_series(%(first)s::bigint, %(last)s::bigint)
)
select count(*) filter (where work.park(c.task_id, c.fence, k.kind, 'pause', sha256(''), null, 604800,
                                        case when k.kind = 'event' then 'bench.never' end,
                                        case when k.kind = 'event' then jsonb_build_object('number', c.task_id) end,
                                        case when k.kind = 'approval' then '{"question": "May it go on?"}'::jsonb end))
  from queued q
 cross join lateral work.claim(array[%(agent)s::text], null, 'bench', null, q.tasks, 60) as c
 cross join lateral (select (array['sleep', 'event', 'approval'])[1 + c.task_id %% 3] as kind) k
"""
