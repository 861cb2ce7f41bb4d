"""What the database says of the tasks of the teller (see `work_crew.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import class_row

from tallystick import work
from tallystick.db import Database, ring
from tests.work_crew import TELLER, notes

_STORIES = """
select t.id, q.type, coalesce(o.state, 'open') as state, coalesce(o.attempts, 0)::int as attempts,
       ((select count(*) from work.ready x where x.task_id = t.id) + (select count(*) from work.wait x where x.task_id = t.id)
        + (select count(*) from work.run x where x.task_id = t.id) + (select count(*) from work.dead x where x.task_id = t.id)
        + (select count(*) from work.outcome x where x.task_id = t.id)) as places,
       (select count(*) from work.attempt a where a.task_id = t.id and a.ended = 'crash') as crashes,
       (select count(*) from ledger.journal j where j.task_id = t.id) as journals,
       (select count(*) from memory.event e where e.type = 'paid' and (e.payload ->> 'task')::bigint = t.id) as events,
       (select count(*) from work.task f where (f.payload ->> 'task')::bigint = t.id) as follow_ups
  from work.task t
  join work.queue q on q.id = t.queue
  left join work.outcome o on o.task_id = t.id
 where q.agent = 'teller'
 order by t.id
"""

_SESSIONS = """
select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Story:
    """What the database says of a task."""

    id: int
    type: str
    state: str
    attempts: int
    places: int
    crashes: int
    journals: int
    events: int
    follow_ups: int


def stories(url: str) -> dict[str, Story]:
    """What became of the tasks of the teller, by type."""
    with psycopg.connect(url) as connection, connection.cursor(row_factory=class_row(Story)) as cursor:
        return {story.type: story for story in cursor.execute(_STORIES.encode())}


async def enqueue(db: Database, folder: Path, types: Sequence[str], **payload: str) -> list[int]:
    """A task of each type."""
    async with db.write() as tx:
        tasks = [work.NewTask(TELLER, type, {"folder": str(folder)} | payload) for type in types]
        ids = await work.enqueue(tx, "me", tasks)
    await ring(db, work.CHANNEL)
    return ids


async def all_done(url: str) -> bool:
    """Whether all tasks are done; false where nobody answers."""
    try:
        return all(story.state == "done" for story in (await asyncio.to_thread(stories, url)).values())
    except psycopg.OperationalError:
        return False


async def begun(folder: Path, task_ids: Iterable[int]) -> bool:
    return all(notes(folder, task_id, "one") for task_id in task_ids)


async def waits_for_a_lock(url: str, sessions: int = 1) -> bool:
    return await count_of(url, f"{_SESSIONS} and wait_event_type = 'Lock'") >= sessions


async def is_alone(url: str) -> bool:
    """Whether nobody has a transaction open."""
    return await count_of(url, f"{_SESSIONS} and xact_start is not null") == 0


async def count_of(url: str, query: str) -> int:
    def ask() -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return int(row[0])

    return await asyncio.to_thread(ask)
