"""Tasks against two peers, procrastinate and pgqueuer, in one run on one durable server; and against themselves under load.

    python -m bench.work [--seconds 4] [--rounds 3] [--tasks 60000] [--history 10000000] [--parked 100000]

Each contender has its own database and its own worker processes, the same number for all: one, and two. First the settings
that each one's docs offer are tried, and the best are kept. Then rounds take turns: a queue is filled by single calls and
drained one task at a time, filled in bulk and drained at the best settings, and an idle worker is fed 50 tasks a second.
Medians are compared, because machines are shared and noisy. The peers are in the extra `bench`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import work_alone, work_posting, work_runs
from bench.work_contenders import CONTENDERS, OURS, Contender, Settings, label
from tallystick.db import EmbeddedServer

PER_SECOND = 50
_PASSES = 2
_FEWEST_TASKS = 100
_WIDTH = 120
_P99 = "from commit to start, p99, ms"
Samples = dict[str, dict[str, list[float]]]
"""What was measured, by measure and by contender."""


def main() -> None:
    """Run the benchmark and print its tables and ratios."""
    arguments = _arguments()
    contenders = [CONTENDERS[name] for name in arguments.only]
    _check_installed(contenders)
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as folder, EmbeddedServer(Path(folder) / "data") as server:
        _check_durable(server)
        with _bars() as progress:
            race = _Race(work_runs.Stage(server, arguments, progress), contenders)
            race.tune()
            race.measure()
        _report(race)
        few = min(arguments.processes)
        settings, tasks = race.best[OURS.name, few], race.size(OURS, few)
        with _bars() as progress:
            alone = work_alone.Alone(work_runs.Stage(server, arguments, progress), race.urls[OURS.name], settings, tasks)
            alone.measure()
        work_alone.report(alone.rates)
        with _bars() as progress:
            posted = work_posting.measure(work_runs.Stage(server, arguments, progress), tasks)
        work_posting.report(posted)


def _bars() -> Progress:
    return Progress(console=Console(stderr=True))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.work", description="Tasks against two peers, in one run.")
    parser.add_argument("--seconds", type=float, default=4, help="about how long each drain takes (default 4)")
    parser.add_argument("--pace-seconds", type=float, default=10, help="length of each run at 50 tasks a second (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind; medians are compared (default 3)")
    parser.add_argument("--tasks", type=int, default=60_000, help="most tasks in a queue (default 60,000)")
    parser.add_argument("--history", type=int, default=10_000_000, help="finished tasks (default 10 million; 0: skip)")
    parser.add_argument("--parked", type=int, default=100_000, help="parked tasks (default 100,000; 0: skip)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="worker processes of each (default 1 2)")
    parser.add_argument("--no-tuning", dest="tuning", action="store_false", help="take the first settings of each contender")
    parser.add_argument(
        "--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), help="who takes part (default all)"
    )
    arguments = parser.parse_args()
    if OURS.name not in arguments.only:
        parser.error("ours always takes part")
    return arguments


def _check_installed(contenders: Iterable[Contender]) -> None:
    missing = [name for contender in contenders for name in contender.missing()]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}. They are in the extra `bench`: pip install 'tallystick[bench]'; "
            "or measure ours alone with --only ours"
        )


def _check_durable(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as connection:
        durable = [connection.execute(f"show {name}".encode()).fetchone() for name in ("fsync", "synchronous_commit")]
        assert durable == [("on",), ("on",)], durable


class _Race:
    """All contenders in turns."""

    def __init__(self, stage: work_runs.Stage, contenders: list[Contender]) -> None:
        self.contenders = contenders
        self.arguments = stage.arguments
        self.urls = {
            contender.name: work_runs.new_database(stage.server, contender, contender.name) for contender in contenders
        }
        self.best: dict[tuple[str, int], Settings] = {}
        """The best settings of a contender with so many processes."""
        self.samples: Samples = defaultdict(lambda: defaultdict(list))
        self._rates: dict[tuple[str, int], float] = {}
        self._progress = stage.progress

    def tune(self) -> None:
        """Find the settings that drain fastest, for each number of processes."""
        tried = [
            (contender, processes, settings)
            for contender in self.contenders
            for processes in self.arguments.processes
            for settings in contender.tried[: None if self.arguments.tuning else 1]
        ]
        passes = _PASSES if self.arguments.tuning else 1
        bar = self._progress.add_task("trying settings", total=len(tried) * passes)
        found: dict[int, list[float]] = defaultdict(list)
        for _ in range(passes):
            for number, (contender, processes, settings) in enumerate(tried):
                tasks = self._bounded(contender.guess * self.arguments.seconds / 2)
                url = self.urls[contender.name]
                work_runs.fill(contender, url, tasks=tasks)
                found[number].append(work_runs.drain(contender, url, settings, processes=processes, tasks=tasks).rate)
                self._progress.advance(bar)
        for number, (contender, processes, settings) in enumerate(tried):
            rate = statistics.mean(found[number])
            if rate > self._rates.get((contender.name, processes), 0):
                self.best[contender.name, processes], self._rates[contender.name, processes] = settings, rate

    def measure(self) -> None:
        """All rounds; in each, every contender does everything, in an order drawn anew."""
        runs = self.arguments.rounds * len(self.contenders) * (2 * len(self.arguments.processes) + 1)
        bar = self._progress.add_task("measuring", total=runs)
        for number in range(self.arguments.rounds):
            for contender in random.sample(self.contenders, len(self.contenders)):
                for processes in self.arguments.processes:
                    self._drain(contender, processes)
                    self._drain_one_by_one(contender, processes)
                    self._progress.advance(bar, 2)
                self._pace(contender, number)
                self._progress.advance(bar)

    def size(self, contender: Contender, processes: int) -> int:
        """As many tasks as a contender drains in about the time of a run."""
        return self._bounded(self._rates[contender.name, processes] * self.arguments.seconds)

    def _drain(self, contender: Contender, processes: int) -> None:
        name, url, tasks = contender.name, self.urls[contender.name], self.size(contender, processes)
        filled = work_runs.fill(contender, url, tasks=tasks)
        drained = work_runs.drain(contender, url, self.best[name, processes], processes=processes, tasks=tasks)
        self._note("enqueue in bulk, tasks/s", name, filled.rate)
        self._note(_drain_of(processes), name, drained.rate)
        self._note("WAL, in bulk and at best, bytes/task", name, filled.wal + drained.wal)
        self._note("CPU of the workers at best, µs/task", name, drained.worker_us)
        self._note("CPU of the server at best, µs/task", name, drained.server_us)

    def _drain_one_by_one(self, contender: Contender, processes: int) -> None:
        name, url = contender.name, self.urls[contender.name]
        tasks = self._bounded(contender.guess_single * processes * self.arguments.seconds)
        filled = work_runs.fill(contender, url, tasks=tasks, bulk=False)
        drained = work_runs.drain(contender, url, contender.single, processes=processes, tasks=tasks)
        self._note("enqueue by single calls, tasks/s", name, filled.rate)
        self._note(_drain_of(processes, single=True), name, drained.rate)
        self._note("WAL, one by one, bytes/task", name, filled.wal + drained.wal)

    def _pace(self, contender: Contender, seed: int) -> None:
        name, seconds = contender.name, self.arguments.pace_seconds
        settings = self.best[name, min(self.arguments.processes)]
        waited = work_runs.latency(contender, self.urls[name], settings, per_second=PER_SECOND, seconds=seconds, seed=seed)
        self._note("from commit to start, p50, ms", name, waited.p50)
        self._note(_P99, name, waited.p99)
        self._note("from call to start, p50, ms", name, waited.call_p50)
        self._note("from call to start, p99, ms", name, waited.call_p99)

    def _note(self, measure: str, name: str, value: float) -> None:
        self.samples[measure][name].append(value)

    def _bounded(self, tasks: float) -> int:
        most: int = self.arguments.tasks
        return max(_FEWEST_TASKS, min(most, round(tasks)))


def _drain_of(processes: int, *, single: bool = False) -> str:
    return f"drain {'at batch 1' if single else 'at best'}, {processes} process{'es' if processes > 1 else ''}, tasks/s"


def _report(race: _Race) -> None:
    console = Console(width=_WIDTH)
    for contender in race.contenders:
        settings = "; ".join(f"{label(race.best[contender.name, count])} ({count})" for count in race.arguments.processes)
        console.print(f"{contender.name}: {contender.version}; best settings (by processes): {settings}", highlight=False)
    console.print(
        f"{race.arguments.rounds} rounds, drains of about {race.arguments.seconds:g} s; durable settings; median (min to max)"
    )
    table = Table("what", *(contender.name for contender in race.contenders))
    for measure in race.samples:
        table.add_row(measure, *(_cell(race.samples[measure][contender.name]) for contender in race.contenders))
    console.print(table)
    ours = OURS.name
    middle = {measure: {name: statistics.median(found) for name, found in of.items()} for measure, of in race.samples.items()}
    peers = [contender.name for contender in race.contenders if contender is not OURS]
    for peer in peers:
        at_best = {name: max(middle[_drain_of(count)][name] for count in race.arguments.processes) for name in (ours, peer)}
        print(f"ratio drain_vs_{peer} {at_best[ours] / at_best[peer]:.2f}")
        for count in race.arguments.processes:
            at_best = middle[_drain_of(count)]
            print(f"ratio drain_vs_{peer}_processes_{count} {at_best[ours] / at_best[peer]:.2f}")
            singly = middle[_drain_of(count, single=True)]
            print(f"ratio drain_at_batch_1_vs_{peer}_processes_{count} {singly[ours] / singly[peer]:.2f}")
    if peers:
        print(f"ratio p99_latency_vs_best_peer {middle[_P99][ours] / min(middle[_P99][peer] for peer in peers):.2f}")


def _cell(found: list[float]) -> str:
    digits = 1 if statistics.median(found) < 100 else 0
    return f"{statistics.median(found):,.{digits}f} ({min(found):,.{digits}f} to {max(found):,.{digits}f})"


if __name__ == "__main__":
    main()
