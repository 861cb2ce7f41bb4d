"""One process of one contender of `bench.work`; each has its own, so that none runs on another's imports or settings.

Run as `python -m bench.work_process MODULE COMMAND URL JSON`; COMMAND is `set_up`, `enqueue`, `pace` or `work`, and one line of
JSON is the answer. A worker says `ready`, waits for a line, works, and stops at the next line.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import mmap
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.work_contenders import Handle, Inside

_WARM_UP = 20
_LAST_WORD_S = 0.5
Options = Mapping[str, Any]


def main() -> None:
    """Do the one thing that was asked for."""
    module, command, url, options = sys.argv[1:]
    inside = cast("Inside", importlib.import_module(module))
    run = {"set_up": _set_up, "enqueue": _enqueue, "pace": _pace, "work": _work}[command]
    answer = uvloop.run(run(inside, url, json.loads(options)))
    print(json.dumps(answer), flush=True)


async def _set_up(inside: Inside, url: str, _: Options) -> Options:
    await inside.set_up(url)
    return {}


async def _enqueue(inside: Inside, url: str, options: Options) -> Options:
    """Enqueue `tasks` of them, `batch` in a call; the first calls, which prepare statements, are outside the measure."""
    batch = options["batch"]
    numbers = list(range(options["tasks"]))
    async with inside.producer(url) as enqueue:
        for number in numbers[:_WARM_UP]:
            await enqueue([number])
        began = time.perf_counter()
        for start in range(_WARM_UP, len(numbers), batch):
            await enqueue(numbers[start : start + batch])
        return {"seconds": time.perf_counter() - began, "tasks": len(numbers) - _WARM_UP}


async def _pace(inside: Inside, url: str, options: Options) -> Options:
    """Single tasks at random moments, `per_second` on average; for each, when it was asked for and when it was committed.

    Those who ask do not wait for each other, and the moments are the same for every contender.
    """
    chance = random.Random(options["seed"])
    sent: list[tuple[int, int, int]] = []

    async with inside.producer(url) as enqueue, asyncio.TaskGroup() as calls:

        async def send(number: int) -> None:
            called = time.monotonic_ns()
            await enqueue([number])
            sent.append((number, called, time.monotonic_ns()))

        for number in range(-_WARM_UP, 0):
            await enqueue([number])
        due = time.monotonic()
        for number in range(round(options["per_second"] * options["seconds"])):
            due += chance.expovariate(options["per_second"])
            await asyncio.sleep(due - time.monotonic())
            calls.create_task(send(number))
        # Whoever announces tasks on a connection of its own is given the time to announce the last.
        await asyncio.sleep(_LAST_WORD_S)
    return {"sent": sent}


async def _work(inside: Inside, url: str, options: Options) -> Options:
    """Work until told to stop: count in a shared file what was handled, or, for latencies, note when each began."""
    stamps: list[tuple[int, int]] = []
    with _shared(options["counter"]) as counters:
        handle = _stamper(stamps) if options["stamps"] else _counter(counters, options["slot"])
        stop = asyncio.Event()
        print("ready", flush=True)
        sys.stdin.readline()
        cpu_s = time.process_time()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
        await inside.work(url, options["settings"], handle, stop)
    return {"stamps": stamps, "cpu_s": time.process_time() - cpu_s}


@contextmanager
def _shared(path: str) -> Iterator[memoryview[int]]:
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared, memoryview(shared).cast("Q") as counters:
        yield counters


def _counter(counters: memoryview[int], slot: int) -> Handle:
    def count(_: int) -> None:
        counters[slot] += 1

    return count


def _stamper(stamps: list[tuple[int, int]]) -> Handle:
    def stamp(number: int) -> None:
        stamps.append((number, time.monotonic_ns()))

    return stamp


if __name__ == "__main__":
    main()
