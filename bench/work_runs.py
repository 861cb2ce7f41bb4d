"""The runs of `bench.work`: a queue is filled and drained, or fed at a steady pace, by processes that wait for one word."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich.progress import Progress

from bench.work_contenders import Contender, Settings
from tallystick.db import EmbeddedServer

_POLL_S = 0.002
_GIVE_UP_S = 300
BULK = 1000


@dataclass(frozen=True, slots=True)
class Stage:
    """What all parts of a run of the benchmark share."""

    server: EmbeddedServer
    arguments: argparse.Namespace
    progress: Progress


@dataclass(frozen=True, slots=True)
class Drained:
    """One draining: tasks a second, and for a task bytes of WAL and microseconds of CPU in the workers and in the server.

    The CPU tells most where a machine is shared: it hardly depends on what others do.
    """

    rate: float
    wal: float
    worker_us: float
    server_us: float


@dataclass(frozen=True, slots=True)
class Filled:
    """One filling: tasks a second, and bytes of WAL a task."""

    rate: float
    wal: float


@dataclass(frozen=True, slots=True)
class Latency:
    """From the commit of `enqueue`, and from the call of it, to the start of the handler, in milliseconds."""

    p50: float
    p99: float
    call_p50: float
    call_p99: float


def new_database(server: EmbeddedServer, contender: Contender, name: str) -> str:
    """An empty database with a contender's tables in it; where it is."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"create database bench_{name}".encode())
    url = server.url_of(f"bench_{name}")
    run(contender, "set_up", url)
    return url


def run(contender: Contender, command: str, url: str, **options: object) -> dict[str, Any]:
    """One command in a process of the contender's own; its answer."""
    done = subprocess.run(_command(contender, command, url, options), stdout=subprocess.PIPE, text=True, check=True)
    return _answer(done.stdout)


def fill(contender: Contender, url: str, *, tasks: int, bulk: bool = True) -> Filled:
    """Fill an idle queue, in bulk or by single calls."""
    with psycopg.connect(url, autocommit=True) as connection:
        settle(connection, contender)
        before = _wal(connection)
        enqueued = run(contender, "enqueue", url, tasks=tasks, batch=BULK if bulk else 1)
        return Filled(enqueued["tasks"] / enqueued["seconds"], (_wal(connection) - before) / tasks)


def drain(contender: Contender, url: str, settings: Settings, *, processes: int, tasks: int) -> Drained:
    """Have so many processes drain a queue of so many tasks, until the last finish is committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        before, cpu_before = _wal(connection), _server_cpu_s(connection)
        with _working(contender, url, settings, processes=processes, stamps=False) as (workers, handled):
            rate = _rate(connection, contender, handled, tasks)
            wal, cpu_s = _wal(connection) - before, _server_cpu_s(connection) - cpu_before
            worker_s = sum(answer["cpu_s"] for answer in _stop(workers))
    return Drained(rate, wal / tasks, 1e6 * worker_s / tasks, 1e6 * cpu_s / tasks)


def latency(contender: Contender, url: str, settings: Settings, *, per_second: float, seconds: float, seed: int) -> Latency:
    """Feed one idle worker process at a steady pace from another process."""
    with psycopg.connect(url, autocommit=True) as connection:
        settle(connection, contender)
        with _working(contender, url, settings, processes=1, stamps=True) as (workers, _):
            # It has connected and listens before the first task, as a worker has that was started some time ago.
            time.sleep(1)
            sent = run(contender, "pace", url, per_second=per_second, seconds=seconds, seed=seed)["sent"]
            _until_empty(connection, contender, time.monotonic() + _GIVE_UP_S)
            (answer,) = _stop(workers)
    started = {number: moment for number, moment in answer["stamps"] if number >= 0}
    assert len(started) == len(sent), f"{contender.name}: {len(sent)} tasks were sent, {len(started)} were begun"
    after = statistics.quantiles([(started[number] - committed) / 1e6 for number, _, committed in sent], n=100)
    whole = statistics.quantiles([(started[number] - called) / 1e6 for number, called, _ in sent], n=100)
    return Latency(p50=after[49], p99=after[98], call_p50=whole[49], call_p99=whole[98])


def settle(connection: psycopg.Connection, contender: Contender) -> None:
    """Nobody begins with the dead rows or the dirty pages of the run before."""
    for table in contender.tables:
        connection.execute(f"vacuum (analyze) {table}".encode())
    connection.execute("checkpoint")


def _rate(connection: psycopg.Connection, contender: Contender, handled: memoryview[int], tasks: int) -> float:
    """Tasks a second, from the first handler's start to the last commit; connecting is outside the measure."""
    give_up = time.monotonic() + _GIVE_UP_S
    while not (first := sum(handled)):
        _pause(contender, give_up)
    began = time.monotonic()
    while sum(handled) < tasks:
        _pause(contender, give_up)
    _until_empty(connection, contender, give_up)
    # A queue so small that it was drained between two looks has a rate all the same.
    return max(1, tasks - first) / (time.monotonic() - began)


@contextmanager
def _working(
    contender: Contender, url: str, settings: Settings, *, processes: int, stamps: bool
) -> Iterator[tuple[list[subprocess.Popen[str]], memoryview[int]]]:
    """Worker processes that were all told to begin, and how many tasks each has handled."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="tallystick-bench-"))
        file.write(bytes(8 * processes))
        file.flush()
        shared = stack.enter_context(mmap.mmap(file.fileno(), 0))
        counters = stack.enter_context(memoryview(shared).cast("Q"))
        workers = []
        for slot in range(processes):
            options = {"settings": dict(settings), "counter": file.name, "slot": slot, "stamps": stamps}
            command = _command(contender, "work", url, options)
            worker = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            )
            stack.callback(worker.kill)
            workers.append(worker)
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n", f"{contender.name} did not start"
        for worker in workers:
            _say(worker, "go")
        yield workers, counters


def _stop(workers: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    return [_answer(worker.communicate("stop\n", timeout=60)[0]) for worker in workers]


def _say(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{word}\n")
    worker.stdin.flush()


def _command(contender: Contender, command: str, url: str, options: object) -> list[str]:
    return [sys.executable, "-m", "bench.work_process", contender.module, command, url, json.dumps(options)]


def _answer(printed: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return answer


def _pause(contender: Contender, give_up: float) -> None:
    assert time.monotonic() < give_up, f"{contender.name} did not drain its queue in {_GIVE_UP_S} s"
    time.sleep(_POLL_S)


def _until_empty(connection: psycopg.Connection, contender: Contender, give_up: float) -> None:
    while connection.execute(contender.pending.encode()).fetchone() != (False,):
        _pause(contender, give_up)


def _wal(connection: psycopg.Connection) -> int:
    row = connection.execute("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _server_cpu_s(connection: psycopg.Connection) -> float:
    """What all processes of the server have used so far, those that have ended included."""
    server = int(_stat(connection.info.backend_pid)[1])
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    ticks = [_stat(server)[11:15], *(_stat(int(child))[11:13] for child in children)]
    return sum(int(tick) for each in ticks for tick in each) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """A process as the kernel describes it, from its state on: the second is its parent, from the eleventh its times."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended meanwhile, so its parent has its times.
        return ["0"] * 15
