"""How far the import is: told to whoever wants to know, shown as a bar on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Watcher(Protocol):
    """Is told when a stage begins, with the size of its work, and how much of it is done."""

    def begin(self, stage: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...


class Quiet:
    """Shows nothing."""

    def begin(self, stage: str, total: int) -> None:
        """A stage of the import begins."""

    def advance(self, count: int) -> None:
        """Some of the stage's work is done."""


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, stage: str, total: int) -> None:
        self._task = self._progress.add_task(stage, total=total)

    def advance(self, count: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, count)


@contextmanager
def shown(console: Console) -> Iterator[Watcher]:
    """Bars on `console` while we are in here; nothing where it is no terminal."""
    if not console.is_terminal:
        yield Quiet()
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)
