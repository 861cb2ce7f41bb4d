"""Real processes for tests of faults: started, watched and killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

WAIT_S = 60
FORKS = multiprocessing.get_context("forkserver")
"""Where worker processes of tests come from: what they import is imported once, and they are forked from there."""
FORKS.set_forkserver_preload(["tests.ledger_writer", "tests.work_crew"])


def wait_until(condition: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Return as soon as `condition` holds; fail with `what` was awaited where it never does."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {wait_s} s for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def python(code: str, *arguments: str, executable: str = sys.executable, **keywords: object) -> subprocess.Popen[str]:
    """A Python process that runs `code`, its output in a pipe."""
    process: subprocess.Popen[str] = subprocess.Popen(
        [executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        **keywords,  # type: ignore[call-overload]
    )
    return process


def kill(pid: int) -> None:
    """kill -9; one that has just ended by itself is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def postmaster(data: Path) -> int:
    """The process id of the server in a data folder of ours."""
    return int((data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])


def keepers(data: Path) -> list[int]:
    """The keeper processes of a data folder of ours."""
    return [pid for pid, words in _commands() if b"tallystick.db.keeper" in words and str(data).encode() in words]


def servers(data: Path) -> list[int]:
    """Every PostgreSQL process that works in a data folder of ours."""
    found = []
    for pid, _ in _commands():
        try:
            if Path(f"/proc/{pid}/cwd").resolve() == data / "postgres":
                found.append(pid)
        except OSError:
            continue
    return found


def _commands() -> list[tuple[int, list[bytes]]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")))
            except OSError:
                continue
    return found
