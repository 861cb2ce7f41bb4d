"""Who takes part in `bench.work`: what each is called, which settings are tried, and how its queue is looked at from outside.

What runs inside a contender's own processes is in `bench/work_ours.py`, `bench/work_pgqueuer.py` and
`bench/work_procrastinate.py`; nothing here imports them, so that the harness needs only those who take part.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

Settings = Mapping[str, int]
Enqueue = Callable[[Sequence[int]], Awaitable[None]]
"""Store tasks, each with its number as the payload, in one call and one transaction that is committed on return."""
Handle = Callable[[int], None]
"""What a handler calls, as its only work, with the number of its task."""


class Inside(Protocol):
    """What the module of a contender offers to the processes that run it."""

    async def set_up(self, url: str) -> None:
        """Make its tables in an empty database, as its superuser."""

    def producer(self, url: str) -> AbstractAsyncContextManager[Enqueue]:
        """Connections that are ready to enqueue."""

    async def work(self, url: str, settings: Settings, handle: Handle, stop: asyncio.Event) -> None:
        """Work off tasks until `stop` is set and what was begun is finished."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One queue. `single` takes one task at a time; `tried` are the settings among which its best is sought.

    `guess` and `guess_single` are about how many tasks a second it does, for the size of the first queues. `pending` asks its
    database whether anything is left to do, and `tables` are what a run leaves dead rows in.
    """

    name: str
    distributions: tuple[str, ...]
    module: str
    single: Settings
    tried: tuple[Settings, ...]
    guess: int
    guess_single: int
    pending: str
    tables: tuple[str, ...]

    @property
    def version(self) -> str:
        """The versions of its distributions, as installed."""
        return ", ".join(f"{name} {version(name)}" for name in self.distributions)

    def missing(self) -> list[str]:
        """Its distributions that are not installed."""
        return [name for name in self.distributions if importlib.util.find_spec(name) is None]


OURS = Contender(
    name="ours",
    distributions=("tallystick",),
    module="bench.work_ours",
    # A runner claims for half of its places, so this claims one task while another one ends, as the peers do at batch size 1.
    single={"concurrency": 2, "batch": 1},
    tried=(
        {"concurrency": 1000, "batch": 500},
        {"concurrency": 500, "batch": 250},
        {"concurrency": 100, "batch": 250},
        {"concurrency": 2000, "batch": 1000},
    ),
    guess=10_000,
    guess_single=150,
    pending="select exists (select from work.ready) or exists (select from work.run)",
    tables=("work.ready", "work.run"),
)

# Its guide to performance: asyncpg, `pgq autovac`, larger batches for short jobs, a single connection for each manager and a
# pool for producers. Its own benchmark runs five managers in a process. Its tables stay durable, as ours are.
PGQUEUER = Contender(
    name="pgqueuer",
    distributions=("pgqueuer", "asyncpg"),
    module="bench.work_pgqueuer",
    single={"batch": 1, "managers": 1},
    tried=(
        {"batch": 10, "managers": 5},
        {"batch": 100, "managers": 2},
        {"batch": 250, "managers": 5},
        {"batch": 500, "managers": 2},
        {"batch": 1000, "managers": 2},
    ),
    guess=7_000,
    guess_single=150,
    pending="select exists (select from pgqueuer)",
    tables=("pgqueuer",),
)

# A worker fetches one job at a time, so its docs offer concurrency, with a connection for each job at once and one more, and
# more workers. Finished jobs are kept, which is its default and what the others do.
PROCRASTINATE = Contender(
    name="procrastinate",
    distributions=("procrastinate",),
    module="bench.work_procrastinate",
    single={"concurrency": 1, "workers": 1},
    tried=(
        {"concurrency": 10, "workers": 1},
        {"concurrency": 30, "workers": 1},
        {"concurrency": 4, "workers": 4},
        {"concurrency": 2, "workers": 8},
    ),
    guess=300,
    guess_single=150,
    pending="select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
    tables=("procrastinate_jobs", "procrastinate_events"),
)

CONTENDERS = {contender.name: contender for contender in (OURS, PGQUEUER, PROCRASTINATE)}


def label(settings: Settings) -> str:
    """Settings as a person reads them: `batch 100, managers 2`."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
